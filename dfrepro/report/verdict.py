"""Verdicts: what the measurements say of a claim, by rules that were fixed beforehand. docs/verdicts.md explains them.

A claim is judged by one number, its primary contrast: the mean effect of its primary cells (dfrepro.report.schema),
with one interval (dfrepro.report.effects), at looks of 5, 10, 20 and 40 seeds (dfrepro.report.looks) of which each has
its level. Seeds beyond a look wait for the next. The earliest look that confirms, refutes or finds an effect smaller
than printed decides: its verdict is final and computed from its seeds alone, the first in ascending order; so are
gates, controls and cells. Of a difference, with `at_least` as threshold (0 unless given):

    confirmed              the interval lies above the threshold
    refuted                it lies below
    smaller than printed   the threshold lies in it, and it lies below what the paper prints
    inconclusive           both lie in it, or nothing is printed

An equivalence is confirmed if the interval lies inside ±margin and refuted if it lies outside; a non-inferiority is
confirmed if it lies above −margin and refuted if below. Whatever the interval, a claim is *not decidable here* when a
gate is closed or its positive control does not come out (dfrepro.report.gates). A confirmation is taken back where a
negative control gains what the method gains, and is not decidable here where that is not known. Fewer seeds than the
first look has decide nothing but an exact claim, which knows no looks. Cells are reported beside, with Holm's
correction at the look's level, and decide nothing. Controls have intervals of 95 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dfrepro.report import gates, looks
from dfrepro.report.contrast import common_seeds, contrast, probits, values
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Cell, Claim, Control

Verdict = Literal[
    "confirmed", "refuted", "smaller than printed", "inconclusive", "not decidable here", "not testable", "not run"
]
VERDICTS: tuple[Verdict, ...] = (
    "confirmed", "refuted", "smaller than printed", "inconclusive", "not decidable here", "not testable", "not run",
)  # fmt: skip
DECIDED = VERDICTS[:3]  # those after which no further look is taken
JUDGED = VERDICTS[:4]  # those that an interval decides
NO_INTERVAL = "one seed and no scores of videos: no interval can be given"
ONE_SEED = "one seed: other seeds are in no interval"


@dataclass(frozen=True)
class CellVerdict:
    """A cell by itself: `p` is two-sided, of the verdict that lies nearer; `holm` is p corrected for all cells."""

    cell: Cell
    verdict: Verdict
    effect: Effect | None = None
    reason: str = ""
    of: float | None = None  # the two sides, means over the seeds used
    over: float | None = None
    p: float | None = None
    holm: float | None = None


@dataclass(frozen=True)
class ControlVerdict:
    control: Control
    effect: Effect | None = None  # the control's own gain over the baseline
    lead: Effect | None = None  # the method over its control
    reason: str = ""

    @property
    def known(self) -> bool:
        """Whether it can be told whether the method has a lead over it."""
        return self.lead is not None and self.lead.interval() is not None

    @property
    def explains(self) -> bool:
        """Whether the control does what the method does: it gains and the method has no lead over it, or it leads."""
        gain, lead = (effect.interval() if effect else None for effect in (self.effect, self.lead))
        if lead is None:
            return False
        return lead[1] < 0 or (gain is not None and gain[0] > 0 and lead[0] <= 0)


@dataclass(frozen=True)
class ClaimVerdict:
    claim: Claim
    verdict: Verdict
    reason: str = ""
    effect: Effect | None = None  # the primary contrast
    cells: tuple[CellVerdict, ...] = ()
    controls: tuple[ControlVerdict, ...] = ()
    positive: Effect | None = None  # the positive control
    missing: tuple[str, ...] = ()

    @property
    def look(self) -> int | None:
        """The look that this is the verdict of; None before the first, and of an exact claim."""
        seeds = 0 if self.effect is None or self.claim.primary[0].test == "exact" else len(self.effect.seeds)
        return looks.reached(seeds)[-1] if seeds >= looks.FIRST else None


def judge(claim: Claim, evidence: Evidence) -> ClaimVerdict:
    """The verdict on one claim, of the earliest look that decides, or else of the last that its seeds allow.

    Never raises for lacking or odd measurements, but says so in `reason`.
    """
    seeds, reason = common_seeds(claim.primary, evidence) if claim.primary else ([], "")
    exact = bool(claim.primary) and claim.primary[0].test == "exact"
    steps = looks.reached(len(seeds)) if not exact else []
    if not steps:
        return _judge(claim, evidence.only(seeds) if seeds else evidence, looks.LEVEL, reason)
    for look in steps:
        found = _judge(claim, evidence.only(seeds[:look]), looks.level(look), reason)
        if found.verdict in DECIDED:
            break
    return found


def _judge(claim: Claim, evidence: Evidence, level: float, unpaired: str) -> ClaimVerdict:
    """The verdict on all seeds of `evidence`, by intervals of this level."""
    on_probit = claim.scale == "probit"
    cells = _holm([judge_cell(cell, evidence, on_probit, level) for cell in claim.cells], level)
    controls = tuple(_judge_control(control, evidence) for control in claim.controls)
    if not claim.testable:
        return ClaimVerdict(claim, "not testable", claim.reason, None, cells, controls)
    primary = [cell for cell in cells if cell.cell in claim.primary]
    missing = tuple(dict.fromkeys(cell.reason for cell in primary if cell.verdict == "not run"))
    if missing:
        return ClaimVerdict(claim, "not run", f"missing: {', '.join(missing)}", None, cells, controls, None, missing)
    seeds, reason = common_seeds(claim.primary, evidence)
    if not seeds:
        return ClaimVerdict(claim, "not run", f"missing: {reason}", None, cells, controls, None, (reason,))
    effect = contrast(claim.primary, evidence, seeds, claim.on_probit, level)
    control, why = gates.positive(claim.positive_control, evidence)
    closed = [*gates.closed(claim, evidence), *([why] if why else [])]
    if closed:
        return ClaimVerdict(claim, "not decidable here", "; ".join(closed), effect, cells, controls, control)
    verdict, why = _decided(claim.primary, effect)
    if verdict == "confirmed":
        verdict, why = _controlled(controls, why)
    said = "; ".join(filter(None, (why, unpaired, _threshold(claim.primary))))
    return ClaimVerdict(claim, verdict, said, effect, cells, controls, control)


def _controlled(controls: Sequence[ControlVerdict], why: str) -> tuple[Verdict, str]:
    """What the negative controls leave of a confirmation."""
    explained = [each.control.name for each in controls if each.explains]
    if explained:
        return "inconclusive", f"the control does the same: {', '.join(explained)}"
    unknown = [each.control.name for each in controls if not each.known]
    if unknown:
        return "not decidable here", f"control {', '.join(unknown)} not run"
    return "confirmed", why


def _threshold(cells: Sequence[Cell]) -> str:
    """What the interval is held against, where that is not zero; "" where it is."""
    margin, at_least = min(cell.margin or 0.0 for cell in cells), float(np.mean([cell.at_least for cell in cells]))
    if margin:
        return f"margin ±{margin:g}" if cells[0].test == "equivalence" else f"threshold −{margin:g}"
    return f"threshold {at_least:+g}" if at_least else ""


def judge_cell(cell: Cell, evidence: Evidence, on_probit: bool = True, level: float = looks.LEVEL) -> CellVerdict:
    """A cell by itself, by its own interval."""
    seeds, reason = common_seeds([cell], evidence)
    if not seeds:
        return CellVerdict(cell, "not run", reason=reason)
    of, over = (float(np.mean(values(side, evidence, seeds))) for side in (cell.of, cell.over))
    effect = contrast([cell], evidence, seeds, on_probit and probits(cell), level)
    if cell.test == "shown":
        return CellVerdict(cell, "inconclusive", effect, reason, of, over)
    verdict, why = _decided([cell], effect)
    return CellVerdict(cell, verdict, effect, "; ".join(filter(None, (why, reason))), of, over, _p(cell, effect))


def _decided(cells: Sequence[Cell], effect: Effect) -> tuple[Verdict, str]:
    """The verdict of an effect that is the mean of `cells`, which share a kind of test."""
    broken = [seed for seed, value in zip(effect.seeds, effect.by_seed) if not np.isfinite(value)]
    if broken:
        return "inconclusive", f"{cells[0].of.run}: not a number with seed {', '.join(map(str, broken))}"
    if cells[0].test == "exact":
        return ("refuted" if any(effect.by_seed) else "confirmed"), ""
    interval = effect.interval()
    if interval is None:
        nothing = NO_INTERVAL if effect.variance is None else "undefined without some of the people"
        return "inconclusive", effect.unknown or nothing
    if len(effect.seeds) < looks.FIRST:
        waits = f"{len(effect.seeds)} of {looks.FIRST} seeds of the first look"
        return "inconclusive", ONE_SEED if len(effect.seeds) == 1 else waits
    low, high = interval
    margin = min(cell.margin or 0.0 for cell in cells)
    if cells[0].test == "equivalence":
        inside, outside = -margin < low and high < margin, low > margin or high < -margin
    elif cells[0].test == "noninferior":
        inside, outside = low > -margin, high < -margin
    else:
        threshold = float(np.mean([cell.at_least for cell in cells]))
        inside, outside = low > threshold, high < threshold
        printed = printed_effect(cells)
        if not inside and not outside and printed is not None and threshold < printed and high < printed:
            return "smaller than printed", ""
    return ("confirmed" if inside else "refuted" if outside else "inconclusive"), ""


def printed_effect(cells: Sequence[Cell]) -> float | None:
    """The mean printed effect of cells, positive as claimed; None where one of them prints none."""
    printed = [cell.printed if cell.direction == "greater" else -(cell.printed or 0.0) for cell in cells]
    known = bool(cells) and all(cell.printed is not None for cell in cells)
    return float(np.mean([value for value in printed if value is not None])) if known else None


def _p(cell: Cell, effect: Effect) -> float | None:
    """Two-sided p of the nearer verdict: that the effect is above its threshold (inside its margin), or that not."""
    if cell.test == "exact" or len(effect.seeds) < looks.FIRST:
        return None
    margin = cell.margin or 0.0
    if cell.test == "equivalence":
        above, below = effect.above(-margin), 1 - effect.above(margin)
        p = min(max(above, below), min(1 - above, 1 - below))
    else:
        above = effect.above(-margin if cell.test == "noninferior" else cell.at_least)
        p = min(above, 1 - above)
    return None if np.isnan(p) else float(min(1.0, 2 * p))


def _holm(cells: Sequence[CellVerdict], level: float) -> tuple[CellVerdict, ...]:
    """Each cell with its p corrected for all cells that have one (Holm 1979), and its verdict with it."""
    order = sorted((cell.p, place) for place, cell in enumerate(cells) if cell.p is not None)
    corrected: dict[int, float] = {}
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = corrected[place] = max(highest, min(1.0, (len(order) - rank) * p))
    found = []
    for place, cell in enumerate(cells):
        holm = corrected.get(place)
        open_ = holm is not None and holm > 1 - level and cell.verdict in ("confirmed", "refuted")
        verdict: Verdict = "inconclusive" if open_ else cell.verdict
        found.append(CellVerdict(cell.cell, verdict, cell.effect, cell.reason, cell.of, cell.over, cell.p, holm))
    return tuple(found)


def _judge_control(control: Control, evidence: Evidence) -> ControlVerdict:
    pairs = [
        Cell(name=control.name, of=a, over=b, direction=control.direction)
        for a, b in ((control.of, control.over), (control.method, control.of))
    ]
    found = [common_seeds([pair], evidence) for pair in pairs]
    gain, lead = (
        contrast([pair], evidence, seeds, probits(pair)) if seeds else None for pair, (seeds, _) in zip(pairs, found)
    )
    return ControlVerdict(control, gain, lead, "" if gain and lead else f"not run: {found[0][1] or found[1][1]}")
