"""Planted evidence gives every verdict, every gate's and every control's consequence."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dfrepro.report.effects import Effect, Influence, variance
from dfrepro.report.evidence import Evidence
from dfrepro.report.power import Power, power
from dfrepro.report.schema import Acts, Band, Cell, Claim, Control, Operand, PositiveControl
from dfrepro.report.verdict import VERDICTS, judge, judge_cell


def op(run: str, **more) -> Operand:
    return Operand(**({"run": run, "test": "cdfv2", "metric": "video_auc"} | more))


def cell(of="a", over="b", **more) -> Cell:
    return Cell(of=op(of), over=op(over) if isinstance(over, str) else over, **({"name": f"{of} over {over}"} | more))


def claim(*cells: Cell, **more) -> Claim:
    return Claim(**({"id": "P1-C4", "source": "here", "statement": "it holds", "cells": cells or (cell(),)} | more))


CLOSE = [0.701, 0.699, 0.700, 0.702, 0.698]
FAR = [0.80, 0.81, 0.79, 0.80, 0.82]
WIDE = [0.60, 0.82, 0.65, 0.80, 0.70]
SAME = [0.702, 0.698, 0.701, 0.700, 0.699]


@pytest.mark.parametrize(("a", "printed", "verdict"), [
    (FAR, 0.05, "confirmed"), ([0.60, 0.61, 0.59, 0.60, 0.62], 0.05, "refuted"), (SAME, 0.05, "smaller than printed"),
    (SAME, None, "inconclusive"), (WIDE, 0.05, "inconclusive"),
])  # fmt: skip
def test_a_difference_is_judged_by_its_interval(planted, a, printed, verdict):
    judged = judge(claim(cell(printed=printed)), Evidence(planted({"a": a, "b": CLOSE})))
    low, high = judged.effect.interval()
    assert judged.verdict == verdict
    assert low < judged.effect.mean < high
    assert {"confirmed": low > 0, "refuted": high < 0, "smaller than printed": low < 0 < high < 0.05}.get(verdict, True)


def test_there_are_five_verdicts_and_two_reasons_for_none():
    assert VERDICTS[:5] == ("confirmed", "refuted", "smaller than printed", "inconclusive", "not decidable here")
    assert VERDICTS[5:] == ("not testable", "not run")


def test_verdict_and_interval_are_of_one_number_the_mean_of_the_primary_cells(planted):
    evidence = Evidence(planted({"a": FAR, "b": CLOSE, "c": [0.95] * 5}))
    both = judge(claim(cell("a", "b"), cell("a", "c")), evidence)
    assert both.verdict == "refuted"  # one of two cells is confirmed by itself
    assert [each.verdict for each in both.cells] == ["confirmed", "refuted"]
    aside = judge(claim(cell("a", "b"), cell("a", "c", primary=False)), evidence)
    assert (aside.verdict, aside.effect.mean) == ("confirmed", pytest.approx(0.104, abs=0.002))


def test_one_of_eight_cells_at_p_0078_refutes_nothing(planted):
    """Of eight cells one alone must reach .05/8 = .00625; a table of t at the 97.5 % quantile took .0078 for enough."""
    low = {"low": (0.7 + np.array([-0.10, -0.09, -0.02, -0.08, -0.06])).tolist(), "base": [0.7] * 5}
    rest = {f"r{n}": (0.7 + np.array([0.02, -0.01, 0.01, 0.0, -0.02]) * (1 + n / 8)).tolist() for n in range(7)}
    cells = [Cell(name=name, of=op(name), over=op("base")) for name in ("low", *rest)]
    judged = judge(claim(*cells, scale="raw"), Evidence(planted(low | rest)))
    first = judged.cells[0]
    assert first.p == pytest.approx(stats.ttest_1samp([-0.10, -0.09, -0.02, -0.08, -0.06], 0).pvalue, rel=1e-6)
    assert (round(first.p, 4), first.verdict) == (0.0078, "inconclusive")
    assert first.holm == pytest.approx(8 * first.p)
    assert judged.verdict == "inconclusive"


def test_holm_corrects_as_statsmodels_does(planted):
    rng = np.random.default_rng(0)
    runs = {f"r{n}": (0.7 + rng.normal(0.01 * n, 0.02, 5)).tolist() for n in range(6)}
    cells = [Cell(name=name, of=op(name), over=0.7) for name in runs]
    judged = judge(claim(*cells, scale="raw"), Evidence(planted(runs)))
    p = np.array([each.p for each in judged.cells])
    ordered = np.sort(p)
    expected = np.maximum.accumulate(np.minimum(1, ordered * (6 - np.arange(6))))[np.argsort(np.argsort(p))]
    assert [each.holm for each in judged.cells] == pytest.approx(expected.tolist())


def test_less_is_more_turned_around(planted):
    evidence = Evidence(planted({"a": CLOSE, "b": FAR}))
    assert judge_cell(cell(direction="less"), evidence).verdict == "confirmed"


def test_a_difference_has_to_exceed_its_threshold(planted):
    evidence = Evidence(planted({"a": FAR, "b": CLOSE}))  # .104 apart
    assert judge_cell(cell(at_least=0.05), evidence).verdict == "confirmed"
    assert judge_cell(cell(at_least=0.15), evidence).verdict == "refuted"
    assert judge_cell(cell(over=0.75), evidence).verdict == "confirmed"


@pytest.mark.parametrize(("a", "verdict"), [(CLOSE, "confirmed"), (FAR, "refuted"), (WIDE, "inconclusive")])
def test_an_equivalence_needs_its_interval_inside_the_margin(planted, a, verdict):
    evidence = Evidence(planted({"a": a, "b": SAME}))
    assert judge(claim(cell(test="equivalence", margin=0.02)), evidence).verdict == verdict


@pytest.mark.parametrize(("a", "verdict"), [
    (SAME, "confirmed"), (FAR, "confirmed"), ([0.60, 0.61, 0.60, 0.61, 0.60], "refuted"), (WIDE, "inconclusive"),
])  # fmt: skip
def test_not_below_is_a_non_inferiority_with_a_margin(planted, a, verdict):
    evidence = Evidence(planted({"a": a, "b": CLOSE}))
    assert judge(claim(cell(test="noninferior", margin=0.02)), evidence).verdict == verdict


@pytest.mark.parametrize(("value", "verdict"), [(0.0, "confirmed"), (1e-9, "refuted")])
def test_an_exact_claim_allows_no_difference(planted, value, verdict):
    exact = Cell(name="x", of=op("a", metric="difference"), over=0.0, test="exact")
    assert judge(claim(exact), Evidence(planted({"a": [0.0, value]}, metric="difference"))).verdict == verdict


@pytest.mark.parametrize(("other", "verdict"), [(0.0, "confirmed"), (-0.5, "refuted"), (None, "not run")])
def test_every_number_of_an_exact_claim_has_to_be_zero_whatever_their_mean(planted, other, verdict):
    cells = [Cell(name=name, of=op("a", metric=name), over=0.0, test="exact") for name in ("removed", "at_zero")]
    first = 0.0 if other is None else -other
    parts = [planted({"a": [0.0, first]}, metric="removed")]
    parts += [] if other is None else [planted({"a": [0.0, other]}, metric="at_zero")]
    assert judge(claim(*cells), Evidence(pd.concat(parts))).verdict == verdict


@pytest.mark.parametrize(("more", "said"), [
    ({"at_least": 0.05}, "threshold +0.05"), ({"test": "equivalence", "margin": 0.02}, "margin ±0.02"),
    ({"test": "noninferior", "margin": 0.02}, "threshold −0.02"), ({}, ""),
])  # fmt: skip
def test_what_an_interval_is_held_against_is_said(planted, more, said):
    assert judge(claim(cell(**more)), Evidence(planted({"a": FAR, "b": CLOSE}))).reason == said


def test_a_change_of_auc_is_compared_as_it_is_and_keeps_its_sign(planted):
    """From .999 to .94 is a smaller fall than from .80 to .70, though in probits it is the larger."""
    clean = planted({"a": [0.999, 0.998], "b": [0.80, 0.79]}, condition="clean")
    noisy = planted({"a": [0.94, 0.94], "b": [0.70, 0.69]}, condition="noise-3")
    change = {"condition": "noise-3", "change": "absolute"}
    fall = Cell(name="x", of=op("a", **change), over=op("b", **change))
    judged = judge_cell(fall, Evidence(pd.concat([clean, noisy])))
    assert judged.effect.mean == pytest.approx((0.94 - 0.9985) - (0.695 - 0.795))
    assert judged.effect.mean > 0


# --- what was not measured -------------------------------------------------------------------------------------------


def test_runs_that_are_missing_are_named(planted):
    judged = judge(claim(cell("a", "b"), cell("a", "gone")), Evidence(planted({"a": FAR, "b": CLOSE})))
    assert (judged.verdict, judged.reason, judged.missing) == ("not run", "missing: gone", ("gone",))


def test_a_secondary_cell_that_was_not_run_stops_nothing(planted):
    judged = judge(claim(cell("a", "b"), cell("a", "gone", primary=False)), Evidence(planted({"a": FAR, "b": CLOSE})))
    assert (judged.verdict, judged.cells[1].verdict) == ("confirmed", "not run")


def test_unpaired_seeds_are_left_out_and_named(planted):
    judged = judge_cell(cell(), Evidence(planted({"a": FAR, "b": CLOSE[:3]})))
    assert judged.effect.seeds == (0, 1, 2)
    assert judged.reason == "3 of 5 seeds of the first look; unpaired seeds left out: 3, 4"


def test_runs_without_a_seed_in_common_are_not_compared(planted):
    results = planted({"a": FAR, "b": CLOSE})
    results.loc[results.run == "b", "seed"] += 10
    assert judge(claim(cell()), Evidence(results)).reason == "missing: no seed in common: a and b"


def test_what_is_not_testable_says_why(planted):
    judged = judge(claim(cell(), testable=False, reason="no such data"), Evidence(planted({"a": FAR, "b": CLOSE})))
    assert (judged.verdict, judged.reason) == ("not testable", "no such data")


def test_a_value_that_is_not_a_number_is_inconclusive_and_named(planted):
    judged = judge(claim(cell()), Evidence(planted({"a": [0.8, float("nan"), 0.8], "b": [0.7, 0.7, 0.7]})))
    assert judged.verdict == "inconclusive"
    assert "not a number with seed 1" in judged.reason


def test_one_seed_without_scores_has_no_interval(planted):
    judged = judge(claim(cell()), Evidence(planted({"a": [0.9], "b": [0.7]})))
    assert (judged.verdict, judged.effect.interval()) == ("inconclusive", None)
    assert "one seed and no scores of videos" in judged.reason


@pytest.mark.parametrize(("good", "bad"), [(3.0, 0.6), (0.6, 3.0)])
def test_one_seed_with_scores_has_an_interval_over_people_that_decides_nothing(planted_scores, good, bad):
    """Another seed could be as far off as this effect is: that is in no interval over people."""
    evidence = Evidence(None, planted_scores({"good": good, "bad": bad}))
    judged = judge(claim(cell("good", "bad"), band=Band(none=True, why="not tested here")), evidence)
    low, high = judged.effect.interval()
    assert low > 0 or high < 0
    assert (judged.verdict, judged.effect.over, judged.effect.seeds) == ("inconclusive", "people", (0,))
    assert judged.reason.startswith("one seed")
    assert judged.cells[0].p is None
    assert power(judged.claim.primary, judged.effect) == Power(None, None, None)


def test_one_seed_decides_an_exact_claim(planted):
    exact = Cell(name="x", of=op("a", metric="difference"), over=0.0, test="exact")
    assert judge(claim(exact), Evidence(planted({"a": [0.0]}, metric="difference"))).verdict == "confirmed"


def test_a_test_set_whose_people_form_one_group_gives_no_interval(planted, planted_scores):
    """60 groups of DFDC and one of CDF: the variance of the second is unknown, and with it that of their mean."""
    runs = {"good": 3.0, "bad": 0.6}
    many = planted_scores(runs, seeds=5, videos=60, dataset="dfdc").assign(identity="", source="")
    one = planted_scores(runs, seeds=5, videos=60, dataset="cdfv2").assign(identity="id0", source="")
    both = claim(*(Cell(name=name, of=op("good", test=name), over=op("bad", test=name)) for name in ("dfdc", "cdfv2")))
    judged = judge(both, Evidence(None, pd.concat([many, one])))
    assert (judged.verdict, judged.effect.interval()) == ("inconclusive", None)
    assert judged.reason == "people of cdfv2 form one group: no interval over people"
    numbers = planted({"good": [0.98, 0.97] * 2 + [0.98], "bad": [0.66, 0.67] * 2 + [0.66]}, dataset="cdfv2")
    half = judge(both, Evidence(numbers, many))
    assert (half.verdict, half.effect.interval()) == ("inconclusive", None)
    assert half.reason.startswith("no scores behind good on cdfv2 (video_auc)")
    apart = judge(both, Evidence(None, pd.concat([many, one.assign(identity="")])))
    assert (apart.verdict, apart.effect.over) == ("confirmed", "seeds and people")


# --- intervals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [2, 5, 10, 30])
@pytest.mark.parametrize("level", [0.95, 1 - 0.05 / 8, 1 - 0.05 / 48])
def test_over_seeds_alone_the_interval_is_students_at_any_level(seeds, level):
    values = np.random.default_rng(seeds).normal(size=seeds)
    found = Effect(tuple(range(seeds)), tuple(values), variance(values, None)).interval(level)
    exact = stats.t.interval(level, seeds - 1, values.mean(), stats.sem(values))
    assert found == pytest.approx(exact)


def test_what_seeds_do_to_single_videos_is_counted_once():
    """Where seeds and videos only interact, the variance is that of the seeds; the sum of both parts was twice that."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(50):
        tables = [rng.normal(size=(40, 30)) for _ in range(2)]  # influences that no two seeds share
        by_seed = sum(table.sum(axis=1) for table in tables)
        found = variance(by_seed, [Influence(np.arange(40), table) for table in tables])
        ratios.append(found.total / (by_seed.var(ddof=1) / 40))
    assert 1 <= np.mean(ratios) < 1.2


