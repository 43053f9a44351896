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


def share_to(history: pd.DataFrame, baseline: pd.DataFrame) -> float | None:
    """How soon a training's validation AUC reaches the one that a baseline ends with; None where either has none.

    The steps of the first look that is not below it, in trainings of the baseline: 1 is as many steps as that takes in
    all. A look is a twelfth of a training or so, of either: both are measured alike, the baseline's way to its own end
    too. Where it is never reached, whole trainings are all that is known: the longer of both counts, at least 1.
    """
    if "validation" not in history or "validation" not in baseline:
        return None
    looks, theirs = (table[table["validation"].notna()] for table in (history, baseline))
    if not len(looks) or not len(theirs):
        return None
    whole = float(baseline["step"].iloc[-1])
    reached = looks["step"][looks["validation"] >= theirs["validation"].iloc[-1]]
    steps = float(reached.iloc[0]) if len(reached) else max(float(history["step"].iloc[-1]), whole)
    return steps / whole
