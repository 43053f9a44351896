"""Folders as the layouts see them: sorted, without hidden files, safe from symbolic links that loop."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dfrepro.errors import WorkbookError

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})


def is_video(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def folder_names(folder: Path) -> list[str]:
    """Return the names of the visible folders in `folder`, sorted; none if it does not exist."""
    return sorted(entry.name for entry in _scan(folder) if not entry.name.startswith(".") and _is(entry.is_dir))


def file_names(folder: Path) -> list[str]:
    """Return the names of the visible files in `folder`, sorted; dangling and looping links are no files."""
    return sorted(entry.name for entry in _scan(folder) if not entry.name.startswith(".") and _is(entry.is_file))


def video_files(folder: Path) -> dict[str, Path]:
    """Return stem -> path of the videos of `folder`, or of its subfolder `videos` where tools put one.

    Raises `WorkbookError` if two files (`000.mp4`, `000.avi`) claim the same name.
    """
    nested = folder / "videos"
    folder = nested if nested.is_dir() else folder
    found: dict[str, Path] = {}
    for name in filter(is_video, file_names(folder)):
        stem = os.path.splitext(name)[0]
        if stem in found:
            raise WorkbookError(
                f"duplicate video {stem!r}: {found[stem].name!r} and {name!r}", where=folder, remedy="keep one of them"
            )
        found[stem] = folder / name
    return found


def image_folders(top: Path, deep: bool = False) -> Iterator[Path]:
    """Yield every folder at or below `top` that holds an image, sorted.

    Folders below such a one are entered only if `deep`.
    """
    yield from _folders_with(is_image, top, deep)


def media_folders(top: Path, deep: bool = False) -> Iterator[Path]:
    """As `image_folders`, with the folders that hold a video."""
    yield from _folders_with(lambda name: is_image(name) or is_video(name), top, deep)


def _folders_with(kind: Callable[[str], bool], top: Path, deep: bool) -> Iterator[Path]:
    """Folders with a file of a kind, depth first; a folder reached twice through links is visited once."""
    stack, seen = [top], set()
    while stack:
        folder = stack.pop()
        try:
            status = os.stat(folder)
        except OSError:  # a link that dangles or loops
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        found = any(kind(entry.name) for entry in _scan(folder))  # stops at the first: clips hold thousands
        if found:
            yield folder
        if deep or not found:
            stack.extend(folder / name for name in reversed(folder_names(folder)))


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise WorkbookError(f"cannot list this folder: {error.strerror}", where=folder) from error


def _is(kind: Callable[[], bool]) -> bool:
    """Ask a directory entry for its kind, which costs nothing unless it is a link; one that loops is neither."""
    try:
        return kind()
    except OSError:
        return False
