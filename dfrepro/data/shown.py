"""What a file shows: which of its pictures and streams is read, and its pixels as a viewer would see them.

One rule for pictures and videos: upright, square pixels, 8-bit RGB of standard range. docs/datasets.md has the table.
What was decided is said in `remarks`, which end in the report.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image, ImageOps

from dfrepro.errors import WorkbookError

ANIMATED = (
    "GIF",
    "PNG",
    "WEBP",
    "AVIF",
)  # formats whose further pictures are frames; elsewhere they are other pictures
HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # brands of what PIL does not know
WIDEST = 4  # of a pixel: a header that says more is damaged
PQ, HLG, BT2020 = 16, 18, 9  # ITU-T H.273
WHITE = 203.0  # cd/m2 of a white page in HDR video (ITU-R BT.2408): full white here
PEAK = 1000.0  # cd/m2 that HLG is made for (ITU-R BT.2100)
KNEE = 0.7  # share of white up to which light stays as it is; ours
ROWS = 128  # converted at a time, which bounds memory
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)


# --- which picture, which stream ------------------------------------------------------------------------------------


def pictures_in(picture: Image.Image) -> tuple[int, list[str]]:
    """How many frames an opened picture has, and remarks: of one that holds others beside it, the first is read."""
    held = int(getattr(picture, "n_frames", 1))
    if held > 1 and picture.format not in ANIMATED:
        return 1, [f"{held} pictures in one file: the first is read"]
    return held, []


def refuse_heif(file: IO[bytes], path: object) -> None:
    """A phone's HEIC: FFmpeg would take one of its tiles for a video."""
    file.seek(4)
    if file.read(4) == b"ftyp" and file.read(4) in HEIF:
        raise WorkbookError("a HEIC picture, which nothing here reads", where=path, remedy="Convert it to JPEG or PNG")


def chosen_stream(container: InputContainer, path: Path) -> tuple[VideoStream, list[str]]:
    """The video stream to read, which is no cover picture, and remarks; `WorkbookError` where there is none."""
    streams = container.streams.video
    films = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not films:
        what = "holds a cover picture and no video stream" if streams else "holds no video stream"
        raise WorkbookError(what, where=path, remedy="Check that it is the right file")
    best = container.streams.best("video")  # FFmpeg's rule: the default one, then the one of most frames
    chosen = next((stream for stream in films if best and stream.index == best.index), films[0])
    if len(streams) == 1:
        return chosen, []
    return chosen, [f"{len(streams)} video streams or pictures in one file: number {streams.index(chosen) + 1} is read"]


def pixel_aspect(stream: VideoStream) -> tuple[Fraction, list[str]]:
    """Width over height of a stream's pixels, and remarks."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if aspect == 1:
        return aspect, []
    if not Fraction(1, WIDEST) <= aspect <= WIDEST:
        return Fraction(1), [f"pixels of {aspect} by its header: taken for square"]
    return aspect, [f"pixels of {aspect}: stretched to square ones"]


def of_frame(frame: av.VideoFrame) -> Iterator[str]:
    """Remarks on how a decoded frame is shown."""
    if frame.color_trc in (PQ, HLG):
        yield f"{'PQ' if frame.color_trc == PQ else 'HLG'} high dynamic range: brought to standard range"
    if _matrix(frame) is not None:
        yield "turned or mirrored as its header asks"
    if frame.interlaced_frame:
        yield "interlaced: both fields are read as one frame"
    if any(part.is_alpha for part in frame.format.components):
        yield "transparent: read by the colours below"


# --- pixels ---------------------------------------------------------------------------------------------------------


def to_rgb(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 as a viewer shows it: turned by EXIF, 16 bits scaled to 8, CMYK converted, alpha ignored."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # PIL's own conversion would clip 16 bits at 255
        grey = np.clip(np.asarray(picture, np.int64), 0, 65535)  # (H, W)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=-1)
    if picture.mode == "F":
        raise ValueError("floating-point pixels without a declared range")
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")))


def of_picture(picture: Image.Image) -> Iterator[str]:
    """Remarks on how a decoded picture is shown."""
    if picture.getexif().get(0x0112, 1) not in (0, 1):
        yield "turned or mirrored as its header asks"
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
        yield "transparent: read by the colours below"


def shown(frame: av.VideoFrame, aspect: Fraction = Fraction(1)) -> np.ndarray:
    """(H, W, 3) uint8 of a decoded frame: colours by its own tags, HDR brought to standard range, pixels of `aspect`
    (width over height) made square, turned and mirrored as its display matrix asks."""
    hdr = frame.color_trc in (PQ, HLG)
    rgb = _standard_range(frame) if hdr else frame.to_ndarray(format="rgb24")
    if aspect != 1:
        height, width = rgb.shape[:2]
        rgb = cv2.resize(rgb, (max(round(float(width * aspect)), 1), height), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(_turned(rgb, _matrix(frame)))


def _matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """a, b, c, d of a display matrix: (x, y) is shown at (a x + c y, b x + d y), y downward. None: as stored."""
    data: Any = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    if data is None:
        return None
    values = np.frombuffer(bytes(data), np.int32)
    if len(values) != 9:
        return None
    a, b, c, d = (int(values[place]) for place in (0, 1, 3, 4))
    upright = abs(a) >= abs(b) and a > 0 and d > 0
    return None if upright or a * d == b * c else (a, b, c, d)


def _turned(rgb: np.ndarray, matrix: tuple[int, int, int, int] | None) -> np.ndarray:
    """To the nearest of the eight ways that keep a picture's sides straight."""
    if matrix is None:
        return rgb
    a, b, c, d = matrix
    if abs(b) > abs(a):
        rgb, a, d = rgb.swapaxes(0, 1), c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _standard_range(frame: av.VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8 for a common screen, of a frame with PQ or HLG (ITU-R BT.2100).

    Light up to `KNEE` of white stays as it is, what is brighter approaches white: details in highlights survive.
    """
    coded = frame.to_ndarray(format="rgb48le")  # (H, W, 3) uint16
    table = _light_of_code(frame.color_trc)
    done = np.empty(coded.shape, np.uint8)
    for top in range(0, len(coded), ROWS):
        light = table[coded[top : top + ROWS]]
        if frame.color_trc == HLG:  # the screen's own curve (BT.2100, HLG OOTF)
            luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
            light = light * PEAK * luminance[..., None] ** np.float32(0.2)
        light = light / np.float32(WHITE)
        if frame.color_primaries == BT2020:
            light = (light @ TO_BT709.T).clip(0)
        brightest = light.max(-1, keepdims=True)
        over = np.maximum(brightest - KNEE, 0) / (1 - KNEE)
        kept = np.where(brightest > KNEE, KNEE + (1 - KNEE) * (1 - np.exp(-over)), brightest)
        light = light * kept / np.maximum(brightest, np.float32(1e-6))
        done[top : top + ROWS] = np.round(255 * light ** (1 / 2.4))  # ITU-R BT.1886
    return done


def _light_of_code(trc: int) -> np.ndarray:
    """(65536,) float32: light of each 16-bit code value; PQ in cd/m2, HLG of the scene in [0, 1] (ITU-R BT.2100)."""
    code = np.arange(65536) / 65535
    if trc == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = code ** (1 / m2)
        return (10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.5 - 0.17883277 * math.log(4 * 0.17883277)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)
