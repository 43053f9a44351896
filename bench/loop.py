"""Images a second of the training loop over those of a bare step on one batch that lies ready, in one run.

The floor is forward, backward and optimiser in plain torch on one resident batch: no data, no step rule, no history.
The loop reads its faces from a memory-mapped store, cuts windows, keeps books and writes its checkpoint.
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from dfrepro.data.dataset import FaceDataset
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.train.fit import Recipe, TrainConfig, fit
from dfrepro.train.losses import CrossEntropy
from dfrepro.train.models import Backbone, build_detector

TARGET = 0.95
SPEC = Backbone("convnext_atto", 64, {"depths": (2, 2, 2, 2), "dims": (24, 48, 96, 192)})
BATCH, STEPS, STORED, ROUNDS = 32, 24, 80, 5


def write_store(folder: Path, faces: int = 1024) -> FaceStore:
    rng = np.random.default_rng(0)
    rows = (
        Face(
            rng.integers(0, 256, (STORED, STORED, 3), dtype=np.uint8), "bench", ("original", "fake")[i % 2], str(i), 0,
            i % 2, "train", np.zeros((81, 2)),
        )
        for i in range(faces)
    )  # fmt: skip
    return FaceStore.write(folder / "store", rows, STORED)


def bare() -> float:
    """Images a CPU second of bare steps."""
    model = build_detector(SPEC, seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randint(0, 256, (BATCH, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH) % 2
    started = time.process_time()
    for _ in range(STEPS):
        optimizer.zero_grad()
        cross_entropy(model(images).logits, labels).backward()
        optimizer.step()
    return BATCH * STEPS / (time.process_time() - started)


def loop(data: FaceDataset, folder: Path) -> float:
    """Images a CPU second of a whole `fit`, checkpoint and all."""
    config = TrainConfig(epochs=1, batch=BATCH, lr=1e-3, accelerator="cpu", threads=1)
    started = time.process_time()
    fit(build_detector(SPEC, seed=0), data, Recipe(CrossEntropy()), config, folder / "run")
    return BATCH * STEPS / (time.process_time() - started)


def bench() -> list[dict[str, Any]]:
    """One row: the loop's images a second over the bare step's, the median over rounds that measure both in turn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            data = FaceDataset(write_store(folder), np.arange(1024), size=64, seed=0, draws=BATCH * STEPS)
            bare(), loop(data, folder)  # warm up
            rounds = [(bare(), loop(data, folder)) for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    floor = statistics.median(one for one, _ in rounds)
    ratio = statistics.median(ours / one for one, ours in rounds)
    detail = f"{SPEC.name}, {BATCH} x 64 px: bare {floor:.0f} images a CPU second, loop {ratio * floor:.0f}"
    return [{"name": "loop over a bare step", "ratio": ratio, "target": TARGET, "floor": floor, "detail": detail}]
