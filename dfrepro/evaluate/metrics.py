"""Metrics of a detector, over frames or over videos: the one definition of each. Label 1 is fake.

What is ranked is the margin, the logit of P(fake): from −∞ to ∞, above 0 a decision for fake. A sigmoid is 1 for every
margin beyond 37, and ranks nothing there. A table without a column `margin` has its `score`, a probability.

The margin of a video is the mean of its frames', and a video is (dataset, manipulation, video): FF++ calls four
different fakes 000_003, and keyed by folder name alone they would be averaged into one. A metric that is not defined
(no scores, one class, one and the same score everywhere) is an error that says so, or in a summary NaN with the reason,
and never a chance value in silence.

Every metric takes labels (N,), margins (N,) and weights (R, N), and gives (R,) values: sets of people left out, or
drawn, are rows of weights. NaN where a row leaves a class that is needed without weight. Equal margins are ties.
"""

from collections.abc import Callable, Sequence
from math import nan

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from dfrepro.errors import WorkbookError

KEY = ["dataset", "manipulation", "video"]
Array = np.ndarray
Metric = Callable[[Array, Array, Array], Array]  # labels (N,) bool, margins (N,), weights (R, N) -> (R,)
DIGITS = 10  # of a video's mean: sums in another order must stay ties
CERTAIN = 16.118095550958317  # logit of 1 − 1e-7: a log-loss is bounded by that of this margin
BINS = 15  # of P(fake), equally wide: what is judged as calibration


class Undefined(WorkbookError):
    """A metric that has no value on these scores."""


def auc(labels: Array, margins: Array, weights: Array) -> Array:
    """Area under the ROC curve: the share of (fake, real) pairs ranked rightly, ties counting one half."""
    fakes, reals = _grouped(labels, margins, weights)
    below = np.cumsum(reals, axis=1) - reals / 2
    pairs = fakes.sum(axis=1) * reals.sum(axis=1)
    return _ratio((fakes * below).sum(axis=1), pairs)


def eer(labels: Array, margins: Array, weights: Array) -> Array:
    """Equal error rate: where the linearly interpolated ROC curve meets false positive rate = 1 − true positive rate.

    Chance is .5, and less is better.
    """
    fakes, reals = _grouped(labels, -margins, weights)  # from the surest fake on
    alarms, hits = (
        np.pad(_ratio(np.cumsum(side, axis=1), side.sum(axis=1, keepdims=True)), ((0, 0), (1, 0)))
        for side in (reals, fakes)
    )
    gap = alarms + hits - 1  # from −1 to 1
    after = np.maximum((gap >= 0).argmax(axis=1), 1)[:, None]
    g1, g0, a1, a0 = (np.take_along_axis(x, i, axis=1)[:, 0] for x in (gap, alarms) for i in (after, after - 1))
    return np.asarray(a0 - _ratio(g0, g1 - g0) * (a1 - a0))


def average_precision(labels: Array, margins: Array, weights: Array) -> Array:
    """Σ (R_n − R_{n−1}) P_n over the distinct scores, without interpolation."""
    fakes, reals = _grouped(labels, -margins, weights)
    hits, alarms = np.cumsum(fakes, axis=1), np.cumsum(reals, axis=1)
    precision = np.divide(hits, hits + alarms, out=np.zeros_like(hits), where=hits + alarms > 0)
    return np.where(alarms[:, -1] > 0, _ratio((fakes * precision).sum(axis=1), hits[:, -1]), np.nan)


def accuracy(labels: Array, margins: Array, weights: Array) -> Array:
    """The share of right decisions at P(fake) > .5; exactly .5 is a decision for real."""
    return _ratio(weights @ ((margins > 0) == labels).astype(float), weights.sum(axis=1))


def balanced_accuracy(labels: Array, margins: Array, weights: Array) -> Array:
    """The mean of both classes' accuracy at P(fake) > .5: a detector that calls everything fake has .5 on any set."""
    sides = [accuracy(labels[side], margins[side], weights[:, side]) for side in (labels, ~labels)]
    return np.asarray(np.mean(sides, axis=0))


def log_loss(labels: Array, margins: Array, weights: Array) -> Array:
    """Mean negative log-likelihood in nats, with P(fake) kept off 0 and 1 by 1e-7."""
    wrong = np.where(labels, -margins, margins).clip(-CERTAIN, CERTAIN)
    return _ratio(weights @ np.logaddexp(0, wrong), weights.sum(axis=1))


def hits_at(rate: float) -> Metric:
    """The share of fakes found at the lowest threshold that calls at most a share `rate` of the reals fake.

    The threshold is of the very items that are judged, which nobody has in use: `dfrepro.report.operating` carries one
    over from validation. With fewer than 1 / rate reals it lets none pass. Equal margins pass together.
    """

    def hits(labels: Array, margins: Array, weights: Array) -> Array:
        found, alarms = (
            _ratio(np.cumsum(side, axis=1), side.sum(axis=1, keepdims=True))
            for side in _grouped(labels, -margins, weights)
        )
        best = np.where(alarms <= rate + 1e-12, found, 0).max(axis=1)
        return np.where(np.isnan(alarms[:, -1] + found[:, -1]), np.nan, best)

    return hits


