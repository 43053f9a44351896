"""Which embeddings the notebooks show, and how each is put together from the features that scoring has stored."""

import pandas as pd

from dfrepro import params, pipeline
from dfrepro.errors import WorkbookError
from dfrepro.explain import embedding as umap
from dfrepro.workbook import TrainedRun

# embedding -> the runs it reads; a stage's dependencies in dvc.yaml say the same
RUNS = {"motivation": ("erm-df", "erm-f2f")}
FACES = 1500  # dots of one panel: more of them only hide each other


def embedding(p: params.Params, name: str) -> pd.DataFrame:
    """The rows of one cached embedding: run, seed, condition, the face's key, label, x, y, and the panel's agreement."""
    if name not in RUNS:
        raise WorkbookError(f"there is no embedding {name!r}", where="embed", remedy=f"Known: {', '.join(RUNS)}")
    parts = [_before_and_after(p, run, seed) for run in RUNS[name] for seed in p.seeds[:1]]
    return pd.concat(parts, ignore_index=True)


def _before_and_after(p: params.Params, name: str, seed: int) -> pd.DataFrame:
    """Clean and shifted features of a run's own test set (its manipulations and the reals), embedded together."""
    run = TrainedRun(name, seed, pipeline.run_folder(p, name, seed), pipeline.scores_folder(p, name, seed))
    wanted = {"original", *p.run(name).data.manipulations}
    frames = {}
    for condition in ("clean", "shifted"):
        rows, features = run.features(condition)
        chosen = rows.manipulation.isin(wanted).to_numpy().nonzero()[0]
        videos = rows.video.iloc[chosen].to_numpy() + rows.manipulation.iloc[chosen].to_numpy()
        agreement = umap.neighbour_agreement(features[chosen], rows.label.to_numpy()[chosen], videos)
        chosen = chosen[:: max(1, len(chosen) // FACES)]
        frames[condition] = (rows.iloc[chosen].assign(neighbour_agreement=agreement), features[chosen])
    return umap.joint(frames, seed=seed).assign(run=name, seed=seed)
