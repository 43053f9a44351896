"""Seeds of several draws of the stand-in: people are drawn within a draw, and draws differ by more than people."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dfrepro.errors import WorkbookError
from dfrepro.report.coverage import Case, rates
from dfrepro.report.effects import Effect, Influence, variance
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Cell, Claim, Operand
from dfrepro.report.verdict import judge

RUNS = {"a": 2.0, "b": 0.6}


def claim() -> Claim:
    sides = {name: Operand(run=name, test=("cdfv2",), metric="video_auc") for name in ("a", "b")}
    return Claim(
        id="P1-C4", source="here", statement="it holds", cells=(Cell(name="x", of=sides["a"], over=sides["b"]),)
    )


def drawn(planted_scores, generators: int, seeds: int = 6) -> pd.DataFrame:
    """Scores of six seeds of which seed s belongs to generator s mod their number; names of videos are the same."""
    scores = planted_scores(RUNS, seeds=seeds)
    return scores.assign(generator=scores["seed"] % generators)


def test_people_of_one_name_in_two_generators_are_two(planted_scores):
    one, two = (Evidence(None, drawn(planted_scores, number)) for number in (1, 2))
    operand = Operand(run="a", test=("cdfv2",), metric="video_auc")
    assert (one.generator(3), two.generator(3), two.generator(4)) == (0, 1, 0)
    assert (two.influences(operand, 3)["cdfv2"] == one.influences(operand, 3)["cdfv2"]).all()
    shared, apart = (judge(claim(), each).effect.variance for each in (one, two))
    assert apart.tests < shared.tests  # twice as many people stand behind the mean


def test_a_seed_of_two_generators_is_an_error_that_says_what_to_do(planted_scores):
    scores = drawn(planted_scores, 2)
    scores.loc[scores.run == "b", "generator"] = 0
    with pytest.raises(WorkbookError, match="seed 1 belongs to generators 1 and 0"):
        Evidence(None, scores)


def test_a_verdict_says_what_each_generator_found(planted_scores):
    judged = judge(claim(), Evidence(None, drawn(planted_scores, 3)))
    assert judged.verdict == "confirmed"
    assert sorted(judged.effect.by_generator) == [0, 1, 2]  # the five seeds of the look are theirs: 0, 1, 2, 0, 1
    assert judged.effect.over == "seeds and people and generators"


def test_where_each_seed_has_a_draw_of_its_own_the_interval_is_students():
    values = np.random.default_rng(0).normal(size=10)
    parts = [Influence(np.array([n]), np.random.default_rng(n).normal(size=(1, 12))) for n in range(10)]
    found = Effect(tuple(range(10)), tuple(values), variance(values, parts, range(10)), generators=tuple(range(10)))
    assert found.interval(0.95) == pytest.approx(stats.t.interval(0.95, 9, values.mean(), stats.sem(values)))
    assert found.over == "seeds and people and generators"


def test_one_generator_by_whatever_number_is_as_none():
    rng = np.random.default_rng(0)
    values, parts = rng.normal(size=8), [Influence(np.arange(8), rng.normal(size=(8, 12)))]
    assert variance(values, parts, [3] * 8) == variance(values, parts)


def test_what_generators_differ_by_is_counted_as_far_as_it_exceeds_the_rest():
    """Against the formulas by hand: three generators of three seeds that agree within and differ between."""
    of = np.repeat([0, 1, 2], 3)
    values = np.array([0.0, 0.3, 0.6])[of] + np.tile([-0.01, 0.0, 0.01], 3)
    found = variance(values, None, of)
    within = 0.01**2  # pooled: three times .0002 over six degrees of freedom
    cluster = np.var([0.0, 0.3, 0.6], ddof=1) / 3
    assert found.seeds == pytest.approx(within)
    assert found.total == pytest.approx(cluster)
    assert found.freedom == pytest.approx(2, rel=1e-2)
    alike = variance(np.tile([-0.01, 0.0, 0.01], 3), None, of)
    assert (alike.generators, alike.total) == (0.0, pytest.approx(within / 9))


@pytest.mark.parametrize("case", [Case(20, 1, 40, 0.25, 4), Case(10, 1, 8, 0.0, 2), Case(20, 1, 40, 0.0, 20)])
def test_the_interval_over_several_generators_covers(case):
    trials = 500
    found = rates(case, trials)
    chance = 3.5 * np.sqrt(0.05 * 0.95 / trials)
    assert 0.95 - 0.015 - chance <= found["covers"] <= 0.97 + chance


def test_two_generators_differ_as_two_numbers_do():
    values = np.array([0.0, 0.02, 0.5, 0.52])
    found = variance(values, None, [0, 0, 1, 1])
    within = 2 * 0.01**2  # two pairs, each .01 from its mean: .0004 over two degrees of freedom
    assert found.seeds == pytest.approx(within)
    assert found.generators == pytest.approx(0.5**2 / 4 - within / 4)
    slack = found.generators**2 / 1 + (within / 4) ** 2 / 2
    assert found.freedom == pytest.approx(found.total**2 / slack)


def test_what_people_add_has_the_degrees_of_freedom_of_their_number():
    """Against Satterthwaite's formula by hand: twelve groups of people, four seeds."""
    rng = np.random.default_rng(1)
    values, table = rng.normal(0, 1e-3, 4), np.tile(rng.normal(size=12), (4, 1))
    found = variance(values, [Influence(np.arange(4), table)])
    scaled = (table[0] - table[0].mean()) * np.sqrt(11 / 12)
    people = (scaled**2).sum()  # the same for every seed: nothing of it is the seeds'
    assert found.tests == pytest.approx(people - scaled.var(ddof=1) * 0, rel=0.1)
    seeds = values.var(ddof=1) / 4
    slack = found.tests**2 / 11 + seeds**2 / 3
    assert found.freedom == pytest.approx((found.tests + seeds) ** 2 / slack)


@pytest.mark.parametrize(("seeds", "said"), [((0,), ""), ((0, 1), "seeds")])
def test_two_seeds_are_several(seeds, said):
    spread = variance(np.arange(2.0), None)
    assert Effect(seeds, tuple(0.1 * seed for seed in seeds), spread, generators=(0,) * len(seeds)).over == said


@pytest.mark.parametrize(("centre", "p"), [(0.1, 0.0), (0.0, 0.5), (-0.1, 1.0)])
def test_an_effect_without_spread_is_above_a_threshold_or_is_not(centre, p):
    exact = Effect((0, 1), (centre, centre), variance(np.array([centre, centre]), None), generators=(0, 0))
    assert exact.error == 0
    assert exact.above(0.0) == p


@pytest.mark.parametrize(("base", "sign"), [(None, 1), (0.8, 1), (0.8, -1), (-np.inf, 1)])
def test_what_is_shown_of_a_difference_is_compared_as_it_was(base, sign):
    """In AUC from a baseline of Φ(.8) = .788: half a probit more is Φ(1.3) − Φ(.8), and one less turned around."""
    effect = Effect((0, 1), (0.5, 0.5), None, base=base, sign=sign)
    assert effect.compared(effect.shown(0.5)) == pytest.approx(0.5)
    if base == 0.8:
        assert effect.shown(0.5) == pytest.approx(sign * (stats.norm.cdf(0.8 + sign * 0.5) - stats.norm.cdf(0.8)))
