"""The faces that a protocol is measured on: the run's own store, or the same faces cut wider out of the same frames.

`dfrepro.protocol.people` adds everyone else who is in view there.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dfrepro.data.crop import crop, crop_box, to_crop, to_source
from dfrepro.data.layouts.base import Video
from dfrepro.data.manifest import KEY, Face, FaceStore
from dfrepro.data.media import Media, open_media
from dfrepro.errors import WorkbookError
from dfrepro.files import read_json
from dfrepro.protocol.declared import WIDEST


@dataclass(frozen=True)
class Clip:
    """A video, the rows that a store has of it, and the sides of the store's faces and of those to be cut."""

    video: Video
    rows: pd.DataFrame
    stored: int
    side: int


def digest(store: FaceStore) -> str:
    """Sixteen digits of what a store holds: its manifest and how its faces are cut."""
    text = (store.path / "manifest.parquet").read_bytes() + (store.path / "meta.json").read_bytes()
    return hashlib.sha256(text).hexdigest()[:16]


def widened(store: FaceStore, videos: list[Video], out: Path, split: str | None) -> FaceStore:
    """The faces of `store` (of one split; None: all) with a margin of `WIDEST`, in pixels as large as the store's.

    Nothing is detected again: frames, landmarks and their squares are the store's. Made once, and again where the store
    is another. Raises WorkbookError for a face whose frame is no longer there.
    """
    return made(store, videos, out, split, lambda clips: (face for clip in clips for face in _of_clip(clip)))


def made(
    store: FaceStore, videos: list[Video], out: Path, split: str | None,
    faces: Callable[[Iterator[Clip]], Iterator[Face]],
) -> FaceStore:  # fmt: skip
    """The store at `out` that was made from `store`, or is made now of `faces` of its clips."""
    of = digest(store)
    if (out / "meta.json").is_file() and read_json(out / "meta.json").get("of") == of:
        return FaceStore.open(out)
    side = round(store.size * (1 + 2 * WIDEST) / (1 + 2 * store.meta["margin"]))
    meta = store.meta | {"margin": WIDEST, "size": side, "of": of}
    out.parent.mkdir(parents=True, exist_ok=True)
    return FaceStore.write(out, faces(_clips(store, videos, side, split)), side, meta=meta)


def _clips(store: FaceStore, videos: list[Video], side: int, split: str | None) -> Iterator[Clip]:
    by_key = {video.key: video for video in videos}
    manifest = store.manifest if split is None else store.manifest[store.manifest["split"] == split]
    for key, rows in manifest.groupby(KEY, sort=False):
        if key not in by_key:
            raise WorkbookError("its video is no longer there", where="/".join(map(str, key)), remedy="Extract again")
        yield Clip(by_key[key], rows, store.size, side)


def _of_clip(clip: Clip) -> Iterator[Face]:
    with open_media(clip.video.path, clip.video.kind) as media:
        yield from followed(clip, pictures(media, clip, sorted(clip.rows["frame"])))


def pictures(media: Media, clip: Clip, frames: list[int]) -> dict[int, np.ndarray]:
    """The `frames` that can be read, each (H, W, 3). Raises WorkbookError where one with a stored face is missing."""
    found = dict(media.read(frames))
    for frame in clip.rows["frame"]:
        if frame not in found:
            what = f"frame {frame} cannot be read any more"
            raise WorkbookError(what, where=clip.video.path, remedy="Extract the set's faces again")
    return found


def followed(clip: Clip, pictures: dict[int, np.ndarray]) -> Iterator[Face]:
    """The stored faces of a clip, cut wider."""
    for row in clip.rows.itertuples():
        points = to_source(np.reshape(row.landmarks, (-1, 2)).astype(float), np.asarray(row.box, float), clip.stored)
        yield cut(clip, row.frame, pictures[row.frame], points, row.predictor)


def cut(clip: Clip, frame: int, picture: np.ndarray, points: np.ndarray, predictor: str) -> Face:
    """The face with the landmarks `points` (81, 2) in pixels of `picture`, as a row of the clip's video."""
    first, box = clip.rows.iloc[0], crop_box(points, WIDEST)
    height, width = picture.shape[:2]
    return Face(
        pixels=crop(picture, box, clip.side), landmarks=to_crop(points, box, clip.side), box=box, frame=int(frame),
        predictor=predictor, source_width=width, source_height=height,
        dataset=first.dataset, manipulation=first.manipulation, video=first.video, label=int(first.label),
        split=first.split, identities=tuple(first.identities), compression=first.compression,
    )  # fmt: skip
