import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.metrics import weighted_auc
from dfrepro.report import evidence as evidence_module
from dfrepro.report.evidence import (
    Evidence,
    auc_of_draws,
    weighted_accuracy,
    weighted_eer,
    weighted_log_loss,
)
from dfrepro.report.schema import Operand


def operand(run="good", test="cdfv2", metric="video_auc", **more) -> Operand:
    return Operand(run=run, test=test, metric=metric, **more)


@pytest.mark.parametrize("decimals", [1, 6])  # one decimal: many ties
def test_weighted_auc_is_sklearns_on_repeated_videos(decimals):
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(2, size=60), rng.random(60).round(decimals)
    weights = rng.integers(4, size=(5, 60))
    for row, auc in zip(weights, weighted_auc(labels, scores, weights)):
        assert auc == pytest.approx(roc_auc_score(np.repeat(labels, row), np.repeat(scores, row)), abs=1e-12)


@pytest.mark.parametrize("most_pairs", [0, 10**6])  # by sorting, by pairs
def test_auc_of_draws_is_sklearns_on_repeated_videos(most_pairs, monkeypatch):
    monkeypatch.setattr(evidence_module, "MOST_PAIRS", most_pairs)
    rng = np.random.default_rng(3)
    of_video = rng.integers(2, size=12)
    video = rng.integers(12, size=80)
    labels, scores = of_video[video], rng.random(80).round(1)
    draws = rng.integers(4, size=(5, 12)).astype(np.float32)
    for row, auc in zip(draws.astype(int), auc_of_draws(labels, scores, video, draws)):
        repeats = row[video]
        assert auc == pytest.approx(roc_auc_score(np.repeat(labels, repeats), np.repeat(scores, repeats)), abs=1e-6)


def equal_error_rate(labels: np.ndarray, scores: np.ndarray) -> float:
    """By its definition, on a fine grid along the ROC polygon."""
    thresholds = sorted(set(scores), reverse=True)
    alarms = [0.0, *((scores >= t)[labels == 0].mean() for t in thresholds)]
    misses = [1.0, *((scores < t)[labels == 1].mean() for t in thresholds)]
    place = np.linspace(0, len(alarms) - 1, 200_001)
    corners = np.arange(len(alarms))
    along = [np.interp(place, corners, rate) for rate in (alarms, misses)]
    return float(along[0][np.argmin(np.abs(along[0] - along[1]))])


@pytest.mark.parametrize("decimals", [1, 6])  # one decimal: many ties
def test_weighted_eer_is_where_false_alarms_are_as_frequent_as_misses(decimals):
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=40)
    scores = (rng.random(40) + 0.3 * labels).round(decimals)
    weights = rng.integers(1, 4, size=(5, 40))
    for row, eer in zip(weights, weighted_eer(labels, scores, weights)):
        assert eer == pytest.approx(equal_error_rate(np.repeat(labels, row), np.repeat(scores, row)), abs=1e-3)


def test_weighted_eer_of_the_extremes():
    labels, weights = np.array([0, 0, 1, 1]), np.ones((1, 4))
    assert weighted_eer(labels, np.array([0.1, 0.2, 0.8, 0.9]), weights)[0] == 0
    assert weighted_eer(labels, np.array([0.9, 0.8, 0.2, 0.1]), weights)[0] == 1
    assert weighted_eer(labels, np.full(4, 0.5), weights)[0] == 0.5
    assert np.isnan(weighted_eer(np.ones(4), np.arange(4.0), weights)[0])


def test_auc_of_one_class_is_not_a_number():
    assert np.isnan(weighted_auc(np.ones(3), np.arange(3.0), np.ones((1, 3)))[0])


def test_weighted_accuracy_and_log_loss_are_sklearns():
    rng = np.random.default_rng(2)
    labels, scores, weights = rng.integers(2, size=40), rng.random(40), rng.integers(1, 4, size=(1, 40))
    repeated = np.repeat(labels, weights[0]), np.repeat(scores, weights[0])
    assert weighted_log_loss(labels, scores, weights)[0] == pytest.approx(log_loss(*repeated))
    assert weighted_accuracy(labels, scores, weights)[0] == pytest.approx(((repeated[1] > 0.5) == repeated[0]).mean())


def test_a_metric_that_is_not_among_the_results_is_computed_from_scores(planted_scores):
    scores = planted_scores({"good": 1.0})
    evidence = Evidence(None, scores, n_boot=10)
    videos = scores.groupby(["label", "video"]).score.mean().reset_index()
    assert evidence.value(operand(), 0) == pytest.approx(roc_auc_score(videos.label, videos.score))
    assert evidence.value(operand(metric="frame_auc"), 0) == pytest.approx(roc_auc_score(scores.label, scores.score))


