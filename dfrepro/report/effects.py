"""An effect with its interval: how far other seeds, and other people in the test sets, would have moved it.

A contrast gives one number a seed, d_s. Its estimate is their mean, and the variance of that has two parts:

    Var = s²/S + max(0, Σ_k (V_k − W_k/S))

s² is the variance of the d_s. It holds what seeds do, and what seeds do to single videos, but nothing of the choice of
the test sets' people, which all seeds share. V_k is the jackknife variance of the *mean over seeds* when the people of
test set k are left out one group at a time; W_k is the variance over seeds of the groups' influences, so that W_k/S is
the share of V_k that s²/S already counts. By chance a set's part may come out below zero; their sum is kept from it.
Degrees of freedom follow Satterthwaite (1946), the quantile is Student's. A test (`python -m pytest
tests/report/test_coverage.py`) simulates what this covers.

AUCs are compared on the probit scale, on which effects at different baselines compare, and shown to readers on the AUC
scale: an effect d is shown as Φ(b + d) − Φ(b), b being the baseline's mean probit. So no interval leaves [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

LEVEL = 0.95
MANY = 1e6  # degrees of freedom: the normal distribution
MOST = 0.995  # an AUC beyond it is taken as this: with forty videos a class nobody can tell the two apart


def probit(auc: np.ndarray | float) -> np.ndarray:
    """Φ⁻¹(AUC), with AUC kept within [1 − MOST, MOST]."""
    return np.asarray(ndtri(np.clip(auc, 1 - MOST, MOST)))


@dataclass(frozen=True)
class Variance:
    """Of a mean over seeds: what belongs to the seeds, what to the test sets, and the degrees of freedom of the sum."""

    seeds: float  # s², of one seed
    tests: float  # Σ_k of the test sets' people
    freedom: float
    n_seeds: int

    @property
    def total(self) -> float:
        return self.seeds / self.n_seeds + self.tests


def variance(by_seed: np.ndarray, influences: Sequence[np.ndarray] | None) -> Variance | None:
    """The variance of the mean of `by_seed` (S,); None where neither seeds nor test sets say anything of it.

    influences: for each test set k an array (S, C_k), what leaving out each of its groups of people does to each seed's
    number; None where the numbers were not made of scores.
    """
    n = len(by_seed)
    seeds = float(np.var(by_seed, ddof=1)) if n > 1 else 0.0
    spread = seeds / n
    tests, slack = 0.0, spread**2 / (n - 1) if n > 1 else 0.0
    for table in influences or ():
        groups = table.shape[1]
        scaled = (table - table.mean(axis=1, keepdims=True)) * np.sqrt((groups - 1) / groups)  # (S, C)
        shared = float((scaled.mean(axis=0) ** 2).sum())  # V_k
        apart = float(scaled.var(axis=0, ddof=1).sum()) / n if n > 1 else 0.0  # W_k/S
        tests += shared - apart
        slack += max(shared - apart, 0.0) ** 2 / (groups - 1)
    tests = max(tests, 0.0)
    if n < 2 and not influences:
        return None
    total = spread + tests
    return Variance(seeds, tests, min(total**2 / slack, MANY) if slack > 0 else MANY, n)


@dataclass(frozen=True)
class Effect:
    """A mean over paired seeds, positive as claimed. `by_seed` is on the scale of the comparison, all else as shown.

    `base` is the baseline's mean probit of an effect in AUC, None of an effect in the metric's own unit; `sign` −1
    turns a claim of less around. An effect without another side (a level) has base −∞: Φ(d) itself is shown.
    """

    seeds: tuple[int, ...]
    by_seed: tuple[float, ...]
    variance: Variance | None
    base: float | None = None
    sign: int = 1
    level: float | None = None  # the plain mean over seeds, of a level
    unknown: str = ""  # why the variance is not known, where it has a part that cannot be told

    @property
    def over(self) -> str:
        """What the interval ranges over."""
        if self.variance is None:
            return "nothing"
        return " and ".join(
            name for name, there in (("seeds", len(self.seeds) > 1), ("people", self.variance.tests > 0)) if there
        )

    @property
    def centre(self) -> float:
        """The estimate on the scale of the comparison."""
        return float(np.mean(self.by_seed))

    @property
    def mean(self) -> float:
        """The estimate in the metric's unit; of a level the plain mean of the seeds, as tables have it."""
        return self.shown(self.centre) if self.level is None else self.level

    @property
    def error(self) -> float:
        """The standard error on the scale of the comparison."""
        return float(np.sqrt(self.variance.total)) if self.variance else np.nan

    def shown(self, value: float) -> float:
        """A number on the scale of the comparison, as a difference in the metric's unit."""
        if self.base is None:
            return float(value)
        if np.isneginf(self.base):  # a level; one that cannot be told from 1 (from 0) is shown as such
            return float(ndtr(value) if abs(value) < probit(MOST) - 1e-9 else value > 0)
        return float(self.sign * (ndtr(self.base + self.sign * value) - ndtr(self.base)))

    def compared(self, value: float) -> float:
        """The inverse of `shown`: a difference in the metric's unit (in AUC from this baseline), as compared."""
        if self.base is None:
            return float(value)
        if np.isneginf(self.base):
            return float(probit(value))
        return float(self.sign * (probit(ndtr(self.base) + self.sign * value) - self.base))

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        if self.variance is None or not np.isfinite(self.error):
            return None
        reach = stdtrit(self.variance.freedom, (1 + level) / 2) * self.error
        return self.shown(self.centre - reach), self.shown(self.centre + reach)

    def above(self, threshold: float) -> float:
        """The p-value of "the effect is no more than `threshold`" (one-sided; threshold in the metric's unit)."""
        if self.variance is None or not np.isfinite(self.error):
            return np.nan
        distance = self.centre - self.compared(threshold)
        if self.error == 0:
            return float(distance <= 0) if distance else 0.5
        return float(stdtr(self.variance.freedom, -distance / self.error))
