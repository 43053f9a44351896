"""Scoring a run: what it costs beyond the network's own forward passes, in one run on one thread.

The floor is the network alone on faces that lie ready as batches: no store, no table, no corruption. Every face passes
once under each condition, whatever number of tables reads its scores (tests/jobs/test_evaluated_once.py counts).
Beside it DeepfakeBench's loop: a PNG a face, decoded, resized and standardised one by one, 32 a batch.
"""

import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bench.loop import CONVNEXT, datasets
from bench.measure import Row, one_thread
from dfrepro import params
from dfrepro.data.dataset import centre
from dfrepro.data.manifest import FaceStore
from dfrepro.evaluate.cost import seconds
from dfrepro.evaluate.predict import predict_under
from dfrepro.evaluate.probe import Probe, StatisticShift, corruptions
from dfrepro.nets.detector import Backbone, build_detector

FLOOR, ASKED = "the network alone on resident batches", 0.95
FOUR = ("gaussian-blur-3", "gaussian-noise-3")
ALL = ("saturation", "contrast", "blocks", "noise", "blur", "pixelation", "jpeg")  # at five levels each
MOST = 36 * 288  # faces that are scored in a measurement under several conditions


def bench() -> list[Row]:
    """A row for the clean test set, and for it under several conditions, which share the faces that are read."""
    study = params.load(scale="study", grid="full")
    spec = study.sizes.backbones["main"]
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        rows = []
        for title, network, batch, many, probes in (
            ("ConvNeXt", CONVNEXT, 256, "four", {"shifted": StatisticShift()} | corruptions(FOUR)),
            ("the study's network", Backbone(spec.name, spec.image_size, spec.kwargs), study.sizes.evaluation.batch,
             "36", corruptions(ALL)),
        ):  # fmt: skip
            place = Path(folder) / title
            store = datasets(place, steps=1, size=network.image_size)["no augmentation"].store
            rows += _measure(title, network, batch, many, {"clean": None, **probes}, store, place)
        return rows


class Pictures(Dataset):
    """Faces as files, read as DeepfakeBench reads them; (3, S, S) float32 each."""

    def __init__(self, folder: Path, store: FaceStore, size: int):
        folder.mkdir()
        self.size, self.files = size, [folder / f"{i}.png" for i in range(len(store))]
        for file, face in zip(self.files, store.faces):
            cv2.imwrite(str(file), cv2.cvtColor(centre(face, size), cv2.COLOR_RGB2BGR))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = cv2.cvtColor(cv2.imread(str(self.files[index])), cv2.COLOR_BGR2RGB)
        image = cv2.resize(image, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        return (torch.from_numpy(image).permute(2, 0, 1).float().div(255) - 0.5) / 0.5


def _measure(
    title: str, network: Backbone, batch: int, many: str, probes: dict[str, Probe], store: FaceStore, folder: Path
) -> list[Row]:
    detector, rows, size = build_detector(network, seed=0).eval(), np.arange(len(store)), network.image_size
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    images = images.to(memory_format=torch.channels_last)  # as faces are stored
    pictures = Pictures(folder / "pictures", store, size)
    few = rows[: MOST // len(probes)]

    @torch.inference_mode()
    def alone() -> None:
        for _ in range(len(rows) // batch):
            detector(images)

    @torch.inference_mode()
    def published() -> None:
        found = [detector.backbone(each) for each in DataLoader(pictures, 32)]  # it standardises by itself
        torch.cat(found).numpy()

    works = {
        "network": alone,
        "published": published,
        "clean": lambda: predict_under(detector, store, rows, {"clean": None}, size=size, batch=batch),
        "all": lambda: predict_under(detector, store, few, probes, size=size, batch=batch),
    }
    took = {name: statistics.median(s) for name, s in seconds(works, repeats=5, clock=time.process_time).items()}
    speed = {name: len(rows) / each for name, each in took.items()}
    clean = f"{speed['clean']:.0f} against {{:.0f}} faces/s"
    told = f"{1e3 * took['all']:.0f} ms for {len(probes)} conditions of {len(few)} faces"
    ratio = len(probes) * len(few) / len(rows) * took["network"] / took["all"]
    return [
        Row(f"Scoring, {title}", FLOOR, took["network"] / took["clean"], ASKED, detail=clean.format(speed["network"])),
        Row(f"Scoring, {title}, a file a face", "DeepfakeBench's loop, as published", took["published"] / took["clean"],
            detail=clean.format(speed["published"])),
        Row(f"Scoring under {many} conditions, {title}", FLOOR, ratio, ASKED, detail=told),
    ]  # fmt: skip
