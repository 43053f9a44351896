"""The trainings' curves: in one table, which `dvc plots show` draws (dvc.yaml: plots), and how soon they rise."""

from pathlib import Path

import pandas as pd

from dfrepro import places
from dfrepro.files import atomic_file
from dfrepro.params import Params

COLUMNS = ["family", "run", "seed", "epoch", "loss", "validation"]


def gather(p: Params) -> Path:
    """Write the history of every training that is there to artifacts/<scale>/curves.csv; return the path.

    Columns COLUMNS: one row an epoch; `validation` is the AUC over videos, empty after epochs without a look.
    """
    parts = [
        pd.read_csv(history).assign(family=p.run(run).family or "own", run=run, seed=seed)
        for run in p.runs
        for seed in p.seeds
        if (history := places.run_folder(p, run, seed) / "history.csv").is_file()
    ]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
    path = p.artifacts / "curves.csv"
    with atomic_file(path) as partial:
        table.reindex(columns=COLUMNS).to_csv(partial, index=False)
    return path


def share_to(looks: pd.Series, baseline: pd.Series) -> float:
    """How soon a training's validation AUC reaches the one that a baseline ends with.

    looks, baseline: AUC by step, (about a dozen,), the last after the last step. Returned are the steps of the first
    look that is not below, in trainings of the baseline (1: as many as that takes in all). Its own way to its end is
    measured alike. Where it is never reached, the longer of both trainings counts: at least 1.
    """
    whole = float(baseline.index[-1])
    reached = looks.index[looks >= baseline.iloc[-1]]
    return (float(reached[0]) if len(reached) else max(float(looks.index[-1]), whole)) / whole