def test_an_interval_of_an_auc_stays_between_zero_and_one(planted):
    for a, b in ((1.0, 0.96), (0.999, 0.7), (0.05, 0.9)):
        values = {"a": (a - np.arange(5) * 0.01 * a).tolist(), "b": (b - np.arange(5) * 0.02).tolist()}
        found = judge_cell(cell(), Evidence(planted(values))).effect
        low, high = found.interval()
        base = np.mean(stats.norm.ppf(values["b"]))
        assert 0 <= stats.norm.cdf(base) + low <= stats.norm.cdf(base) + high <= 1


# --- gates -----------------------------------------------------------------------------------------------------------


def learned(planted, **own) -> pd.DataFrame:
    return planted({name: [value] * 5 for name, value in own.items()}, dataset="ffpp")


def test_a_network_that_has_not_learned_its_own_set_decides_nothing(planted):
    away = planted({"a": FAR, "b": CLOSE})
    judged = judge(claim(), Evidence(pd.concat([away, learned(planted, a=0.9, b=0.57)])))
    assert (judged.verdict, judged.reason) == ("not decidable here", "b has not learned its own set (AUC 0.57)")
    assert judge(claim(), Evidence(pd.concat([away, learned(planted, a=0.9, b=0.8)]))).verdict == "confirmed"


