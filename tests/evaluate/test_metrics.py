"""Metrics against scikit-learn and brute force, and the cases in which there is none."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.metrics import (
    METRICS,
    Undefined,
    accuracy,
    auc,
    average_precision,
    eer,
    frame_auc,
    log_loss,
    summary,
    video_auc,
    video_scores,
    weighted_auc,
)


def sample(seed: int, n: int = 60, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    scores = (rng.normal(labels * 0.8, 1) / 8 + 0.5).clip(0.01, 0.99)
    return labels, scores.round(1) if ties else scores


def frames(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["dataset", "manipulation", "video", "label", "score"])


CASES = [(seed, ties) for seed in range(5) for ties in (False, True)]


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_metrics_are_scikit_learns(seed, ties):
    labels, scores = sample(seed, ties=ties)
    assert auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(labels, scores) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)
    assert log_loss(labels, scores) == pytest.approx(sk.log_loss(labels, scores), abs=1e-12)
    assert accuracy(labels, scores) == pytest.approx(sk.accuracy_score(labels, scores >= 0.5), abs=1e-12)


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_auc_is_the_share_of_pairs_ranked_rightly(seed, ties):
    labels, scores = sample(seed, n=25, ties=ties)
    pairs = [(f > r) + (f == r) / 2 for f in scores[labels == 1] for r in scores[labels == 0]]
    assert auc(labels, scores) == pytest.approx(np.mean(pairs), abs=1e-12)


@pytest.mark.parametrize(("seed", "ties"), CASES)
def test_eer_is_where_the_roc_meets_the_antidiagonal(seed, ties):
    labels, scores = sample(seed, ties=ties)
    false_positive, true_positive, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    near = eer(labels, scores)
    # the miss rate there is the rate itself; where the curve is vertical, it passes it
    left = np.interp(near - 1e-9, false_positive, true_positive)
    right = np.interp(near + 1e-9, false_positive, true_positive)
    assert left - 1e-6 <= 1 - near <= right + 1e-6


def test_eer_by_hand():
    # thresholds give (FPR, TPR) = (0, 0), (0, .5), (.5, .5), (.5, 1), (1, 1): the diagonal is met at FPR .5
    assert eer([1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6]) == pytest.approx(0.5)
    assert eer([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]) == 0
    assert eer([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1]) == 1
    # three reals, two fakes: between (1/3, 1/2) and (1/3, 1) the curve is vertical, miss rate .5 -> 0 crosses 1/3
    assert eer([1, 0, 1, 0, 0], [0.9, 0.8, 0.7, 0.6, 0.5]) == pytest.approx(1 / 3)
    # one tie of a real and a fake in the middle: from (0, .5) to (.5, 1), met at FPR .25
    assert eer([1, 1, 0, 0], [0.9, 0.5, 0.5, 0.1]) == pytest.approx(0.25)


def test_accuracy_does_not_care_for_order():
    labels, scores = sample(0)
    order = np.random.default_rng(1).permutation(len(labels))
    assert accuracy(labels[order], scores[order]) == accuracy(labels, scores)
    assert accuracy([1, 0], [0.5, 0.4999]) == 1


def test_log_loss_stays_finite_at_certainty():
    assert math.isfinite(log_loss([1, 0], [0.0, 1.0]))
    assert log_loss([1, 0], [1.0, 0.0]) == pytest.approx(0, abs=1e-6)


def test_counts_as_weights_are_copies_of_the_sample():
    labels, scores = sample(3, ties=True)
    counts = np.random.default_rng(0).integers(0, 4, (6, len(labels)))
    expected = [sk.roc_auc_score(np.repeat(labels, row), np.repeat(scores, row)) for row in counts]
    np.testing.assert_allclose(weighted_auc(labels.astype(bool), scores, counts), expected, atol=1e-12)


# --- what has no value ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["auc", "eer", "ap"])
@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [([], [], "no scores"), ([1, 1], [0.2, 0.3], "all 2 labels are 1"), ([0, 1], [0.5, 0.5], "all 2 scores are 0.5")],
)
def test_ranking_without_both_classes_or_with_one_score_is_an_error(metric, labels, scores, reason):
    with pytest.raises(Undefined, match=reason):
        METRICS[metric](labels, scores)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("labels", "scores"),
    [([], []), ([0, 1], [0.1, math.nan]), ([0, 1], [0.1, math.inf]), ([0, 2], [0.1, 0.2]), ([0], [0, 1])],
)
def test_what_are_no_labels_or_no_scores_is_an_error(metric, labels, scores):
    with pytest.raises(Undefined):
        METRICS[metric](labels, scores)


def test_log_loss_refuses_what_is_no_probability():
    with pytest.raises(Undefined, match="probabilities"):
        log_loss([0, 1], [-1.0, 3.0])


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
