"""What scoring found, as data: by input, by frame, with where it comes from; and its three files.

scores.json  everything: `about` (run, seed, checkpoint, settings), `inputs`, each with its frames and notes
videos.csv   one row an input: score, its frames' lowest and highest, margin, how many frames, faces, what went wrong
frames.csv   one row a face of a frame: input, frame, face, score, margin, box
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
    P(fake), `box` x0, y0, x1, y1 of what the network saw, in the source's pixels; `face`: whose, from 1."""

    frame: int
    margin: float
    score: float
    box: tuple[float, float, float, float]
    face: int = 1


@dataclass(frozen=True)
class Person:
    """One person in view, by number: the largest and longest in view is `face` 1. `margin`: mean of their frames'."""

    face: int
    margin: float
    score: float
    frames: int


@dataclass(frozen=True)
class Result:
    """One input, by its `number` in the order given, from 1. `margin` is that of its `people`, the highest or the mean,
    `score` = P(fake) its sigmoid, both None where there is no face; `path` as the system has it."""

    number: int
    name: str
    path: str
    kind: str
    margin: float | None
    score: float | None
    frames: tuple[Frame, ...]
    notes: tuple[Note, ...]
    people: tuple[Person, ...] = ()

    @property
    def leading(self) -> int:
        """The number of the face with the highest margin."""
        return max(self.people, key=lambda person: person.margin).face if self.people else 1

    @property
    def lowest(self) -> float:
        """Of the leading face's frames, as `highest`."""
        return min(frame.score for frame in self.frames if frame.face == self.leading)

    @property
    def highest(self) -> float:
        return max(frame.score for frame in self.frames if frame.face == self.leading)

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
    header = ("input", "score", "lowest", "highest", "margin", "frames", "faces", "notes")
    _write_csv(folder / VIDEOS, header, videos)
    frames = [
        (_cell(r.name), f.frame, f.face, f"{f.score:.6g}", f"{f.margin:.6g}", *f.box) for r in results for f in r.frames
    ]
    _write_csv(folder / FRAMES, ("input", "frame", "face", "score", "margin", *BOX), frames)


def _video_row(result: Result) -> tuple[Any, ...]:
    numbers = (result.score, result.lowest, result.highest, result.margin) if result.margin is not None else ()
    shown = [f"{number:.6g}" for number in numbers] or [""] * 4
    return (_cell(result.name), *shown, len(result.frames), len(result.people), _cell(result.why))


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula; of a name it is the same file's."""
    return f"./{text}" if text.startswith(("=", "+", "-", "@")) else text
