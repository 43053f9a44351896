"""What FPG's refinement works on: the pairs of a batch, the draws of a step, and the recipe's erosion, in batch.

The refinement itself is `dfrepro.methods.fpg.refine`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.forge.masks import RASTER_SIZES

FAKE = 1
KERNELS = range(17, 26, 2)  # px of the raster: the public code's, of refined masks
SIGMAS = (15, 45)  # px of the raster, inclusive
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
    """The two windows of `soften` for each of b masks, in pixels of a raster of `rows` x `columns`; each (b,)."""

    rows: Tensor
    columns: Tensor
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
        rows, columns = integers(*RASTER_SIZES), integers(*RASTER_SIZES)
        first, second = (KERNELS.start + KERNELS.step * integers(0, len(KERNELS) - 1) for _ in range(2))
        kernels = Kernels(rows, columns, first, second, integers(*SIGMAS))
        return cls(applied, uniform(), 2 * integers(0, 1) - 1, kernels)

    def to(self, device: torch.device) -> "Draws":
        kernels = Kernels(*(draw.to(device) for draw in self.kernels))
        return Draws(self.applied, self.uniform.to(device), self.signs.to(device), kernels)


# --- erosion and softening, in batch ------------------------------------------------------------------------------


def soften(inside: Tensor, kernels: Kernels) -> tuple[Tensor, Tensor]:
    """Erode regions (b, S, S) of bool and soften their edges, as FPG's public code does with refined masks.

    Returns masks (b, S, S) float32 with a maximum of 1, and (b,) bool: whether the erosion left anything (else 0).
    The code brings the mask to a raster whose height and width are drawn each for itself, blurs it, keeps the ones,
    blurs again and goes back. "Blur and keep the ones" is an erosion by the window; the raster is laid over the whole
    picture, so its windows are scaled by S / rows and S / columns instead.
    """
    side = inside.shape[-1]
    scales = side / kernels.columns, side / kernels.rows  # of the windows along a row, along a column
    widest = int(_odd(torch.tensor(KERNELS[-1] * side / RASTER_SIZES[0])))
    offsets = torch.arange(widest, device=inside.device) - widest // 2  # (K,)

    def windows(kernel: Tensor) -> list[Tensor]:
        return [(offsets.abs() <= (_odd(kernel * scale) // 2)[:, None]).float() for scale in scales]  # (b, K) each

    def bells(kernel: Tensor) -> list[Tensor]:
        cut = zip(windows(kernel), scales)
        return [torch.exp(-0.5 * (offsets / (kernels.sigma * by)[:, None]) ** 2) * window for window, by in cut]

    core = _both_ways(inside.float(), windows(kernels.first), lambda x, taps: (x == taps.sum(1)[:, None, None]).float())
    soft = _both_ways(core, bells(kernels.second), lambda x, taps: x / taps.sum(1)[:, None, None])
    highest = soft.amax((1, 2))
    return soft / highest.clamp_min(torch.finfo(soft.dtype).tiny)[:, None, None], core.amax((1, 2)) > 0


def _odd(kernel: Tensor) -> Tensor:
    """The odd integer nearest to a width, at least 1 (`masks.odd`)."""
    return (2 * (kernel / 2).floor() + 1).clamp_min(1)


def _both_ways(x: Tensor, both: Sequence[Tensor], then: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Filter (b, S, S) along its rows, then its columns, each picture by its own taps (b, K); borders are replicated.

    `then`, of the sums and the taps, follows each of the two.
    """
    half = both[0].shape[1] // 2
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would show as steps in the mask
        for taps in both:
            padded = functional.pad(x[None], (half, half, 0, 0), mode="replicate")  # (1, b, S, S + K − 1)
            sums = functional.conv2d(padded, taps[:, None, None], groups=len(taps))[0]
            x = then(sums, taps).transpose(1, 2)
    return x
