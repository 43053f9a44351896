"""Everything that was measured at one scale, read from its artifacts: for the claims page. Nothing is trained here.

A run or map that is not there is not in the answer, and its claims read "not run". Nothing here imports torch.

What the verdicts rest on is kept beside them, in results/<scale>/evidence, small enough for git: the scores that were
asked for, as 32-bit logits, and the measured numbers. Where there are no artifacts, as in a fresh clone, the verdicts
are computed from there.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from dfrepro import pipeline
from dfrepro.files import atomic_folder, read_json
from dfrepro.params import Params
from dfrepro.report.evidence import Evidence

MEASURED = ["dataset", "metric", "value"]
LARGEST = 40.0  # logit: beyond it float64 knows only 1
MAPS = "focus-map-"  # maps are measured under this name, with a network or without (papers/focus)


def evidence(p: Params, *, n_boot: int | None = None) -> Evidence:
    """All scores and measurements of the declared runs, maps and seeds that are there, as evidence.

    From the artifacts; where there is none, from what was kept.
    """
    rest_on = partial(Evidence, n_boot=n_boot or p.sizes.evaluation.n_bootstrap, trained_on=p.trained_on)
    found = scores(p)
    if found is None and (folder := _kept(p)).exists():
        return rest_on(pd.read_parquet(folder / "measured.parquet"), _score(_read_kept(folder)))
    return rest_on(measured(p), None if found is None else _score(found))


def keep(p: Params, evidence: Evidence) -> None:
    """Write what `evidence` was asked for to results/<scale>/evidence, where there are artifacts to keep it from."""
    found = scores(p)
    if found is None:
        return
    keys = ["run", "seed", "dataset", "condition"]
    asked = pd.MultiIndex.from_tuples(sorted(evidence.asked) or [("", 0, "", "")], names=keys)
    found = found[pd.MultiIndex.from_frame(found[keys]).isin(asked)]
    ids = [name for name in found if name != "logit"]
    items = found[[name for name in ids if name not in ("run", "seed")]].drop_duplicates(ignore_index=True)
    found = found.merge(items.assign(item=range(len(items))), on=list(items), how="left")[
        ["run", "seed", "item", "logit"]
    ]
    with atomic_folder(_kept(p)) as folder:
        items.to_parquet(folder / "items.parquet", index=False, compression="zstd")
        found.to_parquet(folder / "logits.parquet", index=False, compression="zstd")
        measured(p).to_parquet(folder / "measured.parquet", index=False, compression="zstd")


def _read_kept(folder: Path) -> pd.DataFrame:
    found, items = (pd.read_parquet(folder / f"{name}.parquet") for name in ("logits", "items"))
    return found[["run", "seed", "logit"]].join(items.iloc[found["item"]].reset_index(drop=True))


def _kept(p: Params) -> Path:
    return pipeline.results_folder(p) / "evidence"


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
            parts += _read(pipeline.maps_folder(p, name, seed), f"{MAPS}{name}", seed)
    for run, seed, folder in _scored(p):
        parts += _read(folder, run, seed)
        timing = pipeline.timing_file(p, run, seed)
        if timing.is_file():
            row = {"run": run, "seed": seed, "dataset": "train", "metric": "train_seconds"}
            parts.append(pd.DataFrame([row | {"value": read_json(timing)["train_seconds"]}]))
    found = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    return found.drop_duplicates(["run", "seed", "dataset", "metric"], ignore_index=True)


def _scored(p: Params) -> Iterator[tuple[str, int, Path]]:
    """Runs of the present grid that have been scored, with seed and folder."""
    for run in p.runs:
        for seed in p.seeds:
            folder = pipeline.scores_folder(p, run, seed)
            if p.in_grid(run) and folder.is_dir():
                yield run, seed, folder


def _read(folder: Path, run: str, seed: int) -> list[pd.DataFrame]:
    path = folder / "measured.csv"
    if not path.is_file():
        return []
    types = {"dataset": str, "metric": str, "value": float}
    return [pd.read_csv(path, dtype=types)[MEASURED].assign(run=run, seed=seed)]
