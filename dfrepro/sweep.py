"""Train and score many runs side by side, one process a core, and tell DVC of them.

DVC runs one stage at a time, and a small network gains little from a second core. A run that is there, of the same
specification, is left as it is, so that a sweep that was killed goes on where it was; whether its code has changed
since is for `dvc repro` to see, which comes after. A run that fails is named at the end and stops no other.
"""

import hashlib
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import chdir, contextmanager
from fnmatch import fnmatchcase
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Literal

import yaml

from dfrepro import pipeline
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json, write_json
from dfrepro.params import Params

Task = tuple[Literal["run", "maps"], str, int]  # what to make, its name, the seed
MAKERS = ("data", "forge", "methods", "runs", "train", "evaluate", "explain")
WORKER = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def sweep(p: Params, patterns: Sequence[str] = ("*",), *, jobs: int = 0) -> int:
    """Make all runs of the grid whose names match a pattern, with all seeds. Returns how many were not there before.

    jobs: processes, 0 for one a core. Data and reconstructions are made first, one after the other.
    Raises WorkbookError when a pattern matches nothing or when a run failed, naming it, after all others are done.
    """
    for pattern in patterns:
        if not any(fnmatchcase(run, pattern) for run in p.runs):
            raise WorkbookError(f"no run is called {pattern!r}", where="sweep", remedy="See `runs` in params.yaml")
    chosen = [run for run in p.runs if p.in_grid(run) and any(fnmatchcase(run, pattern) for pattern in patterns)]
    if not chosen:
        return 0
    journal = Journal(p)
    from tqdm import tqdm  # before its environment says to be silent

    _data(p, chosen)
    failed = []
    with _environment(), _workers(jobs or _cores()) as workers:
        for wave in waves(p, chosen):
            futures = {workers.submit(_make, p, task): task for task in wave}
            progress = tqdm(as_completed(futures), total=len(futures), desc="sweep", unit="run")
            for future in progress:
                kind, name, seed = futures[future]
                progress.set_postfix_str(f"{name}-{seed}")
                try:
                    if future.result():
                        journal.add(futures[future])
                except Exception as error:
                    traceback.print_exception(error)
                    failed.append(f"{kind} {name} with seed {seed}")
    made = len(journal.tasks)
    journal.tell_dvc()
    if failed:
        raise WorkbookError(f"{len(failed)} failed: {', '.join(failed)}", where="sweep", remedy="See the errors above")
    return made


class Journal:
    """What was made and DVC has not been told of yet. It outlives a kill, and is void once the code has changed."""

    def __init__(self, p: Params):
        self.path = p.artifacts / ".sweep.json"
        self.code = _code()
        said = read_json(self.path) if self.path.exists() else {}
        self.tasks: list[Task] = [tuple(task) for task in said["tasks"]] if said.get("code") == self.code else []

    def add(self, task: Task) -> None:
        self.tasks.append(task)
        write_json(self.path, {"code": self.code, "tasks": self.tasks})

    def tell_dvc(self) -> None:
        """Commit the stages of all tasks, as if DVC had run them."""
        if self.tasks:
            from dvc.exceptions import DvcException

            try:
                commit(targets(self.tasks))
            except DvcException as error:
                raise WorkbookError(f"DVC did not take it: {error}", where="sweep", remedy="Run `dvc repro`") from error
        self.path.unlink(missing_ok=True)
        self.tasks = []


def commit(stages: Iterable[str], root: Path = ROOT) -> None:
    """What `dvc commit --force` does, but dvc.lock, which grows with the stages, is written once and not for each.

    stages: as `dvc.yaml:train@erm-df-0`. Raises DvcException, also where an output is missing or DVC is busy.
    """
    from dvc.repo import Repo

    with chdir(root), Repo() as repo, repo.lock:  # DVC resolves paths against the current folder
        known = {f"{stage.path_in_repo}:{stage.name}": stage for stage in repo.index.stages if hasattr(stage, "name")}
        chosen = [known[name] for name in stages]
        for stage in chosen:
            stage.save()
            stage.commit()
        for path in dict.fromkeys(stage.path for stage in chosen):
            group = [stage for stage in chosen if stage.path == path]
            group[0].dvcfile.dump_stages(group, update_pipeline=False)


