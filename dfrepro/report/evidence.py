"""What was measured, ready to be compared: one number a run, seed and test set, and what its people contribute to it.

Results are a tidy frame with columns run, seed, dataset, metric, value and, where a test set was altered, condition
(default "clean"). Scores, if given, are one row a video or a frame: run, seed, dataset, manipulation, video, label,
margin (or score, a probability), and condition, frame, identity and source where there are such. A metric that is not
among the results is computed from scores. Where only the mean over a video's frames was kept, its frame is VIDEO, and
metrics of single frames are not measured.

Both frames may have a column `generator` (0 where they have none): the draw of the stand-in that a seed's runs were
trained and tested on. A seed belongs to one draw. Test sets of two draws have nobody in common, whatever their names.

How far other people would have moved a number is found by leaving out those of the test set, a group at a time
(dfrepro.report.people), the same for every run, seed and condition: a difference between two runs is on the same
people. Several videos of one person agree with each other: left out singly they would promise too narrow an interval. A
fake and its real share a take, and what raises both their scores cancels in a ranking: left out singly they make the
interval too wide. On the stand-in the second is the larger.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from dfrepro.errors import WorkbookError
from dfrepro.evaluate import metrics
from dfrepro.report.effects import probit
from dfrepro.report.people import COLUMNS, groups
from dfrepro.report.schema import Operand, is_auc

KEYS = ["run", "seed", "dataset", "condition"]
RESULTS = ("run", "seed", "dataset", "metric", "value")
SCORES = ("run", "seed", "dataset", "manipulation", "video", "label")
VIDEO = -1  # in place of a frame's number
GENERATOR = "generator"
Leaf = tuple[str, int, str, str, str]  # run, seed, dataset, metric, condition


class Evidence:
    """Results and scores behind one question: what did this run give, and how far would other people move it?

    Parameters
    ----------
    results, scores : the frames described at the top of this module; either may be None.
    trained_on : the test set of the data that a run was trained on, where that is not FF++.
    networks : the run of the network behind a map, by the name under which the map is measured.
    supervisors : the run of the network behind the maps that a run trains on, where a network made them.

    Raises `WorkbookError` for a missing column, a measurement given twice, or a seed of two generators.
    """

    def __init__(
        self, results: pd.DataFrame | None, scores: pd.DataFrame | None = None, *,
        trained_on: Mapping[str, str] | None = None, networks: Mapping[str, str] | None = None,
        supervisors: Mapping[str, str] | None = None,
    ):  # fmt: skip
        self._trained_on, self._networks = dict(trained_on or {}), dict(networks or {})
        self._supervisors = dict(supervisors or {})
        self._generators = _generators(results, scores)
        self._points = _points(results)
        self._frames, self._videos, self._people = _scored(scores)
        self._seeds: dict[str, set[int]] = {}
        for key in (*self._points, *self._videos.rows):
            self._seeds.setdefault(key[0], set()).add(key[1])
        self._computed = lru_cache(maxsize=None)(self._compute)
        # what verdicts rest on: run, seed, test set and condition, and whether on single frames
        self.asked: dict[tuple[str, int, str, str], bool] = {}

    def own_set(self, run: str) -> str:
        """The test set of the data that the run was trained on."""
        return self._trained_on.get(run, "ffpp")

    def behind(self, run: str) -> tuple[str, ...]:
        """The runs whose networks `run` rests on: its own or its map's, and that of the maps that it learns from."""
        return tuple(name for name in (self._networks.get(run, run), self._supervisors.get(run, "")) if name)

    def seeds(self, run: str) -> list[int]:
        return sorted(self._seeds.get(run, ()))

    def generator(self, seed: int) -> int:
        """The draw of the stand-in that a seed belongs to."""
        return self._generators.get(seed, 0)

    def only(self, seeds: Iterable[int]) -> "Evidence":
        """The same evidence as if no other seeds had been run."""
        view, kept = copy.copy(self), set(seeds)
        view._seeds = {run: there & kept for run, there in self._seeds.items() if there & kept}
        return view

    def value(self, operand: Operand, seed: int, *, on_probit: bool = False) -> float | None:
        """The operand's number for one seed; None where a part of it was not measured; NaN where it was and is NaN.

        on_probit: of the probits of its AUCs.
        """
        joined = _joined(operand, lambda *at: self._point((operand.run, seed, *at)), on_probit)
        return None if joined is None else float(joined)

    def influences(self, operand: Operand, seed: int, *, on_probit: bool = False) -> dict[str, np.ndarray] | None:
        """By test set: how `value` changes when each group of its people is left out (C,); None where it has no scores.

        Undefined where the people of a test set form one group (`of_one_group`).
        """
        found = {}
        for base in dict.fromkeys(_base(_test(test, operand.metric)[0]) for test in operand.test):
            left = _joined(operand, lambda *at, base=base: self._left_out((operand.run, seed, *at), base), on_probit)
            full = _joined(operand, lambda *at: self._full((operand.run, seed, *at)), on_probit)
            if left is None or full is None:
                return None
            found[base] = left - full
        return found

    def of_one_group(self, operand: Operand) -> list[str]:
        """The operand's scored test sets whose people all form one group: how far others would move it is unknown."""
        sets = dict.fromkeys(_base(_test(test, operand.metric)[0]) for test in operand.test)
        scored = {(self.generator(seed), base) for run, seed, base, _ in self._videos.rows if run == operand.run}
        return [base for base in sets if any(self._people[at] == 1 for at in scored if at[1] == base)]

    def missing(self, operand: Operand, seeds: list[int]) -> str:
        """Why no seed gives this operand, in words; empty if one does."""
        if not self.seeds(operand.run):
            return operand.run
        return "" if any(self.value(operand, seed) is not None for seed in seeds) else str(operand)

    def _point(self, leaf: Leaf) -> float | None:
        run, seed, dataset, metric, condition = leaf
        named = metrics.named(metric)
        at = run, seed, _base(dataset), condition
        self.asked[at] = self.asked.get(at, False) or (named is not None and named[1])
        known = self._points.get(leaf)
        return known if known is not None else self._full(leaf)

    def _full(self, leaf: Leaf) -> float | None:
        computed = self._computed(*leaf)
        return None if computed is None else float(computed[0])

    def _left_out(self, leaf: Leaf, base: str) -> np.ndarray | float | None:
        """Without each group of the people of `base` (C,); of another test set, as it is."""
        if _base(leaf[2]) != base:
            return self._full(leaf)
        computed = self._computed(*leaf)
        return None if computed is None or len(computed) < 3 else computed[1:]

    def _compute(self, run: str, seed: int, dataset: str, metric: str, condition: str) -> np.ndarray | None:
        """The metric from scores (1 + C,): whole, and without each group of people."""
        base, named = _base(dataset), metrics.named(metric)
        if named is None:
            return None
        table = self._frames if named[1] else self._videos
        rows = table.rows.get((run, seed, base, condition))
        if rows is None:
            return None
        rows = rows[_inside(table, rows, dataset)]
        labels, margins = table.label[rows], table.margin[rows]
        weights = np.ones((1 + self._people[self.generator(seed), base], len(rows)))
        weights[1 + table.group[rows], np.arange(len(rows))] = 0
        constant = named[0] in metrics.RANKING and len(rows) and margins.min() == margins.max()
        if constant or np.isnan(margins).any():  # a detector that says one thing of everything ranks nothing: no .5
            return np.full(len(weights), np.nan)
        return metrics.METRICS[named[0]](labels, margins, weights)


