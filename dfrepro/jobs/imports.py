"""A checkpoint of others becomes a run: `python -m dfrepro import NAME FILE --as KIND`.

What is written, imports/NAME, is a run's folder as a training writes it: model.safetensors and meta.json, of no scale
and no seed. meta.json also declares the run (`dfrepro.params` reads it) and says what was found in the file. From then
on `evaluate`, `score`, cards and notebooks take it by its name. The kinds are in `dfrepro.methods.imported.kinds`.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from dfrepro import params
from dfrepro.errors import WorkbookError, plain
from dfrepro.files import atomic_folder
from dfrepro.methods.imported.detector import ImportedDetector
from dfrepro.methods.imported.fit import CLASSES, fitted
from dfrepro.methods.imported.kinds import KINDS, Kind
from dfrepro.methods.imported.python import PythonDetector, sha256_of
from dfrepro.methods.imported.read import tensors
from dfrepro.nets.detector import Backbone
from dfrepro.params import Data, Params, Run, Step
from dfrepro.train import checkpoint

MARGIN = 0.25  # a side, of the faces that `score` cuts: the network sees their middle


@dataclass(frozen=True)
class Source:
    """What a user says of a checkpoint; empty, its kind says it. `head`, `key`, `drop`: see `fit` and `read`."""

    kind: str
    backbone: str = ""
    image_size: int = 0
    crop: float | None = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    classes: Sequence[str] = CLASSES
    head: str = ""
    key: str = ""
    drop: str = ""
    trained_on: str = "ffpp-c23"
    python: str = ""
    timeout: float = 0.0


def import_run(p: Params, name: str, file: Path, source: Source, *, overwrite: bool = False) -> list[str]:
    """Write imports/`name`, whole or not at all, and return notes of what was found.

    Raises `WorkbookError` for a name that is taken, an unknown kind, and whatever `read`, `fit` or a `predict` refuse.
    """
    folder = params.IMPORTS / name
    _check_name(p, name, folder, overwrite)
    known = _known(p, source)
    if not file.is_file():
        raise WorkbookError("there is no such file", where=plain(str(file)), remedy="Name the checkpoint")
    made = _python(file, source, known) if source.kind == "python" else _network(file, source, known)
    meta = _meta(p, name, file, source, made)
    for kind in ("scores", "protocol"):  # of what went by the name, at any scale; first: a kill must not leave them
        for scored in p.artifacts.parent.glob(f"*/{kind}/{name}"):
            shutil.rmtree(scored)
    with atomic_folder(folder) as partial:
        checkpoint.save(partial, made.detector, meta)
        (partial / "history.csv").write_text("epoch,loss,lr,seconds\n", encoding="utf-8")  # no epochs here
    return made.notes


@dataclass(frozen=True)
class Made:
    """A detector, its backbone's entry and its options as a specification has them, its crop, and notes."""

    detector: nn.Module
    backbone: Backbone
    options: Mapping[str, Any]
    crop: float
    notes: list[str]


def _check_name(p: Params, name: str, folder: Path, overwrite: bool) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        remedy = "Letters, digits, '.', '_' and '-', a letter or digit first"
        raise WorkbookError(f"a run cannot be called {plain(name)!r}", where="import", remedy=remedy)
    if name in p.runs:
        raise WorkbookError(f"{name} is a run of params.yaml", where="import", remedy="Choose another name")
    if folder.exists() and not overwrite:
        raise WorkbookError("it is imported already", where=folder, remedy="Choose another name, or --overwrite")


def _known(p: Params, source: Source) -> Kind:
    """The kind that is named, with what the user says instead."""
    if source.kind not in KINDS:
        raise WorkbookError(f"no kind {source.kind!r}", where="import --as", remedy=f"One of {', '.join(KINDS)}")
    kind = KINDS[source.kind]
    backbone = source.backbone or kind.backbone
    if not backbone:
        remedy = "Name it with --backbone, as timm does"
        raise WorkbookError(f"--as {source.kind} says no network", where="import", remedy=remedy)
    if bool(source.mean) != bool(source.std):
        raise WorkbookError("--mean and --std go together", where="import", remedy="Give both, or neither")
    normalise: Any = (tuple(source.mean), tuple(source.std)) if source.mean else kind.normalise
    crop = kind.crop if source.crop is None else source.crop
    most = p.sizes.faces.margin
    if not 0 <= crop <= most:
        remedy = f"Faces are stored with a margin of {most:g} a side (scales/{p.scale}.yaml: faces.margin)"
        raise WorkbookError(f"a crop with a margin of {crop:g} a side cannot be cut", where="import", remedy=remedy)
    if source.trained_on not in p.datasets:
        remedy = f"One of {', '.join(p.datasets)}"
        raise WorkbookError(f"no dataset {source.trained_on!r}", where="import --trained-on", remedy=remedy)
    size = source.image_size or (_own_size(backbone) if source.kind == "timm" else kind.image_size)
    return replace(kind, backbone=backbone, image_size=size, crop=crop, normalise=normalise)


