"""A store of synthetic faces that a tiny network can tell apart."""

from pathlib import Path

import numpy as np
import pytest

from dfrepro.data.manifest import Face, FaceStore


def write_store(path: Path, *, videos: int = 6, frames: int = 4, size: int = 40, seed: int = 0) -> FaceStore:
    """Noise, smoother down the columns in fakes; splits train, val and test by video; masks for the fakes."""
    rng = np.random.default_rng(seed)
    splits = ["train", "train", "train", "val", "test", "train"]

    def faces():
        for manipulation in ("original", "Deepfakes", "FaceSwap"):
            fake = manipulation != "original"
            for video in range(videos):
                for frame in range(frames):
                    pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
                    if fake:
                        pixels[::2] = pixels[1::2]
                    yield Face(
                        pixels, "ffpp", manipulation, f"{video:03d}", frame, int(fake), splits[video % 6],
                        rng.random((81, 2)) * size, mask=np.full((size, size), 255, np.uint8) if fake else None,
                    )  # fmt: skip

    return FaceStore.write(path, faces(), size, meta={"margin": 0.25})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FaceStore:
    return write_store(tmp_path_factory.mktemp("faces") / "store")
