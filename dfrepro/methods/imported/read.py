"""A checkpoint file of others, read as data: the tensors of one network by name, whatever is wrapped around them.

Nothing is unpickled but tensors and plain containers (`torch.load(weights_only=True)`); a file that asks for more is
refused.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dfrepro.errors import WorkbookError, plain

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "detector", "weights", "module", "ema")


def tensors(path: Path, key: str = "") -> tuple[dict[str, Tensor], list[str]]:
    """The network's tensors in a safetensors or torch file, by the names that they have there, and notes on the way.

    key: where they are in a file that holds several networks; default, the first of `WRAPPERS` that is there. Raises
    `WorkbookError` for a file that is not there, is damaged, holds no tensors, or whose pickle would run code.
    """
    held = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    named, notes = _unwrapped(held, path, key)
    others = [name for name, value in named.items() if not isinstance(value, Tensor)]
    notes += [f"left out, no tensors: {', '.join(map(str, others[:4]))}"] if others else []
    return {str(name): value for name, value in named.items() if isinstance(value, Tensor)}, notes


def _safetensors(path: Path) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WorkbookError(
            f"it is no safetensors file ({plain(str(error))})", where=path, remedy="Download it again"
        ) from error


def _pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WorkbookError("there is no such file", where=path, remedy="Name the checkpoint") from None
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from None
    except Exception as error:  # torch raises whatever the broken byte leads to
        reason = plain(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")[:160]
        raise WorkbookError(
            f"torch cannot read it as weights ({reason})", where=path,
            remedy="Download it again; of a TorchScript archive, save its state_dict",
        ) from error  # fmt: skip


def _refused(path: Path, message: str) -> WorkbookError:
    asked = re.search(r"(?:GLOBAL|global:?)\s+([\w.]+\.[\w.]+)", message)
    if asked is None:
        reason = plain(message.strip().splitlines()[-1])[:200]
        return WorkbookError(f"it is no file of weights ({reason})", where=path, remedy="Download it again")
    return WorkbookError(
        f"refused: its pickle calls {asked[1]}, and unpickling it would run that code",
        where=path,
        remedy="Ask its authors for safetensors. Only where you trust it and the machine may be lost, load it there and"
        " save the weights alone: torch.save(model.state_dict(), 'weights.pth')",
    )


def _unwrapped(held: Any, path: Path, key: str) -> tuple[Mapping[Any, Any], list[str]]:
    if key:
        for part in key.split("."):
            held = held.get(part) if isinstance(held, Mapping) else None
        if not _is_network(held):
            raise WorkbookError(f"there are no tensors under {key!r}", where=path, remedy="Name another --key")
        return held, [f"read from {key!r}"]
    if _is_network(held):
        return held, []
    found = {str(name): value for name, value in held.items() if _is_network(value)} if _is_mapping(held) else {}
    for name in (*WRAPPERS, *([*found] if len(found) == 1 else [])):
        if name in found:
            return found[name], [f"read from {name!r}" + (f" of {', '.join(found)}" if len(found) > 1 else "")]
    if found:
        raise WorkbookError(f"it holds several networks: {', '.join(found)}", where=path, remedy="Name one with --key")
    kind = type(held).__name__
    raise WorkbookError(f"it holds no tensors by name ({kind})", where=path, remedy="Give a state_dict")


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)


def _is_network(value: Any) -> bool:
    """Whether most values are tensors."""
    return _is_mapping(value) and 2 * sum(isinstance(each, Tensor) for each in value.values()) > len(value)
