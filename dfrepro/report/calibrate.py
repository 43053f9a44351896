"""Measures what the stand-in is calibrated on (`dfrepro.report.calibration`): baselines on one draw of it.

Data, networks and scores lie below artifacts/calibration/, a folder a version, scale and generator seed; what is there
is used again, so a killed measurement goes on, and several can run side by side with other seeds.
"""

from collections.abc import Iterable

import pandas as pd

from dfrepro import places
from dfrepro.data.standin.spec import VERSION
from dfrepro.files import ROOT
from dfrepro.params import Params
from dfrepro.report.calibration import CLEAN, cells, value

SHIFTED = "shifted"  # a condition that every plain detector is scored under


def measure(p: Params, generator: int, seed: int, runs: Iterable[str] = ()) -> pd.DataFrame:
    """Measure the cells of `runs` (default: all) on the stand-in of one generator seed, with one training seed.

    Returns run, cell, value.
    """
    table, found = cells(), []
    for run in list(runs) or table.run.unique():
        mine = table[table.run == run]
        scores = scores_of(testing(drawn(p, generator), run, mine), run, seed)
        found += [(run, cell.cell, value(scores, cell)) for _, cell in mine.iterrows()]
    return pd.DataFrame(found, columns=["run", "cell", "value"])


def drawn(p: Params, generator: int) -> Params:
    """The parameters with another generator seed, and a folder of their own."""
    standin = p.sizes.standin.model_copy(update={"seed": generator})
    folder = ROOT / "artifacts" / "calibration" / f"{VERSION}-{p.scale}-{generator}"
    return p.model_copy(update={"sizes": p.sizes.model_copy(update={"standin": standin}), "artifacts": folder})


def testing(p: Params, run: str, mine: pd.DataFrame) -> Params:
    """The parameters with those tests and conditions of `run` that its cells read, and no others."""
    own = p.run(run).data.dataset
    sets = {declared.layout: name for name, declared in p.datasets.items() if name == own or declared.layout != "ffpp"}
    tests = tuple(sets[layout] for layout in mine.test.unique())
    conditions = tuple(name for name in mine.condition.unique() if name not in (CLEAN, SHIFTED))
    changed = p.run(run).model_copy(update={"tests": tests, "conditions": conditions})
    return p.model_copy(update={"runs": {**p.runs, run: changed}})


def scores_of(p: Params, run: str, seed: int) -> pd.DataFrame:
    """The scores of a run on its tests; makes what is missing for them: stand-in, faces, network, scores."""
    from dfrepro.data.manifest import FaceStore
    from dfrepro.jobs import pipeline
    from dfrepro.jobs.evaluate import evaluate_run

    tests, sizes = p.run(run).tests, p.sizes.evaluation
    for dataset in {p.run(run).data.dataset, *tests}:
        if not places.faces_folder(p, dataset).exists():
            pipeline.standin(p)  # a finished one is left alone
            pipeline.faces(p, dataset)
    trained, out = places.run_folder(p, run, seed), places.scores_folder(p, run, seed)
    if not trained.exists():
        pipeline.train(p, run, seed)
    if not out.exists():
        stores = {name: FaceStore.open(places.faces_folder(p, name)) for name in tests}
        inputs, conditions = pipeline.inputs(p, run, seed), p.run(run).conditions
        evaluate_run(trained, stores, inputs, out, batch=sizes.batch, frames=sizes.frames, conditions=conditions)
    return pd.read_parquet(out / "scores.parquet")
