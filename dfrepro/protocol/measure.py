"""A run's metric on test sets under protocols, with intervals over people; what protocols do to it; what is near.

What is compared is `Evidence`, in which a protocol is what a run is elsewhere: the same intervals, and differences
between protocols on the same people.
"""

from collections.abc import Iterable, Mapping, Sequence
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
from dfrepro.protocol.scoring import Scorer
from dfrepro.protocol.views import View
from dfrepro.report.contrast import contrast, level
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import VIDEO, Evidence
from dfrepro.report.schema import Cell, Operand

MERGED = "merged"
COLUMNS = ["manipulation", "video", "frame", "label", "identity", "source", "margin"]


class Measured(NamedTuple):
    """`items`: one row a video (or frame) that a metric is over: run (the protocol's name), seed, dataset (as it is
    declared) and `COLUMNS`. `scored`: how many faces passed the network for it."""

    items: pd.DataFrame
    protocols: Mapping[str, Protocol]
    scored: int

    @property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(self.items["dataset"]))

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

    scorers = [Scorer(p, run, seed) for seed in (p.seeds if seeds is None else seeds)]
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
    return Measured(found, dict(protocols), sum(scorer.scored for scorer in scorers))


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
    rows = chosen(store, protocol)
    people = [[*names[:2], "", ""][:2] for names in store.manifest.iloc[rows]["identities"]]
    identity, source = zip(*people)
    table = store.manifest.iloc[rows][["manipulation", "video", "frame", "label"]].reset_index(drop=True)
    margin = scorer.margins(dataset, store, view, rows)
    return table.assign(identity=identity, source=source, margin=margin)


def chosen(store: FaceStore, protocol: Protocol) -> np.ndarray:
    """The rows of a store that a protocol scores: its videos, and its frames of each."""
    split = "test" if protocol.tests == "test" else None
    if protocol.spread == "equal":
        return select(store.manifest, split=split, frames=protocol.frames)
    rows = select(store.manifest, split=split)
    place = store.manifest.iloc[rows].groupby(KEY, sort=False)["frame"].rank(method="first")
    return rows[(place <= protocol.frames).to_numpy()]


def items(faces: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """What a protocol's metric is over, of scored `faces` (columns `COLUMNS`): one row a video, or a frame."""
    table = faces.copy()
    if protocol.key == "folder":
        table = _merged(table)
    if protocol.level == "frame":
        return table[COLUMNS]
    values = table["margin"] if protocol.average == "margin" else pd.Series(expit(table["margin"]), table.index)
    videos = table.assign(value=values).groupby(["manipulation", "video"], sort=True)
    found = videos.agg(
        label=("label", "first"), identity=("identity", "first"), source=("source", "first"),
        value=("value", protocol.aggregate),
    ).reset_index()  # fmt: skip
    value = found["value"].round(metrics.DIGITS)  # sums in another order stay ties
    margin = value if protocol.average == "margin" else logit(value.clip(1e-16, 1 - 1.2e-16))
    return found.assign(margin=margin, frame=VIDEO)[COLUMNS]


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

    Only protocols of the same metric are compared.
    """
    evidence, rows = measured.evidence, []
    sets = {dataset: [dataset] for dataset in measured.datasets} | {"all": measured.datasets}
    for name, protocol in measured.protocols.items():
        if name == base or protocol.metric != measured.protocols[base].metric:
            continue
        for title, datasets in sets.items():
            of, over = measured.operand(name, datasets), measured.operand(base, datasets)
            rows.append((name, title, *_numbers(_difference(of, over, evidence))))
    return pd.DataFrame(rows, columns=["protocol", "dataset", "value", "low", "high"])


def _difference(of: Operand, over: Operand, evidence: Evidence) -> Effect | None:
    common = sorted(set(evidence.seeds(of.run)) & set(evidence.seeds(over.run)))
    if not common or any(evidence.value(side, seed) is None for side in (of, over) for seed in common):
        return None
    return contrast([Cell(name="", of=of, over=over)], evidence, common, False)


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
