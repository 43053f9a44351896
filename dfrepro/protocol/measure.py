"""A run's metric on test sets under protocols, with intervals over people; what protocols do to it; what is near.

What is compared is `Evidence`, in which a protocol is what a run is elsewhere: the same intervals, and differences
between protocols on the same people.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from dfrepro.data.dataset import select
from dfrepro.data.manifest import KEY, FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import metrics, scores
from dfrepro.params import Params
from dfrepro.protocol.declared import OURS, Protocol
from dfrepro.protocol.people import by_person
from dfrepro.protocol.scoring import Scorer
from dfrepro.protocol.views import View
from dfrepro.report.contrast import contrast, level
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import VIDEO, Evidence
from dfrepro.report.schema import Cell, Operand

MERGED = "merged"
COLUMNS = ["manipulation", "video", "frame", "label", "identity", "source", "margin"]
SEVERAL = ["person", "side", "quality"]  # of who is in view: number, square in pixels, the detector's score


class Measured(NamedTuple):
    """`items`: one row a video (or frame) that a metric is over: run (the protocol's name), seed, dataset (as it is
    declared) and `COLUMNS`. `scored`: how many faces passed the network for it. `several`: of sets in which a protocol
    looked at everyone, in how many videos there are several people, and of how many."""

    items: pd.DataFrame
    protocols: Mapping[str, Protocol]
    scored: int
    several: Mapping[str, tuple[int, int]] = MappingProxyType({})

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(self.items["dataset"]))

    @property
    def is_one_seed(self) -> bool:
        """Whether no protocol had a checkpoint to choose."""
        return bool(self.items["seed"].nunique() == 1)

    @property
    def evidence(self) -> Evidence:
        return Evidence(None, self.items)

    def operand(self, name: str, datasets: Sequence[str]) -> Operand:
        """The protocol's metric on sets, averaged."""
        protocol = self.protocols[name]
        return Operand(run=name, test=tuple(datasets), metric=f"{protocol.level}_{protocol.metric}")


def measure(
    p: Params, run: str, protocols: Mapping[str, Protocol], datasets: Sequence[str], seeds: Sequence[int] | None = None
) -> Measured:
    """Score the faces of `datasets` with a trained run as each protocol says; nothing is trained.

    seeds: those of params.yaml that are trained, unless given. Raises WorkbookError where none is.
    """
    from dfrepro.train import checkpoint

    known = p.seeds[:1] if run in p.imports else p.seeds  # an import has one set of weights
    scorers = [Scorer(p, run, seed) for seed in (known if seeds is None else seeds)]
    scorers = [scorer for scorer in scorers if (scorer.trained / checkpoint.META).is_file()]
    if not scorers:
        remedy = f"`dvc repro evaluate@{run}-0`, or import its weights"
        raise WorkbookError(f"{run} is not trained at scale {p.scale}", where="protocol", remedy=remedy)
    parts = []
    for dataset in datasets:
        for name, protocol in protocols.items():
            tables = {scorer.seed: items(_faces(scorer, dataset, protocol), protocol) for scorer in scorers}
            taken = _checkpoints(scorers, tables, protocol)
            parts += [tables[of].assign(run=name, seed=seed, dataset=dataset) for seed, of in taken.items()]
    found = pd.concat(parts, ignore_index=True)
    looking = [protocol for protocol in protocols.values() if protocol.face != "tracked"][:1]
    several = {name: _several(scorers[0].people(name, each.tests)) for each in looking for name in datasets}
    return Measured(found, dict(protocols), sum(scorer.scored for scorer in scorers), several)


def _several(people: FaceStore) -> tuple[int, int]:
    """In how many videos of an `everyone` there are several people, and of how many."""
    numbers = by_person(people.manifest).groupby(KEY)["person"].max()
    return int((numbers > 1).sum()), len(numbers)


def _faces(scorer: Scorer, dataset: str, protocol: Protocol) -> pd.DataFrame:
    """The faces that a protocol scores of a set, with their margins; DF40's reals are another set's."""
    found = _own_faces(scorer, dataset, protocol)
    if reals := scorer.p.datasets[dataset].reals:
        others = _own_faces(scorer, reals, protocol)
        found = pd.concat([found[found["label"] == 1], others[others["label"] == 0]], ignore_index=True)
    return found


def _own_faces(scorer: Scorer, dataset: str, protocol: Protocol) -> pd.DataFrame:
    view = View.of(protocol)
    store = scorer.store(dataset, view, protocol.tests)
    if protocol.face == "tracked":
        rows = chosen(store.manifest, protocol)
        return _table(store.manifest.iloc[rows], scorer.margins(dataset, store, view, rows))
    people = scorer.people(dataset, protocol.tests)
    manifest = by_person(people.manifest)
    rows = chosen(manifest, protocol)
    faces = manifest.iloc[rows]
    at = _frames(store.manifest).get_indexer(_frames(faces))
    is_stored = (at >= 0) & (faces["person"] == 1).to_numpy()  # the followed one's: other protocols share their scores
    margins = np.empty(len(rows))
    margins[is_stored] = scorer.margins(dataset, store, view, at[is_stored])
    margins[~is_stored] = scorer.margins(dataset, people, view, rows[~is_stored])
    return taken(_table(faces, margins), protocol)


