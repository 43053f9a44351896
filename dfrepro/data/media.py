"""Frames out of whatever a data set keeps them in: a video, a folder of frames, a tar of frames, a single image.

`open_media` returns an object with `count` frames, of which `read(indices)` yields `(index, rgb)`, rgb (H, W, 3) uint8,
decoding no more than it has to. What cannot be read at all raises `WorkbookError`; a frame that cannot be read is
left out and its reason is kept in `missing`. Content decides how a file is read, never its suffix.

Nothing is decoded before its declared size is known to be at most `MAX_PIXELS`, no playlist or network address is
followed, no archive is unpacked, only regular files are opened.
"""

import os
import re
import struct
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from dfrepro.data.shown import of_picture, pictures_in, refuse_heif, to_rgb
from dfrepro.data.video import MAX_PIXELS, VideoFile, too_large
from dfrepro.errors import WorkbookError

IMAGE_FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "TIFF",
    "AVIF",
)  # PIL knows formats that run other programs: not here
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
MAX_MEMBER_BYTES = 2**28  # one frame in a tar
MAX_TAR_BYTES = 2**34  # a compressed tar is read to its end to be listed: refuse one that never ends
COPY_AGAIN = "Compare its size with the source's and copy or download it again"

# Everything a damaged picture is known to raise, from a broken header to a broken checksum
BROKEN = (OSError, ValueError, struct.error, SyntaxError, EOFError, OverflowError, IndexError, tarfile.TarError)


