"""Bootstrap intervals over videos, and of paired differences over seeds and videos.

Frames of a video are no independent samples, so videos are resampled, within each data set and class (both sizes are
the test set's, not chance's). A difference between two arms is taken on the same resampled videos in both and, where
there are several paired seeds, over resampled seeds as well. Percentile intervals; `seed` decides every draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.metrics import KEY, Metric, Undefined, auc, ranked, video_scores, weighted_auc

CHUNK = 256  # resamples held in memory at a time


@dataclass(frozen=True)
class Interval:
    """A value with its interval at confidence `level`; `n_seeds` and `n_videos` say what it rests on."""

    value: float
    low: float
    high: float
    level: float
    n_seeds: int
    n_videos: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def interval(
    frames: pd.DataFrame, metric: Metric = auc, *, n: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval:
    """`metric` over the videos of `frames`, the mean over its data sets, with a bootstrap interval over videos.

    `frames`: columns dataset, manipulation, video, label, score. Raises `Undefined` where the metric is.
    """
    table = video_scores(frames)
    draws = _resampled([table], metric, n, seed)[:, 0]
    return _interval(_value(table, metric), draws, level, n_seeds=1, n_videos=len(table))


def paired_difference(
    ours: Sequence[pd.DataFrame],
    theirs: Sequence[pd.DataFrame],
    metric: Metric = auc,
    *,
    n: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """metric(ours) − metric(theirs): frame tables of paired seeds, `ours[i]` beside `theirs[i]`, of the same videos.

    The mean over seeds and data sets, with an interval over resampled seeds and videos. Raises WorkbookError when the
    videos differ.
    """
    if len(ours) != len(theirs) or not ours:
        raise WorkbookError(f"{len(ours)} and {len(theirs)} seeds; must be as many, and paired", where="difference")
    tables = [video_scores(frames) for frames in (*ours, *theirs)]
    for table in tables[1:]:
        if not table[[*KEY, "label"]].equals(tables[0][[*KEY, "label"]]):
            raise WorkbookError(
                "the arms were tested on different videos", where="difference", remedy="Score both again"
            )
    n_seeds = len(ours)
    values = np.array([_value(table, metric) for table in tables])
    draws = _resampled(tables, metric, n, seed)  # (n, 2 seeds)
    differences = draws[:, :n_seeds] - draws[:, n_seeds:]  # (n, seeds)
    seeds = np.random.default_rng([seed, 1]).integers(0, n_seeds, (n, n_seeds))
    means = np.take_along_axis(differences, seeds, axis=1).mean(1)
    value = float((values[:n_seeds] - values[n_seeds:]).mean())
    return _interval(value, means, level, n_seeds, len(tables[0]))


def _value(table: pd.DataFrame, metric: Metric) -> float:
    """The mean of `metric` over the data sets of a video table."""
    sets = table.groupby("dataset", observed=True)
    if not len(table):
        raise Undefined("there are no videos", where="bootstrap")
    return float(np.mean([metric(part["label"].to_numpy(), part["score"].to_numpy()) for _, part in sets]))


def _resampled(tables: Sequence[pd.DataFrame], metric: Metric, n: int, seed: int) -> np.ndarray:
    """(n, len(tables)): the value of each table on the same `n` resamples of its videos."""
    rng = np.random.default_rng([seed, 0])
    values = np.zeros((n, len(tables)))
    sets = [np.flatnonzero(tables[0]["dataset"] == name) for name in sorted(set(tables[0]["dataset"]))]
    for places in sets:
        labels = tables[0]["label"].to_numpy()[places]
        scores = [table["score"].to_numpy()[places] for table in tables]
        for chunk, picks in _picks(labels, n, rng):
            for column, values_of in enumerate(scores):
                values[chunk, column] += _metric_of(metric, labels, values_of, picks) / len(sets)
    return values


def _picks(labels: np.ndarray, n: int, rng: np.random.Generator) -> Iterator[tuple[slice, np.ndarray]]:
    """Chunks of (R, N) places, each row drawn with replacement within each class."""
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for start in range(0, n, CHUNK):
        rows = min(CHUNK, n - start)
        drawn = [places[rng.integers(0, len(places), (rows, len(places)))] for places in classes]
        yield slice(start, start + rows), np.concatenate(drawn, axis=1)


def _metric_of(metric: Metric, labels: np.ndarray, scores: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """(R,) values of `metric` on rows of `picks`. AUC, which is what tables are made of, for all rows at once."""
    if metric is auc:
        truth, values = ranked(labels, scores)
        counts = np.stack([np.bincount(row, minlength=len(labels)) for row in picks])  # (R, N)
        return weighted_auc(truth, values, counts)
    return np.array([metric(labels[row], scores[row]) for row in picks])


def _interval(value: float, draws: np.ndarray, level: float, n_seeds: int, n_videos: int) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level, n_seeds, n_videos)
