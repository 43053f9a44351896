"""Images a second of the training loop over those of a bare step on one batch that lies ready, in one run.

The floor is forward, backward and optimiser in plain torch on one resident batch: no data, no step rule, no history.
The loop reads its faces from a memory-mapped store, cuts windows or makes pseudo-fakes, keeps books and writes its
checkpoint. With fewer than four cores all is on one of them and its processor seconds are counted; with four and more,
three workers make the batches and the wall's clock counts.
"""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from bench.forge import blurred_copies, portrait
from bench.measure import Row, cores, one_thread
from dfrepro import params
from dfrepro.data.dataset import FaceDataset, batches
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.forge.sbi import SelfBlend
from dfrepro.methods.fia_usa.pseudo_fakes import FiaUsa
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.draws import PseudoFakes
from dfrepro.train.fit import Objective, TrainConfig, fit

PLAIN, FORGED, STUDY, MANY_CORES = 0.95, 0.90, 0.85, 4
SIZE, BATCH, ROUNDS = 64, 32, 3
STORED = 1.25  # a stored crop's side over the window's, as in scales/
CONVNEXT = Backbone("convnext_atto", SIZE, {"depths": (2, 2, 2, 2), "dims": (24, 48, 96, 192)})
FLOOR = "a bare step on one resident batch"


def bench() -> list[Row]:
    """One row a network and kind of data: the median of the loop's share over rounds that measure all in turn."""
    with one_thread(), tempfile.TemporaryDirectory() as name:
        networks = {"ConvNeXt": (CONVNEXT, 72)}  # and steps, five seconds of them
        for scale, steps in {"laptop": 192, "study": 48}.items():
            spec = params.load(scale=scale).sizes.backbones["main"]
            networks[f"the {scale}'s network"] = (Backbone(spec.name, spec.image_size, spec.kwargs), steps)
        return [row for title, setting in networks.items() for row in _measure(title, *setting, Path(name) / title)]


def datasets(folder: Path, steps: int, faces: int = 512, size: int = SIZE) -> dict[str, FaceDataset]:
    """A set as it is, SBI's pairs and FIA-USA's pairs, of one store of noisy portraits: BATCH images a step each."""
    picture, points = portrait(round(STORED * size))
    rng = np.random.default_rng(0)

    def rows():
        for i in range(faces):
            noisy = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
            yield Face(noisy, "bench", ("original", "fake")[i % 2], str(i), 0, i % 2, "train", points)

    store = FaceStore.write(folder / "store", rows(), len(picture))
    copies = {"reconstructions": blurred_copies(picture)}
    made = {
        "SBI": PseudoFakes(SelfBlend(size, margin=None)),
        "FIA-USA": PseudoFakes(FiaUsa(size, margin=None), lambda _: copies),
    }
    everything, reals = np.arange(faces), np.arange(0, faces, 2)
    plain = FaceDataset(store, everything, size=size, seed=0, draws=BATCH * steps)
    pairs = partial(FaceDataset, store, reals, size=size, seed=0, draws=BATCH * steps // 2)
    return {"no augmentation": plain} | {name: pairs(transform=transform) for name, transform in made.items()}


def bare(spec: Backbone, steps: int, clock) -> float:
    """Seconds of bare steps."""
    model = build_detector(spec, seed=0).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    shape = (BATCH, 3, spec.image_size, spec.image_size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images.to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % 2
    started = clock()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(images).logits, labels).backward()
        optimizer.step()
    return clock() - started


def loop(spec: Backbone, steps: int, data: FaceDataset, folder: Path, workers: int, clock) -> float:
    """Seconds of a whole `fit`, checkpoint and all."""
    config = TrainConfig(
        epochs=1, batch=len(data) // steps, frames=1, optimiser="sgd", lr=1e-3,
        accelerator="cpu", threads=1, workers=workers, channels_last=True,
    )  # fmt: skip
    started = clock()
    fit(build_detector(spec, seed=0), data, Objective(CrossEntropy()), config, folder / "run")
    return clock() - started


def fetch(steps: int, data: FaceDataset) -> float:
    """Processor seconds of making the same batches alone."""
    started = time.process_time()
    for _ in batches(data, len(data) // steps, first=0, last=steps):
        pass
    return time.process_time() - started


def _measure(title: str, spec: Backbone, steps: int, folder: Path) -> list[Row]:
    data = datasets(folder, steps, size=spec.image_size)
    many = cores() >= MANY_CORES
    workers, clock = (3, time.perf_counter) if many else (0, time.process_time)
    floors: list[float] = []
    took: dict[str, list[float]] = {name: [] for name in data}
    fetched: dict[str, list[float]] = {name: [] for name in data}
    for _ in range(ROUNDS + 1):
        floors.append(bare(spec, steps, clock))
        for name, dataset in data.items():
            took[name].append(loop(spec, steps, dataset, folder, workers, clock))
            fetched[name].append(fetch(steps, dataset))
    rows = []
    for name in data:
        value = statistics.median(floor / ours for floor, ours in list(zip(floors, took[name]))[1:])  # one warms up
        seconds, making = statistics.median(took[name][1:]), statistics.median(fetched[name][1:])
        speed = BATCH * steps / statistics.median(floors[1:]), BATCH * steps / seconds
        detail = f"{speed[1]:.0f} against {speed[0]:.0f} images/s"
        if not many:
            detail += f"; making batches takes {making / seconds:.0%} of the loop"
        plain = name == "no augmentation"
        forged = STUDY if "study" in title else FORGED if many else None
        asked = PLAIN if plain else forged
        rows.append(Row(f"Training loop, {title}, {name}", FLOOR, value, asked, detail=detail))
    return rows
