"""What FPG's refinement works on: the pairs of a batch, the draws of a step, and the recipe's erosion, in batch.

The refinement itself is `dfrepro.methods.fpg.refine`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.forge.masks import KERNELS, RASTER_SIZES, SECOND_SIGMAS

FAKE = 1
MIN_OPACITY = 0.1  # below it, a source worked out of the fake is mostly rounding


class Pairs(NamedTuple):
    """Rows of a batch: the i-th fake was made of the i-th real."""

    real: Tensor  # (b,)
    fake: Tensor  # (b,)


def pair_up(batch: Mapping[str, Any]) -> Pairs:
    """The pairs of a batch, in order of appearance. Raises WorkbookError when real and fake do not pair.

    Where the batch says of which `draw` each picture is, both of a pair must be of the same.
    """
    label = batch["label"]
    real, fake = ((label == kind).nonzero()[:, 0] for kind in (0, FAKE))
    draw = batch.get("draw")
    if len(real) != len(fake) or (draw is not None and not torch.equal(draw[real], draw[fake])):
        raise WorkbookError(
            f"{len(real)} reals and {len(fake)} fakes are no pairs",
            where="FPG's batch",
            remedy="Train on self-blended pairs (dfrepro.forge.sbi)",
        )
    return Pairs(real, fake)


@dataclass(frozen=True)
class Fakes:
    """The b fakes of a batch on their way through the refinements: float32, pictures in [0, 255]."""

    image: Tensor  # (b, 3, S, S), x_f
    real: Tensor  # (b, 3, S, S), x_r
    source: Tensor  # (b, 3, S, S), s
    mask: Tensor  # (b, S, S), M in [0, 1]
    refined: Tensor  # (b,) bool: S changed it
    emptied: Tensor  # (b,) bool: S would have left nothing

    @classmethod
    def of(cls, batch: Mapping[str, Any], pairs: Pairs) -> "Fakes":
        image, real = batch["image"][pairs.fake].float(), batch["image"][pairs.real].float()
        mask = unit_mask(batch)[pairs.fake]
        source = batch.get("source")
        source = estimated_source(image, real, mask) if source is None else source[pairs.fake].float()
        none = torch.zeros(len(image), dtype=torch.bool, device=image.device)
        return cls(image, real, source, mask, none, none)

    def back_into(self, batch: Mapping[str, Any], pairs: Pairs) -> dict[str, Any]:
        """`batch` with these fakes and their masks in place, and the two flags, (B,) float32."""

        def placed(into: Tensor, values: Tensor) -> Tensor:
            return into.index_copy(0, pairs.fake, values.detach())

        none = torch.zeros(len(batch["label"]), device=self.image.device)
        changed = {
            "image": placed(batch["image"].float(), self.image),
            "mask": placed(unit_mask(batch), self.mask),
            "refined": placed(none, self.refined.float()),
            "emptied": placed(none, self.emptied.float()),
        }
        return {**batch, **changed} | ({"ratio": torch.ones_like(batch["ratio"])} if "ratio" in batch else {})


def unit_mask(batch: Mapping[str, Any]) -> Tensor:
    """M of every picture of a batch, (B, S, S) float32 in [0, 1]: `mask` times `ratio`."""
    mask = batch["mask"]
    mask = mask.float() / 255 if mask.dtype == torch.uint8 else mask.float()
    ratio = batch.get("ratio")
    return mask if ratio is None else mask * ratio.float()[:, None, None]


def estimated_source(fake: Tensor, real: Tensor, mask: Tensor) -> Tensor:
    """s such that M s + (1 − M) x_r = x_f, within [0, 255]: exact up to rounding where M >= .1 and d = 0.

    The residual d takes up the rest, so that the fake is what it is. Outside the mask it is the real.
    """
    return (real + (fake - real) * (mask > 0)[:, None] / mask.clamp_min(MIN_OPACITY)[:, None]).clamp(0, 255)


class Kernels(NamedTuple):
    """The two windows of `soften` for each of b masks, in pixels of a raster of `raster` a side: the recipe's draws."""

    raster: Tensor
    first: Tensor
    second: Tensor
    sigma: Tensor


@dataclass(frozen=True)
class Draws:
    """All that is random in the refinement of b fakes."""

    applied: bool  # Mg, this batch
    uniform: Tensor  # (b,) in [0, 1), against p(fake)
    signs: Tensor  # (b,) of ±1
    kernels: Kernels  # (b,) each

    @classmethod
    def of(cls, generator: torch.Generator, b: int, probability: float) -> "Draws":
        def uniform() -> Tensor:
            return torch.rand(b, generator=generator, device=generator.device)

        def integers(low: int, high: int) -> Tensor:
            return torch.randint(low, high + 1, (b,), generator=generator, device=generator.device).float()

        applied = bool(torch.rand((), generator=generator, device=generator.device) < probability)
        raster, sigma = integers(*RASTER_SIZES), integers(*SECOND_SIGMAS)
        first, second = (KERNELS.start + KERNELS.step * integers(0, len(KERNELS) - 1) for _ in range(2))
        return cls(applied, uniform(), 2 * integers(0, 1) - 1, Kernels(raster, first, second, sigma))

    def to(self, device: torch.device) -> "Draws":
        kernels = Kernels(*(draw.to(device) for draw in self.kernels))
        return Draws(self.applied, self.uniform.to(device), self.signs.to(device), kernels)


# --- erosion and softening, in batch ------------------------------------------------------------------------------


def soften(inside: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor]:
    """Erode regions (b, S, S) of bool and soften their edges, as the self-blending recipe does with its masks.

    Returns masks (b, S, S) float32 with a maximum of 1, and (b,) bool: whether the erosion left anything (else 0).
    What `dfrepro.forge.masks.soften` does to one, but that it shrinks a window that leaves nothing. The recipe's
    windows refer to a raster of the whole picture, so here they are scaled by S / raster.
    """
    scale = inside.shape[-1] / kernels.raster
    widest = int(_odd(torch.tensor(KERNELS[-1] * inside.shape[-1] / RASTER_SIZES[0])))
    offsets = torch.arange(widest, device=inside.device) - widest // 2  # (K,)
    first, second = (offsets.abs() <= (_odd(k * scale) // 2)[:, None] for k in kernels[1:3])  # (b, K)
    core = _both_ways(inside.float(), first.float(), lambda sums: (sums == first.sum(1)[:, None, None]).float())
    bell = torch.exp(-0.5 * (offsets / (kernels.sigma * scale)[:, None]) ** 2) * second
    soft = _both_ways(core, bell / bell.sum(1, keepdim=True), lambda sums: sums)
    highest = soft.amax((1, 2))
    return soft / highest.clamp_min(torch.finfo(soft.dtype).tiny)[:, None, None], core.amax((1, 2)) > 0


def _odd(kernel: Tensor) -> Tensor:
    """The odd integer nearest to a width, at least 1 (`masks.odd`)."""
    return (2 * (kernel / 2).floor() + 1).clamp_min(1)


def _both_ways(x: Tensor, taps: Tensor, then: Callable[[Tensor], Tensor]) -> Tensor:
    """Filter the rows, then the columns, of (b, S, S), each picture by its own taps (b, K); borders are replicated."""
    half = taps.shape[1] // 2
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would show as steps in the mask
        for _ in range(2):
            padded = functional.pad(x[None], (half, half, 0, 0), mode="replicate")  # (1, b, S, S + K − 1)
            x = then(functional.conv2d(padded, taps[:, None, None], groups=len(taps))[0]).transpose(1, 2)
    return x