@pytest.mark.parametrize(("told", "said"), [
    ({"validation_auc": 0.55}, "AUC 0.55 in validation"), ({"loss_first": 0.694, "loss_last": 0.686}, "loss 0.69"),
])  # fmt: skip
def test_neither_does_one_whose_loss_or_validation_says_so(planted, told, said):
    away = [planted({"a": FAR, "b": CLOSE}), learned(planted, a=0.9, b=0.8)]
    training = [planted({"b": [value] * 5}, dataset="train", metric=name) for name, value in told.items()]
    judged = judge(claim(), Evidence(pd.concat([*away, *training])))
    assert judged.verdict == "not decidable here"
    assert said in judged.reason


def test_what_begins_from_trained_weights_need_not_lower_its_loss_where_validation_says_that_it_ranks(planted):
    away = [planted({"a": FAR, "b": CLOSE}), learned(planted, a=0.9, b=0.8)]
    told = {"validation_auc": 0.9, "loss_first": 0.31, "loss_last": 0.30}
    training = [planted({"b": [value] * 5}, dataset="train", metric=name) for name, value in told.items()]
    assert judge(claim(), Evidence(pd.concat([*away, *training]))).verdict == "confirmed"
    assert judge(claim(), Evidence(pd.concat([*away, *training[1:]]))).verdict == "not decidable here"


