"""How much of the machine a training pass uses: floating-point operations a second over its matrix-multiply rate.

Both are measured in this run, on the GPU in bfloat16 where there is one, else on the CPU in float32. Operations are
counted by torch over the whole step (convolutions and matrix products, forward and backward); what is not counted,
normalisation, activation, optimiser, takes its share of the time. A GPU's memory is the peak that torch allocated.
"""

import statistics
from collections.abc import Callable
from functools import partial

import torch

from bench.measure import Row, operations
from bench.steps import stepper
from dfrepro import params
from dfrepro.evaluate.cost import seconds
from dfrepro.nets.detector import Backbone
from dfrepro.train.steps import StepRule

PIM = StepRule(alpha=1.0)
PRODUCT = 4096  # side of the matrices on a CPU


def bench() -> list[Row]:
    """The laptop's network with its own batch, and the paper's ConvNeXt-Base at 224 pixels, both with PIM's step."""
    laptop = params.load(scale="laptop").sizes
    small = laptop.backbones["main"]
    gpu = torch.cuda.is_available()
    return [
        _pass("Laptop pass with PIM", Backbone(small.name, small.image_size, small.kwargs), laptop.training.batch),
        _pass("ConvNeXt-Base pass with PIM", Backbone("convnext_base", 224), 64 if gpu else 2),
    ]


def _pass(name: str, spec: Backbone, batch: int) -> Row:
    """A pass and a large matrix product in the passes' precision, taking turns: a busy machine slows both."""
    take = stepper(spec, batch=batch, rule=PIM, precision=precision(), channels_last=True)
    return share(f"{name}, {batch} images of {spec.image_size} px", take, batch)


def precision() -> str:
    return "bf16-mixed" if torch.cuda.is_available() else "32-true"


def share(name: str, take: Callable[[], None], batch: int) -> Row:
    """The rate at which the step `take` on `batch` images computes, beside that of a matrix product, taking turns."""
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    with operations() as counted:
        take()
    n = 8192 if gpu else PRODUCT
    a = torch.randn(n, n, device="cuda" if gpu else "cpu", dtype=torch.bfloat16 if gpu else torch.float32)
    times = seconds({"pass": take, "product": partial(torch.mm, a, a)}, repeats=20 if gpu else 5)
    took, product = (statistics.median(times[name]) for name in ("pass", "product"))
    speed, rate = counted.get_total_flops() / took, 2 * n**3 / product
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if gpu else ""
    return Row(
        name,
        "the machine's matrix-multiply rate",
        100 * speed / rate,
        unit="%",
        detail=f"{batch / took:.3g} images/s, {speed / 1e9:.3g} of {rate / 1e9:.3g} GFLOP/s{memory}",
    )