def targets(tasks: Iterable[Task], root: Path = ROOT) -> list[str]:
    """The stages that make these, as DVC names them: `dvc.yaml:train@erm-df-0`. A run without a stage has none."""
    stages = {}
    for file in ("dvc.yaml", "grid/dvc.yaml"):
        for name, stage in yaml.safe_load((root / file).read_text(encoding="utf-8"))["stages"].items():
            verb = stage["cmd"].split()[3]
            for key in {"run", "maps"} & set(stage.get("matrix", ())):
                stages.update({(verb, value): f"{file}:{name}@{value}" for value in stage["matrix"][key]})
    verbs = {"run": ("train", "evaluate"), "maps": ("maps",)}
    wanted = [(verb, name, seed) for kind, name, seed in tasks for verb in verbs[kind]]
    return [f"{stages[verb, name]}-{seed}" for verb, name, seed in wanted if (verb, name) in stages]


def _code() -> str:
    """A fingerprint of all code that decides what a run gives."""
    files = [file for folder in MAKERS for file in sorted((ROOT / "dfrepro" / folder).rglob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def waves(p: Params, chosen: Iterable[str]) -> list[list[Task]]:
    """What can be made side by side, in order: networks, all maps that they make (P4), what maps supervise."""
    mapped = {run: p.run(run).detector.maps for run in chosen}
    maps = list(dict.fromkeys(name for name in mapped.values() if name))
    maps += [name for name, by in p.maps.items() if by.run in mapped and p.maps_in_grid(name) and name not in maps]
    networks = [run for run, name in mapped.items() if not name]
    networks += [run for run in dict.fromkeys(p.maps[name].run for name in maps) if run and run not in networks]
    return [
        [("run", run, seed) for seed in p.seeds for run in networks],
        [("maps", name, seed) for seed in p.seeds for name in maps],
        [("run", run, seed) for seed in p.seeds for run, name in mapped.items() if name],
    ]


def _data(p: Params, chosen: Iterable[str]) -> None:
    """Faces, reconstructions and pairs: each made once, here, by as many processes as its stage takes."""
    book = _book(p)
    for run in chosen:
        data = p.run(run).data
        for dataset in dict.fromkeys([data.dataset, *p.run(run).tests]):
            book.store(dataset)
        if data.fakes == "fia-usa" and not pipeline.reconstructions_folder(p, data.dataset).exists():
            pipeline.reconstruct(p, data.dataset)
        maps, pairs = p.run(run).detector.maps, pipeline.pairs_folder(p, data.dataset)
        if maps and not p.maps[maps].run and not pairs.exists():
            pipeline.pairs(p, data.dataset)


def _make(p: Params, task: Task) -> bool:
    """Make one, in a worker. Returns whether it was not there yet."""
    kind, name, seed = task
    folder = pipeline.run_folder(p, name, seed) if kind == "run" else pipeline.maps_folder(p, name, seed)
    before = folder.stat().st_ino if folder.exists() else None
    _book(p).run(name, seed) if kind == "run" else _book(p).maps(name, seed)
    return folder.stat().st_ino != before


def _book(p: Params):  # type: ignore[no-untyped-def]
    from dfrepro.workbook import Workbook

    return Workbook("00_data", p)


def _workers(jobs: int) -> Executor:
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_end_with_the_sweep)


def _end_with_the_sweep() -> None:
    """In a worker: a killed sweep's workers would train on, beside those of the sweep that goes on in its place."""

    def watch() -> None:
        parent_process().join()  # type: ignore[union-attr]  # a worker has one
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _environment() -> Iterator[None]:
    """What workers are born with: one thread each, and no progress bars of their own (read when they are imported)."""
    before = {name: os.environ.get(name) for name in WORKER}
    os.environ.update(WORKER)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
