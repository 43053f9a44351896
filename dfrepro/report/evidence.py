"""What was measured, ready to be compared: one number a run, seed and test set, and its bootstrap over videos.

Results are a tidy frame with columns run, seed, dataset, metric, value and, where a test set was altered, condition
(default "clean"). Scores, if given, are one row a video or a frame: run, seed, dataset, manipulation, video, label,
score, and condition and frame where there are such. A metric that is not among the results is computed from scores.
Where only the mean over a video's frames was kept, its frame is VIDEO, and metrics of single frames are not measured.

The videos of a test set are drawn again with replacement within each manipulation, the same draw for every run, seed
and condition: a difference between two runs is then a difference on the same videos. Videos that share a source are
drawn independently, which makes the intervals of FF++-shaped sets a little too narrow.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.metrics import weighted_auc
from dfrepro.report.schema import Operand

RESULTS = ("run", "seed", "dataset", "metric", "value")
SCORES = ("run", "seed", "dataset", "manipulation", "video", "label", "score")
MOST_PAIRS = 2_000_000  # of items: 16 MB
VIDEO = -1  # in place of a frame's number
CHUNK = 256  # bootstrap draws at a time: bounds the memory of large test sets
Weighted = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def auc_of_draws(labels: np.ndarray, scores: np.ndarray, video: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """AUC for each row of `draws` (B, videos), where `video` (n,) is the column of each item: (B,).

    Pairs are compared once and counted for each pair of videos, so that a draw costs a product of two small matrices
    instead of a sort. Test sets with more than MOST_PAIRS pairs are sorted, which needs less memory.
    """
    sides = [np.flatnonzero(labels == label) for label in (1, 0)]
    if len(sides[0]) * len(sides[1]) > MOST_PAIRS:
        parts = [weighted_auc(labels, scores, draws[at : at + CHUNK][:, video]) for at in range(0, len(draws), CHUNK)]
        return np.concatenate(parts)
    sides = [side[np.argsort(video[side], kind="stable")] for side in sides]  # a video's items side by side
    positive, negative = (scores[side] for side in sides)
    wins = (positive[:, None] > negative) + (positive[:, None] == negative) / 2  # (n1, n0)
    found = [np.unique(video[side], return_index=True, return_counts=True) for side in sides]
    (fakes, first1, count1), (reals, first0, count0) = found
    if not (len(fakes) and len(reals)):
        return np.full(len(draws), np.nan)
    wins = np.add.reduceat(np.add.reduceat(wins, first1, axis=0), first0, axis=1)  # (fake videos, real videos)
    drawn1, drawn0 = draws[:, fakes], draws[:, reals]
    pairs = (drawn1 @ count1) * (drawn0 @ count0)
    return np.divide(((drawn1 @ wins) * drawn0).sum(axis=1), pairs, out=np.full(len(draws), np.nan), where=pairs > 0)


def weighted_accuracy(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of right decisions at the threshold .5, for each row of `weights` (B, n)."""
    return _mean((scores > 0.5) == labels.astype(bool), weights)


def weighted_log_loss(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean cross-entropy in nats, scores clipped to [1e-7, 1 − 1e-7]; for each row of `weights` (B, n)."""
    clipped = np.clip(scores, 1e-7, 1 - 1e-7)
    return _mean(-np.where(labels == 1, np.log(clipped), np.log1p(-clipped)), weights)


def weighted_eer(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Equal error rate of the linearly interpolated ROC for each row of `weights` (B, n); NaN where a class has none.

    Scores increase with P(fake). Chance is .5, and less is better: a claim would ask for a fall.
    """
    order = np.argsort(-scores, kind="stable")
    labels, weights = labels[order].astype(bool), weights[:, order].astype(float)
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # first of each group of equal scores
    rates = []
    for side in (np.where(labels, 0, weights), np.where(labels, weights, 0)):  # of reals, of fakes
        count = np.cumsum(np.add.reduceat(side, starts, axis=1), axis=1)  # (B, groups)
        with np.errstate(invalid="ignore", divide="ignore"):
            rates.append(np.pad(count / count[:, -1:], ((0, 0), (1, 0))))  # from (0, 0)
    alarms, hits = rates
    gap = alarms + hits - 1  # from −1 to 1: where it is 0, false positives are as frequent as misses
    after = np.maximum((gap >= 0).argmax(axis=1), 1)[:, None]
    g1, g0, a1, a0 = (np.take_along_axis(x, i, axis=1)[:, 0] for x in (gap, alarms) for i in (after, after - 1))
    return a0 - g0 / (g1 - g0) * (a1 - a0)


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights @ values.astype(float)) / weights.sum(axis=1)


