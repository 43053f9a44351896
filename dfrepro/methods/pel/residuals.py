"""What PEL's Figures 2 to 4 show: where each stream looks, and what the enhancement modules add to its features.

The first self-enhancement is the noise block after stage 1, or the channel attention after stage 2 where there is none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.methods.pel.detector import PEL, ChannelAttention, Enhancement, MutualEnhancement, NoiseEnhancement
from dfrepro.nets.detector import Output, evaluating

TINY = 1e-20  # under a mean square: features of a black face may be flat


class StreamView(nn.Module):
    """A PEL whose `Output.maps` are one stream's alone: what `dfrepro.nets.cam.grad_cam` takes for Figure 2.

    It shares the PEL's weights, and is no detector of its own: both streams still decide.
    """

    def __init__(self, model: PEL, stream: str):
        super().__init__()
        names = list(model.streams)
        if stream not in names:
            raise WorkbookError(f"it has no stream {stream!r}", where="PEL", remedy=f"Take one of {names}")
        self.model, self.place = model, names.index(stream)

    @property
    def backbone(self) -> nn.Module:
        """The stream's network, whose stages may be asked for instead."""
        return list(self.model.streams.values())[self.place].network  # type: ignore[return-value]

    def forward(self, images: Tensor) -> Output:
        tops = self.model.tops(images)
        return self.model.read(tops)._replace(maps=tops[self.place])


class Change(NamedTuple):
    """Features of one stream before and after a module, (B, C, h, w) each."""

    before: Tensor
    after: Tensor

    @property
    def added(self) -> Tensor:
        """The residual, f_out − f_in."""
        return self.after - self.before


Changes = dict[tuple[str, str], Change]  # by module ("self", "mutual") and stream ("rgb", "freq")


@torch.no_grad()
def changes(model: PEL, images: Tensor) -> Changes:
    """What the first self-enhancement (Figure 3) and the last mutual one (Figure 4) do, in evaluation mode.

    Modules that a variant lacks are absent.
    """
    enhancements = [module for module in model.enhancements if isinstance(module, Enhancement)]
    own = [list(e.own) for e in enhancements if not isinstance(e.own[0], nn.Identity)][:1]
    mutual = [e.mutual for e in enhancements if not isinstance(e.mutual, nn.Identity)][-1:]
    with _watching([*chain(*own), *mutual]) as seen, evaluating(model):
        model(images)
    names = list(model.streams)
    found = {("self", name): seen[module][0] for modules in own for name, module in zip(names, modules)}
    return found | {("mutual", name): change for module in mutual for name, change in zip(names, seen[module])}


@torch.no_grad()
def shares(model: PEL, images: Tensor) -> dict[str, Tensor]:
    """How much a kind of module does, (B,) each: root mean square of what it adds over that of what came in.

    "noise", "attention", "mutual", each the mean over its places and streams; both sides without each channel's mean
    over the face (see `energy`). A module at its start of zero has 0; absent kinds are absent.
    """
    kinds = {NoiseEnhancement: "noise", ChannelAttention: "attention", MutualEnhancement: "mutual"}
    places = [module for module in model.modules() if type(module) in kinds]
    with _watching(places) as seen, evaluating(model):
        model(images)
    found: dict[str, list[Tensor]] = {}
    for module in places:
        for change in seen[module]:
            added, before = (_centred(x).square().mean((1, 2, 3)) for x in (change.added, change.before))
            found.setdefault(kinds[type(module)], []).append((added / before.clamp_min(TINY)).sqrt())
    return {kind: torch.stack(values).mean(0) for kind, values in found.items()}


def energy(features: Tensor, size: int, *, centred: bool = False) -> Tensor:
    """Where features (B, C, h, w) are: their mean square over the channels, resized to (B, size, size), not negative.

    `centred`: of each channel's deviation from its mean over the image. The noise block adds b + a/2 wherever there is
    no noise, and that is no clue.
    """
    if centred:
        features = _centred(features)
    return functional.interpolate(features.square().mean(1, keepdim=True), (size, size), mode="bilinear")[:, 0]


def _centred(features: Tensor) -> Tensor:
    return features - features.mean((2, 3), keepdim=True)


@contextmanager
def _watching(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, list[Change]]]:
    """What each module makes of each of its inputs, filled in by the forward passes inside."""
    seen: dict[nn.Module, list[Change]] = {}

    def hook(module: nn.Module, inputs: tuple[Any], output: Any) -> None:
        before, after = (x if isinstance(x, list) else [x] for x in (inputs[0], output))
        seen[module] = [Change(a, b) for a, b in zip(before, after)]

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
