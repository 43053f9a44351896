"""One runner: what is out of date in DVC's graph, done side by side: `python -m dfrepro repro [STAGE ...]`.

DVC runs one stage at a time, and a small network gains little from a second core. Here a stage begins as soon as all
that it needs is current, in processes of this machine, one a core, or on the workers of a Dask cluster that share this
folder (`--dask ADDRESS`). dvc.lock then says what `dvc repro` would have written: a `dvc repro` after it does nothing.

A stage that fails is named at the end and stops only what needs it. Killed and called again, the runner goes on:
what was done is recorded within seconds, and a training continues from its last saved state. A Dask worker that is
lost loses nothing but time: its stage is given to another worker, which continues from the state in the shared folder;
after several (Dask's `allowed-failures`) the stage counts as failed. No stage is done by two at once on one machine.

Code that changes meanwhile: a process of this machine that imported the old is replaced, a Dask worker or a notebook's
kernel refuses, and a stage whose own dependencies changed while it was made is not recorded.
"""

import hashlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Protocol

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.jobs import sources
from dfrepro.jobs.graph import Node, Pipeline, heights

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
CORES = "DFREPRO_CORES"  # how many processes a stage may start, where the runner shares the cores out
RECORD_AFTER = 15.0  # seconds: writing dvc.lock takes one of them
OURS = "python -m dfrepro "
OLD = "it has imported code that was changed since: "  # what a worker says that lives on


class Record(Protocol):
    """What the loop asks of DVC (dfrepro.jobs.graph.Pipeline)."""

    def is_current(self, name: str) -> bool: ...

    def record(self, names: Sequence[str]) -> dict[str, str]: ...


@dataclass
class Report:
    """What became of each stage: current, made (in seconds), failed (with the reason), waiting for a failed one."""

    current: list[str] = field(default_factory=list)
    made: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"{len(self.made)} made", f"{len(self.current)} were up to date"]
        if self.waiting:
            said.append(f"{len(self.waiting)} wait for what failed")
        return ", ".join(said)

    def raise_failures(self) -> None:
        if self.failed:
            said = "; ".join(f"{name}: {why}" for name, why in self.failed.items())
            count = len(self.failed)
            stages = "one stage" if count == 1 else f"{count} stages"
            raise WorkbookError(
                f"{stages} failed. {said}", where="repro", remedy="Mend it and run the same command again"
            )


def repro(
    perform: Callable[[list[str]], object],
    patterns: Sequence[str] = (),
    *,
    files: Collection[str] = ("dvc.yaml",),
    jobs: int = 0,
    dask: str | None = None,
    root: Path = ROOT,
    report: Report | None = None,
) -> Report:
    """Do what is out of date of the stages that match a pattern (without patterns: of all that `files` declare).

    perform: does the words of a stage's command `python -m dfrepro WORDS`, in a worker; must pickle.
    jobs: how many at once, 0 for one a core (with Dask: one a worker). report: one to be filled in as stages end, for
    those who want to know of them although the rest is interrupted. Raises WorkbookError when a pattern matches
    nothing or DVC is busy; stages that failed are in the report (`Report.raise_failures`).
    """
    with Pipeline(root, whole=bool(patterns) or "grid/dvc.yaml" in files) as pipeline:
        nodes = pipeline.chosen(patterns, files)
        return run(nodes, pipeline, lambda end: _workers(dask, jobs, end), perform, root, report)


