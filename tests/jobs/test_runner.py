"""The runner: everything once, what needs another's result after it, and a failure stops nobody else."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from dfrepro.errors import WorkbookError
from dfrepro.jobs import runner, sources
from dfrepro.jobs.graph import Node, Pipeline

DVC = [sys.executable, "-m", "dvc"]
STAGES = """
stages:
  make:
    matrix: {run: [a, b, c]}
    cmd: python do.py ${item.run} source
    deps: [do.py, source]
    outs: ["made/${item.run}"]
  join:
    cmd: python do.py joined made/a made/b
    deps: [do.py, made/a, made/b]
    outs: [made/joined]
  last:
    cmd: python do.py last made/joined made/c
    deps: [do.py, made/joined, made/c]
    outs: [made/last]
"""
DO = """
import pathlib, sys, time
name, *sources = sys.argv[1:]
with open("journal", "a") as journal: journal.write(f"begin {name}\\n")
if name in pathlib.Path("bad").read_text().split(): sys.exit("it is bad")
time.sleep(float(pathlib.Path("pause").read_text()))
text = "+".join(pathlib.Path(source).read_text() for source in sources)
pathlib.Path("made").mkdir(exist_ok=True)
pathlib.Path("made", name).write_text(f"{name}({text})")
with open("journal", "a") as journal: journal.write(f"end {name}\\n")
"""


def perform(words):
    raise AssertionError(f"no stage of this pipeline is the workbook's own: {words}")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small pipeline: three stages, one that joins two of them, and one after all; none has been run."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    subprocess.run([*DVC, "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    for name, text in {"dvc.yaml": STAGES, "do.py": DO, "source": "s", "bad": "", "pause": "0", "journal": ""}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def repro(project, *patterns, jobs=2, **options):
    return runner.repro(perform, patterns, jobs=jobs, root=project, **options)


def begun(project):
    return [line.split()[1] for line in (project / "journal").read_text().splitlines() if line.startswith("begin")]


def test_everything_is_made_once_and_after_all_that_it_needs(project):
    report = repro(project)
    assert sorted(report.made) == ["join", "last", "make@a", "make@b", "make@c"]
    assert (project / "made" / "last").read_text() == "last(joined(a(s)+b(s))+c(s))"
    order = begun(project)
    assert sorted(order) == ["a", "b", "c", "joined", "last"]
    assert order[-1] == "last"
    assert order.index("joined") > max(order.index("a"), order.index("b"))


def test_dvc_repro_has_nothing_to_do_afterwards_and_the_lock_is_the_one_it_would_write(project, tmp_path_factory):
    repro(project)
    again = subprocess.run([*DVC, "repro"], cwd=project, capture_output=True, text=True, check=True)
    assert "Data and pipelines are up to date" in again.stdout + again.stderr
    other = tmp_path_factory.mktemp("by-dvc")
    subprocess.run([*DVC, "init", "--no-scm", "--quiet"], cwd=other, check=True)
    for name in ("dvc.yaml", "do.py", "source", "bad", "pause"):
        (other / name).write_text((project / name).read_text())
    subprocess.run([*DVC, "repro", "--quiet"], cwd=other, check=True)
    read = [sorted((root / "dvc.lock").read_text().splitlines()) for root in (project, other)]
    assert read[0] == read[1]
    cached = [
        sorted(p.name for p in (r / ".dvc" / "cache" / "files").rglob("*") if p.is_file()) for r in (project, other)
    ]
    assert cached[0] == cached[1]


def test_a_second_call_does_nothing_and_starts_no_process(project, monkeypatch):
    repro(project)
    monkeypatch.setattr(runner, "_workers", lambda *_: pytest.fail("workers were started"))
    report = repro(project)
    assert not report.made
    assert len(report.current) == 5


def test_a_changed_source_runs_only_what_rests_on_it(project):
    repro(project)
    (project / "made" / "c").unlink()
    (project / "journal").write_text("")
    assert sorted(repro(project).current) == ["join", "last", "make@a", "make@b", "make@c"]  # c is in the cache
    assert (project / "made" / "c").read_text() == "c(s)"
    assert begun(project) == []
    (project / "source").write_text("t")
    assert len(repro(project).made) == 5
    assert (project / "made" / "last").read_text() == "last(joined(a(t)+b(t))+c(t))"
    (project / "source").write_text("s")
    (project / "journal").write_text("")
    assert not repro(project).made  # DVC's run cache knows them all
    assert begun(project) == []


def test_a_stage_that_fails_is_named_and_stops_only_what_needs_it(project):
    (project / "bad").write_text("a")
    report = repro(project)
    assert sorted(report.made) == ["make@b", "make@c"]
    assert report.failed == {"make@a": "`python do.py a source` ended with 1"}
    assert sorted(report.waiting) == ["join", "last"]
    with pytest.raises(WorkbookError, match="one stage failed. make@a"):
        report.raise_failures()
    (project / "bad").write_text("")
    assert sorted(repro(project).made) == ["join", "last", "make@a"]


@pytest.mark.parametrize(
    ("pattern", "made"),
    [("b", ["make@b"]), ("make@[ac]", ["make@a", "make@c"]), ("join", ["join", "make@a", "make@b"]), ("mak?", 3)],
)
def test_only_what_matches_is_made_with_all_that_it_needs(project, pattern, made):
    found = sorted(repro(project, pattern).made)
    assert found == made or len(found) == made


def test_a_pattern_that_matches_nothing_is_an_error_that_names_the_nearest(project):
    with pytest.raises(WorkbookError, match=r"no stage and no run is called 'joint'.*\n?.*join"):
        repro(project, "joint")


def test_a_run_is_found_by_its_name_over_all_seeds():
    node = Node("grid/dvc.yaml:train@pim-ffpp-3", "grid/dvc.yaml", "", (), frozenset())
    assert all(node.matches(pattern) for pattern in ("pim-ffpp", "pim-*", "train", "train@*", "pim-ffpp-3"))
    assert not any(node.matches(pattern) for pattern in ("pim", "evaluate*", "erm-*", "ffpp"))


def test_stages_run_side_by_side_and_no_more_than_told(project):
    (project / "pause").write_text("0.6")
    repro(project, "make", jobs=2)
    events = (project / "journal").read_text().split("\n")[:-1]
    most, now = 0, 0
    for event in events:
        now += 1 if event.startswith("begin") else -1
        most = max(most, now)
    assert most == 2


class Nothing:
    """In place of DVC: everything is to be done."""

    def is_current(self, name):
        return False

    def record(self, names):
        return {}


def named(**needs):
    return {
        name: Node(name, "dvc.yaml", f"python -m dfrepro {name}", needs=frozenset(of)) for name, of in needs.items()
    }


def test_what_a_long_chain_waits_for_begins_first_and_of_equals_what_is_declared_last():
    nodes, begun = named(short=(), plain=(), maps=("network",), network=(), end=("maps", "short")), []
    report = runner.run(nodes, Nothing(), lambda end: (runner.Here(), 1, 1), lambda words: begun.extend(words))
    assert begun == ["network", "maps", "short", "end", "plain"]
    assert list(report.made) == begun


def test_a_report_that_is_given_holds_what_ended_before_an_interruption():
    def do(words):
        if words == ["last"]:
            raise KeyboardInterrupt

    report = runner.Report()
    with pytest.raises(KeyboardInterrupt):
        runner.run(named(first=(), last=("first",)), Nothing(), lambda end: (runner.Here(), 1, 1), do, report=report)
    assert list(report.made) == ["first"]


def test_cores_are_shared_out_between_the_stages_that_are_ready():
    shares = {}

    def do(words):
        shares[words[0]] = int(os.environ[runner.CORES])

    nodes = named(data=(), note=(), x=("data",), y=("data",), z=("x", "y"))
    report = runner.run(nodes, Nothing(), lambda end: (ThreadPoolExecutor(1), 3, 4), do)
    assert runner.CORES not in os.environ
    assert not report.failed
    assert shares["data"] == shares["z"] == 4
    assert {shares["x"], shares["y"]} <= {1, 2}


def test_a_killed_runner_takes_its_workers_along_and_the_next_one_makes_the_same(project):
    script = project / "go.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import pathlib
            from dfrepro.jobs import runner
            if __name__ == "__main__":
                runner.repro(print, jobs=2, root=pathlib.Path({str(project)!r}))
            """
        )
    )
    (project / "pause").write_text("1.5")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(runner.__file__).parents[2])])}
    first = subprocess.Popen([sys.executable, str(script)], cwd=project, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(begun(project)) < 2:
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    workers = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    own = [worker for worker in workers if "do.py" not in " ".join(_words(worker))]  # a command that runs may end
    _, alive = psutil.wait_procs(own, timeout=30)
    assert not alive
    psutil.wait_procs(workers, timeout=30)
    (project / "pause").write_text("0")
    report = repro(project)
    assert not report.failed
    assert (project / "made" / "last").read_text() == "last(joined(a(s)+b(s))+c(s))"
    assert not repro(project).made


def _words(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def cluster(monkeypatch, project):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(project / "dask")
    ) as cluster:
        yield cluster


def test_two_dask_workers_give_the_bytes_of_one_process(project, cluster):
    report = repro(project, dask=cluster.scheduler_address)
    assert len(report.made) == 5
    made = {file.name: file.read_bytes() for file in (project / "made").iterdir()}
    for file in (project / "made").iterdir():
        file.unlink()
    (project / "dvc.lock").unlink()
    import shutil

    shutil.rmtree(project / ".dvc" / "cache")
    assert len(repro(project, jobs=1).made) == 5
    assert {file.name: file.read_bytes() for file in (project / "made").iterdir()} == made


def test_a_lost_dask_worker_costs_time_and_nothing_else(project, cluster):
    from threading import Thread

    (project / "pause").write_text("2")

    def kill_one_at_work():
        while not begun(project):
            time.sleep(0.05)
        os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

    killer = Thread(target=kill_one_at_work)
    killer.start()
    report = repro(project, "make", dask=cluster.scheduler_address)
    killer.join()
    assert sorted(report.made) == ["make@a", "make@b", "make@c"]
    assert [(project / "made" / name).read_text() for name in "abc"] == ["a(s)", "b(s)", "c(s)"]


def test_a_cluster_that_does_not_answer_is_an_error_with_its_address(project):
    with pytest.raises(WorkbookError, match=r"no Dask scheduler answers"):
        repro(project, dask="tcp://127.0.0.1:9")


def test_a_stage_after_another_files_record_waits_for_all_that_is_declared_there(project):
    (project / "grid").mkdir()
    (project / "grid" / "dvc.yaml").write_text(STAGES.replace("made/", "../made/x").replace("do.py", "../do.py"))
    (project / "dvc.yaml").write_text(
        STAGES + "  note:\n    cmd: echo > noted\n    deps: [grid/dvc.lock]\n    outs: [noted]\n"
    )
    with Pipeline(project) as pipeline:
        note = pipeline.nodes["note"]
        assert pipeline.upstream(["note"]).keys() == {"note"}
    assert note.after == {f"grid/dvc.yaml:{name}" for name in ("make@a", "make@b", "make@c", "join", "last")}


def test_a_stage_that_makes_not_all_it_declares_is_named_and_the_others_are_recorded(project):
    (project / "dvc.yaml").write_text(
        STAGES.replace('outs: ["made/${item.run}"]', 'outs: ["made/${item.run}", "x-${item.run}"]')
    )
    report = repro(project, "make")
    assert sorted(report.failed) == ["make@a", "make@b", "make@c"]
    assert "x-a" in report.failed["make@a"]
    (project / "dvc.yaml").write_text(STAGES)
    assert sorted(repro(project, "make").made) == ["make@a", "make@b", "make@c"]


def test_a_stage_whose_code_changes_while_it_runs_is_not_recorded_as_made_by_the_new(project):
    (project / "do.py").write_text(DO + "if name == 'a': pathlib.Path('source').write_text('edited')\n")
    report = repro(project, "make@a", jobs=1)
    assert not report.made
    assert "source was changed while it was made" in report.failed["make@a"]
    assert not (project / "dvc.lock").exists()
    assert list(repro(project, "make@a", jobs=1).made) == ["make@a"]
    assert (project / "made" / "a").read_text() == "a(edited)"


def imported_by(words):
    """As a stage of the library; the first process that does one finds afterwards that a file was changed."""
    note = Path(words[0])
    note.write_text(note.read_text() + f"{os.getpid()} ")
    if len(note.read_text().split()) == 1:
        sources.IMPORTED["report/plots.py"] = (0, 0)


def test_a_process_that_imported_the_code_before_a_change_is_replaced(tmp_path):
    note = tmp_path / "note"
    note.write_text("")
    nodes = {name: Node(name, "dvc.yaml", f"python -m dfrepro {note}") for name in ("one", "two", "three")}
    report = runner.run(nodes, Nothing(), lambda end: runner._workers(None, 1, end), imported_by)
    assert sorted(report.made) == ["one", "three", "two"]
    first, *others = note.read_text().split()
    assert len(others) == 2
    assert set(others) != {first}
    assert len(set(others)) == 1


def test_a_kernel_that_imported_the_code_before_a_change_refuses_and_names_it(monkeypatch):
    monkeypatch.setitem(sources.IMPORTED, "report/plots.py", (0, 0))
    report = runner.run(named(one=()), Nothing(), lambda end: (runner.Here(), 1, 1), lambda words: None)
    assert not report.made
    assert "report/plots.py. Restart" in report.failed["one"]


def test_what_a_stage_made_before_is_gone_when_it_is_run_again(project):
    (project / "dvc.yaml").write_text(
        "stages:\n  draw:\n    cmd: python draw.py\n    deps: [draw.py]\n    outs: [pictures]\n"
    )
    draw = "import pathlib; p = pathlib.Path('pictures'); p.mkdir(exist_ok=True); (p / 'NAME').touch()"
    for name in ("one", "two"):
        (project / "draw.py").write_text(draw.replace("NAME", name))
        repro(project)
        assert [path.name for path in (project / "pictures").iterdir()] == [name]


def test_a_file_that_was_never_recorded_does_not_keep_the_cache_from_putting_back_what_was(project):
    repro(project)
    (project / "source").write_text("t")
    (project / "made" / "a").write_text("made by a stage that was killed before its record")
    (project / "source").write_text("s")
    assert not repro(project).made
    assert (project / "made" / "a").read_text() == "a(s)"


def kill_or_sleep(words):
    if words[0] == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)


