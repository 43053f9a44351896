"""How much work the hot paths do, counted and not timed: the same on a busy machine as on a quiet one.

`python -m bench.counts` writes results/counts.json; tests/bench/test_counts.py, and so CI, fails where a path does more
work than is committed there. Paths: a training step (operators that torch runs, operations in them), a self-blended
pair (calls of OpenCV, pixels given to them), a video's faces (frames decoded and converted, pixels searched by HOG) and
scoring (faces read, operations).
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils._python_dispatch import TorchDispatchMode

from bench.forge import portrait
from bench.loop import CONVNEXT, SIZE, datasets
from bench.measure import operations
from bench.steps import RULES, images
from dfrepro.data import landmarks, video
from dfrepro.data.clip import read_clip
from dfrepro.data.layouts.base import Video
from dfrepro.data.shards import Recipe
from dfrepro.evaluate.predict import predict_under
from dfrepro.evaluate.probe import StatisticShift
from dfrepro.files import ROOT, write_json
from dfrepro.forge.sbi import SelfBlend
from dfrepro.nets.detector import build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.steps import Step

RESULTS = ROOT / "results" / "counts.json"
Counts = dict[str, float]


def counted() -> Counts:
    """Every count by its name."""
    found: Counts = {}
    for rule in RULES:
        found |= {f"step {rule}: {name}": value for name, value in step(rule).items()}
    parts = {"self-blended pair": self_blend(), "faces of a video": faces(), "scoring": scoring()}
    return found | {f"{part}: {name}": value for part, counts in parts.items() for name, value in counts.items()}


class Operators(TorchDispatchMode):
    """Counts what torch runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def step(rule: str) -> Counts:
    """A step on 4 images, without the optimiser: operators and millions of operations."""
    fabric = Fabric(accelerator="cpu", devices=1)
    model = fabric.setup_module(build_detector(CONVNEXT, seed=0).train())
    with Step(RULES[rule], fabric, model) as take:
        with Operators() as operators:
            take(CrossEntropy(), [images(4, SIZE)])
        with operations() as counter:
            take(CrossEntropy(), [images(4, SIZE)])
    return {"operators": operators.count, "MFLOP": counter.get_total_flops() / 1e6}


def self_blend(pairs: int = 32) -> Counts:
    """Per pair, of crops of 80 to 64 pixels: calls of OpenCV and thousands of pixels given to them."""
    picture, points = portrait(80)
    rng, forge = np.random.default_rng(0), SelfBlend(SIZE)
    with _opencv() as work:
        for _ in range(pairs):
            forge(picture, points, rng)
    return {"calls": work["calls"] / pairs, "kilopixels": work["values"] / pairs / 1e3}


@contextmanager
def _opencv() -> Iterator[Counter[str]]:
    """What OpenCV's functions are called with inside: how often, and how many values their largest argument has."""
    work: Counter[str] = Counter()

    def watched(function):
        def call(*args: Any, **kwargs: Any):
            work["calls"] += 1
            work["values"] += max((a.size for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)), default=0)
            return function(*args, **kwargs)

        return call

    names = [name for name in dir(cv2) if not name.startswith("_") and type(getattr(cv2, name)) is type(cv2.resize)]
    with mock.patch.multiple(cv2, **{name: watched(getattr(cv2, name)) for name in names}):
        yield work


def faces(frames: int = 64, wanted: int = 8) -> Counts:
    """Per face of a video of 480 x 320: frames decoded and converted, HOG's passes and megapixels."""
    work: Counter[str] = Counter()
    hog, convert, decode = landmarks._hog, video.shown, video._frames

    def watched_hog(grey, *rest):
        work["HOG passes"] += 1
        work["HOG megapixels"] += grey.size / 1e6
        return hog(grey, *rest)

    def watched_convert(frame, aspect):
        work["frames converted"] += 1
        return convert(frame, aspect)

    def watched_decode(*args):
        for frame in decode(*args):
            work["frames decoded"] += 1
            yield frame

    with tempfile.TemporaryDirectory() as folder:
        path = _film(Path(folder) / "film.mp4", frames)
        with (
            mock.patch.object(landmarks, "_hog", watched_hog),
            mock.patch.object(video, "shown", watched_convert),
            mock.patch.object(video, "_frames", watched_decode),
        ):
            recipe = Recipe(n_frames=wanted, size=96, margin=0.25)
            shard = read_clip(Video("bench", "original", "film", 0, "test", (), "", path), recipe)
    return {name: value / len(shard.faces) for name, value in work.items()}


def _film(path: Path, frames: int) -> Path:
    import av
    from skimage.data import astronaut

    face = astronaut()[0:300, 80:380]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "18", "g": "32"})
        stream.width, stream.height, stream.pix_fmt = 480, 320, "yuv420p"
        for i in range(frames):
            picture = np.full((320, 480, 3), 120, np.uint8)
            left = 20 + 140 * i // frames
            picture[10:310, left : left + 300] = face
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())
    return path


def scoring(faces: int = 64) -> Counts:
    """64 faces, clean and shifted: how often a face is read, and millions of operations a face."""
    detector = build_detector(CONVNEXT, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        store = datasets(Path(folder), steps=1, faces=faces)["no augmentation"].store
        reads: Counter[str] = Counter()

        class Watched(np.memmap):
            def __getitem__(self, key):
                reads["faces read"] += 1
                return np.asarray(super().__getitem__(key))

        object.__setattr__(store, "faces", store.faces.view(Watched))
        with operations() as counter:
            predict_under(detector, store, np.arange(faces), {"clean": None, "shifted": StatisticShift()}, size=SIZE)
    return {"reads of a face": reads["faces read"] / faces, "MFLOP a face": counter.get_total_flops() / faces / 1e6}


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {name: round(value, 3) for name, value in counted().items()}
    write_json(RESULTS, found)
    for name, value in found.items():
        print(f"{name}: {value:g}")
