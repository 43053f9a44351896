"""A lamp from one side: a face gets darker along a random direction (a worked example: docs/extending.md)."""

from typing import Any

import numpy as np


class Shade:
    """Replaces `image` (H, W, 3) uint8; the far side loses at most `depth` (in [0, 1)) of its light."""

    def __init__(self, depth: float = 0.5):
        self.depth = depth

    def __call__(self, item: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        height, width = item["image"].shape[:2]
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        angle = rng.uniform(0, 2 * np.pi)
        far = ((1 + np.cos(angle) * x + np.sin(angle) * y) / 2).clip(0, 1)  # (H, W): 0 at the lamp, 1 away from it
        light = 1 - rng.uniform(0, self.depth) * far
        return item | {"image": np.round(item["image"] * light[..., None]).astype(np.uint8)}