def run(
    nodes: Mapping[str, Node],
    record: Record,
    workers: Callable[[ExitStack], tuple[Executor, int, int]],
    perform: Callable[[list[str]], object],
    root: Path = ROOT,
    report: Report | None = None,
) -> Report:
    """Bring every stage of `nodes` up to date. `workers` gives, once needed, an executor, its size and its cores."""
    height, order = heights(nodes), {name: place for place, name in enumerate(nodes)}
    # plain networks are declared before the methods and take a tenth of their time: of equals, the last goes first
    todo = sorted(nodes, key=lambda name: (-height[name], -order[name]))
    report = Report() if report is None else report
    settled, suspects = set[str](), set[str]()
    running: dict[Future[str], tuple[str, int, float]] = {}
    unrecorded, recorded = list[str](), time.monotonic()
    executor, slots, total, end = None, 1, 1, ExitStack()

    def flush() -> None:
        nonlocal recorded
        for name, why in record.record(unrecorded).items():
            report.failed[name] = f"not all that it declares was made: {why}"
            report.made.pop(name)
            settled.discard(name)
        unrecorded.clear()
        recorded = time.monotonic()

    try:
        while todo or running:
            for name in _doomed(todo, nodes, report):
                todo.remove(name)
                report.waiting.append(name)
            ready = [name for name in todo if nodes[name].awaits & nodes.keys() <= settled]
            read = any(nodes[name].after & set(unrecorded) for name in ready)  # the record itself
            if unrecorded and (read or not running or not ready or time.monotonic() - recorded > RECORD_AFTER):
                flush()
            for name in ready:
                if len(running) >= (1 if suspects else slots):
                    break
                todo.remove(name)
                if record.is_current(name):
                    settled.add(name)
                    report.current.append(name)
                    continue
                if executor is None:
                    executor, slots, total = workers(end)
                peers = sum(height[other] >= height[name] for other in ready) + len(running)
                share = max(1, total // min(slots, max(1, peers)))
                future = executor.submit(_do, nodes[name].command, share, str(root), perform)
                running[future] = name, share, time.monotonic()
            for future in wait(running, timeout=RECORD_AFTER, return_when=FIRST_COMPLETED).done if running else ():
                if future not in running:
                    continue
                if _broken(future) and len(running) > 1:
                    # a process was ended from outside, and all others with it: one after another shows which it was
                    suspects |= {name for name, _, _ in running.values()}
                    todo[:0] = [name for name, _, _ in running.values()]
                    running.clear()
                    executor = None
                    break
                name, share, begun = running.pop(future)
                suspects.discard(name)
                why = _failure(future)
                if why.startswith(OLD) and isinstance(executor, ProcessPoolExecutor):
                    todo.insert(0, name)  # for new processes
                    executor = None
                    continue
                if why:
                    executor = None if _broken(future) else executor
                    report.failed[name] = why
                    print(f"failed: {name}: {why}", file=sys.stderr, flush=True)
                    continue
                settled.add(name)
                unrecorded.append(name)
                report.made[name] = time.monotonic() - begun
                on = f" on {share} cores" if share > 1 else ""
                print(f"made {name} in {report.made[name]:.1f} s{on}; {len(todo) + len(running)} left", flush=True)
        return report
    finally:
        try:
            if unrecorded:
                flush()
        finally:
            end.close()


def _doomed(todo: Sequence[str], nodes: Mapping[str, Node], report: Report) -> list[str]:
    """The stages that need one that failed, or one that waits for such."""
    lost, found = report.failed.keys() | set(report.waiting), list[str]()
    while new := [name for name in todo if name not in found and nodes[name].awaits & (lost | set(found))]:
        found += new
    return found


def _broken(future: "Future[str]") -> bool:
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


def _failure(future: "Future[str]") -> str:
    """Why a stage failed; a worker that was ended (for lack of memory, say), or that Dask lost, raises."""
    if future.cancelled():
        return "the Dask scheduler was lost"
    error = future.exception()
    return f"its worker was ended: {str(error) or type(error).__name__}" if error else future.result()


def _do(command: str, cores: int, root: str, perform: Callable[[list[str]], object]) -> str:
    """In a worker: do a stage's command. Returns why it failed, or nothing."""
    from threadpoolctl import threadpool_limits

    if not command.startswith(OURS):
        return _shell(command, root)
    if not Path(root).is_dir() or not ROOT.samefile(root):
        return f"a worker imports dfrepro from {ROOT}; start it in {root}"
    if files := sources.changed():
        return f"{OLD}{', '.join(files[:3])}. Restart this worker or kernel"
    try:
        with alone(command), threadpool_limits(1), environment({CORES: str(cores)}):
            perform(command.removeprefix(OURS).split())
    except WorkbookError as error:
        return str(error)
    except Exception:
        traceback.print_exc()
        return traceback.format_exc(limit=-1).strip().splitlines()[-1]
    finally:
        _dismiss_idle()
    return ""


def _dismiss_idle() -> None:
    """End joblib's own workers: they idle for five minutes, hold memory, and a process that ends waits for them."""
    if loky := sys.modules.get("joblib.externals.loky"):
        loky.get_reusable_executor().shutdown()


@contextmanager
def alone(command: str) -> Iterator[None]:
    """A stage for this process alone: two that do it at once would write into each other's half-made work."""
    import fcntl

    digest = hashlib.sha256(f"{os.environ.get('DFREPRO_SCALE', '')} {command}".encode()).hexdigest()[:16]
    path = ROOT / ".dvc" / "tmp" / f"stage-{digest}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkbookError("another process is doing it", where=command, remedy="Wait for it") from None
        yield


def _shell(command: str, root: str) -> str:
    """A stage of somebody's own, in dvc.yaml: by the shell, as DVC does it."""
    import subprocess

    done = subprocess.run([os.environ.get("SHELL") or "/bin/sh", "-c", command], cwd=root, check=False)
    return f"`{command}` ended with {done.returncode}" if done.returncode else ""


def _workers(dask: str | None, jobs: int, end: ExitStack) -> tuple[Executor, int, int]:
    """Workers, how many, and how many cores they share; `end` is told how to dismiss them."""
    if dask:
        return _dask(dask, jobs, end)
    jobs = jobs or cores()
    with environment(ONE_THREAD):
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_the_runner)
        pool.submit(int)  # all are born now, in this environment
    end.callback(pool.shutdown, cancel_futures=True)
    return pool, jobs, cores()


def _dask(address: str, jobs: int, end: ExitStack) -> tuple[Executor, int, int]:
    """A Dask cluster whose workers share this folder, one thread each: what stages set holds for a process."""
    from distributed import Client

    try:
        client = Client(address, timeout=20)
    except (OSError, ValueError) as error:
        raise WorkbookError(f"no Dask scheduler answers: {error}", where=address, remedy="`dask scheduler`") from error
    end.callback(client.close)
    threads = client.nthreads()
    if not threads or set(threads.values()) != {1}:
        said = "has no workers" if not threads else "has workers with several threads"
        remedy = "Start them in this folder: dask worker ADDRESS --nthreads 1 --nworkers CORES"
        raise WorkbookError(f"the cluster {said}", where=address, remedy=remedy)
    return client.get_executor(pure=False), jobs or len(threads), len(threads)


class Here(Executor):
    """Does what it is given at once, in this process: for a notebook, whose progress bars show what is going on."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def in_this_process(end: ExitStack) -> tuple[Executor, int, int]:
    """`workers` of `run` that are none."""
    return Here(), 1, cores()


def _end_with_the_runner() -> None:
    """In a worker: a killed runner's workers would train on, next to those of the runner that takes its place."""

    def watch() -> None:
        parent_process().join()  # type: ignore[union-attr]  # a worker has one
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These environment variables, for processes that are started meanwhile; as they were, afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def cores() -> int:
    """How many processes may be started here: what the runner allots, else the cores that this process may use."""
    if share := os.environ.get(CORES):
        return int(share)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
