"""Tensors of a checkpoint, fitted to a timm network with two logits, real and fake: every tensor or an error."""

import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dfrepro.errors import WorkbookError
from dfrepro.methods.imported.layouts import IGNORED, Layout, Tensors

CLASSES = ("real", "fake")


def fitted(
    held: Mapping[str, Tensor],
    network: Any,
    layout: Layout | None,
    *,
    where: object,
    classes: Sequence[str] = CLASSES,
    head: str = "",
    drop: str = "",
) -> tuple[Tensors, list[str]]:
    """A state for `network`, whose classifier has two logits, from tensors in `layout`'s names (None: timm's own).

    classes: what the classifier's outputs stand for, in their order; one name alone is that of a sigmoid's positive
    class. head: name of the classifier in the file, where it is not the only linear layer of its shape. drop: a regular
    expression of names that may be left out. Returns the state and notes of what was found: prefix, classifier,
    resampled positions, tensors left out. Raises `WorkbookError` where a tensor is missing, is of no use, has another
    shape or is not finite, naming them in one message.
    """
    held = {name: value for name, value in held.items() if not re.search(IGNORED, name)}
    own = network.state_dict()
    head = _head(held, network, head, where)
    prefix = _prefix(held, own, layout, where)
    weight, bias = _two_logits(held, head, classes, where)
    notes = [f"prefix {prefix!r}"] if prefix else []
    notes += [f"classifier {head!r}, {_outputs(held[f'{head}.weight'])}: {', '.join(classes)}"]
    rest = {name: value for name, value in held.items() if name not in (f"{head}.weight", f"{head}.bias")}
    trunk = {name.removeprefix(prefix): value for name, value in rest.items() if name.startswith(prefix)}
    found, resampled = _resampled(layout.rename(trunk, network) if layout else trunk, network)
    found |= {name: value for name, value in rest.items() if not name.startswith(prefix)}
    unread = [pattern for pattern in (layout.unused if layout else "", drop) if pattern]
    left = [name for name in found if name not in own and any(re.search(pattern, name) for pattern in unread)]
    notes += resampled + ([f"left out, {len(left)} tensors: {', '.join(left[:3])}"] if left else [])
    ours = classifier_of(network)
    found = {name: value for name, value in found.items() if name not in left}
    found |= {f"{ours}.weight": weight, f"{ours}.bias": bias}
    counters = {name: value for name, value in own.items() if re.search(IGNORED, name)}
    _check(found, {name: value for name, value in own.items() if name not in counters}, where)
    return {name: value.to(own[name].dtype) for name, value in found.items()} | counters, notes


def classifier_of(network: Any) -> str:
    """The name of a timm network's classifier."""
    return next(name for name, module in network.named_modules() if module is network.get_classifier())


def _prefix(held: Mapping[str, Tensor], own: Mapping[str, Tensor], layout: Layout | None, where: object) -> str:
    """What stands before the trunk's names: before the layout's anchor, or before most of timm's own names."""
    names = [layout.anchor] if layout else list(own)
    votes = Counter(
        name[: len(name) - len(wanted)]
        for wanted in names
        for name in held
        if name == wanted or name.endswith(f".{wanted}")
    )
    if not votes:
        wanted, there = names[0], ", ".join(list(held)[:3])
        raise WorkbookError(
            f"no tensor is called {wanted}, with whatever prefix; there are {there}, ...", where=where,
            remedy="It is the checkpoint of another network: name its --as and --backbone",
        )  # fmt: skip
    most = max(votes.values())
    return min((prefix for prefix, count in votes.items() if count == most), key=len)


def _head(held: Mapping[str, Tensor], network: Any, named: str, where: object) -> str:
    """The one linear layer that reads the network's features and says one or two numbers."""
    width = network.get_classifier().in_features
    found = [
        name.removesuffix(".weight")
        for name, value in held.items()
        if name.endswith(".weight") and value.ndim == 2 and value.shape[1] == width and value.shape[0] in (1, 2)
    ]
    if named in found or (len(found) == 1 and not named):
        return named or found[0]
    there = f"there are {', '.join(found)}" if found else "there is none"
    raise WorkbookError(
        f"the classifier is to be a linear layer of {width} inputs and 1 or 2 outputs, and {there}", where=where,
        remedy="Name it with --head" if found else "Is it a detector? Name its --as and --backbone",
    )  # fmt: skip


def _resampled(found: Tensors, network: Any) -> tuple[Tensors, list[str]]:
    """The tensors after timm's own filter for this family, which brings position embeddings to the input's size."""
    own = network.state_dict()
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    others = [n for n, v in found.items() if n in own and v.shape != own[n].shape]
    if convert is None or not others or not all("pos" in name for name in others):
        return found, []  # timm would resample a patch embedding's kernel too, which makes another network
    converted = dict(convert(dict(found), network))
    mended = [n for n in others if n in converted and converted[n].shape == own[n].shape]
    return converted, [f"resampled to the input's size: {', '.join(mended)}"] if mended else []


def _two_logits(held: Mapping[str, Tensor], head: str, classes: Sequence[str], where: object) -> tuple[Tensor, Tensor]:
    """Weight (2, D) and bias (2,) for real and fake. A sigmoid's one output z becomes (0, z), or (z, 0) for real."""
    weight = held[f"{head}.weight"].float()
    bias = held.get(f"{head}.bias", torch.zeros(len(weight))).float()
    if len(weight) != len(classes) or not set(classes) <= set(CLASSES) or len(set(classes)) != len(classes):
        raise WorkbookError(
            f"the classifier {head!r} has {_outputs(weight)}, and classes are {', '.join(classes)}", where=where,
            remedy="Give --classes real,fake in the order of its outputs, or the one class that a sigmoid speaks of",
        )  # fmt: skip
    both = [weight.new_zeros(2, weight.shape[1]), bias.new_zeros(2)]
    for row, name in enumerate(classes):
        both[0][CLASSES.index(name)], both[1][CLASSES.index(name)] = weight[row], bias[row]
    return both[0], both[1]


def _check(found: Tensors, own: Mapping[str, Tensor], where: object) -> None:
    both = found.keys() & own.keys()
    wrong = {
        "missing": sorted(own.keys() - found.keys()),
        "unknown": sorted(found.keys() - own.keys()),
        "of another shape": [
            f"{n} {_shape(found[n])} for {_shape(own[n])}" for n in sorted(both) if found[n].shape != own[n].shape
        ],
        "not finite": sorted(n for n in both if not found[n].isfinite().all()),
    }
    said = [f"{len(n)} {what} ({', '.join(n[:3])}{', ...' if len(n) > 3 else ''})" for what, n in wrong.items() if n]
    if said:
        remedy = "Name its --as, --backbone or --image-size; what may be left out, with --drop"
        raise WorkbookError(f"its tensors are not the network's: {'; '.join(said)}", where=where, remedy=remedy)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "scalar"


def _outputs(weight: Tensor) -> str:
    return f"{len(weight)} output{'s' if len(weight) > 1 else ''}"