# metric: (function, whether its items are frames)
METRICS: dict[str, tuple[Weighted, bool]] = {
    "video_auc": (weighted_auc, False),
    "accuracy": (weighted_accuracy, False),
    "log_loss": (weighted_log_loss, False),
    "frame_auc": (weighted_auc, True),
    "frame_accuracy": (weighted_accuracy, True),
    "frame_eer": (weighted_eer, True),
}


def of_videos(items: pd.DataFrame) -> pd.DataFrame:
    """The mean score of each video's frames, of one run, seed, test set and condition."""
    return items.groupby(["manipulation", "video", "label"])["score"].mean().reset_index()


def _of_frames(metric: str) -> bool:
    return metric in METRICS and METRICS[metric][1]


class Evidence:
    """Results and scores behind one question: what did this run give, and how far would other videos move it?

    Parameters
    ----------
    results, scores : the frames described at the top of this module; either may be None.
    n_boot : number of bootstrap draws.
    seed : of the draws; the same seed and data give the same intervals to the last bit.
    trained_on : the test set of the data that a run was trained on, where that is not FF++.

    Raises `WorkbookError` for a missing column or a measurement given twice.
    """

    def __init__(
        self, results: pd.DataFrame | None, scores: pd.DataFrame | None = None, *, n_boot: int = 2000, seed: int = 0,
        trained_on: Mapping[str, str] | None = None,
    ):  # fmt: skip
        self.n_boot, self.seed, self._trained_on = n_boot, seed, dict(trained_on or {})
        self._points = _points(results)
        self._scores = _scores(scores)
        self._videos = {} if scores is None else {name: _videos(group) for name, group in scores.groupby("dataset")}
        self._point = lru_cache(maxsize=None)(self._point_once)
        self._drawn = lru_cache(maxsize=None)(self._drawn_once)
        self._weights = lru_cache(maxsize=None)(self._weights_once)
        # what verdicts rest on: run, seed, test set and condition, and whether on single frames
        self.asked: dict[tuple[str, int, str, str], bool] = {}

    def own_set(self, run: str) -> str:
        """The test set of the data that the run was trained on."""
        return self._trained_on.get(run, "ffpp")

    def seeds(self, run: str) -> list[int]:
        known = {key[1] for key in self._points if key[0] == run} | {key[1] for key in self._scores if key[0] == run}
        return sorted(known)

    def value(self, operand: Operand, seed: int) -> float | None:
        """The operand's number for one seed; None where a part of it was not measured; NaN where it was and is NaN."""
        joined = _joined(operand, lambda *at: self._point(operand.run, seed, *at))
        return None if joined is None else float(joined)

    def draws(self, operand: Operand, seed: int) -> np.ndarray | None:
        """(n_boot,) values of the operand on drawn videos, around `value`; None where there are no scores for it."""
        return _joined(operand, lambda *at: self._drawn(operand.run, seed, *at))

    def missing(self, operand: Operand, seeds: list[int]) -> str:
        """Why no seed gives this operand, in words; empty if one does."""
        if not self.seeds(operand.run):
            return operand.run
        return "" if any(self.value(operand, seed) is not None for seed in seeds) else str(operand)

    def _point_once(self, run: str, seed: int, dataset: str, metric: str, condition: str) -> float | None:
        at = run, seed, _base(dataset), condition
        self.asked[at] = self.asked.get(at, False) or _of_frames(metric)
        known = self._points.get((run, seed, dataset, metric, condition))
        if known is not None:
            return known
        computed = self._compute(run, seed, dataset, metric, condition, None)
        return None if computed is None else float(computed[0])

    def _drawn_once(self, run: str, seed: int, dataset: str, metric: str, condition: str) -> np.ndarray | None:
        """Draws around the point that is reported, so that a rounded or otherwise averaged result stays the centre."""
        weights = self._weights(_base(dataset))
        drawn = None if weights is None else self._compute(run, seed, dataset, metric, condition, weights)
        full = self._compute(run, seed, dataset, metric, condition, None)
        return (
            None if drawn is None or full is None else drawn - full + self._point(run, seed, dataset, metric, condition)
        )

    def _compute(
        self, run: str, seed: int, dataset: str, metric: str, condition: str, draws: np.ndarray | None
    ) -> np.ndarray | None:
        """The metric from scores: for the videos as they are (1,), or for each row of `draws` (n_boot,)."""
        items = self._scores.get((run, seed, _base(dataset), condition))
        if items is None or metric not in METRICS:
            return None
        function, frames = METRICS[metric]
        if frames and ("frame" not in items or (items["frame"] == VIDEO).any()):
            return None
        items = _subset(items, dataset)
        if not frames:
            items = of_videos(items)
        labels, scores = items["label"].to_numpy(), items["score"].to_numpy(dtype=float)
        constant = function is weighted_auc and len(scores) and scores.min() == scores.max()
        if constant or np.isnan(scores).any():  # a detector that says one thing of everything ranks nothing: no .5
            return np.full(1 if draws is None else len(draws), np.nan)
        if draws is None:
            return function(labels, scores, np.ones((1, len(items))))
        column = self._videos[_base(dataset)].get_indexer(pd.MultiIndex.from_frame(items[["manipulation", "video"]]))
        if function is weighted_auc:
            return auc_of_draws(labels, scores, column, draws)
        return function(labels, scores, draws[:, column])

    def _weights_once(self, dataset: str) -> np.ndarray | None:
        """(n_boot, videos): how often each video is drawn; as many of every manipulation as there are."""
        videos = self._videos.get(dataset)
        if videos is None:
            return None
        rng = np.random.default_rng([self.seed, *dataset.encode()])
        manipulation = videos.get_level_values("manipulation")
        weights = np.zeros((self.n_boot, len(videos)), np.float32)
        for name in manipulation.unique():
            here = np.flatnonzero(manipulation == name)
            weights[:, here] = rng.multinomial(len(here), np.full(len(here), 1 / len(here)), size=self.n_boot)
        return weights


