"""What one GPU does with the papers' networks: `python -m bench gpu`, at most eight minutes; no part of `make bench`.

Steps: ConvNeXt-Base with ERM, PIM and SAM, EfficientNet-B4 on self-blended pairs, PEL and FoCus at the papers' sizes,
in bfloat16 and channels-last: images a second, and the share of the card's matrix-multiply rate, in turn. Then what
each setting of the loop gains alone, how often a step makes the host wait for the card (never), and whether all cores
together make pairs as fast as the card takes them. Parts that the time does not suffice for are named and left.
"""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from bench import settings
from bench.device import precision, share
from bench.loop import BATCH, datasets
from bench.measure import Row, cores
from bench.steps import RULES, stepper
from dfrepro.data.dataset import batches
from dfrepro.evaluate.cost import seconds
from dfrepro.methods.focus import detector as focus
from dfrepro.methods.pel import detector as pel
from dfrepro.methods.pel.frequency import Statistics
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.steps import Loss

BUDGET = 400.0  # seconds after which no further part begins


@dataclass(frozen=True)
class Sizes:
    """Networks and images a step; `steps` batches are made to time the making."""

    main: tuple[Backbone, int] = (Backbone("convnext_base", 224), 64)
    pairs: tuple[Backbone, int] = (Backbone("efficientnet_b4", 380), 32)
    pel: tuple[Backbone, int] = (Backbone("efficientnet_b4", 320), 16)
    focus: tuple[Backbone, int] = (Backbone("deit_small_patch16_224", 224), 128)
    steps: int = 64


def bench() -> list[Row]:
    """The rows of the card at hand; none without one."""
    if not torch.cuda.is_available():
        print("gpu: no GPU here, nothing is measured")
        return []
    return measured(Sizes())


def measured(sizes: Sizes, budget: float = BUDGET) -> list[Row]:
    """All rows that `budget` seconds suffice for, on whatever torch computes on here."""
    rows: list[Row] = []
    ends = time.monotonic() + budget
    for name, part in _parts(sizes):
        if time.monotonic() > ends:
            print(f"gpu: no time for {name}")
            continue
        rows += part()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return rows


def _parts(sizes: Sizes) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    (main, many), (b4, some) = sizes.main, sizes.pairs
    for rule in ("erm", "pim", "sam"):
        name = f"Step of {rule.upper()}, {main.name}"
        yield name, lambda rule=rule, name=name: [_step(name, main, many, rule)]
    yield "PEL", lambda: [_step("Step of PEL", *sizes.pel, network=_pel(sizes.pel[0]))]
    yield (
        "FoCus",
        lambda: [
            _step(
                "Step of FoCus", *sizes.focus, network=focus.build("focus", sizes.focus[0], 0), loss=focus.FocusLoss()
            )
        ],
    )
    yield "host waits", lambda: _waits(main, many)
    yield "self-blended pairs", lambda: _pairs(b4, some, sizes.steps)
    yield "settings", lambda: settings.measure(main.name, main, repeats=5)


def _step(
    name: str, spec: Backbone, batch: int, rule: str = "erm", network: torch.nn.Module | None = None,
    loss: Loss = CrossEntropy(),  # noqa: B008
) -> Row:  # fmt: skip
    take = stepper(
        spec, batch=batch, rule=RULES[rule], precision=precision(), channels_last=True, network=network, loss=loss
    )
    return share(f"{name}, {batch} images of {spec.image_size} px", take, batch)


def _pel(spec: Backbone) -> torch.nn.Module:
    return pel.build(pel.VARIANTS["full"], spec, 0, Statistics(torch.zeros(192), torch.ones(192)))


def _waits(spec: Backbone, batch: int) -> list[Row]:
    """How often a step of PIM waits for the card, by torch's own watch; a CPU has nobody to wait for."""
    if not torch.cuda.is_available():
        return []
    take = stepper(spec, batch=batch, rule=RULES["pim"], precision=precision(), channels_last=True)
    take()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            take()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = sum("synchroniz" in str(warning.message) for warning in seen)
    return [Row("Host waits in a step of PIM", "a step that only queues work", waits, 0, less=True, unit="")]


def _pairs(spec: Backbone, batch: int, steps: int) -> list[Row]:
    """The step on pairs, and how fast all cores make them beside it."""
    size, workers = spec.image_size, cores()
    take = stepper(spec, batch=batch, precision=precision(), channels_last=True)
    step = share(f"Step on self-blended pairs, {spec.name}, {batch} images of {size} px", take, batch)
    took = statistics.median(seconds({"step": take})["step"])
    with tempfile.TemporaryDirectory() as folder:
        pairs = datasets(Path(folder), steps, faces=64, size=size)["SBI"]
        made = batches(pairs, BATCH // 2, first=0, last=steps, workers=workers)
        next(made)  # the workers have started
        started = time.perf_counter()
        count = sum(len(one["image"]) for each in made for one in each)
        speed = count / (time.perf_counter() - started)
    title = f"Making self-blended pairs of {size} px on {workers} cores"
    detail = f"{speed:.0f} against {batch / took:.0f} images/s"
    return [step, Row(title, "the step that takes them", speed * took / batch, 1.0, detail=detail)]
