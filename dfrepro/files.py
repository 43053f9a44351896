"""Files and folders that appear whole or not at all.

Everything the workbook writes goes through here, so that a kill, a full disk or a crash never leaves something
half-written under the name of something whole: the content is built under a hidden sibling name, flushed to disk
and renamed into place. A disk that is full, or may not be written, is a `WorkbookError` whichever library met it.
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfrepro.errors import WorkbookError

if TYPE_CHECKING:
    import numpy as np

ROOT = Path(__file__).resolve().parent.parent  # the clone: notebooks start in different folders, so never use the cwd


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)
NUMPYS_FULL = re.compile(r"\d+ requested and \d+ written")  # all that NumPy says of a disk that is full


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on failure it is removed.

    The temporary name keeps `path`'s suffix, because writers choose their format by it.
    """
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        with _explained(path, FULL):
            yield partial
            _flush(partial)
        os.chmod(partial, 0o666 & ~_umask())  # mkstemp makes 0600, which other users of a shared cache cannot read
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield a new, empty hidden folder beside `path`; on success it replaces `path` as a whole."""
    path = Path(path)
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial, old = (Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-")) for _ in range(2))
    try:
        with _explained(path, FULL):
            yield partial
            for file in partial.rglob("*"):
                if file.is_file() and not file.is_symlink():
                    _flush(file)
        os.chmod(partial, 0o777 & ~_umask())
        if path.exists():
            os.replace(path, old)  # aside as a whole: a kill while it is being removed must not leave half of it
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Remove half-built copies of `path` that killed processes left beside it; nobody else may be writing `path`."""
    file, folder = (re.escape(name) + "-[a-z0-9_]{8}" for name in (path.stem, path.name))
    name = re.compile(rf"\.({file}{re.escape(path.suffix)}|{folder})")
    for leftover in path.parent.iterdir() if path.parent.is_dir() else ():
        if not name.fullmatch(leftover.name):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def mapped_array(path: Path, shape: tuple[int, ...]) -> "np.memmap":
    """A new uint8 .npy at `path`, mapped for writing. Its room on the disk is taken first: where there is none that is
    an error here, while a map without room kills the process that writes to it.
    """
    from numpy import uint8
    from numpy.lib.format import open_memmap

    array = open_memmap(path, mode="w+", dtype=uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return array


def refusal(error: BaseException, path: object, codes: tuple[int, ...] = FULL + CLOSED) -> WorkbookError | None:
    """What an error says of the disk, for a reader; None when it is about something else.

    Libraries that wrap the system's error keep its words, if not its number.
    """
    text = os.strerror(errno.ENOSPC) if NUMPYS_FULL.search(str(error)) else str(error)
    for code in codes:
        if getattr(error, "errno", None) == code or os.strerror(code) in text:
            remedy = "Free some space" if code in FULL else "Choose a folder that you may write to"
            return WorkbookError(f"cannot be written ({os.strerror(code)})", where=path, remedy=remedy)
    return None


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys and no NaN (which is not JSON)."""
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


@contextmanager
def _explained(path: Path, codes: tuple[int, ...] = FULL + CLOSED) -> Iterator[None]:
    try:
        yield
    except WorkbookError:
        raise
    except Exception as error:
        if (known := refusal(error, path, codes)) is None:
            raise
        raise known from error


def _flush(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
