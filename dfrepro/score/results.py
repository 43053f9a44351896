"""What scoring found, as data: by input, by frame, with where it comes from; and its three files.

scores.json  everything: `about` (run, seed, checkpoint, settings), `inputs`, each with its frames and notes
videos.csv   one row an input: its score, its frames' lowest and highest, its margin, how many, and what went wrong
frames.csv   one row a frame: input, frame, score, margin, box
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dfrepro.files import write_json

JSON, VIDEOS, FRAMES = "scores.json", "videos.csv", "frames.csv"
BOX = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Note:
    """Something to know about an input, and what to do about it; `frames` it concerns, where it does not all."""

    reason: str
    remedy: str
    frames: tuple[int, ...] = ()


@dataclass(frozen=True)
class Frame:
    """One face: `frame` in the source, the detector's `margin` (positive for a fake), `score` = sigmoid(margin) =
    P(fake), `box` x0, y0, x1, y1 of what the network saw, in the source's pixels."""

    frame: int
    margin: float
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Result:
    """One input, by its `number` in the order given, from 1. `margin` is the mean of its frames', `score` = P(fake) its
    sigmoid, both None where there is no face; `path` as the system has it.

    faces: where everyone in view was scored and there are several, a result for each, with numbers of their own; the
    input's margin is then their highest or their mean, and `frames` are those of the highest. of: the number of a
    face's input.
    """

    number: int
    name: str
    path: str
    kind: str
    margin: float | None
    score: float | None
    frames: tuple[Frame, ...]
    notes: tuple[Note, ...]
    faces: tuple["Result", ...] = ()
    of: int = 0

    @property
    def shown(self) -> tuple["Result", ...]:
        """What has pictures of its own: its faces where there are several, else itself."""
        return self.faces or (self,)

    @property
    def first(self) -> int:
        """The number under which its highest face is shown."""
        return ranked(self.shown)[0].number

    @property
    def lowest(self) -> float:
        return min(frame.score for frame in self.frames)

    @property
    def highest(self) -> float:
        return max(frame.score for frame in self.frames)

    @property
    def why(self) -> str:
        """All notes in one line."""
        return "; ".join(note.reason for note in self.notes)


def ranked(results: Iterable[Result]) -> list[Result]:
    """Highest margin first, ties in the order given; what was not scored last. Of scores many would be 1."""
    return sorted(results, key=lambda result: (result.margin is None, -(result.margin or 0.0)))


def write(folder: Path, about: dict[str, Any], results: Sequence[Result]) -> None:
    """Write the three files into `folder`, inputs in the order given."""
    write_json(folder / JSON, {"about": about, "inputs": [asdict(result) for result in results]})
    videos = [_video_row(result) for result in results]
    _write_csv(folder / VIDEOS, ("input", "score", "lowest", "highest", "margin", "frames", "notes"), videos)
    frames = [
        (_cell(r.name), f.frame, f"{f.score:.6g}", f"{f.margin:.6g}", *f.box)
        for each in results
        for r in each.shown
        for f in r.frames
    ]
    _write_csv(folder / FRAMES, ("input", "frame", "score", "margin", *BOX), frames)


def _video_row(result: Result) -> tuple[Any, ...]:
    numbers = (result.score, result.lowest, result.highest, result.margin) if result.margin is not None else ()
    shown = [f"{number:.6g}" for number in numbers] or [""] * 4
    return (_cell(result.name), *shown, len(result.frames), _cell(result.why))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula; of a name it is the same file's."""
    return f"./{text}" if text.startswith(("=", "+", "-", "@")) else text
