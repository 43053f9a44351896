"""What PEL costs over its two bare streams, and how fast its median is. Ratios within one run, on one thread.

The floor of the median is what one writes with torch alone: unfold every window and take `median`. kornia's median
blur, which unfolds by a convolution with one-hot kernels, takes its turn where kornia is installed; it is no dependency
(`uv pip install --no-deps kornia kornia_rs` for the measurement).
"""

import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bench.measure import Row, one_thread
from dfrepro.evaluate.cost import seconds
from dfrepro.methods.pel.detector import VARIANTS, build
from dfrepro.methods.pel.frequency import FrequencyInput, Statistics, measure
from dfrepro.methods.pel.median import median
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy

OVERHEAD_ASKED, MEDIAN_ASKED = 1.3, 3.0
B4 = Backbone("efficientnet_b4", 224)  # the paper's
LAPTOP = Backbone("test_efficientnet", 64)
BATCH = {B4.name: 2, LAPTOP.name: 32}


def unfolded_median(x: Tensor, k: int) -> Tensor:
    """The k × k median of (B, C, H, W) by unfolding, borders reflected."""
    padded = functional.pad(x, (k // 2,) * 4, mode="reflect")
    return padded.unfold(2, k, 1).unfold(3, k, 1).flatten(-2).median(-1).values


def milliseconds(calls: dict[str, Callable[[], Any]], n: int) -> dict[str, float]:
    """Least processor time of a call, the calls taking turns: other programs only ever add."""
    return {name: 1e3 * min(s) for name, s in seconds(calls, repeats=n, clock=time.thread_time).items()}


def bench() -> list[Row]:
    """Speed-up of the median and of the frequency input, and cost of PEL over its bare streams."""
    with one_thread():
        rows = [row for k in (3, 5, 7) for row in bench_median(k)]
        rows.append(bench_frequency())
        return rows + [bench_overhead(spec, n) for spec, n in ((LAPTOP, 9), (B4, 3))]


def bench_median(k: int) -> list[Row]:
    x = torch.randn(8, 24, 56, 56, generator=torch.Generator().manual_seed(0), requires_grad=True)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    floors = {"unfold and torch.median": lambda: unfolded_median(x, k)}
    if find_spec("kornia"):
        kornia = import_module("kornia.filters")
        floors["kornia's median_blur"] = lambda: kornia.median_blur(x, (k, k))
    works = {"ours": lambda: median(x, k), **floors}
    took = milliseconds(
        {name: lambda work=work: torch.autograd.grad(work(), x, grad) for name, work in works.items()}, n=3
    )
    return [
        Row(
            f"PEL's median {k} x {k}, forward and backward" + (" (kornia)" if "kornia" in floor else ""),
            floor,
            took[floor] / took["ours"],
            MEDIAN_ASKED,
            detail=f"{took['ours']:.0f} against {took[floor]:.0f} ms for {tuple(x.shape)}",
        )
        for floor in floors
    ]


def bench_frequency() -> Row:
    images = torch.randint(0, 256, (16, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    statistics = measure([images])
    entry = FrequencyInput()
    entry.standardise(statistics)

    def apart() -> Tensor:
        x = (entry.coefficients(images) - statistics.mean.view(-1, 1, 1)) / statistics.deviation.view(-1, 1, 1)
        return entry.mix(x)

    took = milliseconds(
        {"ours": lambda: entry(images).sum().backward(), "floor": lambda: apart().sum().backward()}, n=9
    )
    return Row(
        "PEL's frequency input, forward and backward",
        "192 maps by a fixed convolution, standardised, then 1 x 1",
        took["floor"] / took["ours"],
        detail=f"{took['ours']:.1f} against {took['floor']:.1f} ms for {tuple(images.shape)}",
    )


def bench_overhead(spec: Backbone, n: int) -> Row:
    generator = torch.Generator().manual_seed(0)
    size, images = spec.image_size, BATCH[spec.name.split(".")[0]]
    batch = {
        "image": torch.randint(0, 256, (images, 3, size, size), generator=generator, dtype=torch.uint8),
        "label": torch.arange(images) % 2,
    }
    unit = Statistics(torch.zeros(192), torch.ones(192))
    names = {"pel": "full", "bare": "two-stream", "no noise": "no-noise"}
    models = {name: build(VARIANTS[variant], spec, 0, unit).train() for name, variant in names.items()}
    loss = CrossEntropy()
    took = milliseconds({name: lambda m=model: loss(m, batch)[0].backward() for name, model in models.items()}, n)
    return Row(
        f"PEL's step, {spec.name} at {size} px",
        "its two bare streams",
        took["pel"] / took["bare"],
        OVERHEAD_ASKED,
        less=True,
        detail=f"{took['pel']:.0f} against {took['bare']:.0f} ms for {images} images; without the noise block "
        f"{took['no noise']:.0f} ms",
    )
