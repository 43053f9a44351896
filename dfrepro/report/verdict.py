"""Verdicts: what the measurements say of a claim, with an interval and a rule that was fixed beforehand.

**Interval.** An effect is the mean over paired seeds of `of` − `over`, turned so that a positive effect is what the
paper claims. Its 95 % interval has two parts that are drawn independently and added. Seeds are drawn with replacement,
their deviations widened by √(S/(S−1)) · t(S−1)/z as in Hesterberg's expanded percentile interval (2015): of five
normal values the plain percentile interval covers the truth in 83 % of trials, this one in 94 %. Videos are drawn with
replacement (dfrepro.report.evidence). With one seed there is no seed part: the interval is about these two trained
networks, and is marked "one seed".

**Cell.** Difference: confirmed if the interval lies above the threshold, refuted if below, else inconclusive.
Equivalence (two one-sided bounds): confirmed if the interval lies inside ±margin, refuted if it lies outside. Neither,
whatever the interval, if a side is a detector that ranks the set it was trained on no better than chance (interval of
its video AUC down to .5): at this scale it has not learned, and nothing about the paper follows from it.

**Claim.** Rule `all`: confirmed if every cell is (an intersection–union test needs no correction); refuted if a single
cell is refuted at level 1 − .05/m, m cells (Bonferroni, since one of many suffices). Rule `most`: more than half of the
cells confirmed, or at least half refuted, both at 1 − .05/m. A claim with a cell that could not be compared is "not
run" unless the others already refute it. Controls are shown, and never change a verdict.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

import numpy as np

from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Cell, Claim, Control, Operand

Verdict = Literal["confirmed", "refuted", "inconclusive", "not testable", "not run"]
VERDICTS: tuple[Verdict, ...] = ("confirmed", "refuted", "inconclusive", "not testable", "not run")
LEVEL = 0.95
NO_INTERVAL = "one seed and no scores of videos: no interval can be given"
Z975 = 1.959964
T975 = (12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157)  # 1 to 9 d.o.f.


@dataclass(frozen=True)
class Effect:
    """A mean paired difference and the draws of its bootstrap distribution (none: no interval can be given)."""

    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    draws: np.ndarray | None
    over: str  # what the interval ranges over

    @property
    def mean(self) -> float:
        return float(np.mean(self.by_seed))

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        if self.draws is None or not np.isfinite(self.draws).all():
            return None
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


@dataclass(frozen=True)
class CellVerdict:
    cell: Cell
    verdict: Verdict
    effect: Effect | None = None
    reason: str = ""
    strict: Verdict = "inconclusive"  # the verdict at level 1 − .05/m
    of: float | None = None  # the two sides, means over the seeds used
    over: float | None = None


@dataclass(frozen=True)
class ControlVerdict:
    control: Control
    effect: Effect | None = None  # the control's own gain over the baseline
    lead: Effect | None = None  # the method over its control
    reason: str = ""


@dataclass(frozen=True)
class ClaimVerdict:
    claim: Claim
    verdict: Verdict
    reason: str = ""
    effect: Effect | None = (
        None  # the mean of the cells that are differences (of the equivalences where there are none)
    )
    cells: tuple[CellVerdict, ...] = ()
    controls: tuple[ControlVerdict, ...] = ()
    missing: tuple[str, ...] = field(default=())


def judge(claim: Claim, evidence: Evidence) -> ClaimVerdict:
    """The verdict on one claim; never raises for lacking or odd measurements, but says so in `reason`."""
    controls = tuple(_judge_control(control, evidence) for control in claim.controls)
    strict = 1 - (1 - LEVEL) / max(1, sum(cell.test != "shown" for cell in claim.cells))
    cells = tuple(judge_cell(cell, evidence, strict) for cell in claim.cells)
    if not claim.testable:
        return ClaimVerdict(claim, "not testable", claim.reason, None, cells, controls)
    judged = [cell for cell in cells if cell.cell.test != "shown"]
    verdict, reason = _combined(claim, judged)
    missing = tuple(dict.fromkeys(cell.reason for cell in judged if cell.verdict == "not run"))
    return ClaimVerdict(claim, verdict, reason, _headline(judged), cells, controls, missing)


def judge_cell(cell: Cell, evidence: Evidence, strict_level: float = LEVEL) -> CellVerdict:
    seeds, reason = _common_seeds(cell, evidence)
    if not seeds:
        return CellVerdict(cell, "not run", reason=reason, strict="not run")
    sides = [_side(side, evidence, seeds) for side in (cell.of, cell.over)]
    broken = [seed for seed, *values in zip(seeds, *sides) if not np.isfinite(values).all()]
    if broken:
        why = f"{cell.of} against {cell.over}: not a number with seed {', '.join(map(str, broken))}"
        return CellVerdict(cell, "inconclusive", reason=why)
    of, over = (float(np.mean(side)) for side in sides)
    if cell.test == "exact":
        return _exact(cell, sides[0] - sides[1], seeds, of, over)
    effect = _effect(cell.of, cell.over, evidence, seeds, -1 if cell.direction == "less" else 1)
    if cell.test != "shown" and (idle := [_idle(run, evidence, seeds) for run in _runs(cell)]) and any(idle):
        return CellVerdict(cell, "inconclusive", effect, "; ".join(filter(None, idle)), of=of, over=over)
    verdict, why = _decided(cell, effect, LEVEL)
    return CellVerdict(cell, verdict, effect, why or reason, _decided(cell, effect, strict_level)[0], of, over)


def _runs(cell: Cell) -> list[str]:
    return list(dict.fromkeys(side.run for side in (cell.of, cell.over) if isinstance(side, Operand)))


def _idle(run: str, evidence: Evidence, seeds: list[int]) -> str:
    """What is to be said of a detector that has not learned the set it was trained on; nothing of any other."""
    own_set = evidence.own_set(run)
    own = Operand(run=run, test=own_set, metric="video_auc")  # type: ignore[arg-type]
    values = [evidence.value(own, seed) for seed in seeds]
    if not all(value is not None and np.isfinite(value) for value in values):
        return ""
    lead = _effect(own, 0.5, evidence, seeds)
    interval = lead.interval()
    if interval is None or interval[0] > 0:
        return ""
    return f"{run} has not learned here (video AUC {lead.mean + 0.5:.2f} on {own_set})"


def _common_seeds(cell: Cell, evidence: Evidence) -> tuple[list[int], str]:
    """The seeds for which both sides were measured, and what is to be said about the others."""
    operands = [side for side in (cell.of, cell.over) if isinstance(side, Operand)]
    known = sorted({seed for operand in operands for seed in evidence.seeds(operand.run)})
    lacking = [why for operand in operands if (why := evidence.missing(operand, known))]
    if lacking:
        return [], ", ".join(dict.fromkeys(lacking))
    common = [seed for seed in known if all(evidence.value(operand, seed) is not None for operand in operands)]
    if not common:
        return [], f"no seed in common: {' and '.join(operand.run for operand in operands)}"
    alone = [str(seed) for seed in known if seed not in common]
    return common, f"unpaired seeds left out: {', '.join(alone)}" if alone else ""


def _side(side: Operand | float | None, evidence: Evidence, seeds: Iterable[int]) -> np.ndarray:
    """(seeds,) values; a constant stands for itself, and no other side for zero."""
    if isinstance(side, Operand):
        return np.array([evidence.value(side, seed) for seed in seeds], float)
    return np.full(len(list(seeds)), side or 0.0)


def _effect(of: Operand, over: Operand | float | None, evidence: Evidence, seeds: list[int], sign: int = 1) -> Effect:
    points = sign * (_side(of, evidence, seeds) - _side(over, evidence, seeds))  # (S,)
    drawn = _all_or_none(_drawn_difference(of, over, evidence, seed) for seed in seeds)
    videos = None if drawn is None else sign * drawn - points[:, None]  # (S, B) deviations
    spread = _seed_deviations(points, evidence)
    parts = [part for part in (spread, None if videos is None else videos.mean(axis=0)) if part is not None]
    named = " and ".join(name for name, part in (("seeds", spread), ("videos", videos)) if part is not None)
    draws = points.mean() + np.sum(parts, axis=0) if parts else None
    return Effect(tuple(seeds), tuple(points.tolist()), draws, named or "nothing")


def _drawn_difference(of: Operand, over: Operand | float | None, evidence: Evidence, seed: int) -> np.ndarray | None:
    left = evidence.draws(of, seed)
    right = evidence.draws(over, seed) if isinstance(over, Operand) else (over or 0.0)
    return None if left is None or right is None else left - right


def _seed_deviations(points: np.ndarray, evidence: Evidence) -> np.ndarray | None:
    """(B,) deviations of the mean over seeds drawn with replacement; None with one seed."""
    count = len(points)
    if count < 2:
        return None
    rng = np.random.default_rng([evidence.seed, count])  # the same draw for every claim: cells stay comparable
    chosen = rng.integers(count, size=(evidence.n_boot, count))
    return widening(count) * (points[chosen].mean(axis=1) - points.mean())


def widening(seeds: int) -> float:
    """What a bootstrap over `seeds` values has to be widened by to cover as Student's t does."""
    freedom = seeds - 1
    quantile = T975[freedom - 1] if freedom <= len(T975) else _cornish_fisher(freedom)
    return sqrt(seeds / freedom) * quantile / Z975


