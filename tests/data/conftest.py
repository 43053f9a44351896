"""Small videos made on the fly: a real, public-domain portrait moving over a plain background."""

from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from dfrepro.data.layouts.base import Video
from dfrepro.data.media import equally_spaced, open_media

PORTRAIT = astronaut()[0:300, 80:380]  # one face of about 100 pixels, (300, 300, 3) RGB
FACE = np.array([150.0, 105.0])  # its centre, x and y, in PORTRAIT


def write_video(path: Path, frames: Iterable[np.ndarray], *, codec="libx264", pix_fmt="yuv420p", container=None,
                rotation=None, times=None, first=0, options=None) -> Path:  # fmt: skip
    """Encode `frames` (H, W, 3) uint8; `times` are time stamps in 1/1000 s for a variable frame rate, else the first
    frame has the stamp `first`, in frames."""
    frames = list(frames)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=1000 if times else 25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = {"crf": "10", "x265-params": "log-level=none"} | (options or {}) if "26" in codec else {}
        if rotation:
            stream.set_display_rotation(rotation)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if times or first:
                frame.pts = times[index] if times else first + index
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def flat(n: int, height: int = 48, width: int = 64, step: int = 8) -> list[np.ndarray]:
    """`n` grey frames that tell their index by their brightness, 20 + step * index."""
    return [np.full((height, width, 3), 20 + step * index, np.uint8) for index in range(n)]


def scene(faces: Iterable[tuple[float, float, float]], height: int = 320, width: int = 480) -> np.ndarray:
    """A grey (H, W, 3) frame with the portrait's head at each (centre x, centre y, scale)."""
    frame = np.full((height, width, 3), 120, np.uint8)
    for x, y, scale in faces:
        half = 85 * scale
        move = np.array([[scale, 0, x - scale * FACE[0]], [0, scale, y - scale * FACE[1]]])
        moved = cv2.warpAffine(PORTRAIT, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
        rows, columns = np.mgrid[:height, :width]
        inside = (abs(columns - x) < half) & (abs(rows - y) < 1.15 * half)
        frame[inside] = moved[inside]
    return frame


def moving_face(n: int, height: int = 320, width: int = 480) -> list[np.ndarray]:
    """`n` frames in which one face drifts from left to right."""
    return [scene([(150 + 180 * i / max(n - 1, 1), 150, 1.0)], height, width) for i in range(n)]


def side_by_side(path: Path, *sources: tuple[Path, int], n: int = 6) -> Path:
    """A video of `n` frames in which real videos or pictures stand side by side, each scaled to the height given."""
    columns = []
    for source, height in sources:
        kind = "video" if source.suffix == ".mp4" else "image"
        with open_media(source, kind) as media:
            shown = [rgb for _, rgb in media.read(equally_spaced(media.count, n))]
        width = round(shown[0].shape[1] * height / shown[0].shape[0])
        small = [cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA) for rgb in shown]
        columns.append(small * n if kind == "image" else small)
    tallest = max(height for _, height in sources)
    frames = [
        np.hstack([np.pad(rgb, ((0, tallest - len(rgb)), (0, 0), (0, 0)), mode="edge") for rgb in row])
        for row in zip(*[column[:n] for column in columns])
    ]
    even = [rgb[: len(rgb) // 2 * 2, : rgb.shape[1] // 2 * 2] for rgb in frames]
    return write_video(path, even, options={"crf": "23"})


@pytest.fixture
def video(tmp_path) -> Callable[..., Video]:
    """Make a `Video` of a path, with plain values elsewhere."""

    def make(name: str, path: Path | None = None, **columns) -> Video:
        given = {"dataset": "ffpp", "manipulation": "original", "video": name, "label": 0, "split": "test"}
        given |= {"identities": (name,), "compression": "c23", "path": path or tmp_path / f"{name}.mp4"}
        return Video(**{**given, **columns})

    return make


@pytest.fixture(scope="session")
def face_file(tmp_path_factory) -> Path:
    """A video of 12 frames with one moving face; read-only."""
    return write_video(tmp_path_factory.mktemp("videos") / "face.mp4", moving_face(12))
