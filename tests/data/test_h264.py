"""The encoder: the same frames give the same bytes, whatever the process has in its memory."""

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest

from dfrepro.data.h264 import coded, decode, encode

# Leaves freed memory full of rubbish behind, as a process does that has worked for a while: a library that reads what
# it never wrote reads other values each time.
ENCODES = """
import ctypes, hashlib, os, random, sys
from io import BytesIO
import cv2, numpy as np
from dfrepro.data.h264 import encode

libc, draw = ctypes.CDLL(None), random.Random(int(sys.argv[1]))
libc.malloc.restype = ctypes.c_void_p
blocks = []
for _ in range(3000):
    size = draw.randrange(1, draw.choice([100, 1000, 5000, 20000, 70000, 200000]))
    blocks.append(ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size))))
    ctypes.memset(blocks[-1], draw.randrange(256), size)
draw.shuffle(blocks)
for block in blocks[:2500]:
    libc.free(block)

rng, digest = np.random.default_rng(0), hashlib.sha256()
for side in (208, 224, 240):
    plate = cv2.GaussianBlur(rng.random((2 * side, 2 * side, 3), np.float32), (0, 0), 3)
    plate = 128 + 900 * (plate - plate.mean())
    for clip in range(3):
        frames = []
        for t in range(20):
            seen = plate[clip * 5 + 2 * t :][:side, 3 * t :][:, :side] + rng.normal(0, 3, (side, side, 1))
            frames.append(seen.clip(0, 255).astype(np.uint8))
        file = BytesIO()
        encode(file, frames, 23)
        digest.update(file.getvalue())
print(digest.hexdigest())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="uses the C library's malloc by its POSIX name")
def test_processes_with_other_rubbish_in_memory_write_the_same_bytes():
    found = set()
    for seed in range(4):
        done = subprocess.run(
            [sys.executable, "-c", ENCODES, str(seed)], capture_output=True, text=True, check=True, timeout=300
        )
        found.add(done.stdout.strip())
    assert len(found) == 1


def test_a_clip_comes_back_in_order_and_nearly_as_it_was():
    frames = [np.full((34, 46, 3), 20 * t, np.uint8) for t in range(1, 11)]
    for frame, back in zip(frames, coded(frames, 10), strict=True):
        assert back.shape == frame.shape
        assert abs(back.astype(int) - frame).mean() < 3


def test_grey_frames_are_grey():
    file = BytesIO()
    encode(file, [np.full((32, 32), 200, np.uint8)] * 3, 23, gray=True)
    file.seek(0)
    for frame in decode(file):
        assert abs(frame.astype(int) - 200).max() <= 3
