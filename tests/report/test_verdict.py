import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dfrepro import params
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import Cell, Claim, Control, Operand
from dfrepro.report.verdict import judge, judge_cell, widening


def op(run: str, **more) -> Operand:
    return Operand(**({"run": run, "test": "cdfv2", "metric": "video_auc"} | more))


def cell(of="a", over="b", **more) -> Cell:
    return Cell(of=op(of), over=op(over) if isinstance(over, str) else over, **({"name": f"{of} over {over}"} | more))


def claim(*cells: Cell, **more) -> Claim:
    return Claim(
        **({"id": "P1-C1", "source": "here", "statement": "it holds", "kind": "difference", "cells": cells} | more)
    )


CLOSE = [0.701, 0.699, 0.700, 0.702, 0.698]
FAR = [0.80, 0.81, 0.79, 0.80, 0.82]
WIDE = [0.60, 0.82, 0.65, 0.80, 0.70]


@pytest.mark.parametrize(
    ("a", "b", "verdict"), [(FAR, CLOSE, "confirmed"), (CLOSE, FAR, "refuted"), (WIDE, CLOSE, "inconclusive")]
)
def test_a_difference_is_judged_by_its_interval(planted, a, b, verdict):
    judged = judge(claim(cell()), Evidence(planted({"a": a, "b": b})))
    low, high = judged.effect.interval()
    assert judged.verdict == verdict
    assert judged.effect.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert low < judged.effect.mean < high


def test_a_detector_that_has_not_learned_its_own_set_decides_nothing(planted, planted_scores):
    away = planted({"a": FAR, "b": CLOSE})
    own = pd.concat(
        [planted_scores({"a": 3.0}, seeds=5, dataset="ffpp"), planted_scores({"b": 0.0}, seeds=5, dataset="ffpp")]
    )
    judged = judge(claim(cell()), Evidence(away, own))
    assert judged.verdict == "inconclusive"
    assert "b has not learned here (video AUC 0." in judged.reason
    assert judged.reason.endswith(" on ffpp)")
    assert "a has not" not in judged.reason
    learned = own.assign(run=own.run.replace({"b": "c"}))
    assert judge(claim(cell()), Evidence(away, learned)).verdict == "confirmed"  # what is not known stops nothing


def test_what_a_detectors_own_set_is_follows_from_its_training(planted, planted_scores):
    away = planted({"a": FAR, "b": CLOSE})
    own = [planted_scores({"b": strength}, seeds=5, dataset=name) for name, strength in (("ffpp", 0.0), ("wdf", 3.0))]
    for trained_on, verdict in (({}, "inconclusive"), ({"b": "wdf"}, "confirmed")):
        assert judge(claim(cell()), Evidence(away, pd.concat(own), trained_on=trained_on)).verdict == verdict
    assert params.load(scale="laptop", grid="full").trained_on["pel-rgb-wdf"] == "wdf"


def test_less_is_more_turned_around(planted):
    evidence = Evidence(planted({"a": CLOSE, "b": FAR}))
    assert judge_cell(cell(direction="less"), evidence).verdict == "confirmed"


def test_a_difference_has_to_exceed_its_threshold(planted):
    evidence = Evidence(planted({"a": FAR, "b": CLOSE}))  # .104 apart
    assert judge_cell(cell(at_least=0.05), evidence).verdict == "confirmed"
    assert judge_cell(cell(at_least=0.15), evidence).verdict == "refuted"
    assert judge_cell(cell(over=0.75), evidence).verdict == "confirmed"


@pytest.mark.parametrize(
    ("a", "margin", "verdict"), [(CLOSE, 0.02, "confirmed"), (FAR, 0.02, "refuted"), (WIDE, 0.02, "inconclusive")]
)
def test_an_equivalence_needs_its_interval_inside_the_margin(planted, a, margin, verdict):
    evidence = Evidence(planted({"a": a, "b": CLOSE}))
    assert judge_cell(cell(test="equivalence", margin=margin), evidence).verdict == verdict