def calibration_error(labels: Array, margins: Array, weights: Array) -> Array:
    """Expected calibration error: in `BINS` equally wide bins of P(fake), the mean of |mean P(fake) − share of fakes|,
    each bin counting as many as are in it (Guo et al., ICML 2017, Eq. 3; of P(fake), not of the surer class)."""
    chances = expit(margins)
    bins = np.minimum((chances * BINS).astype(int), BINS - 1)
    gaps = np.zeros((len(margins), BINS))
    gaps[np.arange(len(margins)), bins] = chances - labels
    return _ratio(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


METRICS: dict[str, Metric] = {
    "auc": auc,
    "eer": eer,
    "ap": average_precision,
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "log_loss": log_loss,
    "tpr_at_1": hits_at(0.01),
    "tpr_at_5": hits_at(0.05),
    "calibration_error": calibration_error,
}
RANKING = ("auc", "eer", "ap", "tpr_at_1", "tpr_at_5")  # need both classes and more than one score


def named(name: str) -> tuple[str, bool] | None:
    """The metric and whether its items are frames, of "frame_auc", "video_auc" or, of videos too, "accuracy"."""
    level, _, rest = name.partition("_")
    metric = rest if level in ("frame", "video") else name
    return (metric, level == "frame") if metric in METRICS else None


def value(name: str, labels: Sequence[int] | Array, margins: Sequence[float] | Array) -> float:
    """One metric of METRICS on labels and margins (N,). Raises `Undefined` where it has no value."""
    truth, margins = checked(labels, margins)
    if name in (*RANKING, "balanced_accuracy") and (truth.all() or not truth.any()):
        raise Undefined(f"all {len(truth)} labels are {int(truth[0])}", where="metric", remedy="It needs both classes")
    if name in RANKING and margins.min() == margins.max():
        raise Undefined(
            f"all {len(margins)} scores are {margins[0]:g}", where="metric", remedy="The detector is constant"
        )
    return float(METRICS[name](truth, margins, np.ones((1, len(truth))))[0])


def checked(labels: Sequence[int] | Array, margins: Sequence[float] | Array) -> tuple[Array, Array]:
    """Labels (N,) bool and margins (N,) float64; raises `Undefined` when there are none or they are no margins."""
    truth, values = np.asarray(labels), np.asarray(margins, np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise Undefined(f"{truth.shape} labels and {values.shape} scores; must be (N,) both", where="metric")
    if not len(values):
        raise Undefined("there are no scores", where="metric", remedy="The set is empty: extract its faces")
    if not np.isin(truth, (0, 1)).all():
        raise Undefined(f"labels are {np.unique(truth)[:4]}; must be 0 (real) or 1 (fake)", where="metric")
    if not np.isfinite(values).all():
        raise Undefined(f"{(~np.isfinite(values)).sum()} scores are not finite", where="metric")
    return truth.astype(bool), values


def margins(table: pd.DataFrame) -> Array:
    """The margins (N,) of a table of scores: its column `margin`, else the logits of `score`, off 0 and 1 by 1e-16."""
    if "margin" in table:
        return table["margin"].to_numpy(np.float64)
    return np.asarray(logit(table["score"].to_numpy(np.float64).clip(1e-16, 1 - 1.2e-16)))


def video_scores(frames: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """One row a video: dataset, manipulation, video, label, the means of its frames' margin and score, and n_frames.

    `frames`: columns dataset, manipulation, video, label, and margin or score. by: columns that tell several scorings
    apart. Raises WorkbookError when a video has two labels.
    """
    frames = frames.assign(margin=margins(frames))
    keys = [*by, *KEY]
    videos = frames.groupby(keys, sort=True, observed=True)
    labels = videos["label"].agg(["min", "max"])
    if (torn := labels.index[labels["min"] != labels["max"]]).size:
        raise WorkbookError(f"frames of both labels ({len(torn)} videos)", where="/".join(map(str, torn[0][len(by) :])))
    kept = [name for name in ("margin", "score") if name in frames]
    table = videos.agg(label=("label", "first"), n_frames=("label", "size"), **{name: (name, "mean") for name in kept})
    return table.assign(margin=table["margin"].round(DIGITS)).reset_index()


def frame_auc(frames: pd.DataFrame) -> float:
    """AUC over frames."""
    return value("auc", frames["label"].to_numpy(), margins(frames))


def video_auc(frames: pd.DataFrame) -> float:
    """AUC over videos; see `video_scores`."""
    return frame_auc(video_scores(frames))


def summary(frames: pd.DataFrame) -> tuple[dict[str, float], dict[str, str]]:
    """Every metric over frames ("frame_auc", ...) and over videos ("video_auc", ...), and the reasons of those that are
    NaN, by the same names."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for level, table in (("frame", frames), ("video", video_scores(frames))):
        for name in METRICS:
            try:
                values[f"{level}_{name}"] = value(name, table["label"].to_numpy(), margins(table))
            except Undefined as error:
                values[f"{level}_{name}"], reasons[f"{level}_{name}"] = nan, str(error)
    return values, reasons


def _grouped(labels: Array, margins: Array, weights: Array) -> tuple[Array, Array]:
    """The weights of the fakes and of the reals (R, groups), one group a distinct margin, in rising order."""
    order = np.argsort(margins, kind="stable")
    labels, weights = labels[order], weights[:, order].astype(float)
    starts = np.flatnonzero(np.r_[True, np.diff(margins[order]) > 0])
    fakes, reals = (np.add.reduceat(weights * side, starts, axis=1) for side in (labels, ~labels))
    return fakes, reals


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full(np.broadcast(part, whole).shape, np.nan), where=whole != 0)