def _own_size(backbone: str) -> int:
    if not timm.is_model(backbone):
        return 224  # the detector says that there is no such network
    cfg = timm.get_pretrained_cfg(backbone, allow_unregistered=True)
    return int(cfg.input_size[-1]) if cfg else 224


def _network(file: Path, source: Source, kind: Kind) -> Made:
    held, notes = tensors(file, source.key)
    kwargs: dict[str, Any] = {}
    cfg = timm.get_pretrained_cfg(kind.backbone, allow_unregistered=True) if timm.is_model(kind.backbone) else None
    if cfg is not None and cfg.fixed_input_size and kind.image_size != cfg.input_size[-1]:
        kwargs["img_size"] = kind.image_size
    if kind.normalise:
        mean, std = kind.normalise
        kwargs["pretrained_cfg_overlay"] = {"mean": [float(v) for v in mean], "std": [float(v) for v in std]}
    backbone = Backbone(kind.backbone, kind.image_size, kwargs)
    detector = ImportedDetector(backbone, **kind.options)
    state, found = fitted(
        held, detector.backbone, kind.layout, where=file, classes=source.classes, head=source.head, drop=source.drop
    )
    detector.backbone.load_state_dict(state)
    _finite(detector.eval(), kind.image_size, file)
    return Made(detector, backbone, kind.options, kind.crop, [*notes, *found])


def _python(file: Path, source: Source, kind: Kind) -> Made:
    options: dict[str, Any] = {"file": str(file.resolve()), "sha256": sha256_of(file)}
    options |= {key: value for key in ("python", "timeout") if (value := getattr(source, key))}
    detector = PythonDetector(**options, image_size=kind.image_size)
    _finite(detector, kind.image_size, file)
    return Made(detector, Backbone(kind.backbone, kind.image_size), options, kind.crop, ["predict answers"])


@torch.no_grad()
def _finite(detector: nn.Module, side: int, file: Path) -> None:
    """Two pictures of noise through the detector: a network that breaks says so now."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, side, side), dtype=np.uint8)
    if not detector(torch.from_numpy(noise)).logits.isfinite().all():
        raise WorkbookError("its logits on noise are not finite", where=file, remedy="Give another checkpoint")


def _meta(p: Params, name: str, file: Path, source: Source, made: Made) -> dict[str, Any]:
    """What a run's meta.json has (`spec`, `faces`), and beside it the declaration and where the weights come from."""
    detector = {"kind": "imported", "variant": source.kind, "options": dict(made.options)}
    run = Run(data=Data(dataset=source.trained_on), detector=detector)  # type: ignore[arg-type]
    spec = {
        "run": name,
        "seed": 0,
        "scale": p.scale,
        "data": run.data.model_dump(mode="json") | {"root": "elsewhere"},
        "detector": run.detector.model_dump(mode="json"),
        "backbone": asdict(made.backbone),
        "step": asdict(Step()),
        "augment": False,
        "crop": made.crop,
        "maps": None,
        "training": None,
    }
    size = round(made.backbone.image_size * (1 + 2 * MARGIN) / (1 + 2 * made.crop))
    kind = KINDS[source.kind]
    return {
        "spec": spec,
        "faces": {"size": size, "margin": MARGIN, "n_frames": p.sizes.faces.n_frames},
        "run": run.model_dump(mode="json"),
        "import": {"kind": source.kind, "what": kind.what, "file": file.name, "sha256": sha256_of(file),
                   "notes": made.notes, "unlike": kind.unlike},
    }  # fmt: skip