@dataclass(frozen=True)
class _Table:
    """Columns of scored items (N,), and the rows of each run, seed, dataset and condition."""

    rows: dict[tuple, np.ndarray]
    label: np.ndarray
    margin: np.ndarray
    group: np.ndarray
    manipulation: np.ndarray

    @classmethod
    def of(cls, items: pd.DataFrame) -> "_Table":
        columns = (items[name].to_numpy() for name in ("margin", "group", "manipulation"))
        rows = items.reset_index(drop=True).groupby(KEYS, observed=True).indices
        return cls(rows, items["label"].to_numpy().astype(bool), *columns)


def _generators(*tables: pd.DataFrame | None) -> dict[int, int]:
    """The generator of each seed that has one said."""
    parts = [table[["seed", GENERATOR]] for table in tables if table is not None and GENERATOR in table]
    found: dict[int, int] = {}
    for part in parts:
        for seed, generator in part.drop_duplicates().itertuples(index=False):
            if found.setdefault(int(seed), int(generator)) != generator:
                said = f"seed {seed} belongs to generators {found[int(seed)]} and {generator}"
                raise WorkbookError(said, where="evidence", remedy="Give each draw of the stand-in seeds of its own")
    return found


def _scored(scores: pd.DataFrame | None) -> tuple[_Table, _Table, dict[tuple[int, str], int]]:
    """The single frames, the videos, and the number of groups of people in each generator's dataset."""
    if scores is None or not len(scores):
        empty = _Table({}, *[np.zeros(0)] * 4)
        return empty, empty, {}
    frame = _checked(scores, SCORES, "scores")
    frame = frame.assign(margin=metrics.margins(frame)).drop(columns="score", errors="ignore")
    frame = frame if GENERATOR in frame else frame.assign(**{GENERATOR: 0})
    frame = frame.astype(dict.fromkeys(("run", "dataset", "manipulation", "video", "condition"), "category"))
    _reject_twice(frame, KEYS + [name for name in ("manipulation", "video", "frame") if name in frame], "scores")
    known = [name for name in COLUMNS if name in frame]
    items = [GENERATOR, *metrics.KEY]
    videos = frame[[*items, *known]].drop_duplicates(items)
    videos = videos.astype(dict.fromkeys(metrics.KEY, str)).sort_values(items)
    sets = [GENERATOR, "dataset"]
    videos["group"] = np.concatenate([groups(part) for _, part in videos.groupby(sets)])
    people = {(int(at[0]), str(at[1])): int(part["group"].max()) + 1 for at, part in videos.groupby(sets)}
    group = videos.set_index(items)["group"]
    means = metrics.video_scores(frame, by=("run", "seed", "condition", GENERATOR))
    tables = [frame, means]
    if "frame" not in frame:
        tables[0] = frame.iloc[:0]
    elif (frame["frame"] == VIDEO).any():
        tables[0] = frame[frame["frame"] != VIDEO]
    return *[_Table.of(table.join(group, on=items)) for table in tables], people  # type: ignore[return-value]


