"""Landmarks that come with the data, as DeepfakeBench stores them: one .npy of (81, 2) a frame."""

from pathlib import Path

import numpy as np

from dfrepro.errors import WorkbookError

LANDMARKS = (81, 2)


def read_landmarks(path: Path) -> np.ndarray:
    """Return one frame's landmarks, (81, 2) float32 in pixels of that frame, as DeepfakeBench stores them.

    Raises `WorkbookError` naming the file if it is missing, unreadable, of another shape or not finite.
    """
    landmarks = np.array(_mapped(path), dtype=np.float32)  # (81, 2)
    if not np.isfinite(landmarks).all():
        raise WorkbookError("landmarks are not finite", where=path, remedy=_AGAIN)
    return landmarks


def check_landmarks(path: Path) -> None:
    """Raise `WorkbookError` unless the header of `path` promises (81, 2) numbers; the numbers are not read."""
    _mapped(path)


def _mapped(path: Path) -> np.ndarray:
    try:  # mapped, so that a header that promises terabytes costs nothing; objects and archives are refused
        landmarks = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError as error:
        raise WorkbookError("landmarks missing", where=path, remedy=_AGAIN) from error
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise WorkbookError(f"unreadable landmarks: {error}", where=path, remedy=_AGAIN) from error
    if landmarks.shape != LANDMARKS or landmarks.dtype.kind not in "iuf":
        what = f"landmarks are {landmarks.dtype} {landmarks.shape}, not numbers of shape {LANDMARKS}"
        raise WorkbookError(what, where=path, remedy=_AGAIN)
    return landmarks


_AGAIN = "run DeepfakeBench's preprocessing again for this video, or use the dataset's own layout"
