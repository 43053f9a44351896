"""Noise in the place of faces, for tests that ask how images and stores are handled and not what is on them."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from dfrepro.data.manifest import Face, FaceStore


def noise(n: int = 4, size: int = 32, seed: int = 0) -> torch.Tensor:
    """(n, 3, size, size) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)


def rectangle(size: int, rows: slice, columns: slice) -> np.ndarray:
    """A mask (size, size) uint8, 255 inside."""
    mask = np.zeros((size, size), np.uint8)
    mask[rows, columns] = 255
    return mask


def noise_store(
    path: Path,
    frames: Iterable[tuple[str, str, int, str]],
    mask: np.ndarray | None,
    *,
    size: int = 40,
    quality: Callable[[str], float] = lambda video: float("nan"),
) -> FaceStore:
    """A store of `frames` (manipulation, video, frame, split): dim noise, in fakes brighter where `mask` is."""
    rng, angle = np.random.default_rng(0), np.linspace(0, 2 * np.pi, 81, endpoint=False)
    points = size / 2 + size / 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def faces():
        for manipulation, video, frame, split in frames:
            fake = manipulation != "original"
            pixels = rng.integers(60, 100, (size, size, 3), dtype=np.uint8)
            if fake and mask is not None:
                pixels += mask[..., None] // 3
            landmarks = points + rng.normal(0, 0.5, points.shape)
            yield Face(pixels, "ffpp", manipulation, video, frame, int(fake), split, landmarks,
                       mask=mask if fake else None, quality=quality(video))  # fmt: skip

    return FaceStore.write(path, faces(), size, meta={"margin": 0.25})
