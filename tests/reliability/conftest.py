"""A project of its own for a test that breaks things: the code as it is here, a stand-in of a few videos, one run."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nbformat
import psutil
import pytest
import yaml

from dfrepro.files import ROOT, read_json, write_json

RUN = "erm-df"
SIZES = {
    "standin": {"train": 2, "val": 2, "test": 2, "cross": 4, "wild": 4, "images": 1, "frames": 3, "cross_frames": 1},
    "faces": {"n_frames": 3, "size": 40, "margin": 0.25},
    "training": {"epochs": 40, "batch": 8, "frames": 3, "optimiser": "adamw", "lr": 0.002},
}
STAGES = {  # every kind of command that DVC runs, in order
    "standin": ["standin"],
    "faces": ["faces", "--dataset", "ffpp-c23"],
    "train": ["train", RUN, "--seed", "0"],
    "evaluate": ["evaluate", RUN, "--seed", "0"],
    "notebook": ["notebook", "00_data"],
}
TIMED = ("failed/",)  # what a notebook that was cut off left to look at
CELLS = [
    'scale = None',
    'from dfrepro import workbook\nwb = workbook.open("00_data", scale)',
    f'wb.run("{RUN}").scores.groupby("label").score.mean()',
    'import matplotlib.pyplot as plt\nwb.show(plt.figure(), "empty", "nothing")',
]  # fmt: skip


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """This module: test files cannot import each other under importlib mode."""
    return sys.modules[__name__]


@dataclass(frozen=True)
class Undisturbed:
    """A project in which every stage has run, once and in peace, and how long each took; read-only."""

    project: Path
    seconds: dict[str, float]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    project, seconds = make(tmp_path_factory.mktemp("reliability") / "undisturbed"), {}
    for name, words in STAGES.items():
        began = time.monotonic()
        done = call(project, *words)
        assert done.returncode == 0, done.stderr[-3000:]
        seconds[name] = time.monotonic() - began
    return Undisturbed(project, seconds)


PIPELINE = (
    "stages:\n  one:\n    cmd: python -c \"open('out', 'w').write('right' * 999)\"\n    deps: [in]\n    outs: [out]\n"
)


@pytest.fixture(scope="session")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a pipeline of one stage, run and committed; read-only."""
    root = tmp_path_factory.mktemp("repository") / "committed"
    root.mkdir()
    git(root, "init", "-q")
    shutil.copy(ROOT / ".gitattributes", root)
    (root / "in").write_text("in\n")
    (root / "dvc.yaml").write_text(PIPELINE)
    assert call(root, "dvc", "init", "-q").returncode == 0
    assert call(root, "dvc", "repro").returncode == 0
    git(root, "add", ".")
    git(root, "commit", "-qm", "run")
    return root


@pytest.fixture
def repository(committed: Path, tmp_path: Path) -> Path:
    """A copy of `committed` to break."""
    return Path(shutil.copytree(committed, tmp_path / "repository"))


@pytest.fixture(scope="session")
def noted() -> Callable[..., None]:
    """Keep the figures of a long test in build/reliability.json, for docs/reliability.md."""

    def note(**figures: object) -> None:
        path = ROOT / "build" / "reliability.json"
        write_json(path, (read_json(path) if path.exists() else {}) | figures)

    return note


def make(to: Path) -> Path:
    """A project at `to` with this code, one run of the smallest size and a short notebook."""
    shutil.copytree(ROOT / "dfrepro", to / "dfrepro")
    declared = yaml.safe_load((ROOT / "params.yaml").read_text())
    declared |= {"scale": "smoke", "runs": {RUN: declared["runs"][RUN] | {"tests": ["ffpp-c23"]}}, "maps": {}}
    (to / "params.yaml").write_text(yaml.safe_dump(declared))
    sizes = yaml.safe_load((ROOT / "scales" / "smoke.yaml").read_text())
    (to / "scales").mkdir()
    (to / "scales" / "smoke.yaml").write_text(yaml.safe_dump(sizes | SIZES))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(CELLS)]
    )
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    (to / "notebooks").mkdir()
    nbformat.write(notebook, to / "notebooks" / "00_data.ipynb")
    return to


def git(where: Path, *words: str) -> str:
    """What a git command prints; it must succeed."""
    own = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", *own, *words], cwd=where, capture_output=True, text=True, check=True).stdout


def environment(project: Path) -> dict[str, str]:
    """This process' environment, with the project's own code in front, and one thread: sums depend on their number."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {"PYTHONPATH": str(project), "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return os.environ | own


def start(project: Path, *words: str, cores: int | None = None, **options) -> subprocess.Popen:
    """`python -m dfrepro WORDS` in `project`, in a session of its own, on so many cores (default: all there are)."""

    def confine() -> None:
        if cores is not None and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])

    command = [sys.executable, "-m", *(words if words[0] == "dvc" else ("dfrepro", *words))]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
    return subprocess.Popen(
        command, cwd=project, env=environment(project), preexec_fn=confine, start_new_session=True, **options
    )


def call(project: Path, *words: str, cores: int | None = None, timeout: float = 600) -> subprocess.CompletedProcess:
    process = start(project, *words, cores=cores, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL for the process and everything it started: a notebook's kernel has a process group of its own."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    for victim in [process, *below]:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(below, timeout=10)


def digests(project: Path) -> dict[str, str]:
    """SHA-256 of every file that the stages made, by its path; hidden ones are nobody's result.

    Of an executed notebook, of its cells and their outputs: papermill notes the time of day beside them, and a slider
    has a random number beside its picture.
    """
    return {str(path.relative_to(project)): _digest(path) for path in sorted(_results(project))}


def _results(project: Path) -> Iterator[Path]:
    for top in (project / "artifacts" / "smoke", project / "results" / "smoke"):
        for path in top.rglob("*"):
            inside = str(path.relative_to(top))
            hidden = any(part.startswith(".") for part in path.relative_to(top).parts)
            if path.is_file() and not hidden and not inside.startswith(TIMED):
                yield path


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".ipynb":
        cells = json.loads(content)["cells"]
        for output in (output for cell in cells for output in cell.get("outputs", ())):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
        content = json.dumps([(cell["source"], cell.get("outputs")) for cell in cells]).encode()
    return hashlib.sha256(content).hexdigest()
