"""Pictures for the page: an input's most suspicious frames, what the network saw of them, and where it looked."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import nn

from dfrepro.data.dataset import centre
from dfrepro.data.media import open_media
from dfrepro.errors import WorkbookError
from dfrepro.score.inputs import Input
from dfrepro.score.results import Frame, Result, ranked
from dfrepro.score.saliency import saliency

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore

SHOTS = 240  # on one page, which keeps it at a few megabytes
MOST = 4  # of one input
WHOLE, FACE = 480, 160  # pixels: the longer side of a frame's picture, the side of a face's
QUALITY = 85  # of WebP
GLOW = 0.75  # how much of a pixel the highest saliency covers


@dataclass(frozen=True)
class Whole:
    """A frame as a data URI, its width over its height, and where in it, in per cent, what the network saw lies: left,
    top, width, height."""

    uri: str
    aspect: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Shot:
    """One frame. `maps`: title -> face with its saliency, None where the map is zero. `whole`: None if it was lost."""

    frame: Frame
    whole: Whole | None
    face: str
    maps: dict[str, str | None]


@dataclass(frozen=True)
class Shots:
    """An input's pictures, highest score first; `count` frames are in the source."""

    count: int
    shots: tuple[Shot, ...]

    @property
    def frames(self) -> set[Frame]:
        return {shot.frame for shot in self.shots}


def take(
    inputs: Sequence[Input], results: Sequence[Result], store: "FaceStore", detector: nn.Module, side: int
) -> dict[int, Shots]:
    """Pictures by an input's number, for the `SHOTS` highest scores at most, up to `MOST` frames each.

    `results` begins with those of `inputs`, in their order; `store` holds their frames in the same order.
    """
    firsts = np.cumsum([0, *(len(result.frames) for result in results)])
    chosen = [result for result in ranked(results) if result.frames][:SHOTS]
    each = min(MOST, max(1, SHOTS // max(len(chosen), 1)))
    found = {}
    for result in chosen:
        place = result.number - 1
        top = sorted(range(len(result.frames)), key=lambda i: (-result.frames[i].margin, i))[:each]
        faces = centre(np.stack([store.faces[firsts[place] + i] for i in top]), side)
        found[result.number] = _shots(inputs[place], [result.frames[i] for i in top], faces, detector)
    return found


def _shots(given: Input, frames: Sequence[Frame], faces: np.ndarray, detector: nn.Module) -> Shots:
    count, wholes = _wholes(given, frames)
    images = torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)  # (B, 3, side, side)
    maps = {title: _shares(values.numpy()) for title, values in saliency(detector, images).items()}
    shots = [
        Shot(
            frame,
            wholes.get(frame),
            _uri(_fitted(face, FACE)),
            {title: _uri(_glowing(face, of[i])) if of[i].any() else None for title, of in maps.items()},
        )
        for i, (frame, face) in enumerate(zip(frames, faces))
    ]
    return Shots(count, tuple(shots))


def _wholes(given: Input, frames: Sequence[Frame]) -> tuple[int, dict[Frame, Whole]]:
    """How many frames the source has, and pictures of these; none of a source that can no longer be read."""
    wanted = sorted({frame.frame for frame in frames})
    try:
        with open_media(given.path, given.kind) as media:
            read = media.read(wanted)
            return media.count, {f: _whole(rgb, f.box) for i, rgb in read for f in frames if f.frame == i}
    except (WorkbookError, OSError):
        return wanted[-1] + 1, {}


def _whole(rgb: np.ndarray, box: tuple[float, float, float, float]) -> Whole:
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = box
    share = (x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)
    return Whole(_uri(_fitted(rgb, WHOLE, enlarge=False)), width / height, tuple(100 * value for value in share))  # type: ignore[arg-type]


def _shares(maps: np.ndarray) -> np.ndarray:
    """Maps (B, S, S) as shares of their common maximum: an input's frames can be compared."""
    return maps / max(float(maps.max()), np.finfo(np.float32).tiny)


def _glowing(face: np.ndarray, share: np.ndarray) -> np.ndarray:
    """A face (S, S, 3) in grey with its map (S, S) in [0, 1] as light on it: (FACE, FACE, 3)."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    share = cv2.resize(share.astype(np.float32), (FACE, FACE), interpolation=cv2.INTER_LINEAR).clip(0, 1)
    levels = np.round(255 * share).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    weight = GLOW * share[..., None] ** 0.5
    return np.round((1 - weight) * _fitted(grey, FACE) + weight * colours).astype(np.uint8)


def _fitted(picture: np.ndarray, side: int, *, enlarge: bool = True) -> np.ndarray:
    """`picture` with its longer side of `side` pixels."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale > 1 and not enlarge:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _uri(rgb: np.ndarray) -> str:
    _, content = cv2.imencode(".webp", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    return f"data:image/webp;base64,{base64.b64encode(content.tobytes()).decode()}"