def _points(results: pd.DataFrame | None) -> dict[tuple, float]:
    if results is None:
        return {}
    frame = _checked(results, RESULTS, "results")
    keys = ["run", "seed", "dataset", "metric", "condition"]
    _reject_twice(frame, keys, "results")
    return dict(zip(frame[keys].itertuples(index=False, name=None), frame["value"].astype(float)))


def _checked(frame: pd.DataFrame, columns: tuple[str, ...], what: str) -> pd.DataFrame:
    lacking = [name for name in columns if name not in frame]
    if lacking:
        raise WorkbookError(f"lacks the column {lacking[0]}", where=what, remedy=f"Needed: {', '.join(columns)}")
    return frame if "condition" in frame else frame.assign(condition="clean")


def _reject_twice(frame: pd.DataFrame, keys: list[str], what: str) -> None:
    again = frame[frame.duplicated(keys)]
    if len(again):
        raise WorkbookError(f"{', '.join(str(again.iloc[0][key]) for key in keys)} is given twice", where=what)


def _joined(operand: Operand, look: Callable[[str, str, str], Any], on_probit: bool) -> Any:
    """What `look` knows (a number, or several), averaged over tests and conditions, as a change if asked for."""

    def at(condition: str) -> Any:
        parts = []
        for test in operand.test:
            dataset, metric = _test(test, operand.metric)
            part = look(dataset, metric, condition)
            parts.append(probit(part) if on_probit and part is not None and is_auc(metric) else part)
        return None if any(part is None for part in parts) else sum(parts) / len(parts)

    altered = [at(condition) for condition in operand.condition]
    clean = at("clean") if operand.change else 0.0
    if clean is None or any(part is None for part in altered):
        return None
    mean = sum(altered) / len(altered)
    return operand.scale * ((mean - clean) / clean if operand.change == "relative" else mean - clean)


def _test(test: str, metric: str) -> tuple[str, str]:
    """Test set and metric of "diff:frame_auc", or of "diff" with the operand's own metric."""
    name, _, own = test.partition(":")
    return name, own or metric


def _base(dataset: str) -> str:
    return dataset.partition("/")[0]


def _inside(table: _Table, rows: np.ndarray, dataset: str) -> np.ndarray:
    """Which of the rows are of a "set/Method": the set's originals and that manipulation."""
    method = dataset.partition("/")[2]
    if not method:
        return np.ones(len(rows), bool)
    fits = {name: f"{name}/".startswith(f"{method}/") for name in set(table.manipulation[rows])}  # FS holds FS/DiFace
    return ~table.label[rows] | np.array([fits[name] for name in table.manipulation[rows]], bool)
