"""Tiny copies of the official layouts: what matters is names, so the files are empty."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dfrepro.data.layouts.base import Inventory


@pytest.fixture
def trees() -> ModuleType:
    """This module: test files cannot import each other under importlib mode."""
    return sys.modules[__name__]


def texts(inventory: Inventory) -> str:
    return "\n".join(f"{finding.level}: {finding.text}" for finding in inventory.findings)


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def ffpp(
    root: Path, methods: Iterable[str] = ("Deepfakes", "FaceShifter"), compressions: Iterable[str] = ("c23",)
) -> None:
    pairs = {"train": [["000", "003"], ["001", "870"]], "val": [["720", "672"]], "test": [["953", "974"]]}
    for split, entries in pairs.items():
        dump(root / f"{split}.json", entries)
        for one, other in entries:
            for compression in compressions:
                touch(root, *(f"original_sequences/youtube/{compression}/videos/{name}.mp4" for name in (one, other)))
                for method in methods:
                    top = f"manipulated_sequences/{method}/{compression}/videos"
                    touch(root, f"{top}/{one}_{other}.mp4", f"{top}/{other}_{one}.mp4")


def dfd(root: Path) -> None:
    touch(root, "original_sequences/actors/c23/videos/01__kitchen_pan.mp4")
    touch(root, "manipulated_sequences/DeepFakeDetection/c23/videos/01_02__kitchen_pan__0XUW13RW.mp4")
    touch(root, "manipulated_sequences/DeepFakeDetection/masks/videos/01_02__kitchen_pan__0XUW13RW.mp4")


def celebdf(root: Path) -> None:
    touch(root, *(f"Celeb-real/id{i}_000{i}.mp4" for i in range(3)), "YouTube-real/00000.mp4", "YouTube-real/00007.mp4")
    touch(root, "Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/id2_id1_0002.mp4")
    lines = ["1 Celeb-real/id0_0000.mp4", "1 YouTube-real/00007.mp4", "0 Celeb-synthesis/id0_id1_0000.mp4"]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines) + "\n")


def dfdc_test(root: Path, rows: str = "aaa.mp4,0\nbbb.mp4,1\n", folder: str = "test") -> None:
    touch(root, f"{folder}/aaa.mp4", f"{folder}/bbb.mp4")
    table = root / ("labels.csv" if folder == "videos" else f"{folder}/labels.csv")
    table.write_text("filename,label\n" + rows)


def dfdc_train(root: Path, originals: int = 30) -> None:
    for part in range(2):
        entries = {}
        for number in range(originals):
            real, fake = f"r{part}{number:03d}.mp4", f"f{part}{number:03d}.mp4"
            entries[real] = {"label": "REAL", "split": "train", "original": None}
            entries[fake] = {"label": "FAKE", "split": "train", "original": real}
        folder = f"train/dfdc_train_part_{part}"
        touch(root, *(f"{folder}/{name}" for name in entries))
        dump(root / folder / "metadata.json", entries)


DFDCP_ENTRIES = {
    "original_videos/643049/643049_a.mp4": {"label": "real", "set": "train"},
    "original_videos/1224068/1224068_a.mp4": {"label": "real", "set": "test"},
    "method_A/1224068/1224068_A/1224068_A_0.mp4": {
        "label": "fake", "set": "test", "target_id": 1224068, "swapped_id": 643050,
    },
    "method_B/643049/643049_B/643049_B_0.mp4": {"label": "fake", "set": "train"},
}  # fmt: skip


def dfdcp(root: Path, entries: dict[str, Any] | None = None) -> None:
    dump(root / "dataset.json", DFDCP_ENTRIES if entries is None else entries)
    touch(root, *DFDCP_ENTRIES)


def bench(root: Path, dataset: str, tree: dict[str, Any], landmarks: bool = True, name: str = "") -> None:
    """Write a DeepfakeBench JSON and the frames it names; `tree` is {label: {split: {...: {video: folder}}}}."""

    def entry(label: str, folder: str) -> dict[str, Any]:
        frames = [f"{folder}/{number:03d}.png" for number in (0, 7, 10)]
        touch(root, *frames)
        for frame in frames if landmarks else ():
            path = root / frame.replace("/frames/", "/landmarks/").replace(".png", ".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, np.zeros((81, 2)))
        return {"label": label, "frames": [frame.replace("/", "\\") for frame in frames]}

    def fill(label: str, node: Any) -> Any:
        return entry(label, node) if isinstance(node, str) else {key: fill(label, child) for key, child in node.items()}

    dump(root / f"{name or dataset}.json", {dataset: {label: fill(label, node) for label, node in tree.items()}})