def _table(faces: pd.DataFrame, margins: np.ndarray) -> pd.DataFrame:
    """`COLUMNS` of rows of a manifest, and `SEVERAL` where it has them."""
    names = [[*names[:2], "", ""][:2] for names in faces["identities"]]
    identity, source = zip(*names)
    columns = ["manipulation", "video", "frame", "label", *(name for name in SEVERAL if name in faces)]
    return faces[columns].reset_index(drop=True).assign(identity=identity, source=source, margin=margins)


def _frames(faces: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(faces[[*KEY, "frame"]])


def chosen(manifest: pd.DataFrame, protocol: Protocol) -> np.ndarray:
    """The rows of a manifest that a protocol may score: of its videos, all faces in the frames that it takes."""
    shown = manifest.drop_duplicates([*KEY, "frame"]).sort_values([*KEY, "frame"])
    equal = protocol.spread == "equal"
    rows = select(
        shown, split="test" if protocol.tests == "test" else None, frames=protocol.frames if equal else None
    )  # fmt: skip
    if not equal:
        place = shown.iloc[rows].groupby(KEY, sort=False)["frame"].rank(method="first")
        rows = rows[(place <= protocol.frames).to_numpy()]
    return np.flatnonzero(_frames(manifest).isin(_frames(shown.iloc[rows])))


def taken(faces: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Of everyone's scored faces (`COLUMNS`, `SEVERAL`), those that the protocol's choice of a face takes."""
    video, frame = ["manipulation", "video"], ["manipulation", "video", "frame"]
    if protocol.face == "longest":
        sums = faces.groupby([*video, "person"])["side"].sum().reset_index()
        longest = sums.loc[sums.groupby(video)["side"].idxmax(), [*video, "person"]]
        return faces.merge(longest, on=[*video, "person"])
    by = {"largest": "side", "confident": "quality", "all": "margin"}
    if protocol.face not in by:
        return faces
    if protocol.face == "all":
        faces = faces[faces["side"] >= faces.groupby(frame)["side"].transform("max") / 2]
    first = faces.sort_values(by[protocol.face], ascending=False, kind="stable")  # NaN last
    return first.drop_duplicates(frame).sort_index()


def items(faces: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """What a protocol's metric is over, of scored `faces` (columns `COLUMNS`; `person` where each is scored apart): one
    row a video, or a frame."""
    table = _merged(faces) if protocol.key == "folder" else faces
    is_frame = protocol.level == "frame"
    if is_frame and not protocol.of_people:
        return table[COLUMNS]
    table = table.assign(value=table["margin"] if protocol.average == "margin" else expit(table["margin"]))
    item = ["manipulation", "video", *(["frame"] if is_frame else [])]
    if protocol.of_people:
        if not is_frame:
            table = _pooled(table, [*item, "person"], protocol.aggregate)
        found = _pooled(table, item, "max" if protocol.face == "highest" else "mean")
    else:
        found = _pooled(table, item, protocol.aggregate)
    value = found["value"].round(metrics.DIGITS)  # sums in another order stay ties
    margin = value if protocol.average == "margin" else logit(value.clip(1e-16, 1 - 1.2e-16))
    return found.assign(margin=margin, frame=found["frame"] if is_frame else VIDEO)[COLUMNS]


def _pooled(table: pd.DataFrame, by: Sequence[str], how: str) -> pd.DataFrame:
    kept = {name: (name, "first") for name in ("label", "identity", "source")}
    return table.groupby(list(by), sort=True).agg(**kept, value=("value", how)).reset_index()


def _merged(table: pd.DataFrame) -> pd.DataFrame:
    """Videos by the last part of their name alone, as DeepfakeBench keys them (training/metrics/utils.py): its label is
    the mean of its frames', rounded down, so that one real frame makes a real."""
    folder = table["video"].str.rpartition("/")[2]
    frame = table.groupby(folder, sort=False).cumcount()
    return table.assign(
        video=folder, manipulation=MERGED, frame=frame, label=table.groupby(folder)["label"].transform("min")
    )


def _checkpoints(scorers: Sequence[Scorer], tables: Mapping[int, pd.DataFrame], protocol: Protocol) -> dict[int, int]:
    """The seed whose weights a protocol reports for each seed: its own, or for all the one that is best."""
    seeds = [scorer.seed for scorer in scorers]
    if protocol.checkpoint == "last" or len(seeds) == 1:
        return {seed: seed for seed in seeds}
    if protocol.checkpoint == "test":
        quality = {seed: _auc(tables[seed]) for seed in seeds}
    else:
        quality = {scorer.seed: _validation(scorer) for scorer in scorers}
    return dict.fromkeys(seeds, max(seeds, key=lambda seed: (quality[seed], -seed)))


def _auc(table: pd.DataFrame) -> float:
    try:
        return metrics.value("auc", table["label"].to_numpy(), table["margin"].to_numpy())
    except metrics.Undefined:
        return -np.inf


def _validation(scorer: Scorer) -> float:
    from dfrepro import places

    folder = places.scores_folder(scorer.p, scorer.run, scorer.seed)
    if not (folder / scores.VALIDATION).is_file():
        remedy = f"`python -m dfrepro evaluate {scorer.run} --seed {scorer.seed}`"
        raise WorkbookError("there are no scores of validation", where=folder, remedy=remedy)
    return metrics.video_auc(scores.read(folder, scores.VALIDATION))


# --- what is said of it ---------------------------------------------------------------------------------------------


def levels(measured: Measured) -> pd.DataFrame:
    """One row a protocol and set: protocol, dataset, value, low, high (NaN where there is no interval)."""
    evidence = measured.evidence
    rows = [
        (name, dataset, *_numbers(level(measured.operand(name, [dataset]), evidence)))
        for name in measured.protocols for dataset in measured.datasets
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["protocol", "dataset", "value", "low", "high"])


def moves(measured: Measured, base: str = OURS) -> pd.DataFrame:
    """As `levels`, of each protocol's difference from `base` on each set, and on "all", their mean: paired by people.

    Only protocols of the same metric are compared, and on "all" only sets on which both have a value.
    """
    evidence, rows = measured.evidence, []
    for name, protocol in measured.protocols.items():
        if name == base or protocol.metric != measured.protocols[base].metric:
            continue
        each = {dataset: _moved(measured, evidence, name, base, [dataset]) for dataset in measured.datasets}
        rows += [(name, dataset, *numbers) for dataset, numbers in each.items()]
        there = [dataset for dataset, numbers in each.items() if np.isfinite(numbers[0])]
        if there:
            rows.append((name, "all", *_moved(measured, evidence, name, base, there)))
    return pd.DataFrame(rows, columns=["protocol", "dataset", "value", "low", "high"])


def _moved(
    measured: Measured, evidence: Evidence, name: str, base: str, datasets: Sequence[str]
) -> tuple[float, float, float]:
    of, over = measured.operand(name, datasets), measured.operand(base, datasets)
    common = sorted(set(evidence.seeds(of.run)) & set(evidence.seeds(over.run)))
    if not common or any(evidence.value(side, seed) is None for side in (of, over) for seed in common):
        return _numbers(None)
    return _numbers(contrast([Cell(name="", of=of, over=over)], evidence, common, False))


def _numbers(effect: Effect | None) -> tuple[float, float, float]:
    interval = None if effect is None else effect.interval()
    return (np.nan if effect is None else effect.mean, *(interval or (np.nan, np.nan)))


def spread(found: pd.DataFrame) -> pd.DataFrame:
    """Of `levels`: by set, the lowest and the highest value, who gives them, and how far apart they are."""
    rows = {}
    for dataset, part in found.dropna(subset="value").groupby("dataset", sort=False):
        low, high = part.loc[part["value"].idxmin()], part.loc[part["value"].idxmax()]
        rows[dataset] = {
            "lowest": low["value"], "under": low["protocol"], "highest": high["value"], "under ": high["protocol"],
            "spread": high["value"] - low["value"],
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")


def nearest(found: pd.DataFrame, value: float, dataset: str, n: int = 5) -> pd.DataFrame:
    """Of `levels`: the `n` protocols whose number on `dataset` is nearest to a printed one, nearest first.

    `inside`: whether the printed one is in its interval. Raises WorkbookError for a set that was not measured.
    """
    part = found[found["dataset"] == dataset].dropna(subset="value")
    if part.empty:
        known = ", ".join(dict.fromkeys(found["dataset"]))
        raise WorkbookError(f"nothing was measured on {dataset!r}", where="protocol", remedy=f"Measured: {known}")
    part = part.assign(off=part["value"] - value, inside=(part["low"] <= value) & (value <= part["high"]))
    return part.iloc[part["off"].abs().argsort(kind="stable")[:n]].reset_index(drop=True)


def shown(found: pd.DataFrame, signed: bool = False) -> pd.DataFrame:
    """`levels` or `moves` for readers: a row a protocol, a column a set, each number with its interval."""
    form = "{:+.3f}" if signed else "{:.3f}"

    def cell(row: pd.Series) -> str:
        if not np.isfinite(row["value"]):
            return ""
        ends = f" [{form}, {form}]".format(row["low"], row["high"]) if np.isfinite(row["low"]) else ""
        return form.format(row["value"]) + ends

    table = found.assign(cell=found.apply(cell, axis=1)).pivot(index="protocol", columns="dataset", values="cell")
    return table.loc[_order(found["protocol"]), _order(found["dataset"])].rename_axis(index=None, columns=None)


def _order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
