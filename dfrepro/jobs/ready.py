"""What a notebook asks for, made first where it is not there, with all that it needs: DVC's graph says what.

An artifact counts as there when it was made from what is declared; whether the code has changed since is for DVC.
What is made at the scale of params.yaml is recorded in dvc.lock, as `dvc repro` would. At another scale (tests, or a
notebook's own `scale`) the same stages are done below that scale's folders, and nothing is recorded.
"""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.files import read_json
from dfrepro.jobs import pipeline, runner
from dfrepro.jobs.commands import perform
from dfrepro.jobs.graph import Node, Pipeline
from dfrepro.jobs.trained import TrainedRun
from dfrepro.params import Params

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore
    from dfrepro.methods.focus.maps import ForgeryMaps


def standin(p: Params) -> Path:
    """The folder of the stand-in's trees."""
    return provided(p, p.artifacts / "standin")


def store(p: Params, dataset: str) -> "FaceStore":
    """The faces of a declared dataset."""
    from dfrepro.data.manifest import FaceStore

    return FaceStore.open(provided(p, places.faces_folder(p, dataset)))


def run(p: Params, name: str, seed: int) -> TrainedRun | None:
    """A run with one seed, trained and scored on what is declared now. None where the grid leaves it out.

    An imported run has one set of weights: it goes by the first seed, and is there for no other.
    """
    if not p.in_grid(name) or (name in p.imports and seed != p.seeds[0]):
        return None
    if name in p.imports:
        return _imported(p, name, seed)
    folder, scored = places.run_folder(p, name, seed), places.scores_folder(p, name, seed)
    if not _made_from(folder, {"spec": p.spec(name, seed)}):
        shutil.rmtree(scored, ignore_errors=True)  # before: killed in between, new weights would keep old scores
        shutil.rmtree(folder, ignore_errors=True)
    provided(p, folder)
    provided(p, scored)
    return TrainedRun(name, seed, folder, scored)


def _imported(p: Params, name: str, seed: int) -> TrainedRun:
    scored = places.scores_folder(p, name, seed)
    if not scored.exists():
        faces_for(p, name)
        pipeline.evaluate(p, name, seed)
    return TrainedRun(name, seed, p.imports[name].folder, scored)


def faces_for(p: Params, run: str) -> None:
    """Provide the faces that scoring a run reads."""
    for dataset in dict.fromkeys((p.run(run).data.dataset, *p.tests(run))):
        store(p, dataset)


def state(p: Params, name: str, seed: int) -> str:
    """ "not trained", "stale" (trained on what was declared before), "trained", or "scored". Makes nothing."""
    folder = places.run_folder(p, name, seed)
    if not folder.exists():
        return "not trained"
    if not _made_from(folder, {"spec": p.spec(name, seed)}):
        return "stale"
    return "scored" if (places.scores_folder(p, name, seed) / "scores.parquet").exists() else "trained"


def there(p: Params, name: str, seed: int) -> TrainedRun:
    """A run that has been trained and scored as declared. Raises WorkbookError that says what to do if it has not."""
    found = state(p, name, seed)
    if found != "scored":
        verb, why = {
            "not trained": ("train", "is not trained"),
            "stale": ("train", "was trained on what was declared before"),
            "trained": ("evaluate", "is not scored"),
        }[found]
        outside = "" if p.in_grid(name) else " (the core grid leaves it out)"
        raise WorkbookError(
            f"{name} with seed {seed} {why}{outside}", where="compare",
            remedy=f"Run `python -m dfrepro {verb} {name} --seed {seed}`, or with all it needs `... repro {name}`",
        )  # fmt: skip
    folder, scored = places.run_folder(p, name, seed), places.scores_folder(p, name, seed)
    return TrainedRun(name, seed, folder, scored)


def maps(p: Params, name: str, seed: int) -> "ForgeryMaps | None":
    """Maps of where fakes were forged, made by what is declared now. None where the grid leaves them out."""
    from dfrepro.methods.focus.maps import ForgeryMaps

    if not p.maps_in_grid(name):
        return None
    folder = places.maps_folder(p, name, seed)
    if folder.exists() and not _made_from(folder, pipeline.maps_meta(p, name, seed)):
        shutil.rmtree(folder)
    return ForgeryMaps.open(provided(p, folder))


def provided(p: Params, path: Path) -> Path:
    """`path`, an output of a stage at the scale of `p`, made now with all that it needs if it is not there.

    Raises WorkbookError when no stage makes it, or when one of the stages failed.
    """
    if path.exists():
        return path
    declared = params.load(scale=params.declared_scale())
    there = moved(path, p, declared)
    with Pipeline() as pipeline:
        name = pipeline.making(there)
        if name is None:
            raise WorkbookError(
                "no stage makes it", where=there, remedy="Add its run to a list in dvc.yaml or grid/dvc.yaml"
            )
        nodes = pipeline.upstream([name])
        recorded = there == path
        record: runner.Record = pipeline if recorded else Existing(nodes, partial(moved, p=declared, to=p))
        with runner.environment({"DFREPRO_SCALE": p.scale}):  # for what a stage starts, such as a notebook's kernel
            report = runner.run(nodes, record, runner.in_this_process, partial(perform, p=p))
    report.raise_failures()
    return path


class Existing:
    """In place of DVC's record, at another scale than that of params.yaml: what is there is current."""

    def __init__(self, nodes: Mapping[str, Node], place: Any):
        self.nodes, self.place = nodes, place

    def is_current(self, name: str) -> bool:
        return all(self.place(out).exists() for out in self.nodes[name].outs)

    def record(self, names: object) -> dict[str, str]:
        return {}


def moved(path: Path, p: Params, to: Params) -> Path:
    """The same output at another scale."""
    for here, there in ((p.artifacts, to.artifacts), (p.results, to.results)):
        if path.is_relative_to(here):
            return there / path.relative_to(here)
    return path


def _made_from(folder: Path, meta: dict[str, Any]) -> bool:
    """Whether the artifact in `folder` was made from what `meta` says."""
    try:
        said = read_json(folder / "meta.json")
        return all(said[key] == value for key, value in meta.items())
    except (OSError, ValueError, KeyError):
        return False