def test_what_a_networks_own_set_is_follows_from_its_training(planted):
    found = pd.concat([planted({"a": FAR, "b": CLOSE}), learned(planted, b=0.5),
                       planted({"b": [0.9] * 5}, dataset="wdf")])  # fmt: skip
    for trained_on, verdict in (({}, "not decidable here"), ({"b": "wdf"}, "confirmed")):
        assert judge(claim(), Evidence(found, trained_on=trained_on)).verdict == verdict


def test_a_map_of_a_network_that_learned_nothing_decides_nothing(planted):
    maps = planted({"focus-map-gradcam": CLOSE, "focus-map-focus": FAR}, dataset="ffpp", metric="map_auc")
    own = learned(planted, **{"focus-map-vit": 0.55, "focus-map-focus": 0.9})
    compared = Cell(name="x", of=op("focus-map-focus", test="ffpp", metric="map_auc"),
                    over=op("focus-map-gradcam", test="ffpp", metric="map_auc"))  # fmt: skip
    networks = {"focus-map-gradcam": "focus-map-vit", "focus-map-pixel": ""}
    judged = judge(claim(compared), Evidence(pd.concat([maps, own]), networks=networks))
    assert (judged.verdict, judged.reason) == (
        "not decidable here", "focus-map-vit has not learned its own set (AUC 0.55)",
    )  # fmt: skip