def _cornish_fisher(freedom: int, z: float = Z975) -> float:
    """Student's 97.5 % quantile for ten and more degrees of freedom, to 1e-4 (Abramowitz and Stegun 26.7.5)."""
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def _decided(cell: Cell, effect: Effect, level: float) -> tuple[Verdict, str]:
    if cell.test == "shown":
        return "inconclusive", ""
    interval = effect.interval(level)
    if interval is None:
        return "inconclusive", NO_INTERVAL if effect.draws is None else "undefined on some of the drawn sets of videos"
    low, high = interval
    margin = cell.margin
    if margin is not None:
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
    else:
        inside, outside = low > cell.at_least, high < cell.at_least
    return ("confirmed" if inside else "refuted" if outside else "inconclusive"), ""


def _exact(cell: Cell, difference: np.ndarray, seeds: list[int], of: float, over: float) -> CellVerdict:
    verdict: Verdict = "confirmed" if not difference.any() else "refuted"
    effect = Effect(tuple(seeds), tuple(difference.tolist()), None, "nothing")
    return CellVerdict(cell, verdict, effect, "", verdict, of, over)


def _combined(claim: Claim, cells: list[CellVerdict]) -> tuple[Verdict, str]:
    unrun = [cell for cell in cells if cell.verdict == "not run"]
    refuted = [cell for cell in cells if cell.strict == "refuted"]
    confirmed = [cell for cell in cells if (cell.strict if claim.rule == "most" else cell.verdict) == "confirmed"]
    if refuted and (claim.rule == "all" or 2 * len(refuted) >= len(cells)):
        return "refuted", "refuted by " + "; ".join(cell.cell.name for cell in refuted)
    if len(confirmed) == len(cells) or (claim.rule == "most" and 2 * len(confirmed) > len(cells)):
        return "confirmed", f"{len(confirmed)} of {len(cells)} cells" if len(cells) > 1 else ""
    if unrun:
        return "not run", "missing: " + ", ".join(dict.fromkeys(cell.reason for cell in unrun))
    reasons = dict.fromkeys(cell.reason for cell in cells if cell.verdict == "inconclusive" and cell.reason)
    return "inconclusive", "; ".join([f"{len(confirmed)} of {len(cells)} cells confirmed", *reasons])


