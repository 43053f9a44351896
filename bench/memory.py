"""Peak memory of extraction and of training when the set is doubled, each in a process of its own.

A face store is memory-mapped: its pages are the system's to take back, so what counts is anonymous memory, which Linux
tells of a process as RssAnon. It is looked at after every video and every step, and the largest counts.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.faces import portrait_film
from bench.loop import datasets
from bench.measure import Row
from dfrepro.files import ROOT

ASKED = 1.05
# from a dozen videos on the allocator keeps what it has: 176 MiB for 1, 247 for 6, 259 for 12, 261 for 24
VIDEOS, FACES = (12, 24), (2000, 4000)
WATCH = """
import sys
peak = 0
def look():
    global peak
    with open("/proc/self/status") as status:
        now = next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))
    peak = max(peak, now)
"""
EXTRACT = """
from pathlib import Path
from dfrepro.data import faces
from dfrepro.data.layouts.base import Video
count, file, out = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
read = faces.write_clip
faces.write_clip = lambda task, objective: (read(task, objective), look())
videos = [Video("bench", "original", f"{i:03d}", 0, "test", (), "", file) for i in range(count)]
faces.extract(videos, out, n_frames=8, size=256, margin=0.25, progress=False)
look()
print(peak)
"""
TRAIN = """
from pathlib import Path
import numpy as np
from bench.loop import BATCH, SIZE, CONVNEXT
from dfrepro.data.dataset import FaceDataset
from dfrepro.data.manifest import FaceStore
from dfrepro.train.fit import Objective, TrainConfig, fit
from dfrepro.nets.losses import CrossEntropy
from dfrepro.nets.detector import build_detector
count, out = int(sys.argv[1]), Path(sys.argv[3])
store = FaceStore.open(Path(sys.argv[2]) / str(count) / "store")
data = FaceDataset(store, np.arange(count), size=SIZE, seed=0, draws=BATCH * 20)
config = TrainConfig(epochs=1, batch=BATCH, frames=1, optimiser="sgd", lr=1e-3, accelerator="cpu", threads=1)
objective = Objective(CrossEntropy(), refine=lambda model, batch, generator: (look(), batch)[1])
fit(build_detector(CONVNEXT, seed=0), data, objective, config, out)
print(peak)
"""


def bench() -> list[Row]:
    """Two rows: the peak with twice the videos, and with twice the faces, over that with half of them."""
    if not Path("/proc/self/status").exists():
        print("memory: this system does not tell of anonymous memory, so nothing is measured")
        return []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = portrait_film(folder / "portrait.mp4")
        for count in FACES:  # in this process: what writing takes is not training's
            datasets(folder / str(count), steps=1, faces=count)
        return [
            _row("Extraction's peak memory, twice the videos", EXTRACT, VIDEOS, film, folder, "720p videos"),
            _row("Training's peak memory, twice the faces", TRAIN, FACES, folder, folder, "faces"),
        ]


def _row(name: str, script: str, counts: tuple[int, int], source: Path, folder: Path, what: str) -> Row:
    half, whole = (_peak(script, count, source, folder / f"{count}-out") for count in counts)
    detail = f"{whole / 1024:.0f} MiB for {counts[1]} {what} against {half / 1024:.0f} MiB for {counts[0]}"
    return Row(name, "half the set", whole / half, ASKED, less=True, detail=detail)


def _peak(script: str, count: int, source: Path, out: Path) -> int:
    """KiB of anonymous memory at most."""
    command = [sys.executable, "-c", WATCH + script, str(count), str(source), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])
