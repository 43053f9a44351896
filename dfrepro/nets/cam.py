"""Grad-CAM of a detector's last features (Selvaraju et al., ICCV 2017; PIM, Figure 4; FIA-USA, Figure 4).

The grad-cam library rescales every map to [0, 1] by itself, which hides that one detector looks harder than another.
These maps keep their scale; tests hold them equal to the library's up to that rescaling.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.errors import WorkbookError
from dfrepro.nets.layout import layout_of, stage_maps

if TYPE_CHECKING:
    from dfrepro.nets.detector import Detector

FAKE = 1


def grad_cam(detector: "Detector", images: Tensor, *, target: int = FAKE, positions: int = 1) -> Tensor:
    """Grad-CAM for class `target` of faces (B, 3, S, S) as stored: (B, S, S) float32, not negative, not rescaled.

    The layer is the deepest stage whose map has at least `positions` a side: 1 is the last one, as the papers have it;
    a small network on small faces ends in 2 x 2 positions, where 7 (a 224-pixel network's last) shows more.
    Where the classifier reads a class token alone, no slope reaches the last block's patches, and the layer is what
    enters that block. Raises WorkbookError where no stage's map reaches the logits.
    Runs in evaluation mode and leaves the mode, and every parameter's gradient, as they were.
    """
    layout, training = layout_of(detector.backbone), detector.training
    detector.eval()
    try:
        with torch.enable_grad(), stage_maps(detector.backbone) as stages:
            logits, _, last = detector(images)
            deep_first = [last, *reversed(stages)]
            large = [maps for maps in deep_first if min(layout.as_map(maps).shape[2:]) >= positions]
            maps, slopes = _reached(logits[:, target].sum(), large or deep_first, layout.as_map)
    finally:
        detector.train(training)
    cam = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).clamp_min(0)  # (B, 1, h, w)
    return functional.interpolate(cam, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _reached(score: Tensor, deep_first: Sequence[Tensor], as_map: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The deepest of the maps whose positions `score` depends on, and its slopes, both (B, C, h, w), detached."""
    for maps in deep_first:
        (slopes,) = torch.autograd.grad(score, maps, retain_graph=True, allow_unused=True)
        if slopes is not None and (slopes := as_map(slopes)).any():
            return as_map(maps.detach()), slopes
    raise WorkbookError(
        "the logits depend on no map of its stages, so there is no Grad-CAM",
        where="detector",
        remedy="Name a network whose stages timm's feature_info names, or look at its attention",
    )


def share_inside(cam: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each map's mass (B, S, S) inside its mask (B, S, S) in [0, 1]; NaN where a map is empty."""
    total = cam.sum((1, 2))
    return np.divide((cam * mask).sum((1, 2)), total, out=np.full(len(cam), np.nan), where=total > 0)