def test_a_detector_taught_by_maps_of_a_network_that_learned_nothing_decides_nothing(planted):
    away = planted({"a": FAR, "b": CLOSE})
    own = learned(planted, a=0.9, b=0.9, mapper=0.55)
    judged = judge(claim(), Evidence(pd.concat([away, own]), supervisors={"a": "mapper", "b": ""}))
    assert (judged.verdict, judged.reason) == (
        "not decidable here", "mapper has not learned its own set (AUC 0.55)",
    )  # fmt: skip
    assert judge(claim(), Evidence(pd.concat([away, own]))).verdict == "confirmed"


def test_of_not_below_only_the_baseline_has_to_have_learned(planted):
    low = [0.60, 0.61, 0.60, 0.61, 0.60]
    evidence = Evidence(pd.concat([planted({"a": low, "b": CLOSE}), learned(planted, a=0.55, b=0.9)]))
    assert judge(claim(cell(test="noninferior", margin=0.02)), evidence).verdict == "refuted"
    assert judge(claim(cell()), evidence).verdict == "not decidable here"
    assert judge(claim(cell("b", "a", test="noninferior", margin=0.02)), evidence).verdict == "not decidable here"


def test_a_history_of_one_epoch_says_nothing_of_learning(planted):
    away = [planted({"a": FAR, "b": CLOSE}), learned(planted, a=0.9, b=0.8)]
    once = [planted({"b": [0.5] * 5}, dataset="train", metric=f"loss_{at}") for at in ("first", "last")]
    assert judge(claim(), Evidence(pd.concat([*away, *once]))).verdict == "confirmed"


def test_a_baseline_that_has_no_auc_decides_nothing(planted):
    known = planted({"b": CLOSE}, metric="frame_accuracy"), planted({"a": FAR}, metric="frame_accuracy")
    none = planted({"b": [float("nan")] * 5}, metric="frame_auc")
    compared = Cell(name="x", of=op("a", metric="frame_accuracy"), over=op("b", metric="frame_accuracy"))
    judged = judge(claim(compared), Evidence(pd.concat([*known, none])))
    assert (judged.verdict, judged.reason) == ("not decidable here", "b has no AUC on cdfv2")


