"""Everything that was measured at one scale, read from its artifacts: for the claims page. Nothing is trained here.

A run or map that is not there is not in the answer, and its claims read "not run". Nothing here imports torch.

What the verdicts rest on is kept beside them, in results/<scale>/evidence, small enough for git: the scores that were
asked for, of single frames (as 32-bit logits) only where a metric is about them, and the measured numbers. Where there
are no artifacts, as in a fresh clone, the verdicts are computed from there, and are the same to the last bit.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from dfrepro import places
from dfrepro.files import atomic_folder, read_json
from dfrepro.params import Params
from dfrepro.report.evidence import VIDEO, Evidence, of_videos

MEASURED = ["dataset", "metric", "value"]
LARGEST = 40.0  # logit: beyond it float64 knows only 1
KEYS = ["run", "seed", "dataset", "condition"]
MAPS = "focus-map-"  # maps are measured under this name, with a network or without (papers/focus)


def evidence(p: Params, *, n_boot: int | None = None) -> Evidence:
    """All scores and measurements of the declared runs, maps and seeds that are there, as evidence.

    From the artifacts; where there is none, from what was kept.
    """
    found = scores(p)
    if found is None and (folder := _kept(p)).exists():
        return kept(p, folder, n_boot=n_boot)
    return _evidence(p, measured(p), None if found is None else _score(found), n_boot)


def kept(p: Params, folder: Path, *, n_boot: int | None = None) -> Evidence:
    """What `keep` wrote to a folder, as evidence."""
    items = pd.read_parquet(folder / "items.parquet")
    parts = [_score(pd.read_parquet(path)) for path in sorted(folder.glob("frames-*.parquet"))]
    parts += [pd.read_parquet(path) for path in sorted(folder.glob("videos-*.parquet"))]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run", "seed", "item", "score"])
    found = found[["run", "seed", "score"]].join(items.iloc[found["item"]].reset_index(drop=True))
    return _evidence(p, pd.read_parquet(folder / "measured.parquet"), found, n_boot)


def _evidence(p: Params, measured: pd.DataFrame, scores: pd.DataFrame | None, n_boot: int | None) -> Evidence:
    return Evidence(measured, scores, n_boot=n_boot or p.sizes.evaluation.n_bootstrap, trained_on=p.trained_on)


def keep(p: Params, evidence: Evidence) -> None:
    """Write what `evidence` was asked for to results/<scale>/evidence, where there are artifacts to keep it from."""
    found = scores(p)
    if found is None:
        return
    at = pd.MultiIndex.from_frame(found[KEYS])
    frames, rest = (
        found[at.isin([key for key, frames in evidence.asked.items() if frames is single])] for single in (True, False)
    )
    means = [of_videos(group).assign(**dict(zip(KEYS, key))) for key, group in _score(rest).groupby(KEYS)]
    videos = pd.concat(means, ignore_index=True) if means else _score(rest)
    found = pd.concat([frames, videos.assign(frame=VIDEO)], ignore_index=True)
    about = [name for name in found if name not in ("run", "seed", "logit", "score")]
    items = found[about].drop_duplicates(ignore_index=True)
    found = found.merge(items.assign(item=range(len(items))), on=about, how="left")
    of_video = found["frame"] == VIDEO
    with atomic_folder(_kept(p)) as folder:
        items.to_parquet(folder / "items.parquet", index=False, compression="zstd")
        measured(p).to_parquet(folder / "measured.parquet", index=False, compression="zstd")
        for name, part, value in (("frames", found[~of_video], "logit"), ("videos", found[of_video], "score")):
            for seed, rows in part[["run", "seed", "item", value]].groupby("seed"):
                rows.to_parquet(
                    folder / f"{name}-{seed}.parquet",
                    index=False,
                    compression="zstd",
                    use_dictionary=["run", "seed"],
                    column_encoding={"item": "DELTA_BINARY_PACKED", value: "BYTE_STREAM_SPLIT"},
                )


def _kept(p: Params) -> Path:
    return places.results_folder(p) / "evidence"


def scores(p: Params) -> pd.DataFrame | None:
    """The scores of all runs and seeds that are there, as float32 logits; None where none is."""
    parts = [
        pd.read_parquet(folder / "scores.parquet").assign(run=run, seed=seed)
        for run, seed, folder in _scored(p)
        if (folder / "scores.parquet").is_file()
    ]
    if not parts:
        return None
    found = pd.concat(parts, ignore_index=True)
    return found.drop(columns="score").assign(logit=logit(found["score"]).clip(-LARGEST, LARGEST).astype(np.float32))


def _score(found: pd.DataFrame) -> pd.DataFrame:
    return found.drop(columns="logit").assign(score=expit(found["logit"].astype(float)))


def measured(p: Params) -> pd.DataFrame:
    """What is no function of the scores, of all runs, maps and seeds that are there: run, seed, dataset, metric, value.

    Seconds of training are on the test set "train". A number that a map and its network's run both give is the map's.
    """
    parts = [pd.DataFrame(columns=["run", "seed", *MEASURED])]
    for name in p.maps:
        for seed in p.seeds:
            parts += _read(places.maps_folder(p, name, seed), f"{MAPS}{name}", seed)
    for run, seed, folder in _scored(p):
        parts += _read(folder, run, seed)
        timing = places.timing_file(p, run, seed)
        if timing.is_file():
            row = {"run": run, "seed": seed, "dataset": "train", "metric": "train_seconds"}
            parts.append(pd.DataFrame([row | {"value": read_json(timing)["train_seconds"]}]))
    found = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    return found.drop_duplicates(["run", "seed", "dataset", "metric"], ignore_index=True)


def _scored(p: Params) -> Iterator[tuple[str, int, Path]]:
    """Runs of the present grid that have been scored, with seed and folder."""
    for run in p.runs:
        for seed in p.seeds:
            folder = places.scores_folder(p, run, seed)
            if p.in_grid(run) and folder.is_dir():
                yield run, seed, folder


def _read(folder: Path, run: str, seed: int) -> list[pd.DataFrame]:
    path = folder / "measured.csv"
    if not path.is_file():
        return []
    types = {"dataset": str, "metric": str, "value": float}
    return [pd.read_csv(path, dtype=types)[MEASURED].assign(run=run, seed=seed)]
