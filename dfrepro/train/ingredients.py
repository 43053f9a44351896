"""What a training reads, what it is made of, and what may be measured on the trained network."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from dfrepro.data.dataset import FaceDataset
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError

if TYPE_CHECKING:  # scoring and notebooks need no training loop, whose libraries take seconds to import
    from dfrepro.train.fit import Refine
    from dfrepro.train.steps import Loss

Spec = dict[str, Any]  # Params.spec: everything that decides the weights, as plain data


@dataclass(frozen=True)
class Inputs:
    """What a run reads: the faces of its training set and, where its kind asks for them, other stages' artifacts.

    `folders`: "reconstructions" (FIA-USA's), "maps" (FoCus' supervision), "start" (weights that a network begins with).
    """

    store: FaceStore
    folders: Mapping[str, Path] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        path = self.folders.get(name)
        if path is None or not path.exists():
            raise WorkbookError(f"the {name} are not there", where=path or name, remedy="Run `dvc repro` or `dvc pull`")
        return path


@dataclass(frozen=True)
class Ingredients:
    """What `dfrepro.jobs.train` trains: a detector on draws of faces by a loss, refined before a step or not."""

    detector: nn.Module
    data: FaceDataset
    loss: "Loss"
    refine: "Refine | None" = None


class Measurement(NamedTuple):
    """One number that is no function of the scores, of a run on a test set."""

    dataset: str  # as in the faces' manifest: "ffpp", "cdfv2"
    metric: str
    value: float


def variant(spec: Spec, known: Mapping[str, Any]) -> Any:
    """The variant that a specification names, of a method's `VARIANTS`, with the exceptions that it makes."""
    name = spec["detector"]["variant"]
    if name not in known:
        raise WorkbookError(
            f"detector.variant is {name!r}", where=f"runs.{spec['run']}", remedy=f"One of {', '.join(known)}"
        )
    options = spec["detector"].get("options", {})  # checkpoints of older versions say none
    if unknown := sorted(set(options) - {field.name for field in fields(known[name])}):
        raise WorkbookError(f"detector.options has {unknown[0]}", where=f"runs.{spec['run']}", remedy="See its variant")
    return replace(known[name], **options)
