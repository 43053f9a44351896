"""Everything that was measured at one scale, read from its artifacts: for the claims page. Nothing is trained here.

A run or map that is not there is not in the answer, and its claims read "not run". Nothing here imports torch.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dfrepro import pipeline
from dfrepro.files import read_json
from dfrepro.params import Params
from dfrepro.report.evidence import Evidence

MEASURED = ["dataset", "metric", "value"]
MAPS = "focus-map-"  # maps are measured under this name, with a network or without (papers/focus)


def evidence(p: Params, *, n_boot: int | None = None) -> Evidence:
    """All scores and measurements of the declared runs, maps and seeds that are there, as evidence."""
    return Evidence(measured(p), scores(p), n_boot=n_boot or p.sizes.evaluation.n_bootstrap)


def scores(p: Params) -> pd.DataFrame | None:
    """The scores of all runs and seeds that are there; None where none is."""
    parts = [
        pd.read_parquet(folder / "scores.parquet").assign(run=run, seed=seed)
        for run, seed, folder in _scored(p)
        if (folder / "scores.parquet").is_file()
    ]
    return pd.concat(parts, ignore_index=True) if parts else None


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
