"""Frames that are already images: a folder, one tar per clip, or a single file. Nothing is unpacked to disk."""

import lzma
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dfrepro.data.layouts.base import Video
from dfrepro.data.layouts.listing import file_names, is_image, natural_key
from dfrepro.errors import WorkbookError

MAX_FRAME_BYTES = 64 * 2**20  # an 8K PNG fits; what declares more is no frame
LANDMARKS = (81, 2)


def frames_of(video: Video) -> list[str]:
    """Return the names of the clip's frames in natural order: file names, or member names of a tar.

    Raises `WorkbookError` for kind "video" (decode it), an unreadable tar, or a member of absurd size.
    """
    if video.kind == "frames":
        return sorted(filter(is_image, file_names(video.path)), key=natural_key)
    if video.kind == "image":
        return [video.path.name]
    if video.kind == "tar":
        with _opened(video.path) as archive:
            return sorted({member.name for member in _images(archive, video.path)}, key=natural_key)
    raise WorkbookError("a video file has to be decoded, it has no frame names", where=video.path)


def frame_bytes(video: Video, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, encoded image) of the wanted frames; a tar is read once, in its own order.

    Raises `WorkbookError` for a frame that is gone or larger than `MAX_FRAME_BYTES`.
    """
    if video.kind == "tar":
        yield from _tar_bytes(video.path, set(wanted))
        return
    for name in sorted(wanted, key=natural_key):
        path = video.path if video.kind == "image" else video.path / name
        yield name, _file_bytes(path)


def read_landmarks(path: Path) -> np.ndarray:
    """Return one frame's landmarks, (81, 2) float32 in pixels of that frame, as DeepfakeBench stores them.

    Raises `WorkbookError` naming the file if it is missing, unreadable, of another shape or not finite.
    """
    landmarks = np.array(_mapped(path), dtype=np.float32)  # (81, 2)
    if not np.isfinite(landmarks).all():
        raise WorkbookError("landmarks are not finite", where=path, remedy=_LANDMARKS_REMEDY)
    return landmarks


def check_landmarks(path: Path) -> None:
    """Raise `WorkbookError` unless the header of `path` promises (81, 2) numbers; the numbers are not read."""
    _mapped(path)


def _mapped(path: Path) -> np.ndarray:
    try:  # mapped, so that a header that promises terabytes costs nothing; objects and archives are refused
        landmarks = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise WorkbookError("landmarks missing", where=path, remedy=_LANDMARKS_REMEDY) from error
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise WorkbookError(f"unreadable landmarks: {error}", where=path, remedy=_LANDMARKS_REMEDY) from error
    if landmarks.shape != LANDMARKS or landmarks.dtype.kind not in "iuf":
        what = f"landmarks are {landmarks.dtype} {landmarks.shape}, not numbers of shape {LANDMARKS}"
        raise WorkbookError(what, where=path, remedy=_LANDMARKS_REMEDY)
    return landmarks


def _tar_bytes(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    with _opened(path) as archive:
        for member in _images(archive, path):
            if member.name in wanted:
                wanted.discard(member.name)
                content = archive.extractfile(member)
                assert content is not None  # _images yields regular files only
                yield member.name, content.read(MAX_FRAME_BYTES)
            if not wanted:
                return
    raise WorkbookError(f"{len(wanted)} frames are no longer in this tar", where=path)


def _file_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FRAME_BYTES:
            raise WorkbookError(f"frame larger than {MAX_FRAME_BYTES} bytes", where=path)
        return path.read_bytes()
    except OSError as error:
        raise WorkbookError(f"cannot read this frame: {error.strerror}", where=path) from error


def _images(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the regular image members; links, devices and hidden files are passed over."""
    for member in archive:
        if member.size > MAX_FRAME_BYTES:  # refused at its header: skipping it would already decompress it
            what = f"member {member.name!r} declares {member.size} bytes, too large for a frame"
            raise WorkbookError(what, where=path)
        if member.isreg() and is_image(member.name.rsplit("/", 1)[-1]):
            yield member


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r|*") as archive:  # a stream: sequential, and no seeking back through gzip
            yield archive
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise WorkbookError(f"unreadable tar: {error}", where=path, remedy="fetch it again") from error


_LANDMARKS_REMEDY = "run DeepfakeBench's preprocessing again for this video, or use the dataset's own layout"