class Media(Protocol):
    """An opened source of frames. `names` are the file names of frames in a folder or tar, else None."""

    count: int
    names: list[str] | None
    missing: dict[int, str]  # index -> why this frame could not be read, filled by `read`
    notes: list[str]  # what is wrong with the source as a whole, though it can be read
    remarks: list[str]  # what was decided on how it is shown (`dfrepro.data.shown`); filled by `read` too

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index, rgb (H, W, 3) uint8) for increasing `indices`; what cannot be read goes to `missing`."""


def equally_spaced(count: int, n: int) -> list[int]:
    """The middles of `n` equal parts of `count` frames, or every frame once where there are no more than `n`.

    Spacing is in frames, not seconds, so a variable frame rate gives each stored frame the same weight.
    """
    if n < 1:
        raise WorkbookError(f"{n} frames asked for", where="n_frames", remedy="at least 1")
    if count <= n:
        return list(range(count))
    return [(2 * i + 1) * count // (2 * n) for i in range(n)]


@contextmanager
def open_media(path: Path, kind: str = "video") -> Iterator[Media]:
    """Open `path` as `kind` (video, frames, tree, tar, image); raises `WorkbookError` where nothing can be read."""
    opener = {"frames": _folder, "tree": _tree, "tar": _tar, "video": _file, "image": _file}.get(kind)
    if opener is None:
        raise WorkbookError(f"kind {kind!r}", where=path, remedy="one of frames, image, tar, tree, video")
    _refuse_odd(path, folder=kind in ("frames", "tree"))
    with opener(path) as media:
        if media.count < 1:
            raise WorkbookError("no frames in it", where=path, remedy=COPY_AGAIN)
        yield media


def _refuse_odd(path: Path, *, folder: bool) -> None:
    """Only regular files and folders: opening a pipe waits for ever, a link in a loop is nothing."""
    try:
        usable = path.is_dir() if folder else path.is_file()
        exists = path.exists()
        empty = usable and not folder and path.stat().st_size == 0
    except (OSError, ValueError) as error:
        raise WorkbookError(f"cannot be reached ({error})", where=path, remedy="Check the link or the name") from error
    if not exists:
        broken = path.is_symlink()
        raise WorkbookError(
            "a link that leads nowhere" if broken else "does not exist",
            where=path,
            remedy="Point the link at the file" if broken else "Download it or remove it from the list",
        )
    if not usable:
        raise WorkbookError(f"not a {'folder' if folder else 'regular file'}", where=path, remedy="Check the layout")
    if empty:
        raise WorkbookError("the file is empty", where=path, remedy=COPY_AGAIN)


@contextmanager
def _file(path: Path) -> Iterator[Media]:
    """A picture where PIL knows the content, else a video."""
    try:
        with open(path, "rb") as file:
            picture = _identify(file)
            if picture is not None:
                yield Animation(picture, path)
                return
            refuse_heif(file, path)
    except PermissionError as error:
        raise WorkbookError("may not be read", where=path, remedy="Give yourself permission to read it") from error
    with VideoFile(path) as video:
        yield video


def _identify(file: IO[bytes]) -> Image.Image | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `too_large` is the stricter test
        try:
            return Image.open(file, formats=IMAGE_FORMATS)
        except UnidentifiedImageError:
            return None
        except Image.DecompressionBombError as error:
            what = f"declares more than {MAX_PIXELS} pixels"
            raise WorkbookError(what, remedy="Leave it out, or reduce it first") from error


class Animation:
    """One image file: a single frame, or every frame of an animated PNG, GIF or WebP."""

    names: list[str] | None = None

    def __init__(self, picture: Image.Image, path: Path):
        too_large(*picture.size, path)
        self.picture = picture
        try:
            self.count, self.remarks = pictures_in(picture)
        except BROKEN as error:
            raise WorkbookError(f"damaged picture ({error})", where=path, remedy=COPY_AGAIN) from error
        self.missing: dict[int, str] = {}
        self.notes: list[str] = []

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in indices:
            try:
                self.picture.seek(index)
                rgb = to_rgb(self.picture)
                self.remarks += [remark for remark in of_picture(self.picture) if remark not in self.remarks]
            except BROKEN as error:
                self.missing[index] = f"damaged picture ({error})"
            else:
                yield index, rgb


class Stills:
    """Frames that are files of their own, in natural order of their names (frame_9 before frame_10)."""

    def __init__(self, names: list[str], opener: Callable[[str], AbstractContextManager[IO[bytes]]]):
        self._names, self._opener = sorted(names, key=natural), opener
        self.names: list[str] | None = self._names
        self.count = len(names)
        self.missing: dict[int, str] = {}
        self.notes: list[str] = []
        self.remarks: list[str] = []

    def read(self, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in indices:
            try:
                rgb = self._still(self._names[index])
            except (*BROKEN, WorkbookError) as error:
                self.missing[index] = f"{self._names[index]!r}: {error}"
            else:
                yield index, rgb

    def _still(self, name: str) -> np.ndarray:
        with self._opener(name) as file:
            picture = _identify(file)
            if picture is None:
                refuse_heif(file, name)
                raise ValueError("not a picture")
            too_large(*picture.size)
            rgb = to_rgb(picture)
            found = [*pictures_in(picture)[1], *of_picture(picture)]
            self.remarks += [remark for remark in found if remark not in self.remarks]
            return rgb


@contextmanager
def _folder(path: Path) -> Iterator[Media]:
    try:
        names = [entry.name for entry in path.iterdir() if _is_frame(entry.name)]
    except OSError as error:
        raise WorkbookError(f"cannot be listed ({error})", where=path, remedy="Check its permissions") from error
    yield _files(path, names)


@contextmanager
def _tree(path: Path) -> Iterator[Media]:
    """Frames of all folders at and below `path`, one folder after the other; links to folders are not followed."""
    found = [(Path(folder), name) for folder, _, files in os.walk(path) for name in files if _is_frame(name)]
    yield _files(path, [(folder / name).relative_to(path).as_posix() for folder, name in found])


def _files(path: Path, names: list[str]) -> Stills:
    def opener(name: str) -> IO[bytes]:
        if not (path / name).is_file():
            raise ValueError("not a regular file")
        return open(path / name, "rb")

    return Stills(names, opener)


@contextmanager
def _tar(path: Path) -> Iterator[Media]:
    """Frames of a tar, read in memory: nothing is unpacked, so a member's path cannot lead anywhere."""
    try:
        with tarfile.open(path, "r:*") as archive:
            members = _members(archive, path)

            def opener(name: str) -> IO[bytes]:
                file = archive.extractfile(members[name])
                assert file is not None  # `_members` keeps regular files only
                return file

            yield Stills(list(members), opener)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise WorkbookError(f"damaged archive ({error})", where=path, remedy=COPY_AGAIN) from error


def _members(archive: tarfile.TarFile, path: Path) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    total = 0
    for member in archive:
        total += member.size
        if total > MAX_TAR_BYTES:
            raise WorkbookError(f"holds more than {MAX_TAR_BYTES} bytes", where=path, remedy="Split it, one clip a tar")
        if member.isreg() and member.size <= MAX_MEMBER_BYTES and _is_frame(PurePosixPath(member.name).name):
            found[member.name] = member
    return found


def _is_frame(name: str) -> bool:
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that orders digits by value, without limit to their number."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, len(p.lstrip("0")), p.lstrip("0")) if p[:1].isdecimal() else (0, 0, p) for p in parts] + [(0, 0, name)]