def test_an_equivalence_outside_on_the_other_side_is_refuted_too(planted):
    evidence = Evidence(planted({"a": CLOSE, "b": FAR}))
    assert judge_cell(cell(test="equivalence", margin=0.02), evidence).verdict == "refuted"


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "confirmed"), (1e-9, "refuted")])
def test_an_exact_claim_allows_no_difference(planted, value, verdict):
    assert (
        judge(claim(cell(over=0.0, test="exact"), kind="exact"), Evidence(planted({"a": [0.0, value]}))).verdict
        == verdict
    )


def test_all_cells_have_to_hold(planted):
    evidence = Evidence(planted({"a": FAR, "b": CLOSE, "c": WIDE}))
    assert judge(claim(cell("a", "b")), evidence).verdict == "confirmed"
    judged = judge(claim(cell("a", "b"), cell("c", "b")), evidence)
    assert (judged.verdict, judged.reason) == ("inconclusive", "1 of 2 cells confirmed")


def test_one_cell_the_other_way_refutes_and_is_named(planted):
    judged = judge(claim(cell("a", "b"), cell("b", "a")), Evidence(planted({"a": FAR, "b": CLOSE})))
    assert (judged.verdict, judged.reason) == ("refuted", "refuted by b over a")


def test_one_of_many_cells_refutes_only_at_the_corrected_level(planted):
    rng = np.random.default_rng(0)
    seeds = 12
    barely = 0.7 - 0.0065 + rng.normal(scale=0.01, size=seeds)
    evidence = Evidence(planted({"good": [0.9] * seeds, "low": barely.tolist(), "base": [0.7] * seeds}))
    alone = judge(claim(cell("low", "base")), evidence)
    many = judge(claim(cell("low", "base"), *(cell("good", "base", name=str(n)) for n in range(30))), evidence)
    assert (alone.verdict, many.verdict) == ("refuted", "inconclusive")


def test_most_cells_are_enough_where_the_claim_says_most(planted):
    evidence = Evidence(planted({"a": FAR, "b": CLOSE}), n_boot=4000)
    good, bad = (
        [cell("a", "b", name=f"good {n}") for n in range(3)],
        [cell("b", "a", name=f"bad {n}") for n in range(3)],
    )
    assert judge(claim(*good[:2], bad[0], rule="most"), evidence).verdict == "confirmed"
    assert judge(claim(good[0], *bad[:2], rule="most"), evidence).verdict == "refuted"
    assert judge(claim(*good, *bad, rule="most"), evidence).verdict == "refuted"  # half the other way: no majority left


def test_runs_that_are_missing_are_named(planted):
    judged = judge(claim(cell("a", "b"), cell("a", "gone")), Evidence(planted({"a": FAR, "b": CLOSE})))
    assert (judged.verdict, judged.reason, judged.missing) == ("not run", "missing: gone", ("gone",))


def test_a_refuted_cell_outweighs_a_missing_run(planted):
    judged = judge(claim(cell("b", "a"), cell("a", "gone")), Evidence(planted({"a": FAR, "b": CLOSE})))
    assert judged.verdict == "refuted"


def test_a_test_set_that_a_run_was_not_measured_on_is_named(planted):
    evidence = Evidence(planted({"a": FAR, "b": CLOSE}))
    judged = judge(claim(Cell(name="x", of=op("a", test="wdf"), over=op("b", test="wdf"))), evidence)
    assert judged.verdict == "not run"
    assert "a on wdf" in judged.reason


def test_runs_without_a_seed_in_common_are_not_compared(planted):
    results = planted({"a": FAR, "b": CLOSE})
    results.loc[results.run == "b", "seed"] += 10
    assert judge(claim(cell()), Evidence(results)).reason == "missing: no seed in common: a and b"


def test_unpaired_seeds_are_left_out_and_named(planted):
    judged = judge_cell(cell(), Evidence(planted({"a": FAR, "b": CLOSE[:3]})))
    assert judged.effect.seeds == (0, 1, 2)
    assert judged.reason == "unpaired seeds left out: 3, 4"


def test_what_is_not_testable_says_why(planted):
    judged = judge(claim(cell(), testable=False, reason="no such data"), Evidence(planted({"a": FAR, "b": CLOSE})))
    assert (judged.verdict, judged.reason) == ("not testable", "no such data")


