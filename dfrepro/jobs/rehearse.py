"""Rehearsal: every run at the papers' own sizes, on the CPU, before a GPU is paid for: `python -m dfrepro rehearse`.

The stages of DVC's graph are done at scale `paper` with the real networks and sizes of input, but with random weights,
four pictures a batch, one step, and one face a video to score, on a tiny stand-in in the official layouts. So each run
goes through its real reader, face store, pseudo-fakes, step rule and scoring. Each stage has a process of its own, so
that peak memory is its own, and a training's floating-point operations are counted.
"""

import json
import resource
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.jobs import runner
from dfrepro.jobs.commands import perform
from dfrepro.jobs.graph import Pipeline
from dfrepro.jobs.ready import Existing, moved
from dfrepro.params import ABSENT, STANDIN, Params

BATCH = 4  # two pairs, where a draw is one
SMALL: dict[str, Any] = {
    "epochs": 1, "batch": BATCH, "images_per_epoch": BATCH, "frames": 2, "workers": 0, "precision": "32-true",
    "compile": False, "select": "last",
}  # fmt: skip
IMPORTED = ["torch", "timm", "albumentations", "dfrepro.jobs.train", "dfrepro.jobs.evaluate", "dfrepro.jobs.kinds"]
COLUMNS = ["run", "kind", "size", "passed", "seconds", "GiB", "GFLOP a step", "why"]


def small(folder: Path) -> Params:
    """Scale `paper` with its networks and sizes, below `folder`, with as little of everything else as works."""
    p = params.load(scale="paper", grid="full", seeds=[0])
    sizes = p.sizes.model_copy(update={
        "faces": p.sizes.faces.model_copy(update={"n_frames": 2}),
        "threads": 1,
        "backbones": {
            role: replace(network, pretrained=False) for role, network in p.sizes.backbones.items()
        },
        "training": replace(p.sizes.training, **SMALL),
        "recipes": {name: recipe | SMALL | {"evaluation": {"frames": 1}} for name, recipe in p.sizes.recipes.items()},
        "reconstruction": params.Reconstruction(steps=1),
        "evaluation": p.sizes.evaluation.model_copy(update={"batch": 2, "frames": 1}),
    })  # fmt: skip
    runs = {
        name: run.model_copy(update={
            "training": run.training | SMALL, "tests": (run.data.dataset,), "conditions": (), "epochs_factor": 1.0,
        })
        for name, run in p.runs.items()
    }  # fmt: skip
    roots = {name: root if root == ABSENT else STANDIN for name, root in p.roots.items()}
    maps = {  # Score-CAM's pass a channel and face takes hours on a CPU: Grad-CAM stands in for it
        name: each.model_copy(update={"kind": "gradcam"}) if each.kind == "scorecam" else each
        for name, each in p.maps.items()
    }
    made = p.model_copy(update={"sizes": sizes, "runs": runs, "roots": roots, "maps": maps})
    made.__dict__ |= {"artifacts": folder / "artifacts", "results": folder / "results"}  # cached, and so replaced
    return made


def rehearse(patterns: Sequence[str], folder: Path) -> pd.DataFrame:
    """Rehearse the declared runs that match a pattern, with all that they need. Returns one row a run (COLUMNS).

    What is in `folder` already is not done again. Raises WorkbookError when no run matches.
    """
    p = small(folder)
    log = folder / "log.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with Pipeline() as pipeline:
        every = {run: f"evaluate*@{run}-{p.seeds[0]}" for run in p.runs}
        chosen = [run for run in every if any(_matches(run, pattern) for pattern in patterns)]
        if not chosen:
            raise WorkbookError(f"no run is called {' or '.join(patterns)}", where="rehearse", remedy="See params.yaml")
        nodes = pipeline.chosen([every[run] for run in chosen], ())
        declared = params.load(scale=params.declared_scale())
        record = Existing(nodes, partial(moved, p=declared, to=p))
        report = runner.run(nodes, record, _one_process_a_stage, partial(_measured, p=p, log=log))
    return _table(p, chosen, report, log)


def _matches(run: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(run, pattern)


def _one_process_a_stage(end: ExitStack) -> tuple[Executor, int, int]:
    return end.enter_context(OneProcessEach(1)), 1, runner.cores()


class OneProcessEach(ThreadPoolExecutor):
    """Each task in a process of its own, which ends with it: `max_tasks_per_child` of Python 3.11 may never go on.

    Each is forked from a process that has imported what most stages do, and nothing more: that takes half of a stage.
    """

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return super().submit(self._apart, fn, *args, **kwargs)

    @staticmethod
    def _apart(fn: Any, *args: Any, **kwargs: Any) -> Any:
        context = get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(fn, *args, **kwargs).result()


def _measured(words: Sequence[str], p: Params, log: Path) -> None:
    """Do a stage's words, and note the operations that a training took and the process' peak memory."""
    from torch.utils.flop_counter import FlopCounterMode

    from dfrepro.methods.fia_usa import run as of_pairs
    from dfrepro.methods.pim import run as of_probes
    from dfrepro.train import saliency

    of_pairs.FRESH, of_probes.MEASURED, saliency.FRAMES = BATCH, BATCH, 1  # faces looked at: dozens take minutes here
    with FlopCounterMode(display=False) as counter:
        perform(words, p)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB
    line = {"words": list(words), "GiB": peak, "GFLOP": counter.get_total_flops() / 1e9}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _table(p: Params, chosen: Sequence[str], report: runner.Report, log: Path) -> pd.DataFrame:
    noted = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    trained = {line["words"][1]: line for line in noted if line["words"][0] == "train"}
    why = _of_runs(report.failed) | dict.fromkeys(_of_runs(dict.fromkeys(report.waiting, "")), "what it needs failed")
    seconds = _of_runs({name: took for name, took in report.made.items() if "train" in name})
    rows = []
    for run in chosen:
        line, network = trained.get(run, {}), p.sizes.backbones[p.run(run).detector.backbone]
        rows.append([
            run, p.run(run).detector.kind, f"{network.name}, {network.image_size} px", run not in why,
            seconds.get(run), line.get("GiB"), line.get("GFLOP"), why.get(run, ""),
        ])  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_runs(stages: dict[str, Any]) -> dict[str, Any]:
    """By run, of "grid/dvc.yaml:train-sbi@erm-sbi-0"."""
    return {name.rpartition("@")[2].rpartition("-")[0]: value for name, value in stages.items() if "@" in name}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a kind of detector and network: how many runs, how many passed, the most memory, operations a step."""
    grouped = rows.groupby(["kind", "size"], sort=False)
    return grouped.agg(
        runs=("run", "size"), passed=("passed", "sum"), GiB=("GiB", "max"), GFLOP=("GFLOP a step", "max")
    ).reset_index()