@pytest.mark.parametrize(("b", "said"), [(0.55, "below 0.60"), (0.98, "above 0.97")])
def test_a_baseline_at_the_floor_or_the_ceiling_decides_nothing(planted, b, said):
    judged = judge(claim(), Evidence(planted({"a": FAR, "b": [b] * 5})))
    assert judged.verdict == "not decidable here"
    assert said in judged.reason


@pytest.mark.parametrize("b", [0.60, 0.97])
def test_a_baseline_on_the_edge_of_the_band_is_in_it(planted, b):
    away = [b + 0.02, b + 0.021, b + 0.019, b + 0.02, b + 0.022]
    assert judge(claim(), Evidence(planted({"a": away, "b": [b] * 5}))).verdict == "confirmed"


@pytest.mark.parametrize(("last", "verdict"), [(0.95, "confirmed"), (0.96, "not decidable here")])
def test_a_loss_that_fell_by_a_twentieth_has_learned(planted, last, verdict):
    epochs = {"loss_first": 1.0, "loss_last": last}
    losses = [planted({"b": [value] * 5}, dataset="train", metric=metric) for metric, value in epochs.items()]
    assert judge(claim(), Evidence(pd.concat([planted({"a": FAR, "b": CLOSE}), *losses]))).verdict == verdict


def test_a_claim_may_have_a_band_of_its_own_or_none(planted):
    evidence = Evidence(planted({"a": FAR, "b": [0.55, 0.54, 0.55, 0.56, 0.55]}))
    assert judge(claim(band=Band(within=(0.5, 0.9))), evidence).verdict == "confirmed"
    assert judge(claim(band=Band(none=True, why="the floor is the outcome")), evidence).verdict == "confirmed"
    assert judge(claim(band=Band(of=op("a"), within=(0.9, 1.0))), evidence).verdict == "not decidable here"


def test_a_change_is_no_change_on_a_detector_at_the_floor(planted):
    """A detector at .55 cannot fall: its smaller loss under noise is no robustness."""
    clean = planted({"a": [0.55] * 5, "b": [0.55] * 5})
    noisy = planted({"a": [0.545, 0.55, 0.548, 0.55, 0.55], "b": [0.50, 0.51, 0.5, 0.49, 0.5]}, condition="noise-3")
    change = {"condition": "noise-3", "change": "absolute"}
    fall = Cell(name="x", of=op("a", **change), over=op("b", **change))
    judged = judge(claim(fall), Evidence(pd.concat([clean, noisy])))
    assert judged.effect.interval()[0] > 0
    assert judged.verdict == "not decidable here"


def test_a_detector_that_calls_all_fake_wins_nothing_by_the_accuracy_that_noise_leaves_it():
    """Of a set of which four in five are fakes it has .8 of all, noise or not, while a detector that works falls."""
    rng, parts = np.random.default_rng(0), []
    for seed in range(5):
        for condition, distance in (("clean", 3.0), ("noise-3", 1.0)):
            for run, margin in {"all": 9.0, "works": distance}.items():
                fake = np.arange(200) >= 40
                margins = margin * np.where(fake, 1, -1 if run == "works" else 1) + rng.normal(0, 1.2, 200)
                parts.append(pd.DataFrame({
                    "run": run, "seed": seed, "dataset": "ffpp", "condition": condition, "manipulation": "x",
                    "frame": 0, "video": [f"v{n}" for n in range(200)], "label": fake.astype(int), "margin": margins,
                }))  # fmt: skip
    evidence = Evidence(None, pd.concat(parts))
    noisy = {"test": "ffpp", "condition": "noise-3"}
    assert evidence.value(op("all", metric="frame_accuracy", **noisy), 0) == pytest.approx(0.8)
    assert evidence.value(op("all", metric="frame_balanced_accuracy", **noisy), 0) == pytest.approx(0.5)
    sides = (op(run, metric="frame_accuracy", change="absolute", **noisy) for run in ("all", "works"))
    judged = judge(claim(Cell(name="keeps its accuracy", **dict(zip(("of", "over"), sides)))), evidence)
    assert judged.effect.interval()[0] > 0  # it "decays less"
    assert judged.verdict == "not decidable here"
    assert "all has not learned its own set (AUC 0.5" in judged.reason


