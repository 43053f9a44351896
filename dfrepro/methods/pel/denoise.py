"""The denoisers M of PEL's noise block (AAAI 2022, Eq. 2, and Table 5): median, mean, non-local means.

A denoiser is a function of feature maps (B, C, H, W) that keeps their shape, borders reflected, one channel at a time.
The median is in `pel_median`.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from dfrepro.methods.pel.median import median, reflect

Denoiser = Callable[[Tensor], Tensor]
TINY = 1e-12  # a flat channel has no noise: its weights are 1 / e at most, not 0 / 0


def mean(x: Tensor, k: int) -> Tensor:
    """The k × k mean."""
    return functional.avg_pool2d(reflect(x, k // 2), k, stride=1)


def non_local_means(x: Tensor, patch: int, search: int) -> Tensor:
    """Non-local means (Buades, Coll, Morel, CVPR 2005): a mean over a search × search window by likeness of patches.

        NL(x)_i = Σ_j w_ij x_j / Σ_j w_ij,    w_ij = exp(−d_ij² / h²)

    d²: the mean squared difference of the patch × patch patches around i and j. h² = 2 σ², with σ the noise of that
    image's channel (deviation from the local mean): two patches that differ by their noise alone weigh 1 / e. Features
    have no fixed scale, so neither can h. σ is a constant to the gradient. Recomputed in the backward pass, as the
    (search² − 1) intermediate planes would not fit.
    """
    if x.requires_grad and torch.is_grad_enabled():
        return checkpoint(_non_local_means, x, patch, search, use_reentrant=False)
    return _non_local_means(x, patch, search)


def _non_local_means(x: Tensor, patch: int, search: int) -> Tensor:
    height, width = x.shape[-2:]
    around, reach = patch // 2, search // 2
    wide = reflect(x, around + reach)  # patches, moved, stay inside
    noise = (x - mean(x, patch)).detach().square().mean((2, 3), keepdim=True)  # σ², (B, C, 1, 1)
    here = _window(wide, reach, reach, height + 2 * around, width + 2 * around)
    total, weights = x, torch.ones_like(x)  # j = i
    for dy, dx in _moves(reach):
        there = _window(wide, reach + dy, reach + dx, height + 2 * around, width + 2 * around)
        distance = functional.avg_pool2d((here - there).square(), patch, stride=1)  # d², (B, C, H, W)
        weight = torch.exp(-distance / (2 * noise + TINY))
        total = total + weight * there[..., around : around + height, around : around + width]
        weights = weights + weight
    return total / weights


def _moves(reach: int) -> list[tuple[int, int]]:
    steps = range(-reach, reach + 1)
    return [(dy, dx) for dy in steps for dx in steps if (dy, dx) != (0, 0)]


def _window(x: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    return x[..., top : top + height, left : left + width]


# Table 5's filters by name. "ks = 3" of non-local means is its patch; the search window of 5 is ours
DENOISERS: dict[str, Denoiser] = {
    "median3": partial(median, k=3),
    "median5": partial(median, k=5),
    "median7": partial(median, k=7),
    "mean3": partial(mean, k=3),
    "nlm3": partial(non_local_means, patch=3, search=5),
}
