"""Scoring a run: what it costs beyond the network's own forward passes, in one run on one thread.

The floor is the network alone on faces that lie ready as batches: no store, no table, no corruption. Every face passes
once under each condition, whatever number of tables reads its scores (tests/jobs/test_evaluated_once.py counts).
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.loop import CONVNEXT, SIZE, datasets
from bench.measure import Row, one_thread
from dfrepro.evaluate.cost import seconds
from dfrepro.evaluate.predict import predict_under
from dfrepro.evaluate.probe import StatisticShift, corruptions
from dfrepro.nets.detector import build_detector

BATCH, CONDITIONS = 256, ("gaussian-blur-3", "gaussian-noise-3")


def bench() -> list[Row]:
    """Two rows: the clean test set, and it under a shift and two corruptions, which share the decoded faces."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        store = datasets(Path(folder), steps=1)["no augmentation"].store
        return _measure(store)


def _measure(store) -> list[Row]:
    detector, rows = build_detector(CONVNEXT, seed=0).eval(), np.arange(len(store))
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), dtype=torch.uint8)
    probes = {"clean": None, "shifted": StatisticShift()} | corruptions(CONDITIONS)

    @torch.inference_mode()
    def network(passes: int) -> None:
        for _ in range(passes * len(rows) // BATCH):
            detector(images)

    works = {
        "network": lambda: network(1),
        "clean": lambda: predict_under(detector, store, rows, {"clean": None}, size=SIZE, batch=BATCH),
        "all": lambda: predict_under(detector, store, rows, probes, size=SIZE, batch=BATCH),
    }
    took = {name: statistics.median(s) for name, s in seconds(works, repeats=5, clock=time.process_time).items()}
    speed = len(rows) / took["clean"], len(rows) / took["network"]
    floor = "the network alone on resident batches"
    shared = f"{1e3 * took['all']:.0f} ms for {len(probes)} conditions of {len(rows)} faces"
    return [
        Row("Scoring", floor, took["network"] / took["clean"], detail=f"{speed[0]:.0f} against {speed[1]:.0f} faces/s"),
        Row("Scoring under four conditions", floor, len(probes) * took["network"] / took["all"], detail=shared),
    ]