def test_of_stages_whose_workers_died_together_the_innocent_are_made(capsys):
    nodes = named(deadly=(), one=(), two=(), three=("one",), after=("deadly",))
    report = runner.run(nodes, Nothing(), lambda end: runner._workers(None, 3, end), kill_or_sleep)
    assert sorted(report.made) == ["one", "three", "two"]
    assert "its worker was ended" in report.failed["deadly"]
    assert report.waiting == ["after"]


def test_two_processes_do_not_do_the_same_stage_at_once():
    with runner.alone("python -m dfrepro train x"):
        with (
            pytest.raises(WorkbookError, match="another process is doing it"),
            runner.alone("python -m dfrepro train x"),
        ):
            pass
        with runner.alone("python -m dfrepro train y"):
            pass
    with runner.alone("python -m dfrepro train x"):
        pass


def side_by_side(words):
    from joblib import Parallel, delayed

    assert Parallel(2)(delayed(abs)(-number) for number in range(4)) == [0, 1, 2, 3]


def test_a_stage_leaves_no_idle_workers_that_hold_memory_and_delay_the_end(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    with runner.environment({"PYTHONPATH": str(runner.ROOT)}):
        assert not runner._do(f"{runner.OURS}anything", 2, str(runner.ROOT), side_by_side)
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [each for each in left if "loky" in " ".join(each.cmdline()) and "popen" in " ".join(each.cmdline())]