def test_a_module_that_does_nothing_decides_nothing(planted):
    away = planted({"a": FAR, "b": CLOSE})
    acts = Acts(of=op("a", test="ffpp", metric="residual_share"), at_least=0.01, why="the residual is added")
    for value, verdict, said in ((0.2, "confirmed", ""), (0.001, "not decidable here", "0.001, not at least 0.01")):
        found = pd.concat([away, planted({"a": [value] * 5}, dataset="ffpp", metric="residual_share")])
        judged = judge(claim(acts=(acts,)), Evidence(found))
        assert judged.verdict == verdict
        assert said in judged.reason
    judged = judge(claim(acts=(acts,)), Evidence(away))
    assert judged.verdict == "not decidable here"
    assert "residual_share) is not measured (the residual is added)" in judged.reason


# --- controls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("known", "verdict", "said"), [
    (FAR, "confirmed", ""), (SAME, "not decidable here", "positive control (planted) does not come out"),
    (None, "not decidable here", "positive control (planted) not run: k"),
])  # fmt: skip
def test_a_positive_control_has_to_come_out(planted, known, verdict, said):
    runs = {"a": FAR, "b": CLOSE} | ({"k": known} if known else {})
    control = PositiveControl(name="planted", of=op("k"), over=op("b"), at_least=0.02)
    judged = judge(claim(positive_control=control), Evidence(planted(runs)))
    assert judged.verdict == verdict
    assert said in judged.reason


def test_where_there_can_be_no_positive_control_none_is_asked_for(planted):
    control = PositiveControl(none="no effect is known")
    assert judge(claim(positive_control=control), Evidence(planted({"a": FAR, "b": CLOSE}))).verdict == "confirmed"


@pytest.mark.parametrize(("random", "verdict"), [
    (SAME, "confirmed"),  # gains nothing
    ([0.80, 0.81, 0.80, 0.79, 0.81], "inconclusive"),  # gains what the method gains
    ([0.75, 0.76, 0.75, 0.74, 0.75], "confirmed"),  # gains, but the method is ahead of it
    ([0.90, 0.91, 0.90, 0.91, 0.90], "inconclusive"),  # is ahead of the method
    (FAR, "inconclusive"),  # is the method
])  # fmt: skip
def test_a_control_that_gains_what_the_method_gains_takes_the_confirmation_back(planted, random, verdict):
    control = Control(name="random direction", of=op("r"), over=op("b"), method=op("a"))
    judged = judge(claim(controls=(control,)), Evidence(planted({"a": FAR, "b": CLOSE, "r": random})))
    assert judged.verdict == verdict
    assert ("the control does the same: random direction" in judged.reason) == (verdict == "inconclusive")


@pytest.mark.parametrize(
    ("random", "verdict"), [(CLOSE, "confirmed"), (SAME, "confirmed"), ([0.60] * 5, "inconclusive")]
)
def test_of_a_number_that_the_method_lowers_a_control_gains_by_lowering_it(planted, random, verdict):
    lower = [0.60, 0.61, 0.59, 0.60, 0.61]
    control = Control(name="random", of=op("r"), over=op("b"), method=op("a"), direction="less")
    evidence = Evidence(planted({"a": lower, "b": CLOSE, "r": random}))
    assert judge(claim(cell(direction="less"), controls=(control,)), evidence).verdict == verdict


@pytest.mark.parametrize(("a", "verdict", "said"), [
    (FAR, "not decidable here", "control random not run"), (WIDE, "inconclusive", ""),
])  # fmt: skip
def test_without_its_negative_control_nothing_is_confirmed(planted, a, verdict, said):
    control = Control(name="random", of=op("r"), over=op("b"), method=op("a"))
    judged = judge(claim(controls=(control,)), Evidence(planted({"a": a, "b": CLOSE})))
    assert (judged.verdict, judged.reason, judged.controls[0].reason) == (verdict, said, "not run: r")


def test_neither_is_it_where_the_control_has_no_interval(planted):
    control = Control(name="random", of=op("r"), over=op("b"), method=op("a"))
    judged = judge(claim(controls=(control,)), Evidence(planted({"a": FAR, "b": CLOSE, "r": [0.7]})))
    assert (judged.verdict, judged.reason) == ("not decidable here", "control random not run")