def _points(results: pd.DataFrame | None) -> dict[tuple, float]:
    if results is None:
        return {}
    frame = _checked(results, RESULTS, "results")
    keys = ["run", "seed", "dataset", "metric", "condition"]
    _reject_twice(frame, keys, "results")
    return dict(zip(frame[keys].itertuples(index=False, name=None), frame["value"].astype(float)))


def _scores(scores: pd.DataFrame | None) -> dict[tuple, pd.DataFrame]:
    if scores is None:
        return {}
    frame = _checked(scores, SCORES, "scores")
    keys = ["run", "seed", "dataset", "condition"]
    _reject_twice(frame, keys + [name for name in ("manipulation", "video", "frame") if name in frame], "scores")
    return {tuple(key): group for key, group in frame.groupby(keys)}  # type: ignore[arg-type]


def _checked(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> pd.DataFrame:
    lacking = [name for name in columns if name not in frame]
    if lacking:
        raise WorkbookError(f"lacks the column {lacking[0]}", where=what, remedy=f"Needed: {', '.join(columns)}")
    return frame if "condition" in frame else frame.assign(condition="clean")


def _reject_twice(frame: pd.DataFrame, keys: list[str], what: str) -> None:
    again = frame[frame.duplicated(keys)]
    if len(again):
        raise WorkbookError(f"{', '.join(str(again.iloc[0][key]) for key in keys)} is given twice", where=what)


def _videos(scores: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(
        scores[["manipulation", "video"]].drop_duplicates().sort_values(["manipulation", "video"])
    )


def _joined(operand: Operand, look: Callable[[str, str, str], Any]) -> Any:
    """What `look` knows (a number, or draws of it), averaged over tests and conditions, as a change if asked for."""

    def at(condition: str) -> Any:
        parts = [look(*_test(test, operand.metric), condition) for test in operand.test]
        return None if any(part is None for part in parts) else np.mean(parts, axis=0)

    altered = [at(condition) for condition in operand.condition]
    clean = at("clean") if operand.change else 0.0
    if clean is None or any(part is None for part in altered):
        return None
    mean = np.mean(altered, axis=0)
    return operand.scale * ((mean - clean) / clean if operand.change == "relative" else mean - clean)


def _test(test: str, metric: str) -> tuple[str, str]:
    """Test set and metric of "diff:frame_auc", or of "diff" with the operand's own metric."""
    name, _, own = test.partition(":")
    return name, own or metric


def _base(dataset: str) -> str:
    return dataset.partition("/")[0]


def _subset(items: pd.DataFrame, dataset: str) -> pd.DataFrame:
    manipulation = dataset.partition("/")[2]
    if not manipulation:
        return items
    inside = (items["manipulation"] + "/").str.startswith(manipulation + "/")  # "diff/FS" holds FS/DiffFace, FS/DCFace
    return items[items["label"].eq(0) | inside]
