"""The committed study: the same pipeline with other words (grid, seeds), in a folder of its own.

`make study` clones the repository into build/study, writes the words into that clone's params.yaml and works there, so
that what a newcomer's `make repro` has made stays as it is; the two share one DVC cache. All work is the runner's, as
there. Killed and called again it goes on: what is done is not done again. When it ends, or with `collect` at any time,
what was found is copied to results/study/: claims.json and the evidence that its verdicts rest on, every run's metrics
and card, the notebooks' figures, provenance.json.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from dfrepro import places
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file, atomic_folder, write_json
from dfrepro.jobs.repair import LOCKS, parsed, repair

CLONE, RESULTS = ROOT / "build" / "study", places.STUDY
WORDS = ("scale", "grid", "seeds")


def run(words: dict[str, Any], stages: Sequence[str] = (), *, jobs: int = 0, dask: str | None = None) -> int:
    """Work with these words in the clone, as far as it goes, and collect. Returns the runner's exit status.

    stages, jobs, dask: as of `python -m dfrepro repro`, which does all of the work.
    """
    prepare(words)
    _run([sys.executable, "-m", "dvc", "checkout", "--quiet"])  # what has been run is there without running it again
    options = ["--jobs", str(jobs), *(["--dask", dask] if dask else [])]
    status = _run([sys.executable, "-m", "dfrepro", "repro", *stages, *options])
    collect(words)
    return status


def _run(command: Sequence[str]) -> int:
    """The exit status of a command in the clone. Ctrl-C reaches it too: it is given the time to end in order."""
    process = subprocess.Popen(command, cwd=CLONE, env=_environment())
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def prepare(words: dict[str, Any]) -> None:
    """Bring the clone to this commit, with these words in its params.yaml and this repository's DVC cache.

    What was found there at another commit stays: whether it still holds is for DVC to see.
    """
    if not CLONE.exists():
        CLONE.parent.mkdir(parents=True, exist_ok=True)
        _git(ROOT, "clone", "--quiet", str(ROOT), str(CLONE))
    repair(CLONE)
    _git(CLONE, "fetch", "--quiet", "origin", _commit(ROOT))
    with _found_stays(CLONE / "results" / str(words["scale"])):
        _git(CLONE, "checkout", "--quiet", "--force", "--detach", _commit(ROOT))
    (CLONE / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {ROOT / '.dvc' / 'cache'}\n", encoding="utf-8")
    file = CLONE / "params.yaml"
    file.write_text(with_words(file.read_text(encoding="utf-8"), words), encoding="utf-8")


@contextmanager
def _found_stays(results: Path) -> Iterator[None]:
    """Results and what dvc.lock says of them, over a checkout that would refuse or take away what git knew of them.

    Killed half-way, the copy of the results is still there and the next call puts it back.
    """
    aside = CLONE / "build" / "results"
    locks = {name: _stages(CLONE / name) for name in LOCKS}
    if results.exists() and not aside.exists():
        with atomic_folder(aside) as copy:
            shutil.copytree(results, copy, dirs_exist_ok=True)
    yield
    if aside.exists():
        shutil.copytree(aside, results, dirs_exist_ok=True)
        shutil.rmtree(aside)
    for name, before in locks.items():
        now = _stages(CLONE / name)
        if before.keys() - now.keys():
            with atomic_file(CLONE / name) as partial:
                text = yaml.safe_dump({"schema": "2.0", "stages": before | now}, sort_keys=False)
                partial.write_text(text, encoding="utf-8")


def _stages(lock: Path) -> dict[str, Any]:
    return parsed(lock.read_text(encoding="utf-8"))["stages"] or {} if lock.exists() else {}


def with_words(text: str, words: dict[str, Any]) -> str:
    """The text of a params.yaml with other top-level words; comments and all else stay as they are."""
    for name, value in words.items():
        text, found = re.subn(rf"(?m)^{name}: [^#\n]*?(?=\s*(#|$))", f"{name}: {value}", text)
        if found != 1:
            raise WorkbookError(f"there are {found} lines that give {name}", where="params.yaml", remedy="Give one")
    return text


def collect(words: dict[str, Any]) -> None:
    """Copy what the clone has found so far, and write the verdicts on it, to results/study/."""
    scale = str(words["scale"])
    done = subprocess.run([sys.executable, "-m", "dfrepro", "claims"], cwd=CLONE, env=_environment(), check=False)
    if done.returncode:
        raise WorkbookError("its claims cannot be judged", where=CLONE, remedy="Read the message above")
    shutil.rmtree(RESULTS, ignore_errors=True)
    shutil.copytree(CLONE / "results" / scale, RESULTS)
    figures = CLONE / "artifacts" / scale / "figures"
    if figures.exists():
        shutil.copytree(figures, RESULTS / "figures")
        for file in (RESULTS / "figures").rglob("*.png"):
            _shrink(file)
    write_json(
        RESULTS / "provenance.json",
        {**{name: words[name] for name in WORDS}, "commit": _commit(CLONE), "ended": f"{datetime.now(UTC):%Y-%m-%d}"},
    )


def _shrink(file: Path, limit: int = 2**20, width: int = 1400) -> None:
    """A picture of more than a megabyte, on which faces are, at a width that git can bear."""
    if file.stat().st_size > limit:
        from PIL import Image

        with Image.open(file) as picture:
            small = picture.convert("RGB")
        small.thumbnail((width, width))
        small.save(file, optimize=True)


def _commit(repository: Path) -> str:
    return _git(repository, "rev-parse", "HEAD")


def _git(where: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkbookError(f"git {words[0]} failed: {done.stderr.strip()}", where=where)
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """This process' environment, with the clone's own code in front."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {"PYTHONPATH": str(CLONE), "PATH": path, "DFREPRO_STUDY": "1"}