def _headline(cells: list[CellVerdict]) -> Effect | None:
    """One effect for the claim: the mean of its differences over the seeds that all of them have.

    Of those in the first one's metric: seconds and AUC have no mean.
    """
    for test in ("difference", "equivalence", "exact"):
        found = [cell for cell in cells if cell.cell.test == test and cell.effect is not None]
        if found:
            metric = found[0].cell.of.metric
            return _mean_effect([c.effect for c in found if c.effect is not None and c.cell.of.metric == metric])
    return None


def _mean_effect(effects: list[Effect]) -> Effect | None:
    common = sorted(set.intersection(*(set(effect.seeds) for effect in effects)))
    if not common:
        return None
    table = [[dict(zip(effect.seeds, effect.by_seed))[seed] for seed in common] for effect in effects]  # (cells, S)
    draws = _all_or_none(effect.draws for effect in effects)  # (cells, B)
    joint = None if draws is None else draws.mean(axis=0)
    return Effect(tuple(common), tuple(np.mean(table, axis=0).tolist()), joint, effects[0].over)


def _all_or_none(draws: Iterable[np.ndarray | None]) -> np.ndarray | None:
    known = list(draws)
    return None if any(d is None for d in known) else np.stack([d for d in known if d is not None])


def _judge_control(control: Control, evidence: Evidence) -> ControlVerdict:
    pairs = [(control.of, control.over), (control.method, control.of)]
    found = [_common_seeds(Cell(name=control.name, of=a, over=b), evidence) for a, b in pairs]
    gain, lead = (_effect(a, b, evidence, seeds) if seeds else None for (a, b), (seeds, _) in zip(pairs, found))
    return ControlVerdict(control, gain, lead, "" if gain and lead else f"not run: {found[0][1] or found[1][1]}")
