"""P4's second stage: the maps of every training fake as targets, and how well maps agree with the true masks.

    maps.npy      (F, g, g) uint8, the targets of the training fakes, 255 where forged for certain
    rows.npy      (F,) int64, increasing: the rows of the store's manifest that they belong to; reals have none: zero
    measured.csv  one row a number on the test faces: dataset, metric, value
    meta.json     what the maps were made from, and how many fakes have none

Every kind is made of the window that networks are tested on, and is zero in the margin around it, which no network
has seen. What is scored is what supervises: the map of a face between its own least and largest value.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dfrepro.data.dataset import Sample, centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.data.pairs import Pairs
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_folder, read_json, write_json
from dfrepro.methods.focus.detector import Focus, interior
from dfrepro.methods.focus.supervision import PAIRED, agreement, as_targets, map_mass, raw_maps, score_maps, shuffled
from dfrepro.train.ingredients import Measurement

MOST = 64  # side of a stored target at most: the map branch ends at a quarter of its input
BATCH = 128
SHUFFLE = {"train": 1, "test": 2}  # part of the seed of the control's exchange


@dataclass(frozen=True)
class Source:
    """What maps are made from: their kind, a network or pairs, and the faces that networks see of the store."""

    kind: str
    store: FaceStore
    side: int  # of the window, in stored pixels
    network: nn.Module | None = None
    pairs: Pairs | None = None
    shuffle: bool = False
    seed: int = 0

    def faces(self, rows: np.ndarray) -> Tensor:
        """The windows (b, 3, side, side) uint8, where the network is."""
        device = None if self.network is None else next(self.network.parameters()).device
        return _images(centre(self.store.faces[rows], self.side)).to(device)

    def raw(self, rows: np.ndarray) -> Iterator[Tensor]:
        """Maps (b, h, w) of the faces `rows`, batch by batch, as their kind gives them, on the CPU."""
        for start in range(0, len(rows), BATCH):
            these = rows[start : start + BATCH]
            reals = None if self.pairs is None else _images(centre(self.pairs.of(these), self.side))
            masks = true_masks(self, these) if self.kind == "true" else None
            maps = raw_maps(self.kind, self.faces(these), network=self.network, reals=reals, masks=masks)  # type: ignore[arg-type]
            yield maps.cpu()

    def targets(self, fakes: np.ndarray, split: Literal["train", "test"]) -> Tensor:
        """The maps of `fakes` as targets, (F, g, g) in [0, 1]; each another fake's, where they are shuffled."""
        side = min(self.side, MOST)
        maps = torch.cat([as_targets(raw, torch.ones(len(raw)), side) for raw in self.raw(fakes)])
        if not self.shuffle:
            return maps
        rng = np.random.default_rng([self.seed, SHUFFLE[split]])
        return shuffled(maps, torch.ones(len(maps)), rng)

    def known(self, fakes: np.ndarray) -> np.ndarray:
        """Those of `fakes` that a map can be made of."""
        if self.kind == "true":
            return fakes[self.store.manifest["mask"].to_numpy()[fakes] >= 0]
        return fakes if self.pairs is None else fakes[self.pairs.has(fakes)]


