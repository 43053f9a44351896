"""Whatever extraction and scoring are fed, they end normally, in bounded memory, and say what was wrong with it."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dfrepro.files import read_json
from tests.reliability import corpus

# MB a process may take: libraries 500, an 8K frame several times (1,533 were measured); a bomb of 100,000 x 100,000
# pixels asks for 30,000
MEMORY = 2500
# its own peak is read from /proc: `ru_maxrss` of a process that was started from another begins at that one's peak
MEASURED = """
import re, resource, sys
from pathlib import Path
from dfrepro.jobs import pipeline
{body}
own = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
print("MEGABYTES", own // 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
EXTRACT = """
import json
from dfrepro.data.faces import extract
from dfrepro.data.layouts.base import Video
given = json.loads(Path(sys.argv[1]).read_text())
videos = [Video("ffpp", "original", name, 0, "test", (), "c23", Path(path), kind=kind) for name, path, kind in given]
extract(videos, Path(sys.argv[2]), n_frames=2, size=48, margin=0.25, progress=False)
"""
SCORE = """
from dfrepro.__main__ import main
assert main(["score", sys.argv[1], "--run", "erm-df", "--out", sys.argv[2], "--frames", "2"]) == 3
"""


@dataclass
class Told:
    """What an entrance said: its inputs, of each the reasons and the number of faces; and its peak memory in MB."""

    inputs: list[str] = field(default_factory=list)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    faces: dict[str, int] = field(default_factory=dict)
    megabytes: int = 0


def measured(tiny, project: Path, body: str, *arguments: Path) -> int:
    """Run `body` in a process of its own in `project`; its peak memory and that of its workers in MB."""
    command = [sys.executable, "-c", MEASURED.format(body=body), *map(str, arguments)]
    done = subprocess.run(command, cwd=project, env=tiny.environment(project), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return max(map(int, done.stdout.rsplit("MEGABYTES", 1)[1].split()))


def extracted(tiny, project: Path, given: list, out: Path) -> Told:
    import pandas as pd

    listed = out.with_suffix(".json")
    listed.write_text(json.dumps([(name, str(path), kind) for name, path, kind in given]))
    names = [name.encode("utf-8", "backslashreplace").decode() for name, _, _ in given]
    told = Told(names, megabytes=measured(tiny, project, EXTRACT, listed, out))
    report = read_json(out / "report.json")
    for entry in report["videos"]:
        assert entry["reason"]
        assert entry["remedy"]
        told.reasons.setdefault(entry["key"][2], []).append(entry["reason"])
    told.faces = pd.read_parquet(out / "manifest.parquet").groupby("video").size().to_dict()
    assert report["counts"]["videos"] == len(given)
    return told


def scored(tiny, project: Path, given: list, out: Path) -> Told:
    """Of a folder, `score` takes what suffixes call a video or a picture."""
    folder = given[0][1].parent
    told = Told(megabytes=measured(tiny, project, SCORE, folder, out))
    for entry in read_json(out / "scores.json")["inputs"]:
        name = Path(entry["path"]).name
        told.inputs.append(name)
        told.faces[name] = len(entry["frames"])
        told.reasons[name] = [note["reason"] for note in entry["notes"]]
    return told


EXPECTED = {
    "two-pictures.jpg": "first is read",
    "heic.jpg": "HEIC",
    "edited.mp4": "edit list",
    "streams-c.mp4": "cover picture",
    "streams-cv.mkv": "number 2 is read",
    "matrix-mirrored.mp4": "mirrored",
    "pixels-anamorphic.mkv": "square",
    "pixels-hlg.mkv": "dynamic range",
    "bomb-100000.png": "pixels",
    "loop.mp4": "link",
    "pipe.mp4": "regular",
    "sound.mp4": "video",
    "cut-000000.mp4": "empty",
}
ENTRANCES: dict[str, Callable[..., Told]] = {"faces": extracted, "score": scored}


def test_the_corpus_is_what_it_says(tmp_path):
    given = corpus.make(tmp_path, random.Random(0), every=8 * corpus.KILOBYTE, flips=8)
    names = [name for name, _, _ in given]
    assert len(names) == len(set(names)) >= 110
    assert {kind for _, _, kind in given} == {"video", "image", "tar", "frames"}


@pytest.mark.parametrize("entrance", ENTRANCES)
@pytest.mark.parametrize(
    ("every", "flips"), [(8 * corpus.KILOBYTE, 8), pytest.param(corpus.KILOBYTE, 300, marks=pytest.mark.long)]
)
@pytest.mark.timeout(3600)
def test_every_bad_input_is_read_or_reported_and_memory_is_bounded(
    tiny, undisturbed, tmp_path, noted, entrance, every, flips
):
    (tmp_path / "corpus").mkdir()
    given = corpus.make(tmp_path / "corpus", random.Random(0), every, flips)
    before = sorted((tmp_path / "corpus").rglob("*"))
    began = time.monotonic()
    told = ENTRANCES[entrance](tiny, undisturbed.project, given, tmp_path / "out")
    noted(**{f"bad inputs, {entrance}, {len(given)}": {
        "with a face": sum(n > 0 for n in told.faces.values()), "with a reason": len(told.reasons),
        "megabytes": told.megabytes, "seconds": round(time.monotonic() - began),
    }})  # fmt: skip
    assert len(told.inputs) >= 0.8 * len(given)  # `score` leaves pipes and links to nothing aside
    assert [name for name in told.inputs if not told.faces.get(name) and not told.reasons.get(name)] == []
    assert told.faces["good.mp4" if entrance == "score" else "good"]
    for name in EXPECTED.keys() & set(told.inputs):
        assert EXPECTED[name] in " ".join(told.reasons[name]), name
    assert told.megabytes < MEMORY
    assert sorted((tmp_path / "corpus").rglob("*")) == before
    assert not list(tmp_path.parent.glob("escaped.png"))
    assert not (tmp_path / "escaped.png").exists()
