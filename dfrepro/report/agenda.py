"""In which order the study runs: what each undecided claim still needs, the cheapest decision first.

A claim needs the runs and maps of its primary contrast, of its gates and of its controls, and the networks behind them.
Claims share runs, so what one costs depends on those before it: the order is greedy. Nothing here trains or scores.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dfrepro import places
from dfrepro.params import Params
from dfrepro.report.schema import Claim, Operand

GUESS = 120.0  # seconds of one seed of a run, training and scoring, that nobody has measured


@dataclass(frozen=True)
class Need:
    """What one seed of a claim takes: names of runs, and of maps."""

    runs: frozenset[str]
    maps: frozenset[str]

    def without(self, found: Collection[tuple[str, int]], seed: int) -> "Need":
        """What is left of it with a seed, where what was `found` (runs and maps, each with its seed) is there."""
        runs = frozenset(run for run in self.runs if (run, seed) not in found)
        return Need(runs, frozenset(name for name in self.maps if (places.MAPS + name, seed) not in found))

    def stages(self, seed: int) -> list[str]:
        """Patterns of the stages that make it all, as `python -m dfrepro repro` takes them."""
        scored = [f"evaluate*@{run}-{seed}" for run in sorted(self.runs)]
        return scored + [f"maps*@{name}-{seed}" for name in sorted(self.maps)]


@dataclass(frozen=True)
class Item:
    """A claim on the agenda. seconds: what it takes beyond the claims before it."""

    claim: Claim
    need: Need
    seconds: float


def need(claim: Claim, p: Params) -> Need:
    """What a claim needs of runs and maps that are declared; a run that is not is left aside."""
    runs, maps = set[str](), set[str]()
    for operand in operands(claim):
        name = operand.run.removeprefix(places.MAPS)
        if operand.run in p.runs:
            runs.add(operand.run)
        if operand.run.startswith(places.MAPS) and name in p.maps:
            maps.add(name)
    maps |= {p.runs[run].detector.maps for run in runs} - {""}
    runs |= {p.maps[name].run for name in maps} - {""}
    return Need(frozenset(runs), frozenset(maps))


def operands(claim: Claim) -> Iterator[Operand]:
    """Every side of every comparison that the claim's verdict rests on."""
    sides: list[Any] = [side for cell in claim.primary for side in (cell.of, cell.over)]
    sides += [gate.of for gate in claim.acts] + [claim.band.of]
    if claim.positive_control is not None:
        sides += [claim.positive_control.of, claim.positive_control.over]
    sides += [side for control in claim.controls for side in (control.of, control.over, control.method)]
    return (side for side in sides if isinstance(side, Operand))


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
