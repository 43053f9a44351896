"""What a look at the validation faces costs beside an epoch of training, within one training and one process.

A laptop's plain run as `train` does it, for a few epochs with a look after each, on as many faces, of noisy portraits.
Processor seconds on one core: those inside the looks, and all others from the first step to the checkpoint.
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
from dfrepro.train.fit import LOOKS
from dfrepro.train.ingredients import Inputs

RUN, STORED, FRAMES = "erm-df", 80, 8
VIDEOS = {"train": 72, "val": 9}  # reals, and as many fakes: what the laptop's stand-in has
EPOCHS, ASKED = 4, 10.0  # per cent of an epoch


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
        epochs = spec["training"]["epochs"]
        store = FaceStore.write(folder / "store", _faces(), STORED, meta={"margin": 0.25})
        few = spec | {"training": spec["training"] | {"epochs": EPOCHS}}
        started = time.process_time()
        train_run(few, Inputs(store), folder / "run", resume=folder / "state")
        look = sum(spent) / len(spent)
        epoch = (time.process_time() - started - sum(spent)) / EPOCHS
    looks = -(-epochs // -(-epochs // LOOKS))  # in a whole training: after every k-th epoch
    detail = f"{1e3 * look:.0f} of {1e3 * epoch:.0f} ms; {looks} looks in {epochs} epochs are "
    detail += f"{looks * look / (looks * look + epochs * epoch):.1%} of a training"
    name = "A look at the validation faces, the laptop's plain run"
    return [Row(name, "an epoch of its training", 100 * look / epoch, ASKED, less=True, unit="%", detail=detail)]


def _faces() -> Iterator[Face]:
    picture, points = portrait(STORED)
    rng = np.random.default_rng(0)
    for split, videos in VIDEOS.items():
        for i in range(2 * videos * FRAMES):
            noisy = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
            fake, video = i % 2, f"{split}-{i // 2 // FRAMES}"
            yield Face(noisy, "ffpp", ("original", "Deepfakes")[fake], video, i // 2 % FRAMES, fake, split, points)
