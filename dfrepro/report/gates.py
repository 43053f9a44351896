"""Whether a comparison can answer its claim: gates that are judged before it, each with a reason when it is closed.

A network that learned nothing, a baseline at the floor or the ceiling, a module that does nothing: then there is no
difference to be seen, whatever the method is worth, and the claim is not decidable here. A network whose maps
supervise another is a network involved. Where a number that a gate
needs was not measured, a gate that the claim declares is closed; one that every claim has is passed over.
"""

from collections.abc import Iterator

import numpy as np

from dfrepro.evaluate import metrics
from dfrepro.report.contrast import common_seeds, contrast, probits, values
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Acts, Cell, Claim, Operand, PositiveControl, is_auc

LEARNED = 0.65  # video AUC on the set that a network was trained on, in the test split and in validation
FALLEN = 0.95  # loss of the last epoch over that of the first, at most


def closed(claim: Claim, evidence: Evidence) -> list[str]:
    """Why the claim is not decidable on this evidence; nothing if all gates are open."""
    reasons = [*_unlearned(claim, evidence), *_out_of_band(claim, evidence)]
    reasons += [why for gate in claim.acts if (why := _idle(gate, evidence))]
    return reasons


def positive(control: PositiveControl | None, evidence: Evidence) -> tuple[Effect | None, str]:
    """The positive control's effect, and why it does not vouch for the assay (empty: it does, or there is none)."""
    if control is None or control.none or control.of is None:
        return None, ""
    cell = Cell(name=control.name, of=control.of, over=control.over, direction=control.direction)
    seeds, why = common_seeds([cell], evidence)
    if not seeds:
        return None, f"positive control ({control.name}) not run: {why}"
    found = contrast([cell], evidence, seeds, probits(cell))
    interval = found.interval()
    if interval is not None and interval[0] > control.at_least:
        return found, ""
    return found, f"positive control ({control.name}) does not come out: {found.mean:+.3f}"


def _unlearned(claim: Claim, evidence: Evidence) -> Iterator[str]:
    for run in dict.fromkeys(run for side in _relied_on(claim) for run in evidence.behind(side.run)):
        own = evidence.own_set(run)
        on_own = _mean(Operand(run=run, test=(own,), metric="video_auc"), evidence)
        validated = _mean(Operand(run=run, test=("train",), metric="validation_auc"), evidence)
        first, last = (
            _mean(Operand(run=run, test=("train",), metric=f"loss_{at}"), evidence) for at in ("first", "last")
        )
        if on_own is not None and not on_own >= LEARNED:
            yield f"{run} has not learned its own set (AUC {on_own:.2f})"
        elif validated is not None and not validated >= LEARNED:
            yield f"{run} has not learned (AUC {validated:.2f} in validation)"
        elif first is None or last is None or validated is not None:
            continue
        elif 0 < first != last and not last <= FALLEN * first:
            yield f"{run} has not learned (loss {first:.2f} at first, {last:.2f} at last)"


def _relied_on(claim: Claim) -> Iterator[Operand]:
    """The sides whose networks must have learned: all, or the baseline alone where that `of` has not is an outcome."""
    for cell in claim.primary:
        for side in cell.sides:
            if not cell.may_learn_nothing or side == cell.over:
                yield side


def _out_of_band(claim: Claim, evidence: Evidence) -> Iterator[str]:
    band = claim.band
    if band.none:
        return
    baselines = [band.of] if band.of else [_baseline(cell.over) for cell in claim.primary]
    lowest, highest = band.within if band.of or claim.ranks else (band.within[0], 1.0)
    for operand in dict.fromkeys(each for each in baselines if each is not None):
        auc = _mean(operand, evidence)
        if auc is None and band.of:
            yield f"{operand} is not measured"
        elif auc is not None and not lowest <= auc <= highest:
            low, high = f", below {lowest:.2f}: it ranks too little", f", above {highest:.2f}: nothing can rise"
            odd = "" if np.isnan(auc) else low if auc < lowest else high
            said = "no AUC" if np.isnan(auc) else f"AUC {auc:.2f}"
            yield f"{operand.run} has {said} {_where(operand)}{odd}"


def _baseline(over: Operand | float | None) -> Operand | None:
    """What of a cell's other side has to lie in the band: its AUC on the same items, clean where it is a change."""
    if not isinstance(over, Operand):
        return None
    tests = [f"{test.partition(':')[0]}:{auc}" for test, auc in zip(over.test, map(_auc_of, over.metrics)) if auc]
    if len(tests) < len(over.test):
        return None
    condition = ("clean",) if over.change else over.condition
    return Operand(run=over.run, test=tuple(tests), metric="video_auc", condition=condition)


def _auc_of(metric: str) -> str:
    named = metrics.named(metric)
    if named is None:
        return metric if is_auc(metric) else ""
    return "frame_auc" if named[1] else "video_auc"


def _where(operand: Operand) -> str:
    if operand.test == ("train",):  # what a training tells of itself
        return "in validation"
    sets = "on " + ", ".join(test.partition(":")[0] for test in operand.test)
    return sets if operand.condition == ("clean",) else f"{sets} under {', '.join(operand.condition)}"


def _idle(gate: Acts, evidence: Evidence) -> str:
    value = _mean(gate.of, evidence)
    if value is None:
        return f"{gate.of} is not measured ({gate.why})"
    acts = value >= gate.at_least if gate.direction == "greater" else value <= gate.at_least
    limit = "at least" if gate.direction == "greater" else "at most"
    return "" if acts else f"{gate.of} is {value:.3g}, not {limit} {gate.at_least:g} ({gate.why})"


def _mean(operand: Operand, evidence: Evidence) -> float | None:
    """The mean over the seeds that have it; None where none has."""
    seeds = [seed for seed in evidence.seeds(operand.run) if evidence.value(operand, seed) is not None]
    return float(np.mean(values(operand, evidence, seeds))) if seeds else None
