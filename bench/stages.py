"""Where the time of a pipeline run goes: `make repro 2>&1 | python -m bench.stages`, in a clone that has run nothing.

What is printed passes through; of the runner's lines "made NAME in N s on K cores" the core-seconds are added up by
kind. What is left of the cores' time is set-up, waiting and DVC's bookkeeping. Writes results/stages.json.
"""

import os
import re
import sys
import time
from collections.abc import Iterable, Iterator

from dfrepro.files import ROOT, write_json
from dfrepro.jobs.runner import cores

RESULTS = ROOT / "results" / "stages.json"
MADE = re.compile(r"made (\S+) in ([\d.]+) s(?: on (\d+) cores)?; \d+ left")  # maybe behind a progress bar
KINDS = {"data": ("standin", "faces", "reconstruct", "pairs"), "training": ("train",)}


def kind(stage: str) -> str:
    """ "data", "training", or "other": scoring, maps, embeddings, notebooks."""
    name = stage.rpartition(":")[2].partition("@")[0]
    return next((kind for kind, beginnings in KINDS.items() if name.startswith(beginnings)), "other")


def core_seconds(lines: Iterable[str]) -> Iterator[tuple[str, float]]:
    """Stages and the core-seconds that they took, in the order in which they ended."""
    for line in lines:
        if found := MADE.search(line):
            yield found[1], float(found[2]) * int(found[3] or 1)


def summary(stages: list[tuple[str, float]], seconds: float, cores: int) -> dict[str, float]:
    """Core-seconds by kind, with what was `left` of `cores` in `seconds`; `share_outside` data and training, of all."""
    told = dict.fromkeys(("data", "training", "other"), 0.0)
    for stage, took in stages:
        told[kind(stage)] += took
    told["left"] = max(0.0, seconds * cores - sum(told.values()))
    outside = (told["other"] + told["left"]) / (sum(told.values()) or 1.0)
    return {name: round(took, 1) for name, took in told.items()} | {
        "wall": round(seconds, 1), "cores": cores, "share_outside": round(outside, 4),
    }  # fmt: skip


def _echoed(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        sys.stdout.write(line)
        sys.stdout.flush()
        yield line


if __name__ == "__main__":
    begun = time.monotonic()
    stages = list(core_seconds(_echoed(os.fdopen(sys.stdin.fileno(), errors="replace"))))
    told = summary(stages, time.monotonic() - begun, cores())
    write_json(RESULTS, told | {"stages": [[name, round(took, 1)] for name, took in stages]})
    print(f"{told['wall']:.0f} s; outside data and training: {told['share_outside']:.0%}")
