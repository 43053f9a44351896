"""The sweep: everything once, what needs another's result after it, and a failure stops nobody else."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from dvc.exceptions import DvcException

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.jobs import sweep

P = params.load(scale="laptop", grid="full")
ALL = [run for run in P.runs if P.in_grid(run)]


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Threads for processes, and a list of what was made in place of the making."""
    made = []

    def make(p, task):
        made.append(task)
        if task[1] == "erm-fs":
            raise FloatingPointError("the loss is nan")
        return task[1] != "erm-df"

    monkeypatch.setattr(params.Params, "artifacts", property(lambda self: tmp_path))
    monkeypatch.setattr(sweep, "_workers", lambda jobs: ThreadPoolExecutor(jobs))
    monkeypatch.setattr(sweep, "_data", lambda p, chosen: None)
    monkeypatch.setattr(sweep, "_make", make)
    return made


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(sweep, "commit", lambda stages: None)


def test_every_run_of_the_grid_is_made_once_and_after_all_that_it_needs(quiet, made, monkeypatch):
    begun, ended = [], set()

    def make(p, task):
        kind, name, seed = task
        begun.append(task)
        needed = P.run(name).detector.maps if kind == "run" else P.maps[name].run
        missing = needed and ({"run": "maps", "maps": "run"}[kind], needed, seed) not in ended
        time.sleep(0.1)
        ended.add(task)
        if missing:
            raise AssertionError(f"{task} was begun before {needed} had ended")
        return True

    monkeypatch.setattr(sweep, "_make", make)
    assert sweep.sweep(P, jobs=len(ALL)) == len(begun) == len(ended)  # so many that nothing waits for a free worker
    assert {name for kind, name, _ in begun if kind == "run"} == set(ALL)
    assert {name for kind, name, _ in begun if kind == "maps"} == {name for name in P.maps if P.maps_in_grid(name)}


def test_a_run_supervised_by_maps_brings_their_network_along():
    network, maps, run = ("run", "focus-map-focus", 0), ("maps", "focus", 0), ("run", "focus-eval-focus", 0)
    assert sweep.needs(P, ["focus-eval-focus"]) == {network: set(), maps: {network}, run: {maps}}


def test_what_others_wait_for_is_begun_first_and_short_runs_last():
    begun = [name for kind, name, _ in sweep.needs(P, [run for run in P.runs if run in P.core])]
    assert begun[:2] == ["focus-map-focus", "focus-map-vit"]
    assert begun[-1] == "erm-df"


def test_only_what_matches_is_made_and_what_was_there_is_not_counted(made, quiet):
    assert sweep.sweep(P, ["erm-df", "erm-n?"], jobs=2) == 1
    assert sorted(name for _, name, _ in made) == ["erm-df", "erm-nt"]


def test_a_run_that_fails_is_named_when_all_others_are_done(made, quiet):
    with pytest.raises(WorkbookError, match="1 failed: run erm-fs with seed 0"):
        sweep.sweep(P, ["erm-*"], jobs=2)
    assert len(made) == len([run for run in ALL if run.startswith("erm-")])


def test_a_pattern_that_matches_nothing_is_an_error(made):
    with pytest.raises(WorkbookError, match=r"no run is called 'pimm-\*'"):
        sweep.sweep(P, ["pimm-*"])
    assert made == []


def test_dvc_is_told_of_what_was_made_by_the_stages_that_make_it(made, monkeypatch):
    told = []
    monkeypatch.setattr(sweep, "commit", told.append)
    assert sweep.sweep(P, ["erm-df", "erm-nt"], jobs=2) == 1
    assert told[0][-2:] == ["dvc.yaml:train@erm-nt-0", "dvc.yaml:evaluate@erm-nt-0"]
    assert sweep.targets([("maps", "focus", 3), ("run", "dual-sbi-s02-m02", 1)]) == [
        "dvc.yaml:maps-focus@focus-3",
        "grid/dvc.yaml:train-sbi@dual-sbi-s02-m02-1", "grid/dvc.yaml:evaluate@dual-sbi-s02-m02-1",
    ]  # fmt: skip
    assert len(sweep.targets([("run", run, 0) for run in ALL])) == 2 * len(ALL)  # every run has its stages


def test_what_was_made_before_a_kill_is_told_by_the_next_sweep_unless_the_code_has_changed(made, monkeypatch):
    told = []
    monkeypatch.setattr(sweep, "commit", told.append)
    sweep.Journal(P).add(("run", "erm-f2f", 0))  # and here the power fails
    assert sweep.sweep(P, ["erm-df"], jobs=1) == 1
    assert told[0][-1] == "dvc.yaml:evaluate@erm-f2f-0"
    sweep.Journal(P).add(("run", "erm-f2f", 0))
    monkeypatch.setattr(sweep, "_code", lambda: "another")
    assert sweep.sweep(P, ["erm-df"], jobs=1) == 0
    assert len(told) == 1


STAGES = """
stages:
  make:
    matrix: {run: [a, b]}
    cmd: python -c "open('${item.run}', 'w').write('${item.run}')"
    deps: [code]
    outs: [\"${item.run}\"]
"""


