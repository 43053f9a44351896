"""The trainings' curves in one table, which `dvc plots show` draws (dvc.yaml: plots)."""

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
