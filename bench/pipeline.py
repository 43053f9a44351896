"""What the pipeline costs when there is nothing to do, and what it spends outside data and training.

A `dvc repro` that runs nothing is timed beside `dvc stage list`, which reads the same dvc.yaml and checks nothing.
Where the artifacts are not there, or not up to date, `--dry --allow-missing` is timed instead and the row says so. The
share is of the last run that `bench.stages` watched.
"""

import statistics
import subprocess
import sys
import time

from bench.measure import Row
from bench.stages import RESULTS
from dfrepro.files import ROOT, read_json

ASKED_SECONDS, ASKED_SHARE = 8.0, 25.0
DVC = [sys.executable, "-m", "dvc"]
DRY = ["repro", "--dry", "--allow-missing"]


def bench() -> list[Row]:
    """The no-op run; and the share outside data and training, where a run has been watched."""
    return [*_nothing_to_do(), *_outside()]


def _nothing_to_do() -> list[Row]:
    told = _run(*DRY)
    if told is None:
        print("pipeline: `dvc repro --dry --allow-missing` failed here, so a run without work is not timed")
        return []
    ready = "Running stage" not in told and _run("status", "--quiet") is not None
    command = ["repro"] if ready else DRY
    listing, nothing = ([_seconds(*words) for _ in range(3)] for words in (["stage", "list"], command))
    took, floor = statistics.median(nothing), statistics.median(listing)
    detail = f"{took / floor:.1f} times `dvc stage list`, {floor:.1f} s"
    title = f"`dvc {' '.join(command)}` with nothing to do"
    return [Row(title, "DVC reading dvc.yaml", took, ASKED_SECONDS, less=True, unit="s", detail=detail)]


def _outside() -> list[Row]:
    if not RESULTS.exists():
        return []
    told = read_json(RESULTS)
    parts = ", ".join(f"{name} {told[name]:.0f} core-seconds" for name in ("data", "training", "other", "left"))
    share = 100 * told["share_outside"]
    return [Row("`make repro` outside data and training", "all of it", share, ASKED_SHARE, True, "%", parts)]


def _seconds(*words: str) -> float:
    started = time.perf_counter()
    _run(*words)
    return time.perf_counter() - started


def _run(*words: str) -> str | None:
    """What DVC printed; None where it failed."""
    done = subprocess.run([*DVC, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout
