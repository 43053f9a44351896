"""A checkpoint is data: `model.safetensors` and `meta.json` in one folder. Nothing is ever unpickled.

`ResumeState` is the same for a training that is under way: one safetensors file whose header holds the plain values, so
that a kill leaves the last state or the one before it, never half of one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dfrepro import __version__
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file, read_json, remove_leftovers, write_json

WEIGHTS, META = "model.safetensors", "meta.json"


def save(folder: Path, model: nn.Module, meta: Mapping[str, Any]) -> None:
    """Write weights and `meta` (plain data: run parameters, data version, metrics) into `folder`, which exists.

    The library's version is added. For a checkpoint that appears whole, give a folder of `files.atomic_folder`.
    """
    with atomic_file(folder / WEIGHTS) as partial:
        save_file(_plain(model.state_dict()), partial)
    write_json(folder / META, {"library": __version__, **meta})


def load_meta(folder: Path | str) -> dict[str, Any]:
    """The `meta` of a checkpoint. Raises WorkbookError when there is none or it is no JSON object."""
    path = Path(folder) / META
    try:
        meta = read_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(meta, dict):
        raise _damaged(path, "not a JSON object")
    return meta


def load_weights(folder: Path | str, model: nn.Module) -> None:
    """Load a checkpoint's weights into `model`, every one of them; raises WorkbookError when they do not fit."""
    path = Path(folder) / WEIGHTS
    tensors = _read(path)
    own = model.state_dict()
    wrong = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if own.keys() != tensors.keys() or wrong:
        names = sorted(own.keys() ^ tensors.keys()) + wrong
        raise WorkbookError(f"weights of another network ({', '.join(names[:4])})", where=path, remedy="Train it again")
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise WorkbookError(f"not finite: {', '.join(broken[:4])}", where=path, remedy="Train it again")
    model.load_state_dict(tensors)


@dataclass
class ResumeState:
    """A training between two steps: tensors by name and plain values.

    `run` identifies the training: a state of another one is not taken.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]

    def save(self, path: Path, run: Mapping[str, Any]) -> None:
        header = {"values": json.dumps(self.values), "run": _identity(run)}
        with atomic_file(path) as partial:
            save_file(_plain(self.tensors), partial, metadata=header)

    @classmethod
    def load(cls, path: Path, run: Mapping[str, Any]) -> "ResumeState | None":
        """The state at `path`; None when there is none, it is damaged, or it belongs to another run.

        Starting over ends in the same weights, so nothing is worth an error here. What a kill left behind is removed.
        """
        remove_leftovers(path)
        for leftover in path.parent.glob(".tmp??????"):  # safetensors writes under a name of its own first
            leftover.unlink(missing_ok=True)
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                if header.get("run") != _identity(run):
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return cls(tensors, json.loads(header["values"]))
        except (OSError, SafetensorError, ValueError, KeyError):
            return None


# --- optimisers as tensors and plain values -----------------------------------------------------------------------


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as tensors named `optimizer.<parameter>.<key>` and plain values."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, entries in state["state"].items():
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{key}"] = value
            else:
                plain.setdefault(str(number), {})[key] = value
    return tensors, {"state": plain, "param_groups": state["param_groups"]}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {int(number): dict(entries) for number, entries in plain["state"].items()}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": plain["param_groups"]})


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error


def _identity(run: Mapping[str, Any]) -> str:
    return json.dumps(run, sort_keys=True, default=str)


def _damaged(path: Path, error: object) -> WorkbookError:
    return WorkbookError(f"cannot be read ({error})", where=path, remedy="Delete the folder and train the run again")
