"""What training the papers' own settings costs, from throughput measured here: `python -m bench.cost [--page]`.

    hours of a run = epochs x images an epoch x cost of its step and method / images a second of its network / 3600

Images a second of a plain step are measured in this run for every network of scales/paper.yaml, at its size, on the GPU
(bfloat16) where there is one, else on the CPU. What a step rule or a method costs over the plain step is read from
results/bench.json. FF++ has 720 training videos; as many fakes are shown as reals. With --page the table is written
into docs/scaling.md.
"""

import argparse
import re
import statistics
import sys
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from bench.measure import RESULTS, machine
from bench.steps import stepper
from dfrepro import params
from dfrepro.evaluate.cost import seconds
from dfrepro.files import ROOT, atomic_file, read_json
from dfrepro.nets.detector import Backbone
from dfrepro.params import Params

PAGE = ROOT / "docs" / "scaling.md"
MARKS = re.compile(r"(<!-- cost -->\n).*?(<!-- end -->)", re.S)
TRAINING_VIDEOS = 720  # of FF++'s split: both identities of 360 pairs
TITLES = {
    "": "PIM and DualFlat", "pel": "PEL", "fia_usa": "FIA-USA", "focus": "FoCus, networks that make maps",
    "focus_evaluation": "FoCus, evaluation models", "fpg": "FPG", "foundation": "a foundation model",
}  # fmt: skip
RULES = {"pim": "Step of PIM, ConvNeXt", "sam": "Step of SAM, ConvNeXt", "mix": "Step of DualFlat, ConvNeXt"}
PLAIN = ("backbone", "tokens", "foundation")  # kinds of detector that are a network and nothing else
METHODS = {  # kind of detector: the row that says what it costs over the plain step of its network
    "pel": "PEL's step, efficientnet_b4 at 224 px",
    "fia_usa": "FIA-USA's step, FPN and RCR, efficientnet_b4 at 256 px",
    "fpg": "FPG's step, S->M, unified",
    "focus": "FoCus, training, DeiT-Small, 224 px",
    "focus_evaluation": "FoCus, step supervised by maps, efficientnet_b4 at 224 px",
}


def factors(results: Mapping[str, Any]) -> dict[str, float]:
    """The cost of every step rule and method over a plain step, from results/bench.json."""
    values = {row["name"]: row["value"] for benchmark in results.values() for row in benchmark["rows"]}
    found = {key: values[name] for key, name in (RULES | METHODS).items()}
    return found | {"focus": 1 / found["focus"], "pel": 2 * found["pel"], "erm": 1.0}  # PEL's floor is two networks


def rule_of(p: Params, run: str) -> str:
    """ "erm", "pim", "sam", or "mix" for anything between."""
    step = p.spec(run, 0)["step"]
    return {(0, 0): "erm", (1, 0): "pim", (0, 1): "sam"}.get((step["alpha"], step["beta"]), "mix")


def images(p: Params, run: str) -> int:
    """How many images a run trains on."""
    training, classes = p.training(run), 1 + len(p.run(run).data.manipulations)
    if training.images_per_epoch == "all":
        return training.epochs * TRAINING_VIDEOS * training.frames * classes
    return training.epochs * (training.images_per_epoch or 2 * TRAINING_VIDEOS * training.frames)


def hours(p: Params, run: str, speeds: Mapping[str, float], costs: Mapping[str, float]) -> float:
    """Hours that one seed of a run trains; `speeds`: images a second of the networks, by role."""
    detector = p.run(run).detector
    cost = costs[rule_of(p, run)] * (1.0 if detector.kind in PLAIN else costs[detector.kind])
    return images(p, run) * cost / speeds[detector.backbone] / 3600


def speed(spec: params.Backbone, batch: int) -> float:
    """Images a second of the plain step, on random weights (they cost what trained ones do)."""
    gpu = torch.cuda.is_available()
    take = stepper(
        Backbone(spec.name, spec.image_size, spec.kwargs), batch=batch if gpu else 2, channels_last=True,
        precision="bf16-mixed" if gpu else "32-true",
    )  # fmt: skip
    return (batch if gpu else 2) / statistics.median(seconds({"step": take}, repeats=10 if gpu else 2)["step"])


def table(p: Params, speeds: Mapping[str, float], costs: Mapping[str, float]) -> str:
    """Markdown: runs, images and hours of every paper, for the core grid and for all, one seed."""
    core, whole, shown = Counter[str](), Counter[str](), Counter[str]()
    counts = Counter[str]()
    for run in filter(p.in_grid, p.runs):
        recipe, took = p.run(run).recipe, hours(p, run, speeds, costs)
        counts[recipe], shown[recipe] = counts[recipe] + 1, shown[recipe] + images(p, run)
        whole[recipe] += took
        core[recipe] += took * (run in p.core)
    lines = ["|paper|runs|million images|hours, core grid|hours, full grid|", "|---|---|---|---|---|"]
    lines += [
        f"|{TITLES[name]}|{counts[name]}|{shown[name] / 1e6:.0f}|{core[name]:.0f}|{whole[name]:.0f}|" for name in TITLES
    ]
    total = f"|**all**|{counts.total()}|{shown.total() / 1e6:.0f}|{sum(core.values()):.0f}|"
    lines.append(f"{total}{sum(whole.values()):.0f}|")
    known = {f"{_title(p, role)} {speed:.3g}": None for role, speed in speeds.items()}
    told = f"One seed. Measured on: {machine()}. Images a second of a plain step: {', '.join(known)}."
    return "\n".join([*lines, "", *textwrap.wrap(told, 120)]) + "\n"


def _title(p: Params, role: str) -> str:
    spec = p.sizes.backbones[role]
    return f"{spec.name} at {spec.image_size} px"


def main(page: bool) -> None:
    p = params.load(scale="paper", grid="full")
    speeds: dict[str, float] = {}
    for role in dict.fromkeys(p.run(run).detector.backbone for run in filter(p.in_grid, p.runs)):
        same = [done for done in speeds if _title(p, done) == _title(p, role)]
        speeds[role] = speeds[same[0]] if same else speed(p.sizes.backbones[role], batch=32)
        print(f"{_title(p, role)}: {speeds[role]:.3g} images/s", flush=True)
    told = table(p, speeds, factors(read_json(RESULTS)))
    print(told)
    if page:
        text = PAGE.read_text(encoding="utf-8")
        with atomic_file(PAGE) as partial:
            partial.write_text(MARKS.sub(lambda found: found[1] + told + found[2], text), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the table into docs/scaling.md")
    sys.exit(main(parser.parse_args().page))
