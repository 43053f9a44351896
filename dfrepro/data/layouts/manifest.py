"""One's own files, by a table: `path,label,split[,manipulation,identity,source,mask]` as CSV or Parquet.

path, mask   of a video, a picture, a tar or a folder of frames; absolute, or relative to the table's folder
label        real or fake, 0 or 1
split        train, val or test
identity     who is seen; source: whose face was put there. Without them every video is a person of its own
manipulation what made a fake; of reals it is not read

The root is the table itself, or a folder that holds one. A set goes by the table's name, or its folder's where that is
called manifest; a dataset of params.yaml by the name that it is declared under.
"""

import csv
import difflib
import io
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from dfrepro.data.layouts.base import FAKE, REAL, Kind, Split, Video
from dfrepro.data.layouts.imagetree import SPLIT_WORDS
from dfrepro.data.layouts.labels import read_label_text
from dfrepro.data.layouts.listing import file_names, is_image
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.errors import WorkbookError

NEEDED = ("path", "label", "split")
COLUMNS = (*NEEDED, "manipulation", "identity", "source", "mask")
LABELS = {"0": REAL, "real": REAL, "1": FAKE, "fake": FAKE}
SUFFIXES = (".csv", ".tsv", ".parquet")
TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Row:
    """One line of the table, as text, and where it is."""

    where: str
    cells: dict[str, str] = field(repr=False)

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


class Manifest(Reader):
    name = "manifest"
    source = "a table of your own files"
    expects = f"a .csv or .parquet with the columns {', '.join(NEEDED)}"
    official_val: ClassVar[bool] = True

    def _existing(self, root: Path) -> Path:
        return root if root.is_file() else super()._existing(root)

    def read(self, root: Path, compression: str) -> Reading:
        path, reading = table(root), Reading()
        name = path.parent.resolve().name if path.stem.lower() == "manifest" else path.stem
        absent = {"path": list[str](), "mask": list[str]()}
        for row in rows(path, reading):
            video = _video(row, path.parent, re.sub(r"[^\w-]+", "-", name))
            if not video.path.exists():
                absent["path"].append(row["path"])
                continue
            if video.mask is not None and not video.mask.exists():
                absent["mask"].append(row["mask"])
            reading.videos.append(video)
        for column, names in absent.items():
            if names:
                text = f"{len(names)} that {path.name} names as {column} are not there: {some(names)}"
                reading.missing(text, f"paths are relative to {path.parent}, or absolute")
        return reading


def table(root: Path) -> Path:
    """The table that a root is or holds; `WorkbookError` where a folder holds none or several."""
    if root.is_file():
        return root
    found = [name for name in file_names(root) if name.lower().endswith(SUFFIXES)]
    if len(found) != 1:
        what = f"{len(found)} tables here: {some(found)}" if found else "no .csv and no .parquet here"
        raise WorkbookError(what, where=root, remedy="Declare the table itself as the root")
    return root / found[0]


def rows(path: Path, reading: Reading) -> Iterator[Row]:
    """The lines of a table; `WorkbookError` for one without a needed column, a note for columns that are not read."""
    header, lines = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    header = [name.strip().lower() for name in header]
    if lacking := [name for name in NEEDED if name not in header]:
        near = difflib.get_close_matches(lacking[0], header, n=1)
        hint = f"; is it {near[0]!r}?" if near else f"; it has {', '.join(header) or 'nothing'}"
        raise WorkbookError(f"lacks the column {lacking[0]!r}{hint}", where=path, remedy=f"Needed: {', '.join(NEEDED)}")
    if unread := [name for name in header if name not in COLUMNS]:
        reading.note(f"columns of {path.name} that are not read: {some(unread)}", f"known: {', '.join(COLUMNS)}")
    for number, cells in lines:
        if any(cells):
            yield Row(f"{path}:{number}", dict(zip(header, (cell.strip() for cell in cells))))


def _csv(path: Path) -> tuple[list[str], Iterable[tuple[int, list[str]]]]:
    text = read_label_text(path)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise WorkbookError(f"no valid CSV ({error})", where=f"{path}:{reader.line_num}") from error
    return (lines[0][1], lines[1:]) if lines else ([], [])


def _parquet(path: Path) -> tuple[list[str], Iterable[tuple[int, list[str]]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise WorkbookError(f"no Parquet table ({error})", where=path) from error
    columns = [[_text(value) for value in column.to_pylist()] for column in found.columns]
    return found.column_names, list(enumerate(map(list, zip(*columns))))


def _text(value: Any) -> str:
    if value is None or value != value:  # NaN
        return ""
    return f"{value:g}" if isinstance(value, bool | float) else str(value)


def _video(row: Row, folder: Path, dataset: str) -> Video:
    path, split, label = row["path"], row["split"].lower(), row["label"].lower()
    if not path or "\0" in path + row["mask"]:
        raise WorkbookError(f"not a path: {path!r}", where=row.where)
    if label not in LABELS:
        raise WorkbookError(f"label is {row['label']!r}", where=row.where, remedy="real or fake, 0 or 1")
    if split not in SPLIT_WORDS:
        raise WorkbookError(f"split is {row['split']!r}", where=row.where, remedy="train, val or test")
    full = _full(path, folder)
    manipulation = "original" if LABELS[label] == REAL else row["manipulation"] or "fake"
    people = tuple(name for name in (row["identity"], row["source"]) if name)
    return Video(
        dataset, manipulation, Path(path).as_posix().lstrip("/"), LABELS[label], cast(Split, SPLIT_WORDS[split]),
        people, "", full, _kind(full), mask=_full(row["mask"], folder) if row["mask"] else None,
    )  # fmt: skip


def _full(text: str, folder: Path) -> Path:
    return folder / Path(os.path.expandvars(text)).expanduser()


def _kind(path: Path) -> Kind:
    if path.is_dir():
        return "frames"
    if path.name.lower().endswith(TARS):
        return "tar"
    return "image" if is_image(path.name) else "video"
