"""Which embeddings the notebooks show, and how each is put together from the features that scoring has stored."""

import numpy as np
import pandas as pd

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import embedding as umap
from dfrepro.jobs.trained import TrainedRun

# embedding -> the runs it reads; a stage's dependencies in dvc.yaml say the same
RUNS = {"motivation": ("erm-df", "erm-f2f"), "pim": ("erm-df", "pim-df")}
TOGETHER = {"pim"}  # all runs in one embedding; elsewhere each run has its own
FACES = 1500  # dots of one panel: more of them only hide each other


def embedding(p: params.Params, name: str) -> pd.DataFrame:
    """The rows of one cached embedding: run, seed, condition, the face's key, label, x, y, and the panel's agreement.

    It is of the first seed: an embedding of several networks' seeds at once shows nothing but the seeds.
    """
    if name not in RUNS:
        raise WorkbookError(f"there is no embedding {name!r}", where="embed", remedy=f"Known: {', '.join(RUNS)}")
    seed = p.seeds[0]
    panels = {run: _panels(p, run, seed) for run in RUNS[name]}
    together = (
        [{key: panel for each in panels.values() for key, panel in each.items()}]
        if name in TOGETHER
        else panels.values()
    )
    embedded = pd.concat([umap.joint(group, seed=seed) for group in together], ignore_index=True)
    names = embedded.pop("condition").str.split(" ", expand=True)
    return embedded.assign(run=names[0], condition=names[1], seed=seed)


def _panels(p: params.Params, name: str, seed: int) -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """Clean and shifted features of a run's own test set, standardised by the clean ones."""
    run = TrainedRun(name, seed, places.run_folder(p, name, seed), places.scores_folder(p, name, seed))
    wanted = {"original", *p.run(name).data.manipulations}
    clean = run.features("clean")[1]
    mean, deviation = clean.mean(0), clean.std(0) + 1e-12
    panels = {}
    for condition in ("clean", "shifted"):
        rows, features = run.features(condition)
        chosen = rows.manipulation.isin(wanted).to_numpy().nonzero()[0]
        rows, features = rows.iloc[chosen].reset_index(drop=True), (features[chosen] - mean) / deviation
        videos = (rows.manipulation + "/" + rows.video).to_numpy()
        agreement = umap.neighbour_agreement(features, rows.label.to_numpy(), videos)
        few = slice(None, None, max(1, len(rows) // FACES))
        panels[f"{name} {condition}"] = (rows[few].assign(neighbour_agreement=agreement), features[few])
    return panels
