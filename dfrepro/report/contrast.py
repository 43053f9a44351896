"""Effects from evidence: one operand against another, or the mean of several such, over the seeds that all have."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from dfrepro.report.effects import Effect, Influence, probit, variance
from dfrepro.report.evidence import Evidence
from dfrepro.report.looks import LEVEL
from dfrepro.report.schema import Cell, Operand, is_auc

Side = Operand | float | None


def common_seeds(cells: Iterable[Cell], evidence: Evidence) -> tuple[list[int], str]:
    """The seeds for which every side was measured, and what is to be said of the others."""
    operands = [side for cell in cells for side in cell.sides]
    known = sorted({seed for operand in operands for seed in evidence.seeds(operand.run)})
    lacking = [why for operand in operands if (why := evidence.missing(operand, known))]
    if lacking:
        return [], ", ".join(dict.fromkeys(lacking))
    common = [seed for seed in known if all(evidence.value(operand, seed) is not None for operand in operands)]
    if not common:
        return [], f"no seed in common: {' and '.join(dict.fromkeys(operand.run for operand in operands))}"
    alone = [str(seed) for seed in known if seed not in common]
    return common, f"unpaired seeds left out: {', '.join(alone)}" if alone else ""


def values(side: Side, evidence: Evidence, seeds: Sequence[int], on_probit: bool = False) -> np.ndarray:
    """(seeds,) values; a constant stands for itself, and no other side for zero."""
    if isinstance(side, Operand):
        return np.array([evidence.value(side, seed, on_probit=on_probit) for seed in seeds], float)
    constant = float(side or 0.0)
    return np.full(len(seeds), float(probit(constant)) if on_probit and side is not None else constant)


def probits(cell: Cell) -> bool:
    """Whether a cell by itself is compared on the probit scale: all that it measures are AUCs."""
    plain = all(side.scale == 1 and side.change is None for side in cell.sides)
    return plain and all(is_auc(metric) for side in cell.sides for metric in side.metrics)


def contrast(
    cells: Sequence[Cell], evidence: Evidence, seeds: Sequence[int], on_probit: bool, confidence: float = LEVEL
) -> Effect:
    """The mean effect of `cells` over `seeds`, positive as claimed; of exact cells the mean distance."""
    signs = [-1 if cell.direction == "less" else 1 for cell in cells]
    each = [
        sign * (values(cell.of, evidence, seeds, on_probit) - values(cell.over, evidence, seeds, on_probit))
        for cell, sign in zip(cells, signs)
    ]
    if all(cell.test == "exact" for cell in cells):
        each = [np.abs(part) for part in each]  # two differences do not make none
    by_seed = np.mean(each, axis=0)
    alone = _one_group(cells, evidence) or _half_scored(cells, evidence, seeds)
    generators = tuple(evidence.generator(seed) for seed in seeds)
    known = None if alone else variance(by_seed, _influences(cells, signs, evidence, seeds, on_probit), generators)
    found = Effect(
        tuple(seeds), tuple(by_seed.tolist()), known, sign=signs[0], unknown=alone, confidence=confidence,
        generators=generators,
    )  # fmt: skip
    return replace(found, base=_base(cells, evidence, seeds)) if on_probit else found


def level(operand: Operand, evidence: Evidence) -> Effect | None:
    """One operand by itself over all its seeds, with its interval; None where no seed has it."""
    cell = Cell(name="", of=operand, test="shown")
    seeds, _ = common_seeds([cell], evidence)
    if not seeds:
        return None
    plain = float(values(operand, evidence, seeds).mean())
    return replace(contrast([cell], evidence, seeds, probits(cell)), level=plain)


def _base(cells: Sequence[Cell], evidence: Evidence, seeds: Sequence[int]) -> float:
    """The baseline's mean probit; −∞ where there is no other side."""
    overs = [cell.over for cell in cells if cell.over is not None]
    if not overs:
        return -np.inf
    return float(np.mean([values(side, evidence, seeds, True) for side in overs]))


def _one_group(cells: Sequence[Cell], evidence: Evidence) -> str:
    """Why there is no interval over people, where a test set has one group of them; "" where each has more."""
    sets = dict.fromkeys(name for cell in cells for side in cell.sides for name in evidence.of_one_group(side))
    return f"people of {', '.join(sets)} form one group: no interval over people" if sets else ""


def _half_scored(cells: Sequence[Cell], evidence: Evidence, seeds: Sequence[int]) -> str:
    """Why there is no interval over people, where a part of the numbers is made of scores; "" where all or none is."""
    sides = [side for cell in cells for side in cell.sides]
    scored = [all(evidence.influences(side, seed) is not None for seed in seeds) for side in sides]
    lacking = dict.fromkeys(str(side) for side, there in zip(sides, scored) if not there)
    return f"no scores behind {', '.join(lacking)}: no interval over people" if any(scored) and lacking else ""


def _influences(
    cells: Sequence[Cell], signs: Sequence[int], evidence: Evidence, seeds: Sequence[int], on_probit: bool
) -> list[Influence] | None:
    """For each generator and test set: what leaving out a group of people does to its seeds; None without scores."""
    found: list[Influence] = []
    drawn = np.array([evidence.generator(seed) for seed in seeds])
    for generator in np.unique(drawn):
        rows = np.flatnonzero(drawn == generator)
        tables = _on_people(cells, signs, evidence, [seeds[int(row)] for row in rows], on_probit)
        if tables is None:
            return None
        found += [Influence(rows, table) for table in tables]
    return found


def _on_people(
    cells: Sequence[Cell], signs: Sequence[int], evidence: Evidence, seeds: Sequence[int], on_probit: bool
) -> list[np.ndarray] | None:
    """For each test set (S_g, C), of the seeds of one generator."""
    total: dict[str, np.ndarray] = {}
    for cell, sign in zip(cells, signs):
        for side, turn in ((cell.of, sign), (cell.over, -sign)):
            if not isinstance(side, Operand):
                continue
            found = [evidence.influences(side, seed, on_probit=on_probit) for seed in seeds]
            if any(each is None for each in found):
                return None
            for base in found[0] or ():
                part = turn / len(cells) * np.stack([each[base] for each in found if each is not None])
                total[base] = total[base] + part if base in total else part
    return list(total.values())
