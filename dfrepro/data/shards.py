"""What extraction found in one video, kept on disk until every video is done: the unit of resuming.

A shard is one .npz of plain arrays, written whole or not at all, named by a hash of everything that decides its
content: the video's key and files (size, time of change), the settings, and the version of the recipe. It holds
pictures and problems only; labels and splits are taken from the layout when the store is put together.
"""

import hashlib
import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dfrepro.data.landmarks import LANDMARKS
from dfrepro.data.layouts.base import Video
from dfrepro.files import atomic_file

RECIPE = 2  # raise it when the same file and settings would give other faces
PREFIX = "face-"


@dataclass(frozen=True)
class Recipe:
    """How faces are cut: `n_frames` a video, `size` pixels a side, `margin` a side as a share of the face's.

    `everyone`: the faces of all people in view, not of one alone.
    """

    n_frames: int
    size: int
    margin: float
    predictor: Path | None = None
    everyone: bool = False


@dataclass(frozen=True)
class Problem:
    """Something to report about a video; `harm` tells whether faces or masks that should be there are not."""

    reason: str
    remedy: str
    frames: tuple[int, ...] = ()
    harm: bool = True


@dataclass(frozen=True)
class Kept:
    """One face of one frame: `box` (4,) and `landmarks` (81, 2) in source pixels, `pixels` (S, S, 3)."""

    pixels: np.ndarray
    box: np.ndarray
    landmarks: np.ndarray
    width: int
    height: int


@dataclass
class Shard:
    """The faces of one video by frame, their masks by frame, and what went wrong. `others`: further people's faces."""

    faces: dict[int, Kept] = field(default_factory=dict)
    others: list[dict[int, Kept]] = field(default_factory=list)
    masks: dict[int, np.ndarray] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    predictor: str = ""

    @property
    def status(self) -> str:
        """ "skipped" without any face, "partial" where something is missing, else "extracted"."""
        if not self.faces:
            return "skipped"
        return "partial" if any(problem.harm for problem in self.problems) else "extracted"

    def save(self, path: Path, size: int) -> None:
        people = [self.faces, *self.others]
        faces = [face for seen in people for face in seen.values()]
        note = json.dumps({"predictor": self.predictor, "problems": [asdict(p) for p in self.problems]})
        arrays = {
            "people": np.array([number for number, seen in enumerate(people) for _ in seen], np.int64),
            "frames": np.array([frame for seen in people for frame in seen], np.int64),
            "faces": _stack([face.pixels for face in faces], (size, size, 3), np.uint8),
            "boxes": _stack([face.box for face in faces], (4,), np.float64),
            "landmarks": _stack([face.landmarks for face in faces], (LANDMARKS, 2), np.float64),
            "sizes": _stack([np.array([face.width, face.height]) for face in faces], (2,), np.int64),
            "mask_frames": np.array(list(self.masks), np.int64),
            "masks": _stack(list(self.masks.values()), (size, size), np.uint8),
            "note": np.frombuffer(note.encode(), np.uint8),
        }
        with atomic_file(path) as partial, open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Shard | None":
        """The shard at `path`, or None where it is missing or damaged (its checksums tell)."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                data = {name: arrays[name] for name in arrays.files}
            note = json.loads(data["note"].tobytes())
            columns = (data["faces"], data["boxes"], data["landmarks"], data["sizes"])
            people: list[dict[int, Kept]] = [{} for _ in range(int(data["people"].max(initial=0)) + 1)]
            for person, frame, pixels, box, landmarks, size in zip(
                data["people"], data["frames"], *columns, strict=True
            ):
                people[person][int(frame)] = Kept(pixels, box, landmarks, int(size[0]), int(size[1]))
            masks = {int(f): mask for f, mask in zip(data["mask_frames"], data["masks"], strict=True)}
            problems = [Problem(**{**p, "frames": tuple(p["frames"])}) for p in note["problems"]]
        except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile):
            return None
        return cls(people[0], people[1:], masks, problems, note["predictor"])


def shard_path(folder: Path, video: Video, recipe: Recipe) -> Path:
    """Where the shard of `video` under `recipe` lies; another file, setting or version gives another name."""
    sources = [video.path, video.mask, video.landmarks, recipe.predictor]
    identity: list[Any] = [RECIPE, video.key, video.kind, recipe.n_frames, recipe.size, recipe.margin]
    identity += [recipe.everyone, video.label if video.mask else None]  # a fake's mask chooses its face
    identity += [_state(source) for source in sources]
    digest = hashlib.sha256(json.dumps(identity, default=str).encode("utf-8", "surrogatepass")).hexdigest()
    return folder / f"{PREFIX}{digest[:32]}.npz"


def remove_shards(folder: Path) -> None:
    """Remove what extraction wrote to `folder`, leftovers of kills included, and nothing else."""
    for pattern in (f"{PREFIX}*.npz", f".{PREFIX}*.npz"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _state(source: Path | None) -> Any:
    """Name, size and time of change of a file, or of every file of a folder."""
    if source is None:
        return None
    files = sorted(source.iterdir()) if source.is_dir() else [source]
    return [str(source), [(file.name, *_size_and_time(file)) for file in files]]


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except (OSError, ValueError):  # a broken link, a link in a loop: reported when it is opened
        return (-1, -1)
    return (stat.st_size, stat.st_mtime_ns)


def _stack(items: list[np.ndarray], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.stack(items).astype(dtype) if items else np.zeros((0, *shape), dtype)
