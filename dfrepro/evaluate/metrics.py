"""Metrics of a detector, over frames or over videos. Label 1 is fake, a score is P(fake).

The score of a video is the mean of its frames', and a video is (dataset, manipulation, video): FF++ calls four
different fakes 000_003, and keyed by folder name alone they would be averaged into one. A metric that is not defined
(no scores, one class, one and the same score everywhere) is an error that says so, or in a summary NaN with the reason,
and never a chance value in silence.
"""

from collections.abc import Callable, Sequence
from math import nan

import numpy as np
import pandas as pd

from dfrepro.errors import WorkbookError

KEY = ["dataset", "manipulation", "video"]
Metric = Callable[[np.ndarray, np.ndarray], float]  # (labels (N,), scores (N,)) -> value


class Undefined(WorkbookError):
    """A metric that has no value on these scores."""


def checked(labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels as (N,) bool and scores as (N,) float64; raises `Undefined` when there are none or they are no scores."""
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise Undefined(f"{truth.shape} labels and {values.shape} scores; must be (N,) both", where="metric")
    if not len(values):
        raise Undefined("there are no scores", where="metric", remedy="The set is empty: extract its faces")
    if not np.isin(truth, (0, 1)).all():
        raise Undefined(f"labels are {np.unique(truth)[:4]}; must be 0 (real) or 1 (fake)", where="metric")
    if not np.isfinite(values).all():
        raise Undefined(f"{(~np.isfinite(values)).sum()} scores are not finite", where="metric")
    return truth.astype(bool), values


def ranked(labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`checked`, for metrics that rank: both classes must be there, and more than one score."""
    truth, values = checked(labels, scores)
    if truth.all() or not truth.any():
        raise Undefined(f"all {len(truth)} labels are {int(truth[0])}", where="metric", remedy="It needs both classes")
    if values.min() == values.max():
        raise Undefined(
            f"all {len(values)} scores are {values[0]:g}", where="metric", remedy="The detector is constant"
        )
    return truth, values


def auc(labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray) -> float:
    """Area under the ROC curve: the share of (fake, real) pairs ranked rightly, ties counting one half."""
    truth, values = ranked(labels, scores)
    return float(weighted_auc(truth, values, np.ones((1, len(values))))[0])


def weighted_auc(truth: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUC under each row of `weights` (R, N) on the samples, (R,): a bootstrap is a matrix of counts.

    NaN where a row leaves a class without weight. Unlike `auc` it takes equal scores as ties.
    """
    order = np.argsort(values, kind="stable")
    truth, weights = truth[order].astype(bool), weights[:, order].astype(float)
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])  # of each run of equal scores
    fakes, reals = (np.add.reduceat(weights * side, starts, axis=1) for side in (truth, ~truth))  # (R, runs) each
    below = np.cumsum(reals, axis=1) - reals / 2
    pairs = fakes.sum(axis=1) * reals.sum(axis=1)
    return np.divide((fakes * below).sum(axis=1), pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)


def roc(truth: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, from (0, 0) to (1, 1), one point a distinct score."""
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(values[order]) < 0, True])
    hits, alarms = np.cumsum(truth[order])[ends], np.cumsum(~truth[order])[ends]
    return np.r_[0, alarms / alarms[-1]], np.r_[0, hits / hits[-1]]


def eer(labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray) -> float:
    """Equal error rate: where the linearly interpolated ROC curve meets FPR = 1 − TPR."""
    false_positive, true_positive = roc(*ranked(labels, scores))
    gap = false_positive - (1 - true_positive)  # rises from −1 to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false_positive[after - 1] + share * (false_positive[after] - false_positive[after - 1]))


def average_precision(labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray) -> float:
    """Σ (R_n − R_{n−1}) P_n over the distinct scores, without interpolation."""
    truth, values = ranked(labels, scores)
    order = np.argsort(-values, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(values[order]) < 0, True])
    hits = np.cumsum(truth[order])[ends]
    return float(np.sum(np.diff(np.r_[0, hits]) / hits[-1] * hits / (ends + 1)))


def accuracy(labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray, threshold: float = 0.5) -> float:
    """The share of samples on their side of `threshold`; a score at the threshold is a fake's."""
    truth, values = checked(labels, scores)
    return float(np.mean((values >= threshold) == truth))


def log_loss(labels: Sequence[int] | np.ndarray, scores: Sequence[float] | np.ndarray) -> float:
    """Mean negative log-likelihood in nats; scores must be probabilities, and are kept off 0 and 1 by 1e-7."""
    truth, values = checked(labels, scores)
    if values.min() < 0 or values.max() > 1:
        raise Undefined(f"scores from {values.min():g} to {values.max():g} are no probabilities", where="log-loss")
    values = values.clip(1e-7, 1 - 1e-7)
    return float(-np.mean(np.log(np.where(truth, values, 1 - values))))


METRICS: dict[str, Metric] = {
    "auc": auc,
    "eer": eer,
    "ap": average_precision,
    "accuracy": accuracy,
    "log_loss": log_loss,
}


def video_scores(frames: pd.DataFrame) -> pd.DataFrame:
    """One row a video: dataset, manipulation, video, label, score (the mean of its frames') and n_frames.

    `frames`: columns dataset, manipulation, video, label, score. Raises WorkbookError when a video has two labels.
    """
    videos = frames.groupby(KEY, sort=True, observed=True)
    labels = videos["label"].agg(["min", "max"])
    if (torn := labels.index[labels["min"] != labels["max"]]).size:
        raise WorkbookError(f"frames of both labels ({len(torn)} videos)", where="/".join(map(str, torn[0])))
    table = videos.agg(label=("label", "first"), score=("score", "mean"), n_frames=("score", "size"))
    return table.reset_index()


def frame_auc(frames: pd.DataFrame) -> float:
    """AUC over frames."""
    return auc(frames["label"].to_numpy(), frames["score"].to_numpy())


def video_auc(frames: pd.DataFrame) -> float:
    """AUC over videos; see `video_scores`."""
    return frame_auc(video_scores(frames))


def summary(frames: pd.DataFrame) -> tuple[dict[str, float], dict[str, str]]:
    """Every metric over frames ("frame_auc", ...) and over videos ("video_auc", ...), and the reasons of those that are
    NaN, by the same names."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for level, table in (("frame", frames), ("video", video_scores(frames))):
        for name, metric in METRICS.items():
            try:
                values[f"{level}_{name}"] = metric(table["label"].to_numpy(), table["score"].to_numpy())
            except Undefined as error:
                values[f"{level}_{name}"], reasons[f"{level}_{name}"] = nan, str(error)
    return values, reasons
