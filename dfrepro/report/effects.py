"""An effect with its interval: how far other seeds, and other people in the test sets, would have moved it.

A contrast gives one number a seed, d_s. Its estimate is their mean, and the variance of that has two parts:

    Var = s²/S + max(0, Σ_k (V_k − W_k/S))

s² is the variance of the d_s. It holds what seeds do, and what seeds do to single videos, but nothing of the choice of
the test sets' people, which all seeds share. V_k is the jackknife variance of the *mean over seeds* when the people of
test set k are left out one group at a time; W_k is the variance over seeds of the groups' influences, so that W_k/S is
the share of V_k that s²/S already counts. By chance a set's part may come out below zero; their sum is kept from it.
Degrees of freedom follow Satterthwaite (1946), the quantile is Student's. A test (`python -m pytest
tests/report/test_coverage.py`) simulates what this covers.

Where seeds belong to several draws of the stand-in (generators), s² is pooled within generators, and each generator's
test sets have people of their own: its V_k and W_k count by (S_g/S)², S_g being its seeds. What generators do besides,
to all seeds trained on their videos, is added as far as it shows: by how much the variance between generators' means,

    C = G/(G − 1) Σ_g (S_g/S)² (mean of g − mean)²,

exceeds the sum of the other two, with G − 1 degrees of freedom. If each seed has a generator of its own, Var = s²/S
holds all of it, with S − 1 degrees of freedom and nothing to be estimated apart.

AUCs are compared on the probit scale, on which effects at different baselines compare, and shown to readers on the AUC
scale: an effect d is shown as Φ(b + d) − Φ(b), b being the baseline's mean probit. So no interval leaves [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from dfrepro.report.looks import LEVEL

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
    generators: float = 0.0  # what several draws of the stand-in differ by beyond that

    @property
    def total(self) -> float:
        return self.seeds / self.n_seeds + self.tests + self.generators


class Influence(NamedTuple):
    """What leaving out each group of people of one generator's test set does to its seeds' numbers."""

    rows: np.ndarray  # (S_g,) the places of the generator's seeds among all
    table: np.ndarray  # (S_g, C)


def variance(
    by_seed: np.ndarray, influences: Sequence[Influence] | None, generators: Sequence[int] = ()
) -> Variance | None:
    """The variance of the mean of `by_seed` (S,); None where neither seeds nor test sets say anything of it.

    influences: one a test set and generator; None where the numbers were not made of scores.
    generators: each seed's, (S,); of one and the same where none is given.
    """
    n = len(by_seed)
    if n < 2 and not influences:
        return None
    drawn, at = np.unique(generators if len(generators) else np.zeros(n), return_inverse=True)
    if len(drawn) == n > 1:
        return Variance(float(np.var(by_seed, ddof=1)), 0.0, n - 1.0, n)
    share = np.bincount(at) / n
    means = np.bincount(at, by_seed) / (share * n)
    inside = n - len(drawn)  # degrees of freedom
    seeds = float(((by_seed - means[at]) ** 2).sum()) / inside if inside else 0.0
    slack = (seeds / n) ** 2 / inside if inside else 0.0
    tests, more = _of_people(influences or (), n)
    known, slack = seeds / n + tests, slack + more
    between = 0.0
    if len(drawn) > 1:
        spread = (share**2 * (means - by_seed.mean()) ** 2).sum() * len(drawn) / (len(drawn) - 1)
        between = max(float(spread) - known, 0.0)
        slack += between**2 / (len(drawn) - 1)
    total = known + between
    return Variance(seeds, tests, min(total**2 / slack, MANY) if slack > 0 else MANY, n, between)


def _of_people(influences: Sequence[Influence], n: int) -> tuple[float, float]:
    """max(0, Σ (V − W/S)) over test sets and generators, and its share of Satterthwaite's denominator."""
    tests, slack = 0.0, 0.0
    for rows, table in influences:
        groups, weight = table.shape[1], (len(rows) / n) ** 2
        scaled = (table - table.mean(axis=1, keepdims=True)) * np.sqrt((groups - 1) / groups)  # (S_g, C)
        shared = weight * float((scaled.mean(axis=0) ** 2).sum())  # V
        apart = weight * float(scaled.var(axis=0, ddof=1).sum()) / len(rows) if len(rows) > 1 else 0.0  # W/S
        tests += shared - apart
        slack += max(shared - apart, 0.0) ** 2 / (groups - 1)
    return max(tests, 0.0), slack


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
    confidence: float = LEVEL  # the level of its interval
    generators: tuple[int, ...] = ()  # each seed's draw of the stand-in

    @property
    def over(self) -> str:
        """What the interval ranges over."""
        if self.variance is None:
            return "nothing"
        several = len(self.seeds) > 1
        own = several and len(set(self.generators)) == len(self.seeds)  # people of its own for each seed
        parts = {"seeds": several, "people": own or self.variance.tests > 0, "generators": len(self.by_generator) > 1}
        return " and ".join(name for name, there in parts.items() if there)

    @property
    def by_generator(self) -> dict[int, float]:
        """The mean of each generator's seeds, in the metric's unit."""
        values, drawn = np.array(self.by_seed), np.array(self.generators, int)
        return {int(each): self.shown(float(values[drawn == each].mean())) for each in np.unique(drawn)}

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

    def interval(self, level: float | None = None) -> tuple[float, float] | None:
        if self.variance is None or not np.isfinite(self.error):
            return None
        reach = stdtrit(self.variance.freedom, (1 + (level or self.confidence)) / 2) * self.error
        return self.shown(self.centre - reach), self.shown(self.centre + reach)

    def above(self, threshold: float) -> float:
        """The p-value of "the effect is no more than `threshold`" (one-sided; threshold in the metric's unit)."""
        if self.variance is None or not np.isfinite(self.error):
            return np.nan
        distance = self.centre - self.compared(threshold)
        if self.error == 0:
            return float(distance <= 0) if distance else 0.5
        return float(stdtr(self.variance.freedom, -distance / self.error))
