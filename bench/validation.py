"""The share of a laptop training that goes into its looks at the validation faces, within one run and one process.

A plain run as `train` does it, on as many faces, of noisy portraits. Processor seconds on one core: those spent inside
the looks, of all from the first step to the checkpoint.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from bench.forge import portrait
from bench.measure import Row, one_thread
from dfrepro import params
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.jobs.train import train_run
from dfrepro.train import validation
from dfrepro.train.ingredients import Inputs

RUN, STORED, FRAMES = "erm-df", 80, 8
VIDEOS = {"train": 72, "val": 9}  # reals, and as many fakes: what the laptop's stand-in has
ASKED = 5.0  # per cent


def bench() -> list[Row]:
    spent: list[float] = []

    def timed(*given) -> float:
        started = time.process_time()
        value = measure(*given)
        spent.append(time.process_time() - started)
        return value

    measure = validation.video_auc
    with one_thread(), tempfile.TemporaryDirectory() as name, mock.patch.object(validation, "video_auc", timed):
        folder, spec = Path(name), params.load(scale="laptop").spec(RUN, 0)
        store = FaceStore.write(folder / "store", _faces(), STORED, meta={"margin": 0.25})
        started = time.process_time()
        train_run(spec, Inputs(store), folder / "run", resume=folder / "state")
        share = 100 * sum(spent) / (time.process_time() - started)
    training = spec["training"]
    detail = f"{len(spent)} looks of {1e3 * sum(spent) / len(spent):.0f} ms in {training['epochs']} epochs, one thread"
    return [Row("Validation's looks, the laptop's plain run", "all of the training", share, ASKED, True, "%", detail)]


def _faces() -> Iterator[Face]:
    picture, points = portrait(STORED)
    rng = np.random.default_rng(0)
    for split, videos in VIDEOS.items():
        for i in range(2 * videos * FRAMES):
            noisy = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
            fake, video = i % 2, f"{split}-{i // 2 // FRAMES}"
            yield Face(noisy, "ffpp", ("original", "Deepfakes")[fake], video, i // 2 % FRAMES, fake, split, points)
