"""DeepfakeBench's JSONs: one entry a video, nothing on disk looked at yet.

{dataset: {label: {split: {[compression:] {video: {"label": ..., "frames": [path, ...], "masks": [...]}}}}}}
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from dfrepro.data.layouts.base import FAKE, REAL, Split
from dfrepro.data.layouts.labels import foreign_path, read_label_json
from dfrepro.data.layouts.listing import file_names
from dfrepro.data.layouts.reader import Reading
from dfrepro.errors import WorkbookError

FOLDERS = (".", "dataset_json", "preprocessing/dataset_json")
SPLITS = ("train", "val", "test")
COMPRESSIONS = ("raw", "c0", "c23", "c40")
DATASETS = {
    **dict.fromkeys(("FaceForensics++", "FF-DF", "FF-F2F", "FF-FS", "FF-NT", "FF-FH", "FaceShifter"), "ffpp"),
    "DeepFakeDetection": "dfd",
    "Celeb-DF-v1": "cdfv1",
    "Celeb-DF-v2": "cdfv2",
    "DFDC": "dfdc",
    "DFDCP": "dfdcp",
    "WildDeepfake": "wdf",
    "WDF": "wdf",
    "FFIW": "ffiw",
    "DF40": "df40",
    "DiFF": "diff",
}
MANIPULATIONS = {
    "FF-DF": "Deepfakes",
    "FF-F2F": "Face2Face",
    "FF-FS": "FaceSwap",
    "FF-NT": "NeuralTextures",
    "FF-FH": "FaceShifter",
    "FF-SH": "FaceShifter",
    "DFD_fake": "DeepFakeDetection",
    "CelebDFv1_fake": "Celeb-synthesis",
    "CelebDFv2_fake": "Celeb-synthesis",
    "DFDCP_FakeA": "method_A",
    "DFDCP_FakeB": "method_B",
}
PLACES = {  # folders that tell the label in the datasets' own trees
    **dict.fromkeys(("original_sequences", "Celeb-real", "YouTube-real", "original_videos"), REAL),
    **dict.fromkeys(("manipulated_sequences", "Celeb-synthesis", "method_A", "method_B"), FAKE),
}
OWN_TREES = frozenset({"ffpp", "dfd", "cdfv1", "cdfv2", "dfdcp"})


@dataclass(frozen=True)
class Entry:
    """One video of one JSON, before anything on disk is looked at."""

    where: str  # file and entry, for errors
    dataset: str
    label: str
    split: Split
    compression: str
    video: str
    frames: tuple[PurePosixPath, ...]
    masks: tuple[PurePosixPath, ...]

    @property
    def field(self) -> str:
        """The dataset's name in the workbook, its own where the workbook has none."""
        return DATASETS.get(self.dataset, self.dataset)


def tables(root: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (root / folder / name for name in file_names(root / folder) if name.endswith(".json"))


def entries(table: Path, reading: Reading) -> Iterator[Entry]:
    """Yield the videos of one JSON; what has not the form of a video is noted and passed over."""
    datasets = read_label_json(table)
    if not isinstance(datasets, dict):
        raise WorkbookError("not a table of datasets", where=table, remedy=AGAIN)
    for dataset, labels in datasets.items():
        for label, splits in _items(labels, table, dataset):
            for split, videos in _items(splits, table, f"{dataset}/{label}"):
                place = f"{dataset}/{label}/{split}"
                if split not in SPLITS:
                    raise WorkbookError(f"unknown split {split!r}", where=f"{table}: {place}", remedy=AGAIN)
                for compression, name, raw in _by_compression(_items(videos, table, place)):
                    where = f"{table}: entry {place}/{name}"
                    if isinstance(raw, dict) and isinstance(raw.get("frames"), list):
                        frames, masks = _paths(raw, "frames", where), _paths(raw, "masks", where)
                        named, part = str(raw.get("label", label)), cast(Split, split)
                        entry = Entry(where, dataset, named, part, compression, name, frames, masks)
                        yield _agreeing(entry, label)
                    else:  # the published DFDC.json holds such leftovers
                        reading.note(f"{where}: no video, passed over")


def _items(table: Any, path: Path, place: str) -> list[tuple[str, Any]]:
    if not isinstance(table, dict):
        raise WorkbookError(f"expected a table, found {type(table).__name__}", where=f"{path}: {place}", remedy=AGAIN)
    return list(table.items())


def _by_compression(items: list[tuple[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    """FF++ and DFD have one more level, the compression; yield (compression or "", video, raw entry)."""
    for key, value in items:
        if key in COMPRESSIONS and isinstance(value, dict) and "frames" not in value:
            yield from (("raw" if key == "c0" else key, video, raw) for video, raw in value.items())
        else:
            yield "", key, value


def _paths(raw: dict[str, Any], field: str, where: str) -> tuple[PurePosixPath, ...]:
    return tuple(foreign_path(text, where) for text in raw.get(field) or ())


def _agreeing(entry: Entry, heading: str) -> Entry:
    """Return the entry; `WorkbookError` if its label, its heading and its place do not tell the same."""
    told = {"its label": label_of(entry.label, entry.where), "its heading": label_of(heading, entry.where)}
    if entry.field in OWN_TREES:
        told |= {
            f"the folder {part}": PLACES[part] for file in entry.frames[:1] for part in file.parts if part in PLACES
        }
    if len(set(told.values())) > 1:
        views = ", ".join(f"{who} says {'fake' if label == FAKE else 'real'}" for who, label in told.items())
        raise WorkbookError(f"labels swapped? {views}", where=entry.where, remedy=AGAIN)
    return entry


def label_of(name: str, where: str) -> int:
    """Return the label that a name such as FF-DF, DFDCP_FakeA or simswap_Real stands for."""
    word = name.lower()
    if word.endswith("real"):
        return REAL
    if word.endswith(("fake", "fakea", "fakeb")) or name in MANIPULATIONS:
        return FAKE
    raise WorkbookError(f"unknown label {name!r}", where=where, remedy=AGAIN)


AGAIN = "fetch the JSON again, or run DeepfakeBench's rearrange.py"
