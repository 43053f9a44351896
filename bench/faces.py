"""How fast faces are extracted from 720p video, beside the field's benchmark and decoding alone. One run, one thread.

The floor, in our own words: OpenCV decodes and converts every frame up to the last wanted one; on each wanted frame, at
its full size, dlib's HOG detector runs twice at upsample 1 (once for the face, once more inside the alignment), and the
81 points are predicted from its largest face. Both sides take 32 frames of the same video and end with a crop of 256.
"Same faces" compares the crop boxes of both sides, frame by frame.

Videos: one that is made here, a real portrait in motion, and one of FaceForensics++ where the folder DFREPRO_REAL (or
shared/real beside the clone) holds any.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from bench.measure import Row, one_thread
from dfrepro.data.clip import read_clip
from dfrepro.data.crop import crop, crop_box
from dfrepro.data.landmarks import load_predictor
from dfrepro.data.layouts.base import Video
from dfrepro.data.media import equally_spaced
from dfrepro.data.shards import Recipe
from dfrepro.data.tracking import overlap
from dfrepro.files import ROOT

RECIPE = Recipe(n_frames=32, size=256, margin=0.15)
ASKED, SAME_IOU, SAME_ASKED = 5.0, 0.8, 95.0
HEIGHT, WIDTH, LENGTH = 720, 1280, 300
REAL = Path(os.environ.get("DFREPRO_REAL", ROOT.parent / "shared" / "real"))


def bench() -> list[Row]:
    """Three rows a video: ratio to the field's way, the share of frames with the same face, ratio to decoding."""
    load_predictor()  # 100 MB: loaded once a process on either side
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        videos = {"a portrait in motion": portrait_film(Path(folder) / "portrait.mp4")}
        if official := sorted(REAL.rglob("original_sequences/**/*.mp4")):
            videos["FF++"] = official[0]
        return [row for name, path in videos.items() for row in _measure(name, path)]


def _measure(name: str, path: Path) -> list[Row]:
    video = Video("bench", "original", path.stem, 0, "test", (), "", path)
    seconds, shard = _timed(lambda: read_clip(video, RECIPE), repeat=3)
    decode, n_frames = _timed(lambda: _decode(path), repeat=3)
    slow, theirs = _timed(lambda: _field(path), repeat=1)
    ours = {index: face.box for index, face in shard.faces.items()}
    same = sum(overlap(ours[i], box) > SAME_IOU for i, box in theirs.items() if i in ours)
    each = f"{1e3 * seconds / len(ours):.0f} against {1e3 * slow / len(theirs):.0f} ms a face"
    speeds = f"{len(ours) / seconds:.0f} faces a second and core; {n_frames / decode:.0f} frames decoded"
    found = f"{same} of {len(theirs)} boxes with IoU over {SAME_IOU}"
    twice = "OpenCV, HOG twice on every full-size wanted frame"
    return [
        Row(f"Faces of 720p video, {name}", twice, slow / seconds, ASKED, detail=each),
        Row(f"Same faces, {name}", twice, 100 * same / max(len(theirs), 1), SAME_ASKED, unit="%", detail=found),
        Row(f"Faces beside decoding, {name}", "decoding every frame, none converted", decode / seconds, detail=speeds),
    ]


def _timed(work: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def _decode(path: Path) -> int:
    """Every frame decoded, none converted, on one thread."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        return sum(1 for _ in container.decode(stream))


def _field(path: Path) -> dict[int, np.ndarray]:
    """{frame: crop box} as the field's benchmark finds it."""
    import dlib

    detector, predictor = dlib.get_frontal_face_detector(), load_predictor()
    wanted = equally_spaced(round(_capture(path).get(cv2.CAP_PROP_FRAME_COUNT)), RECIPE.n_frames)
    capture, boxes = _capture(path), {}
    for index in range(max(wanted) + 1):
        frame = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        if index not in wanted or not detector(frame, 1):
            continue
        face = max(detector(frame, 1), key=lambda r: r.width() * r.height())
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        points = predictor(grey, np.array([face.left(), face.top(), face.right() + 1, face.bottom() + 1]))
        boxes[index] = crop_box(points, RECIPE.margin)
        crop(frame, boxes[index], RECIPE.size)
    return boxes


def _capture(path: Path) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def portrait_film(path: Path) -> Path:
    """A 720p H.264 video: a real portrait (public domain, scikit-image) drifting and breathing over its own blur."""
    from skimage.data import astronaut

    portrait = astronaut()[0:300, 80:380]
    ground = cv2.GaussianBlur(cv2.resize(astronaut(), (WIDTH, HEIGHT)), (0, 0), 12)
    noise = np.random.default_rng(0).normal(0, 3, (HEIGHT, WIDTH, 1))
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for t in np.linspace(0, 2 * np.pi, LENGTH):
            scale = 1.6 + 0.3 * np.sin(2 * t)
            move = np.array([[scale, 0, 420 + 220 * np.sin(t)], [0, scale, 90 + 50 * np.cos(3 * t)]])
            frame = cv2.warpAffine(
                portrait, move, (WIDTH, HEIGHT), dst=ground.copy(), borderMode=cv2.BORDER_TRANSPARENT
            )
            grainy = np.clip(frame + np.roll(noise, int(100 * t), axis=1), 0, 255).astype(np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(grainy, format="rgb24")))
        output.mux(stream.encode())
    return path
