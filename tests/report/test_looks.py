"""Claims are judged at looks whose errors add up to no more than 5 %, and what a look has decided stays."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dfrepro.report import looks
from dfrepro.report.coverage import Case, false_over_looks
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Cell, Claim, Operand
from dfrepro.report.verdict import judge


def claim(**more) -> Claim:
    sides = {name: Operand(run=name, test=("cdfv2",), metric="video_auc") for name in ("a", "b")}
    cell = Cell(name="a over b", of=sides["a"], over=sides["b"], **more)
    return Claim(id="P1-C4", source="here", statement="it holds", cells=(cell,), scale="raw")


@pytest.fixture
def differing(planted):
    """differing([...]): evidence in which a is that far above b, a number a seed."""
    return lambda far: Evidence(planted({"a": (0.75 + np.array(far)).tolist(), "b": [0.75] * len(far)}))


def test_seeds_alone_make_an_interval_of_the_four_looks_wrong_in_no_more_than_5_in_100_studies():
    """Against scipy's Student: 200,000 studies of 40 seeds, in which looks share their first seeds."""
    values = np.random.default_rng(0).normal(size=(200_000, looks.LAST))
    wrong = np.zeros(len(values), bool)
    for look, error in looks.LOOKS.items():
        seen = values[:, :look]
        t = seen.mean(axis=1) / (seen.std(axis=1, ddof=1) / np.sqrt(look))
        wrong |= np.abs(t) > stats.t.ppf(1 - error / 2, look - 1)
    chance = np.sqrt(0.05 * 0.95 / len(values))
    assert 0.049 - 3 * chance < wrong.mean() <= 0.05
    assert (np.abs(t) > stats.t.ppf(0.975, look - 1)).mean() == pytest.approx(0.05, abs=3 * chance)


def test_judging_again_and_again_at_95_percent_would_be_wrong_more_than_twice_as_often():
    values = np.random.default_rng(1).normal(size=(20_000, looks.LAST))
    wrong = np.zeros(len(values), bool)
    for look in looks.LOOKS:
        wrong |= np.abs(stats.ttest_1samp(values[:, :look], 0, axis=1).statistic) > stats.t.ppf(0.975, look - 1)
    assert wrong.mean() > 0.10


@pytest.mark.parametrize("groups", [8, 40])
def test_with_people_in_the_interval_the_looks_are_wrong_no_more_often(groups):
    trials = 600
    wrong = false_over_looks(Case(looks.LAST, 1, groups, 0.0), trials)["wrong"]
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize(("seeds", "used", "level", "then"), [
    (5, 5, 0.995, 10), (9, 5, 0.995, 10), (10, 10, 0.988, 20), (19, 10, 0.988, 20), (20, 20, 0.986, 40),
    (40, 40, 0.973, None), (57, 40, 0.973, None),
])  # fmt: skip
def test_a_look_uses_its_own_number_of_seeds_and_its_own_level(differing, seeds, used, level, then):
    judged = judge(claim(), differing(np.resize([0.05, -0.05], seeds)))
    assert (judged.verdict, judged.look) == ("inconclusive", used)
    assert judged.effect.seeds == tuple(range(used))
    values = np.resize([0.05, -0.05], seeds)[:used]
    expected = stats.t.interval(level, used - 1, values.mean(), stats.sem(values))
    assert judged.effect.interval() == pytest.approx(expected)
    assert looks.following(used) == then


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_before_the_first_look_nothing_is_decided_and_the_reason_says_how_many_seeds_there_are(differing, seeds):
    far = [0.1 + 0.001 * n for n in range(seeds)]
    judged = judge(claim(printed=0.1), differing(far))
    assert (judged.verdict, judged.look) == ("inconclusive", None)
    assert judged.reason == f"{seeds} of 5 seeds of the first look"
    assert judged.effect.interval()[0] > 0  # and is shown
    assert judged.cells[0].verdict == "inconclusive"


def test_an_effect_that_95_percent_would_take_for_one_has_to_wait_for_more_seeds(differing):
    once = np.array([0.01, 0.05, 0.02, 0.06, 0.03])
    assert stats.ttest_1samp(once, 0).pvalue < 0.05
    assert judge(claim(), differing(once)).verdict == "inconclusive"
    assert judge(claim(), differing(np.tile(once, 2))).verdict == "confirmed"


@pytest.mark.parametrize(("first", "verdict"), [(0.1, "confirmed"), (-0.1, "refuted"), (0.0, "smaller than printed")])
def test_what_a_look_has_decided_stays_whatever_later_seeds_say(differing, first, verdict):
    early = first + np.array([0.001, -0.001, 0.002, -0.002, 0.0])
    late = np.full(35, 0.3 if first <= 0 else -0.3)
    alone, whole = (judge(claim(printed=0.05), differing(far)) for far in (early, np.r_[early, late]))
    assert (alone.verdict, whole.verdict, whole.look) == (verdict, verdict, 5)
    assert whole.effect.interval() == alone.effect.interval()
    assert whole.cells[0].effect.seeds == tuple(range(5))


def test_seeds_count_in_ascending_order_in_whatever_order_the_evidence_has_them(planted):
    results = planted({"a": [0.9, 0.91, 0.9, 0.92, 0.9, 0.1, 0.2], "b": [0.7] * 7})
    shuffled = results.sample(frac=1, random_state=0)
    assert judge(claim(), Evidence(shuffled)).effect.seeds == (0, 1, 2, 3, 4)
    assert judge(claim(), Evidence(shuffled)).verdict == "confirmed"


def test_gates_are_judged_on_the_seeds_of_the_look(planted):
    away = planted({"a": [0.9, 0.91, 0.9, 0.92, 0.9] + [0.7] * 5, "b": [0.7, 0.71, 0.7, 0.7, 0.7] * 2})
    own = planted({"b": [0.8] * 5 + [0.1] * 5}, dataset="ffpp")  # of ten seeds it has not learned
    evidence = Evidence(pd.concat([away, own]))
    assert judge(claim(), evidence).verdict == "confirmed"
    assert judge(claim(), evidence.only(range(5, 10))).verdict == "not decidable here"


def test_an_exact_claim_knows_no_looks(planted):
    exact = Cell(name="x", of=Operand(run="a", test=("t",), metric="d"), over=0.0, test="exact")
    of = Claim(id="P1-C4", source="here", statement="it holds", cells=(exact,))
    values = planted({"a": [0.0] * 6 + [1e-9]}, dataset="t", metric="d")
    judged = judge(of, Evidence(values))
    assert (judged.verdict, judged.look, len(judged.effect.seeds)) == ("refuted", None, 7)
