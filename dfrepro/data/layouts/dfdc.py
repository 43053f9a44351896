"""DFDC, the Deepfake Detection Challenge (Dolhansky et al., 2020), in the forms in which copies exist.

    test/labels.csv beside test/*.mp4 or test/videos/*.mp4          filename,label with 1 = fake
    labels.csv beside videos/*.mp4                                  the same, as SBI lays it out
    train/dfdc_train_part_<n>/metadata.json beside its *.mp4        {"x.mp4": {"label": "FAKE", "original": "y.mp4"}}
    dfdc_train_part_<n>/, train_sample_videos/, or the root itself  one part or several, as Kaggle ships them

The person of a train video is not published; its original is the nearest thing, and what the validation split keeps
apart. `labels.csv` tells nothing, so there every video is its own identity.
"""

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from dfrepro.data.layouts.base import FAKE, REAL, Video
from dfrepro.data.layouts.labels import read_label_json, read_label_text, relative_path
from dfrepro.data.layouts.listing import folder_names, video_files
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.errors import WorkbookError

LABELS = {"0": REAL, "1": FAKE}
NAMES = {"REAL": REAL, "FAKE": FAKE}


class DFDC(Reader):
    name = "dfdc"
    source = "ai.meta.com/datasets/dfdc (account needed)"
    expects = "labels.csv (also in test/), or metadata.json here, in train/<part>/ or in <part>/"
    official: ClassVar[Mapping[str, int]] = {
        "test, real": 2500,
        "test, fake": 2500,
        "train, real": 19154,
        "train, fake": 100000,
    }

    def read(self, root: Path, compression: str) -> Reading:
        reading = Reading()
        for table in (root / "test" / "labels.csv", root / "labels.csv"):
            if table.is_file():
                _read_test(reading, table)
        for part in _parts(root):
            _read_part(reading, part)
        if not reading.videos and not reading.findings:
            raise WorkbookError("no label file here", where=root, remedy=self._layout_remedy())
        return reading


def _parts(root: Path) -> Iterator[Path]:
    """Folders that hold, or should hold, a metadata.json: the root, those of `train`, and those of the root itself."""
    if (root / "metadata.json").is_file():
        yield root
    yield from (root / "train" / name for name in folder_names(root / "train"))
    for name in folder_names(root):
        part = root / name
        if (part / "metadata.json").is_file() or name.startswith("dfdc_train_part"):
            yield part


def _read_test(reading: Reading, table: Path) -> None:
    labels = read_label_csv(table)
    found = video_files(table.parent)
    for name in labels.keys() & found.keys():
        label = labels[name]
        manipulation = "fake" if label == FAKE else "original"
        reading.videos.append(Video("dfdc", manipulation, name, label, "test", (name,), "", found[name]))
    _report(reading, table, labels, found)


def _read_part(reading: Reading, part: Path) -> None:
    table, found = part / "metadata.json", video_files(part)
    if not table.is_file():
        if found:
            reading.missing(f"{part.name} has no metadata.json: its {len(found)} videos are left out", DFDC.source)
        return
    entries = read_metadata(table)
    for name in entries.keys() & found.keys():
        label, original = entries[name]
        manipulation = "fake" if label == FAKE else "original"
        reading.videos.append(Video("dfdc", manipulation, name, label, "train", (original,), "", found[name]))
    _report(reading, table, entries, found)


def read_label_csv(table: Path) -> dict[str, int]:
    """Return stem -> label of a `filename,label` table; `WorkbookError` names the line that is wrong."""
    rows = csv.reader(io.StringIO(read_label_text(table), newline=""))
    if [cell.strip().lower() for cell in next(rows, [])][:2] != ["filename", "label"]:
        raise WorkbookError("the first line must be `filename,label`", where=f"{table}:1", remedy=_AGAIN)
    labels: dict[str, int] = {}
    for row in filter(None, rows):
        where = f"{table}:{rows.line_num}"
        if len(row) < 2 or row[1].strip() not in LABELS:
            raise WorkbookError(f"unknown label in {row!r}: must be 0 (real) or 1 (fake)", where=where, remedy=_AGAIN)
        name = _stem(row[0], where)
        if name in labels:
            raise WorkbookError(f"{row[0]!r} is listed twice", where=where, remedy=_AGAIN)
        labels[name] = LABELS[row[1].strip()]
    return labels


def read_metadata(table: Path) -> dict[str, tuple[int, str]]:
    """Return stem -> (label, stem of the original, its own for a real) of a part's `metadata.json`.

    Raises `WorkbookError` naming the entry for unknown labels, and for labels that its `original` proves swapped.
    """
    raw = read_label_json(table)
    if not isinstance(raw, dict):
        raise WorkbookError("not a table of videos", where=table, remedy=_AGAIN)
    entries = {}
    for file, entry in raw.items():
        where = f"{table}: entry {file!r}"
        if not isinstance(entry, dict) or entry.get("label") not in NAMES:
            raise WorkbookError(f"unknown label in {entry!r}: must be REAL or FAKE", where=where, remedy=_AGAIN)
        label, name = NAMES[entry["label"]], _stem(file, where)
        original = _stem(entry["original"], where) if entry.get("original") else None
        if (label == REAL) if original else (label == FAKE and "original" in entry):
            what = f"labels swapped? {entry['label']} {'with' if original else 'without'} an original"
            raise WorkbookError(what, where=where, remedy=_AGAIN)
        entries[name] = (label, original or name)
    return _reals_are_real(entries, table)


def _reals_are_real(entries: dict[str, tuple[int, str]], table: Path) -> dict[str, tuple[int, str]]:
    for name, (_, original) in entries.items():
        if original != name and entries.get(original, (REAL, ""))[0] == FAKE:
            what = f"labels swapped? its original {original!r} is labelled FAKE"
            raise WorkbookError(what, where=f"{table}: entry {name!r}", remedy=_AGAIN)
    return entries


def _stem(file: object, where: str) -> str:
    path = relative_path(file, where)
    if len(path.parts) != 1:
        raise WorkbookError(f"{file!r} is a path, not a file name", where=where, remedy=_AGAIN)
    return os.path.splitext(path.name)[0]


def _report(reading: Reading, table: Path, rows: Mapping[str, object], files: Iterable[str]) -> None:
    if absent := rows.keys() - set(files):
        reading.missing(f"{table}: {len(absent)} rows without a file: {some(absent)}", DFDC.source)
    if strangers := set(files) - rows.keys():
        reading.note(f"{table}: left out, files without a row: {some(strangers)}", _AGAIN)


_AGAIN = "fetch the label file again from the dataset's authors"
