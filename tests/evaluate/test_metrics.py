"""Metrics against scikit-learn and brute force, and the cases in which there is none."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.metrics import (
    BINS,
    METRICS,
    Undefined,
    frame_auc,
    margins,
    summary,
    value,
    video_auc,
    video_scores,
)


def sample(seed: int, n: int = 60, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    found = rng.normal(labels * 0.8, 1) - 0.4
    return labels, found.round(1) if ties else found


def probability(found: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-found))


def frames(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["dataset", "manipulation", "video", "label", "score"])


CASES = [(seed, ties) for seed in range(5) for ties in (False, True)]


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_metrics_are_scikit_learns(seed, ties):
    labels, scores = sample(seed, ties=ties)
    expected = {
        "auc": sk.roc_auc_score(labels, scores), "ap": sk.average_precision_score(labels, scores),
        "log_loss": sk.log_loss(labels, probability(scores)), "accuracy": sk.accuracy_score(labels, scores > 0),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, scores > 0),
    }  # fmt: skip
    assert {name: value(name, labels, scores) for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_auc_is_the_share_of_pairs_ranked_rightly(seed, ties):
    labels, scores = sample(seed, n=25, ties=ties)
    pairs = [(f > r) + (f == r) / 2 for f in scores[labels == 1] for r in scores[labels == 0]]
    assert value("auc", labels, scores) == pytest.approx(np.mean(pairs), abs=1e-12)


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_eer_is_where_the_roc_meets_the_antidiagonal(seed, ties):
    labels, scores = sample(seed, ties=ties)
    false_positive, true_positive, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    near = value("eer", labels, scores)
    # the miss rate there is the rate itself; where the curve is vertical, it passes it
    left = np.interp(near - 1e-9, false_positive, true_positive)
    right = np.interp(near + 1e-9, false_positive, true_positive)
    assert left - 1e-6 <= 1 - near <= right + 1e-6


def test_one_real_is_enough_for_an_average_precision():
    labels, found = [1, 0, 1, 1], [0.9, 0.8, 0.7, 0.1]
    assert value("ap", labels, found) == pytest.approx(sk.average_precision_score(labels, found))


def test_eer_by_hand():
    # thresholds give (FPR, TPR) = (0, 0), (0, .5), (.5, .5), (.5, 1), (1, 1): the diagonal is met at FPR .5
    assert value("eer", [1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6]) == pytest.approx(0.5)
    assert value("eer", [1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]) == 0
    assert value("eer", [0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]) == 1
    # three reals, two fakes: between (1/3, 1/2) and (1/3, 1) the curve is vertical, miss rate .5 -> 0 crosses 1/3
    assert value("eer", [1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5]) == pytest.approx(1 / 3)
    # one tie of a real and a fake in the middle: from (0, .5) to (.5, 1), met at FPR .25
    assert value("eer", [1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(0.25)


@pytest.mark.parametrize(("seed", "ties"), CASES)
@pytest.mark.parametrize(("name", "rate"), [("tpr_at_1", 0.01), ("tpr_at_5", 0.05)])
def test_hits_are_the_roc_curves_at_the_rate(name, rate, seed, ties):
    labels, scores = sample(seed, n=300, ties=ties)
    false_positive, true_positive, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    assert value(name, labels, scores) == true_positive[false_positive <= rate].max()


def test_with_fewer_reals_than_the_rate_tells_apart_none_may_pass():
    assert value("tpr_at_5", [0, 0, 1, 1], [0.0, 2.0, 1.0, 3.0]) == 0.5
    assert value("tpr_at_1", [0, 0, 1, 1], [0.0, 3.0, 1.0, 3.0]) == 0


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_is_of_scikit_learns_curve(seed):
    labels, scores = sample(seed, n=300)
    chances = probability(scores)
    share, mean = calibration_curve(labels, chances, n_bins=BINS)
    counts = np.histogram(chances, np.linspace(0, 1, BINS + 1))[0]
    expected = (np.abs(share - mean) * counts[counts > 0]).sum() / len(labels)
    assert value("calibration_error", labels, scores) == pytest.approx(expected, abs=1e-12)
    assert value("calibration_error", [1, 0], [40.0, -40.0]) < 1e-15


def test_exactly_one_half_is_a_decision_for_real():
    assert value("accuracy", [1, 0, 0], [1e-9, 0.0, -1.0]) == 1
    assert value("accuracy", [1], [0.0]) == 0


def test_a_detector_that_calls_everything_fake_has_the_accuracy_of_noise():
    labels, found = np.repeat([1, 0], [160, 40]), np.full(200, 3.0)
    assert value("accuracy", labels, found) == 0.8
    assert value("balanced_accuracy", labels, found) == 0.5


def test_a_margin_of_50_ranks_where_its_sigmoid_is_1():
    labels, found = np.array([0, 0, 1, 1]), np.array([50.0, 52.0, 55.0, 60.0])
    assert (probability(found) == 1).all()
    assert value("auc", labels, found) == 1
    assert value("log_loss", labels, found) == pytest.approx(0.5 * -math.log(1e-7), abs=1e-6)


def test_a_table_without_margins_is_ranked_by_the_logits_of_its_scores():
    table = pd.DataFrame({"score": [0.0, 0.5, 0.9, 1.0]})
    assert np.isfinite(margins(table)).all()
    assert margins(table)[1:3] == pytest.approx([0, math.log(9)])
    assert margins(table.assign(margin=[1.0, 2, 3, 50])).tolist() == [1, 2, 3, 50]


def test_equal_means_of_coarse_scores_are_ties():
    """.1 + .5 + .6 and .3 + .4 + .5 are the same sum, and in floating point are not."""
    rows = [("cdf", "fake", "a", 1, s) for s in (0.1, 0.5, 0.6)] + [
        ("cdf", "original", "b", 0, s) for s in (0.3, 0.4, 0.5)
    ]
    rows += [("cdf", "original", "c", 0, 0.2)]
    rng = np.random.default_rng(0)
    for _ in range(20):
        table = frames([rows[i] for i in rng.permutation(len(rows))]).rename(columns={"score": "margin"})
        assert video_auc(table) == 0.75


@pytest.mark.parametrize("name", METRICS)
def test_counts_as_weights_are_copies_of_the_sample(name):
    labels, scores = sample(3, ties=True)
    counts = np.random.default_rng(0).integers(0, 4, (6, len(labels)))
    expected = [value(name, np.repeat(labels, row), np.repeat(scores, row)) for row in counts]
    np.testing.assert_allclose(METRICS[name](labels.astype(bool), scores, counts), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["auc", "eer", "ap", "tpr_at_1", "balanced_accuracy"])
def test_without_the_weight_of_a_class_there_is_no_value(name):
    weights = np.array([[1, 1, 0, 0]])
    assert np.isnan(METRICS[name](np.array([True, True, False, False]), np.arange(4.0), weights)).all()


# --- what has no value ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["auc", "eer", "ap"])
@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [([], [], "no scores"), ([1, 1], [0.2, 0.3], "all 2 labels are 1"), ([0, 1], [0.5, 0.5], "all 2 scores are 0.5")],
)
def test_ranking_without_both_classes_or_with_one_score_is_an_error(metric, labels, scores, reason):
    with pytest.raises(Undefined, match=reason):
        value(metric, labels, scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("labels", "scores"),
    [([], []), ([0, 1], [0.1, math.nan]), ([0, 1], [0.1, math.inf]), ([0, 2], [0.1, 0.2]), ([0], [0, 1])],
)
def test_what_are_no_labels_or_no_scores_is_an_error(metric, labels, scores):
    with pytest.raises(Undefined):
        value(metric, labels, scores)


def test_a_summary_gives_nan_with_a_reason_and_never_a_chance_value():
    one_class = frames([("cdf", "fake", "a", 1, 0.4), ("cdf", "fake", "b", 1, 0.7)])
    values, reasons = summary(one_class)
    assert math.isnan(values["video_auc"])
    assert math.isnan(values["frame_eer"])
    assert "both classes" in reasons["video_auc"]
    assert values["video_accuracy"] == 0.5  # one of two is right
    assert "video_accuracy" not in reasons
    constant, reasons = summary(frames([("cdf", "fake", "a", 1, 0.5), ("cdf", "original", "b", 0, 0.5)]))
    assert math.isnan(constant["frame_auc"])
    assert "constant" in reasons["frame_auc"]
    empty, reasons = summary(frames([]))
    assert all(math.isnan(value) for value in empty.values())
    assert empty.keys() == reasons.keys()


def test_a_summary_of_a_sound_set_has_no_reasons():
    labels, scores = sample(0)
    scores = probability(scores)
    table = frames(
        [("cdf", "x" if y else "original", str(i // 2), y, s) for i, (y, s) in enumerate(zip(labels, scores))]
    )
    values, reasons = summary(table)
    assert not reasons
    assert values["frame_auc"] == pytest.approx(sk.roc_auc_score(labels, scores))


# --- videos ---------------------------------------------------------------------------------------------------------


def test_a_video_is_keyed_by_dataset_manipulation_and_name():
    """FF++ calls four fakes and, cut short, a real 000_003: merged they would be one video (FIELD-NOTES, "Metrics")."""
    table = frames(
        [("ffpp", kind, "000_003", 1, score) for kind, score in (("DF", 0.9), ("F2F", 0.2), ("FS", 0.1), ("NT", 0.3))]
        + [("ffpp", "original", "000", 0, 0.25), ("cdf", "DF", "000_003", 1, 0.8)]
    )
    videos = video_scores(table)
    assert len(videos) == 6
    assert set(videos["score"]) == {0.9, 0.2, 0.1, 0.3, 0.25, 0.8}
    assert video_auc(table) == pytest.approx(3 / 5)
    merged = table.groupby("video")["score"].mean()
    assert merged["000_003"] > merged["000"]  # what the merged key would have made of it: AUC 1


def test_merging_by_name_alone_would_flatter():
    rng = np.random.default_rng(0)
    rows = []
    for video in range(40):
        rows += [("ffpp", "original", f"{video:03d}", 0, rng.normal(0, 1)) for _ in range(4)]
        for kind in range(4):
            level = rng.normal(0.8, 1)
            rows += [("ffpp", f"m{kind}", f"{video:03d}_x", 1, level) for _ in range(4)]
    table = frames(rows)
    flattering = table.groupby("video").agg(label=("label", "first"), score=("score", "mean"))
    assert sk.roc_auc_score(flattering["label"], flattering["score"]) > video_auc(table) + 0.05


def test_a_video_score_is_the_mean_of_its_frames():
    table = frames([("cdf", "fake", "a", 1, s) for s in (0.1, 0.2, 0.9)] + [("cdf", "original", "a", 0, 0.3)])
    videos = video_scores(table).set_index("manipulation")
    assert videos.loc["fake", "score"] == pytest.approx(0.4)
    assert videos.loc["fake", "n_frames"] == 3
    assert frame_auc(table) == pytest.approx(1 / 3)
    assert video_auc(table) == 1


def test_a_video_of_both_labels_is_refused():
    with pytest.raises(WorkbookError, match="cdf/fake/a"):
        video_scores(frames([("cdf", "fake", "a", 1, 0.1), ("cdf", "fake", "a", 0, 0.2)]))
