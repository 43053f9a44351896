"""The page: one HTML file that needs nothing else, for light and dark, for a phone and a projector.

Everything that comes from outside passes Jinja's autoescape, and the page's own policy forbids scripts and addresses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dfrepro.score.pictures import Shots
from dfrepro.score.results import Frame, Result, ranked

TEMPLATE = Path(__file__).with_name("page.html")
WIDTH, HEIGHT = 1000, 100  # of a timeline's own coordinates; it is stretched to the page


@dataclass(frozen=True)
class Timeline:
    """An SVG's numbers: `line` is its path; `dots` are x, y and what they say, of `frames`; `gaps` x of frames without
    a score."""

    line: str
    dots: tuple[tuple[float, float, str], ...]
    frames: tuple[Frame, ...]
    gaps: tuple[float, ...]
    mean: float
    count: int


def render(about: Mapping[str, Any], results: Sequence[Result], shots: Mapping[int, Shots], others: int) -> str:
    """The page's HTML. `shots`: pictures by an input's number; `others`: files that were left aside."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    order = ranked(results)
    return template.render(
        about=about,
        scored=[result for result in order if result.score is not None],
        failed=[result for result in order if result.score is None],
        shots=shots,
        timelines={
            result.number: timeline(result, shots[result.number].count) for result in order if result.number in shots
        },
        titles=sorted({title for taken in shots.values() for shot in taken.shots for title in shot.maps}),
        others=others,
        total=len(results),
    )


def timeline(result: Result, count: int) -> Timeline | None:
    """The scores of a clip's leading face over its `count` frames; None for a single picture."""
    if count < 2 or result.score is None:
        return None
    frames = tuple(frame for frame in result.frames if frame.face == result.leading)
    dots = tuple(
        (_x(frame.frame, count), round(HEIGHT * (1 - frame.score), 2), f"frame {frame.frame}: {frame.score:.3f}")
        for frame in frames
    )
    line = "M" + " L".join(f"{x} {y}" for x, y, _ in dots)
    gaps = tuple(_x(index, count) for index in sorted({i for note in result.notes for i in note.frames}))
    return Timeline(line, dots, frames, gaps, round(HEIGHT * (1 - result.score), 2), count)


def _x(frame: int, count: int) -> float:
    return round(WIDTH * (frame + 0.5) / count, 2)
