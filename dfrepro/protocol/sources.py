"""The faces that a protocol is measured on: the run's own store, or the same faces cut wider out of the same frames."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dfrepro.data.crop import crop, crop_box, to_crop, to_source
from dfrepro.data.layouts.base import Video
from dfrepro.data.manifest import KEY, Face, FaceStore
from dfrepro.data.media import open_media
from dfrepro.errors import WorkbookError
from dfrepro.files import read_json
from dfrepro.protocol.declared import WIDEST


def digest(store: FaceStore) -> str:
    """Sixteen digits of what a store holds: its manifest and how its faces are cut."""
    text = (store.path / "manifest.parquet").read_bytes() + (store.path / "meta.json").read_bytes()
    return hashlib.sha256(text).hexdigest()[:16]


def widened(store: FaceStore, videos: list[Video], out: Path, split: str | None) -> FaceStore:
    """The faces of `store` (of one split; None: all) with a margin of `WIDEST`, in pixels as large as the store's.

    Nothing is detected again: frames, landmarks and their squares are the store's. Made once, and again where the store
    is another. Raises WorkbookError for a face whose frame is no longer there.
    """
    of = digest(store)
    if (out / "meta.json").is_file() and read_json(out / "meta.json").get("of") == of:
        return FaceStore.open(out)
    side = round(store.size * (1 + 2 * WIDEST) / (1 + 2 * store.meta["margin"]))
    meta = store.meta | {"margin": WIDEST, "size": side, "of": of}
    out.parent.mkdir(parents=True, exist_ok=True)
    return FaceStore.write(out, _faces(store, {video.key: video for video in videos}, side, split), side, meta=meta)


def _faces(store: FaceStore, videos: dict[tuple[str, str, str], Video], side: int, split: str | None) -> Iterator[Face]:
    manifest = store.manifest if split is None else store.manifest[store.manifest["split"] == split]
    for key, rows in manifest.groupby(KEY, sort=False):
        if key not in videos:
            raise WorkbookError("its video is no longer there", where="/".join(map(str, key)), remedy="Extract again")
        with open_media(videos[key].path, videos[key].kind) as media:
            pictures = dict(media.read(sorted(rows["frame"])))
        for row in rows.itertuples():
            if row.frame not in pictures:
                what = f"frame {row.frame} cannot be read any more"
                raise WorkbookError(what, where=videos[key].path, remedy="Extract the set's faces again")
            points = to_source(np.reshape(row.landmarks, (-1, 2)).astype(float), np.asarray(row.box, float), store.size)
            box = crop_box(points, WIDEST)
            yield Face(
                pixels=crop(pictures[row.frame], box, side), dataset=row.dataset, manipulation=row.manipulation,
                video=row.video, frame=row.frame, label=row.label, split=row.split,
                landmarks=to_crop(points, box, side), box=box, identities=tuple(row.identities),
                compression=row.compression, predictor=row.predictor,
                source_width=row.source_width, source_height=row.source_height,
            )  # fmt: skip
