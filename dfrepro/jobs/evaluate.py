"""A trained run on its test sets: every face passes the network once, whatever number of tables reads its scores.

measured.csv      one row a number that is no function of the scores: dataset, metric, value
scores.parquet    one row a face and condition: see `dfrepro.evaluate.scores`
validation.parquet  likewise, the validation faces of the run's own set: thresholds are chosen on them
features.parquet  the in-domain test faces, clean and shifted, in the order of features.npy (N, D) float32
undefined.json    metrics that have no value on a set, and why
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from dfrepro.data.dataset import select, spread
from dfrepro.data.manifest import FaceStore
from dfrepro.evaluate import metrics, scores
from dfrepro.evaluate.predict import Predictions, predict, predict_under
from dfrepro.evaluate.probe import Probe, StatisticShift, corruptions
from dfrepro.files import atomic_folder, write_json
from dfrepro.jobs.kinds import method_of
from dfrepro.jobs.train import load_detector
from dfrepro.train import checkpoint
from dfrepro.train.draws import window
from dfrepro.train.ingredients import Inputs, Measurement

CLEAN = "clean"
EMBEDDED = (CLEAN, "shifted")  # conditions whose features are kept
TOLD = "video_auc"  # what `dvc metrics show` shows, a column a test set: all else is in scores.parquet


def evaluate_run(
    trained: Path,
    stores: Mapping[str, FaceStore],
    inputs: Inputs,
    out: Path,
    *,
    batch: int,
    frames: int,
    conditions: Sequence[str] = (),
    reals: Mapping[str, str] | None = None,
    corrupted: float = 1.0,
) -> dict[str, dict[str, float]]:
    """Score the test split of each store with the detector in `trained`; write `out` whole or not at all.

    inputs: what the run was trained on. frames: at most so many a video. The set that the run was trained on is also
    scored under `conditions`, corruptions by name, and by a plain detector under the statistic shift (PIM, Table II).
    corrupted: the share of that set's people who are seen under `conditions`.
    reals: set -> the set among `stores` whose test reals are scored with its fakes, in place of its own.
    Returns the video AUC by test set, without those that are undefined.
    """
    spec = checkpoint.load_meta(trained)["spec"]
    detector = load_detector(trained)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found: dict[str, dict[str, Predictions]] = {}
    for name, store in stores.items():
        rows, own = select(store.manifest, split="test", frames=frames), name == spec["data"]["dataset"]
        looks: list[tuple[np.ndarray, dict[str, Probe]]] = [(rows, _probes(spec) if own else {CLEAN: None})]
        if own and conditions:  # a face passes once under each: together, where all of them are seen
            altered: dict[str, Probe] = {**corruptions(conditions)}
            few = some_people(store.manifest, rows, corrupted)
            looks = [*looks, (few, altered)] if len(few) < len(rows) else [(rows, _probes(spec) | altered)]
        found[name] = {}
        for part, probes in looks:
            found[name] |= predict_under(
                detector, store, part, probes, size=window(spec, store.meta), batch=batch, device=device,
                corrupted_at=spec["backbone"]["image_size"],
            )  # fmt: skip
    for name, other in (reals or {}).items():
        found[name] = {CLEAN: with_reals_of(found[name][CLEAN], found[other][CLEAN])}
    held_out = _validation(detector, spec, inputs.store, batch=batch, frames=frames, device=device)
    detector.cpu()  # where what a paper measures of its own expects it
    measure = getattr(method_of(spec), "measure", None)
    measured = [] if measure is None else measure(detector, spec, stores, inputs)
    measured = [*measured, *_separability(spec, found.get(spec["data"]["dataset"], {}))]
    summaries = {_title(name, condition): metrics.summary(seen.frames) for name, condition, seen in _each(found)}
    with atomic_folder(out) as folder:
        pd.DataFrame(measured, columns=Measurement._fields).to_csv(folder / "measured.csv", index=False)
        scores.write(folder, [(condition, seen.frames) for _, condition, seen in _each(found)])
        if held_out is not None:
            scores.write(folder, [(CLEAN, held_out)], scores.VALIDATION)
        _write_features(folder, found.get(spec["data"]["dataset"], {}))
        write_json(folder / "undefined.json", {name: reasons for name, (_, reasons) in summaries.items()})
    values = {name: summaries[name][0][TOLD] for name in stores}
    return {name: {TOLD: value} for name, value in values.items() if np.isfinite(value)}


def _validation(
    detector: nn.Module, spec: dict[str, Any], store: FaceStore, *, batch: int, frames: int, device: str
) -> pd.DataFrame | None:
    """The scored validation faces of the set that the run was trained on; None where it has none."""
    if not (store.manifest["split"] == "val").any():
        return None
    rows = select(store.manifest, split="val", frames=frames)
    return predict(detector, store, rows, size=window(spec, store.meta), batch=batch, device=device).frames


def some_people(manifest: pd.DataFrame, rows: np.ndarray, share: float) -> np.ndarray:
    """Those of `rows` that show every so-manieth person: the real takes and all fakes of them.

    Who it is says the column `identity`, else the name of the video up to its first "_" (FF++'s target).
    """
    shown = manifest.iloc[rows]
    names = shown["video"].astype(str).str.partition("_")[0]
    if "identity" in shown:
        names = shown["identity"].fillna("").astype(str).where(lambda known: known != "", names)
    people = np.unique(names)
    return rows[np.isin(names.to_numpy(), spread(people, max(1, round(share * len(people)))))]


def with_reals_of(own: Predictions, other: Predictions) -> Predictions:
    """The fakes of one set and the reals of another, as one set of the first's name."""
    fakes, reals = (np.flatnonzero(seen.frames["label"] == label) for seen, label in ((own, 1), (other, 0)))
    name = own.frames["dataset"].iat[0]
    frames = pd.concat([own.frames.iloc[fakes], other.frames.iloc[reals].assign(dataset=name)], ignore_index=True)
    return Predictions(frames, np.concatenate([own.features[fakes], other.features[reals]]))


def _probes(spec: dict[str, Any]) -> dict[str, Probe]:
    """What all of the in-domain test set is seen through, by name."""
    probes: dict[str, Probe] = {CLEAN: None}
    if spec["detector"]["kind"] == "backbone":
        probes["shifted"] = StatisticShift()
    return probes


def _separability(spec: dict[str, Any], under: Mapping[str, Predictions]) -> list[Measurement]:
    """`separability`, and `separability_shifted` under the statistic shift: how far the features of the run's own reals
    and fakes keep apart, by their neighbours from other videos (TIFS 2024, Figures 1 and 3)."""
    if "shifted" not in under:
        return []
    from dfrepro.evaluate.embedding import neighbour_agreement

    clean = under[CLEAN]
    mean, deviation = clean.features.mean(0), clean.features.std(0) + 1e-12
    kept = clean.frames["manipulation"].isin(["original", *spec["data"]["manipulations"]]).to_numpy()
    rows = clean.frames[kept]
    videos, labels = (rows["manipulation"] + "/" + rows["video"]).to_numpy(), rows["label"].to_numpy()
    if len(np.unique(labels)) < 2:
        return []
    return [
        Measurement(
            str(rows["dataset"].iloc[0]),
            "separability" if condition == CLEAN else "separability_shifted",
            neighbour_agreement((under[condition].features[kept] - mean) / deviation, labels, videos),
        )
        for condition in EMBEDDED
    ]


def _each(found: Mapping[str, Mapping[str, Predictions]]) -> list[tuple[str, str, Predictions]]:
    return [(name, condition, seen) for name, under in found.items() for condition, seen in under.items()]


def _title(name: str, condition: str) -> str:
    return name if condition == CLEAN else f"{name} {condition}"


def _write_features(folder: Path, under: Mapping[str, Predictions]) -> None:
    under = {condition: seen for condition, seen in under.items() if condition in EMBEDDED}
    if not under:  # the run's own set is not among its test sets
        return
    rows = [seen.frames[[*scores.ROWS, "row"]].assign(condition=condition) for condition, seen in under.items()]
    pd.concat(rows, ignore_index=True).to_parquet(folder / "features.parquet", index=False)
    np.save(folder / "features.npy", np.concatenate([seen.features for seen in under.values()]))
