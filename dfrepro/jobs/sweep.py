"""Train and score many runs side by side, one process a core, then execute the notebooks so, and tell DVC of them.

DVC runs one stage at a time, and a small network gains little from a second core. A run that is there, of the same
specification, is left as it is, so that a sweep that was killed goes on where it was; whether its code has changed
since is for `dvc repro` to see, which comes after. A run that fails is named at the end and stops no other.
"""

import hashlib
import os
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait
from contextlib import chdir, contextmanager
from fnmatch import fnmatchcase
from functools import cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import yaml

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json, write_json
from dfrepro.jobs import pipeline, ready
from dfrepro.params import Params

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

Task = tuple[Literal["run", "maps"], str, int]  # what to make, its name, the seed
LAST = ("grid", "code", "embed", "notebook")  # the commands of the stages that come after all runs
MAKERS = ("data", "forge", "nets", "evaluate", "train", "methods", "jobs")
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
    waiting, failed = needs(p, chosen), []
    with _environment(), _workers(jobs := jobs or _cores()) as workers:
        progress, running = tqdm(total=len(waiting), desc="sweep", unit="run"), dict[Future[bool], Task]()
        while waiting or running:
            under_way = waiting.keys() | set(running.values())
            for task in [task for task, needed in waiting.items() if not needed & under_way][: jobs - len(running)]:
                del waiting[task]
                running[workers.submit(_make, p, task)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                kind, name, seed = task = running.pop(future)
                progress.set_postfix_str(f"{name}-{seed}", refresh=False)
                progress.update()
                try:
                    if future.result():
                        journal.add(task)
                except Exception as error:
                    traceback.print_exception(error)
                    failed.append(f"{kind} {name} with seed {seed}")
        progress.close()
    made = len(journal.tasks)
    journal.tell_dvc()
    if failed:
        raise WorkbookError(f"{len(failed)} failed: {', '.join(failed)}", where="sweep", remedy="See the errors above")
    return made


def notebooks(*, jobs: int = 0, root: Path = ROOT) -> int:
    """Run those stages of embeddings and notebooks that have changed, side by side, and tell DVC. Returns how many.

    A stage waits where something else that it rests on has changed: that is for `dvc repro` to make first.
    Raises WorkbookError when one failed, naming it, after all others that do not need it are done.
    """
    from dvc.exceptions import DvcException

    try:
        made, failed = _notebooks(jobs or _cores(), root)
    except DvcException as error:
        raise WorkbookError(f"DVC did not take them: {error}", where="notebooks", remedy="Run `dvc repro`") from error
    if failed:
        raise WorkbookError(
            f"{len(failed)} failed. {'; '.join(failed)}", where="notebooks", remedy="See the errors above"
        )
    return made


def _notebooks(jobs: int, root: Path) -> tuple[int, list[str]]:
    """How many stages were run, and what is to be said of those that failed."""
    from tqdm import tqdm

    made, failed = 0, []
    with _environment(), _workers(jobs) as workers:
        progress = tqdm(desc="notebooks", unit="stage")
        for generation in _generations(root):
            futures = {workers.submit(_run_stage, command): name for name, command in _due(generation, root).items()}
            done = []
            for future in as_completed(futures):
                name = futures[future]
                progress.set_postfix_str(name, refresh=False)
                progress.update()
                try:
                    future.result()
                    done.append(name)
                except Exception as error:
                    traceback.print_exception(error)
                    failed.append(f"{name}: {error}")
            if done:
                commit(sorted(done), root)
            made += len(done)
        progress.close()
    return made, failed


def _generations(root: Path) -> list[list[str]]:
    """The last stages by name, each after all that it rests on; those that rest on most, which take longest, first."""
    from dvc.repo import Repo

    with chdir(root), Repo() as repo:
        left = {stage: _rests_on(repo.index.graph, stage) for stage in repo.index.stages if _is_last(stage)}
        found = []
        while left:
            ready = [stage for stage, needed in left.items() if not needed & left.keys()]
            found.append([_name(s) for s in sorted(ready, key=lambda s: (-len(s.deps), s.name))])
            left = {stage: needed for stage, needed in left.items() if stage not in ready}
        return found


def _due(names: Iterable[str], root: Path) -> dict[str, str]:
    """The commands of those of the stages that have changed and rest on nothing that has."""
    from dvc.repo import Repo

    with chdir(root), Repo() as repo, repo.lock:
        graph, changed = repo.index.graph, cache(lambda stage: stage.changed())
        known = {_name(stage): stage for stage in graph}
        stages = [known[name] for name in names if changed(known[name])]
        return {_name(stage): stage.cmd for stage in stages if not any(map(changed, _rests_on(graph, stage)))}


def _rests_on(graph: Any, stage: "PipelineStage") -> set["PipelineStage"]:
    """All stages that have to come before one, however far."""
    found: set[PipelineStage] = set()
    ahead = [stage]
    while ahead:
        new = set(graph.successors(ahead.pop())) - found
        found |= new
        ahead += new
    return found


def _is_last(stage: "PipelineStage") -> bool:
    words = (stage.cmd or "").split()
    return words[1:3] == ["-m", "dfrepro"] and words[3] in LAST


def _name(stage: "PipelineStage") -> str:
    """As `dvc.yaml:01_motivation`."""
    return f"{stage.path_in_repo}:{getattr(stage, 'name', '')}"


def _run_stage(command: str) -> None:
    """Do what a stage's command `python -m dfrepro VERB [NAME]` does, in a worker."""
    verb, *names = command.split()[3:]
    getattr(pipeline, verb)(params.load(), *names)


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
        known = {_name(stage): stage for stage in repo.index.stages}
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


def needs(p: Params, chosen: Iterable[str]) -> dict[Task, set[Task]]:
    """What can be made, in the order in which to begin, and what each needs: a network, its maps, what maps supervise.

    Seed by seed. What others wait for comes first, then what is declared last: plain networks are declared before the
    methods and take a tenth of their time, so that at the end no core waits long for another.
    """
    mapped = {run: p.run(run).detector.maps for run in chosen}
    maps = list(dict.fromkeys(name for name in mapped.values() if name))
    maps += [name for name, by in p.maps.items() if by.run in mapped and p.maps_in_grid(name) and name not in maps]
    makers = list(dict.fromkeys(p.maps[name].run for name in maps if p.maps[name].run))
    others = [run for run, name in reversed(mapped.items()) if not name and run not in makers]
    found: dict[Task, set[Task]] = {}
    for seed in p.seeds:
        found |= {("run", run, seed): set() for run in makers}
        found |= {("maps", name, seed): {("run", run, seed)} if (run := p.maps[name].run) else set() for name in maps}
        found |= {("run", run, seed): {("maps", name, seed)} for run, name in mapped.items() if name}
        found |= {("run", run, seed): set() for run in others}
    return found


def _data(p: Params, chosen: Iterable[str]) -> None:
    """Faces, reconstructions and pairs: each made once, here, by as many processes as its stage takes."""
    for run in chosen:
        data = p.run(run).data
        for dataset in dict.fromkeys([data.dataset, *p.run(run).tests]):
            ready.store(p, dataset)
        if data.fakes == "fia-usa":
            ready.reconstructions(p, data.dataset)
        if (maps := p.run(run).detector.maps) and not p.maps[maps].run:
            ready.pairs(p, data.dataset)


def _make(p: Params, task: Task) -> bool:
    """Make one, in a worker. Returns whether it was not there yet."""
    kind, name, seed = task
    folder = places.run_folder(p, name, seed) if kind == "run" else places.maps_folder(p, name, seed)
    before = folder.stat().st_ino if folder.exists() else None
    ready.run(p, name, seed) if kind == "run" else ready.maps(p, name, seed)
    return folder.stat().st_ino != before


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
