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
from dfrepro.methods.pel.detector import PEL, Enhancement
from dfrepro.methods.pel.streams import evaluating
from dfrepro.nets.detector import Output


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


class Residuals(NamedTuple):
    """What enhancement adds, f_out − f_in (B, C, h, w), by stream. Empty for a variant without that module."""

    self_enhancement: dict[str, Tensor]  # of the first module, Figure 3
    mutual: dict[str, Tensor]  # of the last module, Figure 4


@torch.no_grad()
def residuals(model: PEL, images: Tensor) -> Residuals:
    """The residuals of the first self-enhancement and of the last mutual one, in evaluation mode."""
    enhancements = [module for module in model.enhancements if isinstance(module, Enhancement)]
    own = [list(e.own) for e in enhancements if not isinstance(e.own[0], nn.Identity)][:1]
    mutual = [e.mutual for e in enhancements if not isinstance(e.mutual, nn.Identity)][-1:]
    with _watching([*chain(*own), *mutual]) as seen, evaluating(model):
        model(images)
    names = list(model.streams)
    return Residuals(
        {name: seen[module][0] for modules in own for name, module in zip(names, modules)},
        {name: residual for module in mutual for name, residual in zip(names, seen[module])},
    )


def energy(residual: Tensor, size: int, *, centred: bool = False) -> Tensor:
    """Where a residual (B, C, h, w) is: its mean square over the channels, resized to (B, size, size), not negative.

    `centred`: of each channel's deviation from its mean over the image. The noise block adds b + a/2 wherever there is
    no noise, and that is no clue.
    """
    if centred:
        residual = residual - residual.mean((2, 3), keepdim=True)
    return functional.interpolate(residual.square().mean(1, keepdim=True), (size, size), mode="bilinear")[:, 0]


@contextmanager
def _watching(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """What each module adds to each of its inputs, filled in by the forward passes inside."""
    seen: dict[nn.Module, list[Tensor]] = {}

    def hook(module: nn.Module, inputs: tuple[Any], output: Any) -> None:
        before, after = (x if isinstance(x, list) else [x] for x in (inputs[0], output))
        seen[module] = [b - a for a, b in zip(before, after)]

    handles = [module.register_forward_hook(hook) for module in modules]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
