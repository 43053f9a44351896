"""Does the interval cover? Studies are simulated whose truth is known, and judged as the claims are.

A simulated study has `cells` methods and one baseline, `seeds` trainings of each, and two test sets of `groups` groups
of people, each with two reals and two fakes. Margins are the sum of what a person, a video, a method on a video, a
seed on a whole set and a seed on a video do, so that AUCs agree within people, between methods and between seeds as
trained detectors' do. `python -m dfrepro.report.coverage` prints the table of docs/tables/coverage.csv.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfrepro.report.effects import Effect, probit, variance

SETS, PER, SEPARATION = 2, 2, 1.0
PERSON, VIDEO, METHOD, SEED, INTERACTION = 0.5, 0.5, 0.4, 0.15, 0.7  # standard deviations of the parts of a margin


class Case(NamedTuple):
    seeds: int
    cells: int
    groups: int
    effect: float  # added to the margins of the methods' fakes


CASES = [
    Case(seeds, cells, groups, effect)
    for seeds in (5, 10, 20) for cells in (1, 8, 48) for groups in (8, 40) for effect in (0.0, 0.25)
]  # fmt: skip


def study(case: Case, rng: np.random.Generator) -> Effect:
    """The primary contrast of one simulated study."""
    runs, n = case.cells + 1, case.groups * PER
    shift = np.r_[0.0, np.full(case.cells, case.effect)][:, None, None]
    on_set = rng.normal(0, SEED, (runs, case.seeds, SETS))
    by_seed, influences = np.zeros(case.seeds), []
    for k in range(SETS):
        person = np.repeat(rng.normal(0, PERSON, case.groups), PER)
        fakes, reals = (
            person + rng.normal(0, VIDEO, n) + rng.normal(0, METHOD, (runs, 1, n))
            + rng.normal(0, INTERACTION, (runs, case.seeds, n))
            for _ in range(2)
        )  # fmt: skip
        full, left = _aucs(fakes + SEPARATION + shift + on_set[..., k, None], reals, case.groups)
        whole = probit(full)
        by_seed += (whole[1:].mean(axis=0) - whole[0]) / SETS
        change = probit(left) - whole[..., None]  # (runs, S, C)
        influences.append((change[1:].mean(axis=0) - change[0]) / SETS)
    base = float(whole[0].mean())
    return Effect(tuple(range(case.seeds)), tuple(by_seed), variance(by_seed, influences), base)


def truth(case: Case) -> float:
    """The effect in probits with test sets without end: what is added, by the deviation of a fake less a real.

    A seed moves a whole set's fakes, and with it the AUC that it is part of no deviation of.
    """
    return case.effect / float(np.sqrt(2 * (PERSON**2 + VIDEO**2 + METHOD**2 + INTERACTION**2)))


def rates(case: Case, trials: int, seed: int = 0, level: float = 0.95) -> dict[str, float]:
    """How often the interval covers the truth, lies above it, and lies below it."""
    rng = np.random.default_rng([seed, case.seeds, case.cells, case.groups, int(100 * case.effect)])
    found, true = [study(case, rng) for _ in range(trials)], truth(case)
    bounds = np.array([each.interval(level) for each in found])
    shown = np.array([each.shown(true) for each in found])
    above, below = float((bounds[:, 0] > shown).mean()), float((bounds[:, 1] < shown).mean())
    return {"covers": 1 - above - below, "above": above, "below": below}


def _aucs(fakes: np.ndarray, reals: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """The AUC (runs, S) of margins (runs, S, n), and without each group (runs, S, C)."""
    wins = (fakes[..., :, None] > reals[..., None, :]).reshape(*fakes.shape[:2], groups, PER, groups, PER)
    pairs = wins.sum(axis=(3, 5))  # (runs, S, C, C)
    both = pairs.sum(axis=(2, 3))
    own = np.diagonal(pairs, axis1=2, axis2=3)
    left = both[..., None] - pairs.sum(axis=3) - pairs.sum(axis=2) + own
    return both / (groups * PER) ** 2, left / ((groups - 1) * PER) ** 2


def table(trials: int) -> pd.DataFrame:
    """One row a case: seeds, cells, groups of people in each test set, true effect, the rates, and trials behind them.

    With 48 cells a fifth of the trials, and with 40 groups a half: they take that much longer.
    """
    return pd.DataFrame(list(_rows(trials)))


def _rows(trials: int) -> Iterator[dict[str, float]]:
    for case in CASES:
        number = trials // ((5 if case.cells > 8 else 1) * (2 if case.groups > 8 else 1))
        yield {**case._asdict(), **rates(case, number), "trials": number}


if __name__ == "__main__":
    print(table(2000).round(3).to_string(index=False))
