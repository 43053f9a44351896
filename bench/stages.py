"""Where the time of a pipeline run goes: `make repro 2>&1 | python -m bench.stages`, in a clone that has run nothing.

What is printed passes through; the moments of DVC's lines "Running stage 'name'" are kept, and those at which make
starts the sweep and the notebooks. A stage lasts until the next one begins, so that what DVC itself does, hashing and
caching, is the stage's. The sweep trains and scores side by side: its trainings' own seconds, over the cores, count as
training, the rest does not. Writes results/stages.json.
"""

import os
import re
import sys
import time

from dfrepro import params, places
from dfrepro.files import ROOT, read_json, write_json
from dfrepro.params import Params

RESULTS = ROOT / "results" / "stages.json"
STARTS = re.compile(rb"Running stage '([^']+)'|-m dfrepro (sweep\b|notebook --all)")
KINDS = {"data": ("standin", "faces", "reconstruct", "pairs"), "training": ("train", "sweep")}


def kind(stage: str) -> str:
    """ "data", "training", "set-up", or "other": scoring, maps, notebooks, claims."""
    if stage == "set-up":
        return stage
    name = stage.partition("@")[0]
    return next((kind for kind, beginnings in KINDS.items() if name.startswith(beginnings)), "other")


def durations(starts: list[tuple[str, float]], end: float) -> list[tuple[str, float]]:
    """Seconds of every stage, from the moments at which they started, in order, and that at which the last ended."""
    ends = [start for _, start in starts[1:]] + [end]
    return [(name, after - start) for (name, start), after in zip(starts, ends)]


def summary(stages: list[tuple[str, float]], trained: float = 0.0) -> dict[str, float]:
    """Seconds by kind, and `share_outside`: what neither data nor training took, as a share of all.

    trained: of the sweep's seconds, those in which it trained.
    """
    seconds = dict.fromkeys(("set-up", "data", "training", "other"), 0.0)
    for stage, took in stages:
        seconds[kind(stage)] += took
        if stage == "sweep":
            seconds["other"] += took - trained
            seconds["training"] -= took - trained
    outside = (seconds["set-up"] + seconds["other"]) / sum(seconds.values())
    return {name: round(took, 1) for name, took in seconds.items()} | {"share_outside": round(outside, 4)}


def trained(p: Params) -> float:
    """Seconds that the trainings of the sweep took, over the cores that shared them."""
    files = [places.timing_file(p, run, seed) for run in p.runs for seed in p.seeds]
    return sum(read_json(file)["train_seconds"] for file in files if file.exists()) / (os.cpu_count() or 1)


def watch(source: int, sink: int) -> list[tuple[str, float]]:
    """Pass bytes from one file descriptor to another; the durations of the stages that they tell of."""
    starts, rest = [("set-up", time.monotonic())], b""
    while chunk := os.read(source, 1 << 16):
        os.write(sink, chunk)
        rest += chunk
        found = list(STARTS.finditer(rest))
        starts += [((match[1] or match[2]).decode(), time.monotonic()) for match in found]
        rest = rest[found[-1].end() if found else 0 :][-200:]  # a line may come in two pieces
    return durations(starts, time.monotonic())


if __name__ == "__main__":
    stages = watch(sys.stdin.fileno(), sys.stdout.fileno())
    told = summary(stages, trained(params.load()) if "sweep" in dict(stages) else 0.0)
    write_json(RESULTS, told | {"stages": [[name, round(took, 1)] for name, took in stages]})
    print(", ".join(f"{name} {took:.0f} s" for name, took in told.items() if name != "share_outside"))
    print(f"outside data and training: {told['share_outside']:.0%}")
