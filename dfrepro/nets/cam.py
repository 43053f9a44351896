"""Grad-CAM of a detector's last features (Selvaraju et al., ICCV 2017; SPEC P1 Figure 4, P3 Figure 4).

The grad-cam library rescales every map to [0, 1] by itself, which hides that one detector looks harder than another.
These maps keep their scale; tests hold them equal to the library's up to that rescaling.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from dfrepro.nets.detector import Detector

FAKE = 1


def grad_cam(detector: "Detector", images: Tensor, *, target: int = FAKE, positions: int = 1) -> Tensor:
    """Grad-CAM for class `target` of faces (B, 3, S, S) as stored: (B, S, S) float32, not negative, not rescaled.

    The layer is the deepest stage whose map has at least `positions` a side: 1 is the last one, as the papers have it;
    a small network on small faces ends in 2 x 2 positions, where 7 (a 224-pixel network's last) shows more.
    Runs in evaluation mode and leaves the mode, and every parameter's gradient, as they were.
    """
    training = detector.training
    detector.eval()
    try:
        with torch.enable_grad(), _stages(detector.backbone) as outputs:
            logits, _, last = detector(images)
            maps = next((m for m in (last, *reversed(outputs)) if _side(detector, m) >= positions), last)
            (slopes,) = torch.autograd.grad(logits[:, target].sum(), maps)
    finally:
        detector.train(training)
    maps, slopes = _as_map(detector, maps.detach()), _as_map(detector, slopes)  # (B, C, h, w)
    cam = (slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).clamp_min(0)  # (B, 1, h, w)
    return functional.interpolate(cam, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


@contextmanager
def _stages(network: nn.Module) -> Iterator[list[Tensor]]:
    """The maps that leave the network's stages, shallow to deep, of the forward passes inside."""
    children = dict(network.named_children())
    groups = [children[name] for name in ("stages", "layers", "blocks") if name in children]
    numbered = [children[f"layer{i}"] for i in range(1, 5) if f"layer{i}" in children]
    stages = list(groups[0].children()) if groups else numbered
    outputs: list[Tensor] = []
    handles = [stage.register_forward_hook(lambda _, __, output: outputs.append(output)) for stage in stages]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def _side(detector: "Detector", maps: Tensor) -> int:
    return _as_map(detector, maps).shape[-1]


def share_inside(cam: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each map's mass (B, S, S) inside its mask (B, S, S) in [0, 1]; NaN where a map is empty."""
    total = cam.sum((1, 2))
    return np.divide((cam * mask).sum((1, 2)), total, out=np.full(len(cam), np.nan), where=total > 0)


def _as_map(detector: "Detector", x: Tensor) -> Tensor:
    """(B, C, h, w) as it is; tokens (B, N, C) of a ViT without the leading ones, on their grid."""
    if x.ndim == 4:
        return x
    tokens = x[:, getattr(detector.backbone, "num_prefix_tokens", 0) :]
    side = round(tokens.shape[1] ** 0.5)
    return tokens.transpose(1, 2).reshape(len(x), -1, side, side)
