"""What is asked for, made first where it is not there: what a notebook or a sweep does for a missing artifact.

An artifact counts as there when it was made from what is declared; whether the code has changed since is for DVC.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfrepro import places
from dfrepro.files import read_json
from dfrepro.jobs import pipeline
from dfrepro.jobs.trained import TrainedRun
from dfrepro.params import Params

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore
    from dfrepro.methods.focus.maps import ForgeryMaps


def standin(p: Params) -> Path:
    """The folder of the stand-in's trees."""
    folder = p.artifacts / "standin"
    if not (folder / "complete.json").exists():
        pipeline.standin(p)
    return folder


def store(p: Params, dataset: str) -> "FaceStore":
    """The faces of a declared dataset."""
    from dfrepro.data.manifest import FaceStore

    folder = places.faces_folder(p, dataset)
    if not folder.exists():
        standin(p)
        pipeline.faces(p, dataset)
    return FaceStore.open(folder)


def run(p: Params, name: str, seed: int) -> TrainedRun | None:
    """A run with one seed, trained and scored on what is declared now. None where the grid leaves it out."""
    if not p.in_grid(name):
        return None
    folder, scored = places.run_folder(p, name, seed), places.scores_folder(p, name, seed)
    if not _made_from(folder, {"spec": p.spec(name, seed)}):
        inputs(p, name, seed)
        shutil.rmtree(scored, ignore_errors=True)  # before: killed in between, new weights would keep old scores
        pipeline.train(p, name, seed)
    if not scored.exists():
        for dataset in p.run(name).tests:
            store(p, dataset)
        pipeline.evaluate(p, name, seed)
    return TrainedRun(name, seed, folder, scored, places.timing_file(p, name, seed))


def inputs(p: Params, name: str, seed: int) -> None:
    """What a run trains on."""
    data = p.run(name).data
    store(p, data.dataset)
    if data.fakes == "fia-usa":
        reconstructions(p, data.dataset)
    if wanted := p.run(name).detector.maps:
        maps(p, wanted, seed)


def maps(p: Params, name: str, seed: int) -> "ForgeryMaps | None":
    """Maps of where fakes were forged, made by what is declared now. None where the grid leaves them out."""
    from dfrepro.methods.focus.maps import ForgeryMaps

    if not p.maps_in_grid(name):
        return None
    folder, dataset = places.maps_folder(p, name, seed), p.maps_dataset(name)
    if not _made_from(folder, pipeline.maps_meta(p, name, seed)):
        store(p, dataset)
        if made_by := p.maps[name].run:
            run(p, made_by, seed)
        else:
            pairs(p, dataset)
        pipeline.maps(p, name, seed)
    return ForgeryMaps.open(folder)


def pairs(p: Params, dataset: str) -> None:
    """The real face behind each fake of a declared dataset."""
    if not places.pairs_folder(p, dataset).exists():
        standin(p)
        pipeline.pairs(p, dataset)


def reconstructions(p: Params, dataset: str) -> None:
    """A declared dataset's training reals after FIA-USA's reconstructors."""
    if not places.reconstructions_folder(p, dataset).exists():
        pipeline.reconstruct(p, dataset)


def _made_from(folder: Path, meta: dict[str, Any]) -> bool:
    """Whether the artifact in `folder` was made from what `meta` says."""
    try:
        said = read_json(folder / "meta.json")
        return all(said[key] == value for key, value in meta.items())
    except (OSError, ValueError, KeyError):
        return False
