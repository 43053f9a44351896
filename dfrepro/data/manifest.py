"""A face store: cropped faces as one lossless array on disk, with a table that says what every face is.

A store is a folder, written whole or not at all:

    faces.npy         (N, S, S, 3) uint8 RGB, memory-mapped: a forensic pixel is never compressed again
    masks.npy         (M, S, S) uint8, only where the data set has masks: 0 = untouched, 255 = manipulated
    manifest.parquet  N rows in the order of faces.npy (`SCHEMA` below)
    report.json       what was skipped, what is partial, and why
    meta.json         version, size, margin, n_frames, predictors

Writing is flat in memory: faces stream to the end of the file, and the header is put right when their number is known.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from math import nan
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dfrepro.data.landmarks import LANDMARKS
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_folder, read_json, write_json

VERSION = 1
PREDICTORS = ("81", "68+13", "given")
ROWS_PER_GROUP = 4096  # faces whose rows are held in memory at a time while writing

SCHEMA = pa.schema(
    [
        ("dataset", pa.string()),
        ("manipulation", pa.string()),
        ("video", pa.string()),
        ("frame", pa.int32()),  # index in the source, in order of presentation
        ("label", pa.int8()),  # 1 = fake
        ("split", pa.string()),
        ("identities", pa.list_(pa.string())),
        ("compression", pa.string()),
        ("box", pa.list_(pa.float32())),  # x0, y0, x1, y1 of the stored square, in source pixels
        ("landmarks", pa.list_(pa.float32())),  # 81 pairs x, y in crop pixels; a whole number is a pixel's centre
        ("predictor", pa.string()),  # one of PREDICTORS
        ("mask", pa.int32()),  # row of masks.npy, -1 where there is none
        ("source_width", pa.int32()),
        ("source_height", pa.int32()),
        ("quality", pa.float32()),  # NaN unless given
    ]
)
KEY = ["dataset", "manipulation", "video"]


@dataclass(frozen=True)
class Face:
    """One row to be written: `pixels` (S, S, 3) uint8 RGB, `mask` (S, S) uint8 or None, and the columns of `SCHEMA`.

    `box` is (4,) in source pixels, `landmarks` (81, 2) in crop pixels. Ranges are checked when it is written.
    """

    pixels: np.ndarray
    dataset: str
    manipulation: str
    video: str
    frame: int
    label: int
    split: str
    landmarks: np.ndarray
    box: Any = (0.0, 0.0, 0.0, 0.0)
    identities: tuple[str, ...] = ()
    compression: str = ""
    predictor: str = "given"
    mask: np.ndarray | None = None
    source_width: int = 0
    source_height: int = 0
    quality: float = nan

    def columns(self, mask_row: int) -> dict[str, Any]:
        """The row of the manifest, with `mask_row` the place of the mask in masks.npy (-1: none)."""
        row = {name: getattr(self, name) for name in SCHEMA.names}
        row["identities"] = list(self.identities)
        row["box"] = np.asarray(self.box, np.float32).reshape(4)
        row["landmarks"] = np.asarray(self.landmarks, np.float32).reshape(LANDMARKS * 2)
        row["mask"] = mask_row
        return row


@dataclass(frozen=True)
class FaceStore:
    """An opened store. `faces` and `masks` are read-only memory maps; copies and pickles reopen the files."""

    path: Path
    manifest: pd.DataFrame
    faces: np.ndarray  # (N, S, S, 3) uint8
    masks: np.ndarray | None  # (M, S, S) uint8
    report: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | str) -> "FaceStore":
        """Open the folder `path`; raises `WorkbookError` when it is missing, incomplete or does not fit together."""
        path = Path(path)
        try:
            meta, report = read_json(path / "meta.json"), read_json(path / "report.json")
            manifest = pq.read_table(path / "manifest.parquet").to_pandas()
            faces = _load(path / "faces.npy")
            masks = _load(path / "masks.npy") if (path / "masks.npy").exists() else None
        except (OSError, ValueError, EOFError, pa.ArrowException) as error:
            raise _unusable(path, f"not a face store ({type(error).__name__}: {error})") from error
        store = cls(path, manifest, faces, masks, report, meta)
        store._check()
        return store

    @classmethod
    def write(
        cls,
        path: Path | str,
        rows: Iterable[Face],
        size: int,
        *,
        meta: dict[str, Any] | None = None,
        report: dict[str, Any] | None = None,
    ) -> "FaceStore":
        """Write `rows` (in their order) as a store of `size` x `size` crops at `path`, whole or not at all; open it.

        `rows` is consumed once and a face is held no longer than it takes to write it. `report` and `meta` may be
        filled by the iterable itself: they are read when it is exhausted.
        """
        with atomic_folder(path) as folder:
            _write_rows(folder, rows, size)
            write_json(folder / "report.json", report if report is not None else {})
            write_json(folder / "meta.json", {"version": VERSION, "size": size, **(meta or {})})
        return cls.open(path)

    @property
    def size(self) -> int:
        """Side of a stored crop, in pixels."""
        return int(self.faces.shape[1])

    def __len__(self) -> int:
        return len(self.manifest)

    def landmarks(self) -> np.ndarray:
        """All landmarks, (N, 81, 2) float32 in crop pixels."""
        if not len(self):
            return np.zeros((0, LANDMARKS, 2), np.float32)
        return np.stack(self.manifest["landmarks"].to_list()).astype(np.float32).reshape(-1, LANDMARKS, 2)

    def mask(self, row: int) -> np.ndarray | None:
        """The mask of face `row`, (S, S) uint8, or None where the data set has none."""
        place = int(self.manifest["mask"].to_numpy()[row])
        return None if place < 0 or self.masks is None else self.masks[place]

    def __reduce__(self):
        # NumPy pickles a memory map by its content: every worker of a data loader would copy the whole store
        return (FaceStore.open, (self.path,))

    def _check(self) -> None:
        if self.meta.get("version") != VERSION:
            raise _unusable(self.path, f"version {self.meta.get('version')!r} of the format, this code reads {VERSION}")
        if self.manifest.columns.to_list() != SCHEMA.names:
            raise _unusable(self.path, "manifest.parquet has other columns than this version writes")
        size = int(self.meta.get("size", 0))
        _check_array(self.path / "faces.npy", self.faces, (len(self), size, size, 3))
        n_masks = int((self.manifest["mask"] >= 0).sum())
        if (self.masks is None) != (n_masks == 0):
            raise _unusable(self.path, f"the manifest names {n_masks} masks and masks.npy does not agree")
        if self.masks is not None:
            _check_array(self.path / "masks.npy", self.masks, (n_masks, size, size))


def _write_rows(folder: Path, rows: Iterable[Face], size: int) -> None:
    with (
        _growing(folder / "faces.npy", (size, size, 3)) as add_face,
        _growing(folder / "masks.npy", (size, size)) as add_mask,
        pq.ParquetWriter(folder / "manifest.parquet", SCHEMA) as parquet,
    ):
        columns = (_append(face, add_face, add_mask) for face in rows)
        while group := list(islice(columns, ROWS_PER_GROUP)):
            parquet.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
        n_masks = add_mask.count
    if not n_masks:
        (folder / "masks.npy").unlink()


def _append(face: Face, faces: "_Growing", masks: "_Growing") -> dict[str, Any]:
    where = "/".join((face.dataset, face.manipulation, face.video)) + f" frame {face.frame}"
    if face.label not in (0, 1):
        raise WorkbookError(f"label is {face.label!r}", where=where, remedy="0 is real and 1 is fake")
    if face.predictor not in PREDICTORS:
        raise WorkbookError(f"predictor is {face.predictor!r}", where=where, remedy=f"one of {', '.join(PREDICTORS)}")
    if np.shape(face.landmarks) != (LANDMARKS, 2) or not np.isfinite(face.landmarks).all():
        raise WorkbookError(f"landmarks {np.shape(face.landmarks)}", where=where, remedy="finite numbers (81, 2)")
    faces.add(face.pixels, where)
    return face.columns(-1 if face.mask is None else masks.add(face.mask, where))


@dataclass
class _Growing:
    """An .npy file that grows along its first axis; byte for byte what `np.save` would have written."""

    file: BinaryIO
    shape: tuple[int, ...]  # of one item
    count: int = 0

    def header(self) -> None:
        self.file.seek(0)  # NumPy pads the header so that the first axis can grow in place
        value = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, value)

    def add(self, item: np.ndarray, where: str) -> int:
        """Append `item` and return its place."""
        if item.shape != self.shape or item.dtype != np.uint8:
            raise WorkbookError(f"a crop of {item.shape} {item.dtype}", where=where, remedy=f"{self.shape} uint8")
        self.file.write(np.ascontiguousarray(item).tobytes())
        self.count += 1
        return self.count - 1


@contextmanager
def _growing(path: Path, shape: tuple[int, ...]) -> Iterator[_Growing]:
    with open(path, "wb") as file:
        array = _Growing(file, shape)
        array.header()
        yield array
        array.header()


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:  # an array without elements cannot be mapped
        if path.stat().st_size > 256:
            raise
        return np.load(path, allow_pickle=False)


def _check_array(path: Path, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.uint8:
        raise _unusable(path, f"holds {array.shape} {array.dtype}, the manifest and meta.json ask for {shape} uint8")


def _unusable(path: Path, what: str) -> WorkbookError:
    return WorkbookError(what, where=path, remedy="Delete the folder and extract the faces again")