@dataclass(frozen=True)
class ForgeryMaps:
    """The opened artifact."""

    rows: np.ndarray
    maps: np.ndarray  # memory-mapped
    measured: pd.DataFrame
    meta: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "ForgeryMaps":
        """Raises WorkbookError where the stage has left its maps out, or has not run."""
        try:
            rows = np.load(folder / "rows.npy", allow_pickle=False)
            maps = np.load(folder / "maps.npy", mmap_mode="r", allow_pickle=False)
            measured = pd.read_csv(folder / "measured.csv")
            return cls(rows, maps, measured, read_json(folder / "meta.json"))
        except (OSError, ValueError) as error:
            raise WorkbookError(f"no maps ({error})", where=folder, remedy="Run `dvc repro`") from error

    def of(self, row: int) -> np.ndarray:
        """The target (g, g) uint8 of a training fake, by its row of the manifest."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            raise WorkbookError(f"face {row} has no map", where="maps", remedy="Train on the faces that have one")
        return self.maps[place]


class Supervised:
    """A map into each sample's mask, as the data set's transform: zeros for reals, and around the window."""

    def __init__(self, maps: ForgeryMaps, *, side: int, size: int):
        self.maps, self.side, self.size = maps, side, size

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        mask = np.zeros((self.size, self.size), np.uint8)
        if sample.label:
            start = (self.size - self.side) // 2
            window = np.s_[start : start + self.side, start : start + self.side]
            mask[window] = stretched(self.maps.of(sample.row), self.side)
        return replace(sample, mask=mask)


def stretched(target: np.ndarray, side: int) -> np.ndarray:
    """A stored target (g, g) at `side` pixels, bilinear."""
    return target if len(target) == side else cv2.resize(target, (side, side), interpolation=cv2.INTER_LINEAR)


def write_maps(source: Source, out: Path, *, frames: int, tests: int, meta: dict[str, Any]) -> ForgeryMaps:
    """Make and score the maps of `source`; write `out` whole or not at all.

    frames, tests: at most so many faces of a training and of a test video.
    """
    manifest = source.store.manifest
    fakes = select(manifest, split="train", label=1, frames=frames)
    rows = source.known(fakes)
    if not len(rows):
        raise WorkbookError("no training fake has a map", where=out, remedy="Read the report of the pairs")
    maps = (255 * source.targets(rows, "train")).round().to(torch.uint8).numpy()
    measured = pd.DataFrame(measure(source, tests), columns=Measurement._fields)
    with atomic_folder(out) as folder:
        np.save(folder / "rows.npy", rows.astype(np.int64))
        np.save(folder / "maps.npy", maps)
        measured.to_csv(folder / "measured.csv", index=False)
        write_json(folder / "meta.json", {**meta, "fakes": len(fakes), "without_map": len(fakes) - len(rows)})
    return ForgeryMaps.open(out)


def measure(source: Source, frames: int) -> list[Measurement]:
    """What maps are worth, on test faces: agreement with true masks (P4-C8), and for FoCus mass and share of tokens."""
    store = source.store
    rows = select(store.manifest, split="test", frames=frames)
    labels = store.manifest["label"].to_numpy()[rows]
    fakes = source.known(rows[labels == 1])
    fakes = fakes[store.manifest["mask"].to_numpy()[fakes] >= 0]
    found: dict[str, float] = {}
    if len(fakes):
        scores = score_maps(source.targets(fakes, "test"), true_masks(source, fakes)).as_dict()
        found |= {name: scores[name] for name in ("map_auc", "map_auc_face", "map_auc_seam", "map_iou", "chance_iou")}
    if isinstance(source.network, Focus) and source.kind == "focus" and not source.shuffle:
        found |= _of_focus(source, source.network, rows, labels)
    dataset = str(store.manifest["dataset"].iloc[0])
    return [Measurement(dataset, name, value) for name, value in found.items()]


def _of_focus(source: Source, network: Focus, rows: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Mass of the class-1 maps (Eq. 9), whether Eq. 4 and 9 agree on fakes (Sec. IV-C calls their difference
    "negligible"), and how far the second stream's share of tokens is from none or all."""
    maps = _batched(source, rows, lambda faces: network.car_maps(faces, class_1=True).fused)
    found = map_mass(maps, torch.from_numpy(labels))
    if len(fakes := np.flatnonzero(labels == 1)):
        eq_4 = _batched(source, rows[fakes], lambda faces: network.car_maps(faces).fused)
        found["eq4_eq9"] = agreement(eq_4.clamp_min(0), maps[torch.from_numpy(fakes)].clamp_min(0))
    if network.config.cl and network.config.modality != "none":
        found["sobel_interior"] = interior(_batched(source, rows, network.second_share))
    return found


def true_masks(source: Source, rows: np.ndarray) -> Tensor:
    """The masks (F, side, side) uint8 of fakes in the window."""
    masks = np.stack([np.asarray(source.store.mask(int(row))) for row in rows])
    start = (source.store.size - source.side) // 2
    return torch.from_numpy(masks[:, start : start + source.side, start : start + source.side].copy())


def needs_pairs(kind: str) -> bool:
    return kind in PAIRED


def _batched(source: Source, rows: np.ndarray, function: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([function(source.faces(rows[at : at + BATCH])).cpu() for at in range(0, len(rows), BATCH)])


def _images(faces: np.ndarray) -> Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S)."""
    return torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)
