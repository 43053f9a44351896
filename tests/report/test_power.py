"""What a design can see: the chance of a verdict, against simulated studies that are judged by the same interval."""

import numpy as np
import pytest
from scipy import stats

from dfrepro.report import looks
from dfrepro.report.effects import Effect, Influence, Variance, variance
from dfrepro.report.power import WANTED, _with, power
from dfrepro.report.schema import Cell, Operand

STUDIES = 20_000


def cell(**more) -> Cell:
    sides = {side: Operand(run=run, test=("cdfv2",), metric="measured") for side, run in (("of", "a"), ("over", "b"))}
    return Cell(name="x", **sides, **more)


def effect_of(values: np.ndarray, people: float = 0.0) -> Effect:
    """An effect of seeds alone or, with a variance of `people`, of a test set as well."""
    n = len(values)
    own = variance(values, None)
    own = Variance(own.seeds, people, own.freedom, n) if people else own
    return Effect(tuple(range(n)), tuple(values), own, generators=(0,) * n)


def simulated(truth: float, spread: float, seeds: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Student's intervals of studies that draw so many seeds."""
    drawn = np.random.default_rng(0).normal(truth, spread, (STUDIES, seeds))
    reach = stats.t.ppf((1 + level) / 2, seeds - 1) * drawn.std(axis=1, ddof=1) / np.sqrt(seeds)
    return drawn.mean(axis=1) - reach, drawn.mean(axis=1) + reach


VALUES = np.array([0.03, 0.05, 0.02, 0.06, 0.04])


@pytest.mark.parametrize("threshold", [0.0, 0.01])
@pytest.mark.parametrize("printed", [0.02, 0.035, 0.05])
def test_the_chance_to_confirm_a_difference_is_that_of_simulated_studies(printed, threshold):
    effect = effect_of(VALUES)
    low, _ = simulated(printed, VALUES.std(ddof=1), 5, effect.confidence)
    found = power([cell(printed=printed, at_least=threshold)], effect)
    assert found.confirms == pytest.approx((low > threshold).mean(), abs=0.012)


@pytest.mark.parametrize("truth", [-0.01, 0.0, 0.02])
def test_the_chance_to_confirm_that_nothing_is_lost_is_that_of_simulated_studies(truth):
    effect = effect_of(VALUES)
    low, _ = simulated(truth, VALUES.std(ddof=1), 5, effect.confidence)
    found = power([cell(printed=truth, test="noninferior", margin=0.03)], effect)
    assert found.confirms == pytest.approx((low > -0.03).mean(), abs=0.012)


@pytest.mark.parametrize("truth", [0.0, 0.015])
def test_the_chance_to_confirm_an_equivalence_is_nearly_that_of_simulated_studies(truth):
    """It takes the interval for as wide as it was: the shorter ones of other studies are not counted."""
    effect = effect_of(VALUES)
    low, high = simulated(truth, VALUES.std(ddof=1), 5, effect.confidence)
    found = power([cell(printed=truth, test="equivalence", margin=0.05)], effect)
    assert found.confirms == pytest.approx(((low > -0.05) & (high < 0.05)).mean(), abs=0.04)


@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_with_more_seeds_it_is_that_of_studies_with_more_seeds(seeds):
    low, _ = simulated(0.015, VALUES.std(ddof=1), seeds, looks.level(seeds))
    assert _with([cell()], effect_of(VALUES), 0.015, seeds) == pytest.approx((low > 0).mean(), abs=0.012)


def test_what_is_the_test_sets_does_not_shrink_with_seeds():
    shrinking = [_with([cell()], effect_of(VALUES), 0.02, n) for n in (5, 40)]
    stuck = [_with([cell()], effect_of(VALUES, people=0.02**2), 0.02, n) for n in (5, 40)]
    assert shrinking[1] > 0.99
    assert stuck[1] < 0.25


def test_the_people_behind_a_variance_keep_their_degrees_of_freedom():
    """Twelve groups of people and no spread between seeds: the interval stays Student's of eleven."""
    rng = np.random.default_rng(0)
    values, table = np.full(5, 0.1), np.tile(rng.normal(0, 0.01, 12), (5, 1))
    found = variance(values, [Influence(np.arange(5), table)])
    effect = Effect(tuple(range(5)), tuple(values), found, generators=(0,) * 5)
    assert found.freedom == pytest.approx(11)
    error, level = np.sqrt(found.total), looks.level(40)
    expected = 1 - stats.nct.cdf(stats.t.ppf((1 + level) / 2, 11), 11, 0.1 / error)
    assert _with([cell()], effect, 0.1, 40) == pytest.approx(expected, abs=1e-6)


def test_where_each_seed_has_a_draw_of_its_own_all_shrinks_with_seeds():
    effect = Effect(tuple(range(5)), tuple(VALUES), variance(VALUES, None, range(5)), generators=tuple(range(5)))
    for seeds in (10, 20):
        shared = _with([cell()], effect_of(VALUES), 0.015, seeds)
        assert _with([cell()], effect, 0.015, seeds) == pytest.approx(shared, abs=1e-9)


def test_the_smallest_effect_is_confirmed_about_as_often_as_wanted():
    effect = effect_of(np.random.default_rng(3).normal(0.02, 0.01, 20))
    smallest = power([cell(at_least=0.01)], effect).smallest
    low, _ = simulated(smallest, np.std(effect.by_seed, ddof=1), 20, effect.confidence)
    assert (low > 0.01).mean() == pytest.approx(WANTED, abs=0.03)


def test_seeds_are_the_first_number_that_confirms_as_often_as_wanted():
    found = power([cell(printed=0.015)], effect_of(VALUES)).seeds
    low, _ = simulated(0.015, VALUES.std(ddof=1), found, looks.level(found))
    assert (low > 0).mean() > WANTED - 0.012
    assert found in looks.LOOKS
    before = max(n for n in looks.LOOKS if n < found)
    assert _with([cell()], effect_of(VALUES), 0.015, before) < WANTED


def test_the_first_number_beyond_the_last_look_is_tried():
    effect, last = effect_of(VALUES), looks.LAST
    effects = np.linspace(0.004, 0.012, 2001)
    due = next(e for e in effects if _with([cell()], effect, e, last) < WANTED <= _with([cell()], effect, e, last + 1))
    assert power([cell(printed=due)], effect).seeds == last + 1


def test_with_as_many_seeds_as_there_were_nothing_changes():
    """Seeds and people behind one variance: the degrees of freedom that are taken apart come together again."""
    rng = np.random.default_rng(2)
    values, table = VALUES, np.tile(rng.normal(0, 0.004, 12), (5, 1)) + rng.normal(0, 0.002, (5, 12))
    found = variance(values, [Influence(np.arange(5), table)])
    assert 4.1 < found.freedom < 15
    effect = Effect(tuple(range(5)), tuple(values), found, generators=(0,) * 5, confidence=looks.level(5))
    assert _with([cell()], effect, 0.03, 5) == pytest.approx(power([cell(printed=0.03)], effect).confirms, abs=1e-9)
