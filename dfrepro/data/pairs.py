"""The real face behind each fake of an FF++-shaped store: the original's same frame, cut at the fake's own box.

A fake `071_054` shows the head of 071 with what was taken from 054 (FF++'s README: target, then source), so its
original is the first of its identities, frame by frame. What only pairs can tell is where pixels differ.

    reals.npy    (P, S, S, 3) uint8, memory-mapped, in the order of rows.npy
    rows.npy     (P,) int64, increasing: the rows of the store's manifest
    report.json  fakes whose original, or a frame of it, is not there
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfrepro.data.crop import crop
from dfrepro.data.layouts.base import REAL, Video
from dfrepro.data.manifest import FaceStore
from dfrepro.data.media import open_media
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_folder, mapped_array, read_json, write_json

PAIRED_DATASETS = ("ffpp",)  # where a fake's name tells its original and both have the same frames
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Pairs:
    """The opened artifact."""

    rows: np.ndarray
    reals: np.ndarray
    report: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "Pairs":
        try:
            rows = np.load(folder / "rows.npy", allow_pickle=False)
            reals = np.load(folder / "reals.npy", mmap_mode="r" if len(rows) else None, allow_pickle=False)
            return cls(rows, reals, read_json(folder / "report.json"))
        except (OSError, ValueError) as error:
            remedy = "Run `dvc repro`, or `python -m dfrepro pairs --dataset ffpp-c40`"
            raise WorkbookError(f"no pairs ({error})", where=folder, remedy=remedy) from error

    def has(self, rows: np.ndarray) -> np.ndarray:
        """(N,) bool: which rows of the manifest have a real."""
        return np.isin(rows, self.rows)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The reals (N, S, S, 3) behind fakes, by their rows of the manifest; raises where one has none."""
        if not self.has(rows).all():
            raise WorkbookError(f"face {rows[~self.has(rows)][0]} has no pair", where="pairs", remedy="Ask `has` first")
        return self.reals[np.searchsorted(self.rows, rows)]


def original_of(identities: Sequence[str]) -> str:
    """The name of the original that a fake was made on: the first, the target, of target and source."""
    return identities[0]


def write_pairs(store: FaceStore, videos: Iterable[Video], out: Path) -> Pairs:
    """Cut the real behind every training and test fake of `store` out of `videos`' originals; whole or not at all.

    Only the frames that fakes were taken from are decoded, each once however many fakes share it. What cannot be had
    is left out and listed in the report.
    """
    manifest = store.manifest
    if not set(manifest["dataset"]) <= set(PAIRED_DATASETS):
        raise WorkbookError(
            f"{sorted(set(manifest['dataset']))} does not tell pairs", where=store.path, remedy="FF++ does"
        )
    fakes = manifest[(manifest["label"] == 1) & manifest["split"].isin(SPLITS)]
    originals = {video.video: video for video in videos if video.label == REAL}
    missing: dict[str, str] = {}
    with atomic_folder(out) as folder:
        reals = mapped_array(folder / "all.npy", (max(len(fakes), 1), store.size, store.size, 3))
        found = np.zeros(len(fakes), bool)
        for name, group in fakes.groupby(fakes["identities"].map(original_of), sort=True):
            _cut(originals.get(str(name)), group, fakes.index.get_indexer(group.index), reals, found, missing)
        _keep(folder, reals, found)
        np.save(folder / "rows.npy", fakes.index.to_numpy(np.int64)[found])
        write_json(folder / "report.json", {"fakes": len(fakes), "pairs": int(found.sum()), "missing": missing})
    return Pairs.open(out)


def _cut(
    original: Video | None,
    fakes: pd.DataFrame,
    places: np.ndarray,
    reals: np.ndarray,
    found: np.ndarray,
    missing: dict[str, str],
) -> None:
    """Put the crops of one original into `reals` at `places`, and what could not be had into `missing`."""
    name = original_of(fakes["identities"].iloc[0])
    if original is None:
        missing[name] = f"the original is not there: {len(fakes)} fakes without a pair"
        return
    at = {frame: places[(fakes["frame"] == frame).to_numpy()] for frame in sorted(set(fakes["frame"]))}
    boxes = dict(zip(places, fakes["box"]))
    try:
        with open_media(original.path, original.kind) as media:
            for frame, picture in media.read([frame for frame in at if frame < media.count]):
                for place in at.pop(frame):
                    reals[place] = crop(picture, np.asarray(boxes[place], float), reals.shape[1])
                    found[place] = True
    except WorkbookError as error:
        missing[name] = str(error)
        return
    if at:
        missing[name] = f"frames that are not there: {', '.join(str(frame) for frame in at)}"


def _keep(folder: Path, reals: np.memmap, found: np.ndarray) -> None:
    """reals.npy of those found: the file as it is where nothing is missing, else a copy without the gaps."""
    reals.flush()
    if len(found) and found.all():
        (folder / "all.npy").rename(folder / "reals.npy")
        return
    shape = (int(found.sum()), *reals.shape[1:])
    if shape[0]:
        kept = mapped_array(folder / "reals.npy", shape)
        for place, source in enumerate(np.flatnonzero(found)):
            kept[place] = reals[source]
        kept.flush()
    else:
        np.save(folder / "reals.npy", np.zeros(shape, np.uint8))
    (folder / "all.npy").unlink()