def test_committing_at_once_writes_the_lock_that_dvc_commit_writes(tmp_path):
    locks = []
    for way in ("dvc", "here"):
        root = tmp_path / way
        (root / "grid").mkdir(parents=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=root, check=True)
        for folder in (root, root / "grid"):
            (folder / "dvc.yaml").write_text(STAGES)
            for name in ("code", "a"):  # b has not been made
                (folder / name).write_text(name)
        chosen = ["dvc.yaml:make@a", "grid/dvc.yaml:make@a"]
        if way == "dvc":
            subprocess.run([sys.executable, "-m", "dvc", "commit", "--force", "--quiet", *chosen], cwd=root, check=True)
        else:
            sweep.commit(chosen, root)
        locks.append([(root / folder / "dvc.lock").read_text() for folder in (".", "grid")])
        cached = sorted(path.name for path in (root / ".dvc" / "cache" / "files" / "md5").glob("??/*"))
        assert len(cached) == 1  # both a are one content
    assert locks[0] == locks[1]
    assert "make@b" not in locks[0][0]


def test_what_dvc_does_not_take_is_an_error_that_keeps_the_journal(made, monkeypatch):
    def busy(stages):
        raise DvcException("it is locked")

    monkeypatch.setattr(sweep, "commit", busy)
    with pytest.raises(WorkbookError, match="it is locked"):
        sweep.sweep(P, ["erm-nt"], jobs=1)
    assert sweep.Journal(P).tasks == [("run", "erm-nt", 0)]


NOTEBOOKS = """
stages:
  train: {cmd: python -m dfrepro train erm-df, deps: [lr], outs: [run]}
  code-first: {cmd: python -m dfrepro code first, deps: [first.ipynb], outs: [first.py]}
  first: {cmd: python -m dfrepro notebook first, deps: [first.py], outs: [first.out]}
  second: {cmd: python -m dfrepro notebook second, deps: [run], outs: [second.out]}
  third: {cmd: python -m dfrepro notebook third, deps: [first.out], outs: [third.out]}
  lone: {cmd: python -m dfrepro notebook lone, deps: [first.ipynb], outs: [lone.out]}
"""


@pytest.fixture
def book(monkeypatch, tmp_path):
    """A pipeline of four notebooks whose stages write what they are called, and the list of those that ran."""
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / "dvc.yaml").write_text(NOTEBOOKS)
    for name in ("lr", "first.ipynb", "run"):
        (tmp_path / name).write_text(name)
    sweep.commit(["dvc.yaml:train"], tmp_path)
    ran = []

    def run(command):
        verb, name = command.split()[3:]
        ran.append(name if verb == "notebook" else verb)
        if "broken" in (tmp_path / "first.ipynb").read_text() and name == "first" and verb == "notebook":
            raise WorkbookError("cell 3 failed", where="notebooks/first.ipynb")
        text = (tmp_path / "first.ipynb").read_text() if name in ("first", "lone") else name
        (tmp_path / f"{name}.{'out' if verb == 'notebook' else 'py'}").write_text(text)

    monkeypatch.setattr(sweep, "_workers", lambda jobs: ThreadPoolExecutor(jobs))
    monkeypatch.setattr(sweep, "_run_stage", run)
    return ran


def test_notebooks_run_after_what_they_rest_on_and_dvc_then_has_nothing_to_do(book, tmp_path):
    assert sweep.notebooks(jobs=2, root=tmp_path) == 5
    assert sorted(book) == ["code", "first", "lone", "second", "third"]
    assert book.index("code") < book.index("first") < book.index("third")
    assert sweep.notebooks(jobs=2, root=tmp_path) == 0
    told = subprocess.run([sys.executable, "-m", "dvc", "status"], cwd=tmp_path, capture_output=True, text=True)
    assert "up to date" in told.stdout


def test_a_notebook_whose_run_has_changed_waits_for_dvc(book, tmp_path):
    (tmp_path / "lr").write_text("another")
    assert sweep.notebooks(jobs=2, root=tmp_path) == 4
    assert "second" not in book


def test_a_notebook_that_fails_is_named_and_stops_only_what_rests_on_it(book, tmp_path):
    (tmp_path / "first.ipynb").write_text("broken")
    with pytest.raises(WorkbookError, match=r"1 failed\. dvc\.yaml:first: notebooks/first\.ipynb: cell 3 failed"):
        sweep.notebooks(jobs=2, root=tmp_path)
    assert sorted(book) == ["code", "first", "lone", "second"]
    (tmp_path / "first.ipynb").write_text("mended")
    assert sweep.notebooks(jobs=2, root=tmp_path) == 4


KILLED = """
import sys, time
from dfrepro import sweep
if __name__ == "__main__":
    with sweep._workers(1) as workers:
        print(workers.submit(sweep.os.getpid).result(), flush=True)
        workers.submit(time.sleep, 300).result()
"""


def test_workers_end_with_a_sweep_that_is_killed(tmp_path):
    (tmp_path / "sweep.py").write_text(KILLED)
    command = [sys.executable, str(tmp_path / "sweep.py")]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)
    worker = int(process.stdout.readline())
    process.kill()
    process.wait()
    waiting = time.monotonic() + 60
    while _is_there(worker) and time.monotonic() < waiting:
        time.sleep(0.1)
    assert not _is_there(worker)


def _is_there(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