def test_a_value_that_is_not_a_number_is_inconclusive_and_named(planted):
    judged = judge(claim(cell()), Evidence(planted({"a": [0.8, float("nan"), 0.8], "b": [0.7, 0.7, 0.7]})))
    assert judged.verdict == "inconclusive"
    assert "not a number with seed 1" in judged.reason


def test_one_seed_without_scores_has_no_interval(planted):
    judged = judge(claim(cell()), Evidence(planted({"a": [0.9], "b": [0.5]})))
    assert judged.verdict == "inconclusive"
    assert "one seed and no scores of videos" in judged.reason
    assert judged.effect.interval() is None


def test_one_seed_with_scores_has_an_interval_over_videos(planted_scores):
    judged = judge(claim(cell("good", "bad")), Evidence(None, planted_scores({"good": 3.0, "bad": 0.3})))
    assert (judged.verdict, judged.effect.over, judged.effect.seeds) == ("confirmed", "videos", (0,))


def test_several_seeds_with_scores_range_over_both_and_are_wider_than_either(planted_scores):
    scores = planted_scores({"good": 1.2, "bad": 0.8}, seeds=4)
    both = judge_cell(cell("good", "bad"), Evidence(None, scores)).effect
    evidence = Evidence(None, scores)
    rows = [{"run": r, "seed": s, "dataset": "cdfv2", "metric": "video_auc", "value": evidence.value(op(r), s)}
            for r in ("good", "bad") for s in range(4)]  # fmt: skip
    seeds = judge_cell(cell("good", "bad"), Evidence(pd.DataFrame(rows))).effect
    one = judge_cell(cell("good", "bad"), Evidence(None, scores[scores.seed == 0])).effect
    assert both.over == "seeds and videos"
    assert seeds.over == "seeds"
    width = {name: np.ptp(effect.interval()) for name, effect in (("both", both), ("seeds", seeds), ("videos", one))}
    assert width["both"] > max(width["seeds"], 0.8 * width["videos"])  # .8: one seed's frames are noisier than four's


def test_the_interval_over_five_seeds_covers_as_often_as_it_says():
    """Plain percentile intervals of five normal values cover 83 % (4,000 trials); ours cover 94 %."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(250, 5))  # true difference zero
    covered = plain = 0
    for trial in values:
        rows = [{"run": r, "seed": s, "dataset": "cdfv2", "metric": "video_auc", "value": v}
                for r, series in (("a", trial), ("b", np.zeros(5))) for s, v in enumerate(series)]  # fmt: skip
        low, high = judge_cell(cell(), Evidence(pd.DataFrame(rows), n_boot=400)).effect.interval()
        covered += low < 0 < high
        middle = trial.mean()
        plain += middle + (low - middle) / widening(5) < 0 < middle + (high - middle) / widening(5)
    assert 0.90 <= covered / 250 <= 0.985
    assert plain / 250 < 0.88


@pytest.mark.parametrize("seeds", [2, 5, 10, 11, 30])
def test_the_widening_is_that_of_students_t(seeds):
    exact = np.sqrt(seeds / (seeds - 1)) * stats.t.ppf(0.975, seeds - 1) / stats.norm.ppf(0.975)
    assert widening(seeds) == pytest.approx(exact, rel=0.002)


def test_a_control_is_shown_with_its_own_gain_and_the_methods_lead(planted):
    control = Control(name="random", of=op("random"), over=op("base"), method=op("a"))
    evidence = Evidence(planted({"a": FAR, "base": CLOSE, "random": [0.72] * 5}))
    judged = judge(claim(cell("a", "base"), controls=(control,)), evidence)
    assert judged.controls[0].effect.mean == pytest.approx(0.02)
    assert judged.controls[0].lead.mean == pytest.approx(np.mean(FAR) - 0.72)
    missing = judge(claim(cell("a", "base"), controls=(control,)), Evidence(planted({"a": FAR, "base": CLOSE})))
    assert missing.verdict == "confirmed"
    assert "random" in missing.controls[0].reason


def test_the_claims_effect_is_the_mean_of_its_cells(planted):
    evidence = Evidence(planted({"a": FAR, "b": CLOSE, "c": [0.75] * 5}))
    judged = judge(claim(cell("a", "b"), cell("a", "c")), evidence)
    assert judged.effect.mean == pytest.approx(np.mean(FAR) - (0.70 + 0.75) / 2)