def test_draws_are_centred_on_the_reported_value(planted, planted_scores):
    evidence = Evidence(planted({"good": [0.9]}), planted_scores({"good": 1.0}), n_boot=400)
    assert evidence.value(operand(), 0) == 0.9
    assert evidence.draws(operand(), 0).mean() == pytest.approx(0.9, abs=0.01)


def test_every_run_is_drawn_on_the_same_videos(planted_scores):
    scores = planted_scores({"good": 1.0})
    twin = scores.assign(run="twin")
    evidence = Evidence(None, pd.concat([scores, twin]), n_boot=50)
    assert np.array_equal(evidence.draws(operand("good"), 0), evidence.draws(operand("twin"), 0))


def test_draws_are_the_same_to_the_last_bit_with_the_same_seed(planted_scores):
    scores = planted_scores({"good": 1.0})
    first, second = (Evidence(None, scores, n_boot=50, seed=3).draws(operand(), 0) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, Evidence(None, scores, n_boot=50, seed=4).draws(operand(), 0))


def test_a_video_counts_as_often_in_a_draw_as_it_was_drawn(planted_scores):
    scores = planted_scores({"good": 0.5}, videos=12, frames=1)
    evidence = Evidence(None, scores, n_boot=5)
    weights = evidence._weights("cdfv2").astype(int)
    ordered = scores.sort_values(["manipulation", "video"])
    for row, drawn in zip(weights, evidence.draws(operand(), 0)):
        assert drawn == pytest.approx(roc_auc_score(np.repeat(ordered.label, row), np.repeat(ordered.score, row)))
        assert row[:12].sum() == row[12:].sum() == 12  # as many of each manipulation as there are


def test_a_subset_of_a_test_set_is_its_reals_and_one_manipulation(planted_scores):
    named = {name: planted_scores({"good": far}).replace({"fake": name}) for name, far in (("DF", 3.0), ("FS", 0.0))}
    evidence = Evidence(None, pd.concat([named["DF"], named["FS"].query("label == 1")]), n_boot=10)
    for name, fakes in named.items():
        chosen = pd.concat([named["DF"].query("label == 0"), fakes.query("label == 1")])
        videos = chosen.groupby(["label", "video"]).score.mean().reset_index()
        expected = roc_auc_score(videos.label, videos.score)
        assert evidence.value(operand(test=f"cdfv2/{name}"), 0) == pytest.approx(expected)


def test_tests_and_conditions_are_averaged_and_a_test_may_carry_its_metric(planted):
    results = pd.concat([
        planted({"a": [0.9]}, "cdfv2"), planted({"a": [0.5]}, "diff", "frame_auc"),
        planted({"a": [0.6]}, "cdfv2", condition="blur-1"), planted({"a": [0.8]}, "cdfv2", condition="blur-2"),
    ])  # fmt: skip
    evidence = Evidence(results)
    assert evidence.value(operand("a", ["cdfv2", "diff:frame_auc"]), 0) == pytest.approx(0.7)
    blurred = {"condition": ["blur-1", "blur-2"]}
    assert evidence.value(operand("a", **blurred), 0) == pytest.approx(0.7)
    assert evidence.value(operand("a", **blurred, change="absolute"), 0) == pytest.approx(-0.2)
    assert evidence.value(operand("a", **blurred, change="relative"), 0) == pytest.approx(-0.2 / 0.9)


def test_an_average_over_a_set_that_was_not_measured_is_missing(planted):
    evidence = Evidence(planted({"a": [0.9]}))
    assert evidence.value(operand("a", ["cdfv2", "wdf"]), 0) is None
    assert evidence.missing(operand("b"), [0]) == "b"
    assert "wdf" in evidence.missing(operand("a", "wdf"), [0])


@pytest.mark.parametrize(("change", "said"), [
    (lambda frame: frame.drop(columns="metric"), "lacks the column metric"),
    (lambda frame: pd.concat([frame, frame]), "a, 0, cdfv2, video_auc, clean is given twice"),
])  # fmt: skip
def test_odd_results_are_rejected_by_name(planted, change, said):
    with pytest.raises(WorkbookError, match=said):
        Evidence(change(planted({"a": [0.9]})))


def test_a_detector_that_says_the_same_of_everything_has_no_auc_and_keeps_its_accuracy():
    rows = [
        {"run": "a", "seed": 0, "dataset": "d", "manipulation": "m" if label else "original", "video": str(i),
         "label": label, "score": 1.0, "frame": 0}
        for i, label in enumerate([0, 0, 1, 1])
    ]  # fmt: skip
    evidence = Evidence(None, pd.DataFrame(rows), n_boot=10)
    for metric in ("video_auc", "frame_auc"):
        assert np.isnan(evidence.value(Operand(run="a", test=("d",), metric=metric), 0))
    assert evidence.value(Operand(run="a", test=("d",), metric="accuracy"), 0) == 0.5
