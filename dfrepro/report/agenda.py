"""In which order the study runs: what each undecided claim still needs, the cheapest decision first.

A claim needs the runs and maps of its primary contrast, of its gates and of its controls, and the networks behind them.
Claims share runs, so what one costs depends on those before it: the order is greedy. Nothing here trains or scores.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dfrepro import places
from dfrepro.params import Params
from dfrepro.report.schema import Claim

GUESS = 120.0  # seconds of one seed of a run, training and scoring, that nobody has measured


def scoring(run: str, seed: int) -> str:
    """A pattern of the stage that scores a run."""
    return f"evaluate*@{run}-{seed}"


def mapping(name: str, seed: int) -> str:
    """A pattern of the stage that makes and measures maps."""
    return f"maps*@{name}-{seed}"


@dataclass(frozen=True)
class Need:
    """What one seed of a claim takes: names of runs, and of maps."""

    runs: frozenset[str]
    maps: frozenset[str]

    def stages(self, seed: int) -> list[str]:
        """Patterns of the stages that make it all, as `python -m dfrepro repro` takes them."""
        scored = [scoring(run, seed) for run in sorted(self.runs)]
        return scored + [mapping(name, seed) for name in sorted(self.maps)]


@dataclass(frozen=True)
class Item:
    """A claim on the agenda. seconds: what it takes beyond the claims before it."""

    claim: Claim
    need: Need
    seconds: float


def need(claim: Claim, p: Params) -> Need:
    """What a claim needs of runs and maps that are declared; a run that is not is left aside."""
    runs, maps = set[str](), set[str]()
    for operand in claim.operands(claim.primary):
        name = operand.run.removeprefix(places.MAPS)
        if operand.run in p.runs:
            runs.add(operand.run)
        if operand.run.startswith(places.MAPS) and name in p.maps:
            maps.add(name)
    maps |= {p.runs[run].detector.maps for run in runs} - {""}
    runs |= {p.maps[name].run for name in maps} - {""}
    return Need(frozenset(runs), frozenset(maps))


def agenda(
    claims: Sequence[Claim], p: Params, *, decided: Collection[str] = (), seconds: Mapping[str, float] | None = None
) -> list[Item]:
    """The testable claims that are not `decided` (titles), each with what it needs, the cheapest first.

    seconds: what each run takes; else one seed of every run is guessed. A claim all of whose runs are asked for by
    those before it costs nothing.
    """
    known = seconds or {}
    left = {claim.title: (claim, need(claim, p)) for claim in claims if claim.testable and claim.title not in decided}
    asked, found = set[str](), list[Item]()

    def cost(title: str) -> float:
        return sum(known.get(run, GUESS) for run in left[title][1].runs - asked)

    while left:
        title = min(left, key=cost)  # of equals the first: the papers' order
        price = cost(title)
        claim, its = left.pop(title)
        found.append(Item(claim, its, price))
        asked |= its.runs
    return found
