"""What there is to score at a path: the one file that it names, or every video and picture at or below a folder."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from dfrepro.data.layouts.base import Kind
from dfrepro.data.layouts.listing import VIDEO_SUFFIXES
from dfrepro.data.media import IMAGE_SUFFIXES, natural
from dfrepro.errors import WorkbookError, plain

MORE_VIDEOS = frozenset({".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp", ".ogv", ".gif"})
MORE_PICTURES = frozenset({".heic", ".heif", ".avif", ".jfif", ".jpe", ".mpo"})
TARS = (".tar", ".tar.gz", ".tgz")


@dataclass(frozen=True)
class Input:
    """One thing to score. `name` is for readers, safe to print: the path below the folder that was given."""

    name: str
    path: Path
    kind: Kind


@dataclass(frozen=True, order=True)
class Closed:
    """A folder below the given one that was not entered, and why."""

    name: str
    path: Path
    reason: str


@dataclass
class Found:
    """What lies at a path. `others`: how many files were left aside."""

    inputs: list[Input] = field(default_factory=list)
    closed: list[Closed] = field(default_factory=list)
    others: int = 0


def find(path: Path) -> Found:
    """What to score at `path`. A file is taken whatever its name says; in a folder, suffixes choose.

    Folders below are searched too, but no hidden ones and none that is a link: links can lead in circles. Raises
    `WorkbookError` where nothing is there.
    """
    if not os.path.lexists(path):
        raise WorkbookError("there is no such file or folder", where=plain(str(path)), remedy="Check the path")
    if not os.path.isdir(path):
        return Found([Input(plain(path.name), path, _kind(path.name))])
    found = _search(path)
    if not found.inputs:
        left = f"; {found.others} other files lie there" if found.others else ""
        raise WorkbookError(
            f"no video and no picture in this folder{left}", where=plain(str(path)),
            remedy="A file of another suffix is tried when you name it itself",
        )  # fmt: skip
    return found


def _search(top: Path) -> Found:
    found = Found()
    names: dict[str, Path] = {}

    def closed(path: str, reason: str) -> None:
        found.closed.append(Closed(plain(os.path.relpath(path, top)), Path(path), reason))

    def unlisted(error: OSError) -> None:
        closed(error.filename, f"a folder that cannot be listed ({error.strerror})")

    for folder, folders, files in os.walk(top, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (os.path.join(folder, name) for name in folders):
            if os.path.islink(path):
                closed(path, "a link to a folder, not followed")
        for name in files:
            if _is_ours(name):
                names[os.path.relpath(os.path.join(folder, name), top)] = Path(folder, name)
            else:
                found.others += 1
    found.inputs = [Input(plain(name), names[name], _kind(name)) for name in sorted(names, key=natural)]
    found.closed.sort()
    return found


def _is_ours(name: str) -> bool:
    suffix = os.path.splitext(name)[1].lower()
    known = suffix in VIDEO_SUFFIXES | MORE_VIDEOS | IMAGE_SUFFIXES | MORE_PICTURES or name.lower().endswith(TARS)
    return known and not name.startswith(".")


def _kind(name: str) -> Kind:
    """How extraction opens it. Whether a "video" is one is told by its content."""
    if name.lower().endswith(TARS):
        return "tar"
    return "image" if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES | MORE_PICTURES else "video"
