"""Intervals cover what they promise, and a claim is falsely confirmed or refuted no more often than its level says."""

import numpy as np
import pytest
from scipy import stats

from dfrepro.report.coverage import CASES, Case, rates, study, truth

SOME = [Case(5, 1, 8, 0.0), Case(5, 8, 8, 0.25), Case(10, 1, 40, 0.25), Case(20, 8, 8, 0.0)]


def outside(rate: float, trials: int) -> float:
    """How far chance alone may carry a rate from its level: three and a half deviations."""
    return 3.5 * float(np.sqrt(rate * (1 - rate) / trials))


@pytest.mark.parametrize("case", SOME)
def test_the_interval_of_a_claim_covers(case):
    found = rates(case, trials=500)
    assert found["covers"] == pytest.approx(0.95, abs=0.01 + outside(0.95, 500))
    for false in ("above", "below"):  # of a null effect: falsely confirmed, falsely refuted
        assert found[false] <= 0.025 + 0.01 + outside(0.025, 500)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_the_interval_of_every_case_covers_between_935_and_965(case):
    trials = 2000 if case.cells < 48 else 400
    found = rates(case, trials, seed=1)
    assert 0.935 - outside(0.95, trials) / 3.5 <= found["covers"] <= 0.965 + outside(0.95, trials) / 3.5


def test_the_former_interval_does_not():
    """The sum of the seeds' and of single videos' spread, as it was: too wide where seeds and videos interact."""
    rng = np.random.default_rng(0)
    case, trials = Case(5, 8, 8, 0.0), 300
    covered = 0
    for _ in range(trials):
        found = study(case, rng)
        shared = found.variance.tests + found.variance.seeds / case.seeds  # single videos: both parts again
        reach = np.hypot(stats.t.ppf(0.975, 4) * np.sqrt(found.variance.seeds / 5), 1.96 * np.sqrt(shared))
        covered += abs(found.centre - truth(case)) <= reach
    assert covered / trials > 0.965


@pytest.mark.parametrize(("cells", "false"), [(8, 0.1), (48, 0.3)])
def test_the_former_rule_refuted_true_nothing_too_often(cells, false):
    """One of many cells refuted at 1 − .05/m, with t's quantile at 97.5 % widening a bootstrap of five values."""
    rng = np.random.default_rng(1)
    trials, draws, seeds = 300, 2000, 5
    chosen = rng.integers(seeds, size=(draws, seeds))
    widening = np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1) / stats.norm.ppf(0.975)
    values = rng.normal(size=(trials, cells, seeds))
    means = values.mean(axis=-1)
    hits = 0
    for trial, mean in zip(values, means):
        upper = mean + widening * (np.quantile(trial[:, chosen].mean(axis=-1), 1 - 0.025 / cells, axis=1) - mean)
        hits += (upper < 0).any()
    assert hits / trials > false  # .05 is what Bonferroni promises


def test_the_truth_of_a_case_is_what_unending_test_sets_and_seeds_give():
    case = Case(3, 1, 600, 0.5)
    found = np.mean([study(case, np.random.default_rng(seed)).centre for seed in range(12)])
    assert found == pytest.approx(truth(case), abs=0.04)
