"""What benchmarks share: a line of the table, where it is written, one thread, a count of operations."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.flop_counter import FlopCounterMode

from dfrepro.files import ROOT, read_json, write_json

RESULTS = ROOT / "results" / "bench.json"


@dataclass(frozen=True)
class Row:
    """One line of the table: `value` of `name`, measured beside `floor` in the same run.

    unit: "x" for a ratio, else "s", "%" or, for a count, "". asked: what `value` must reach or, with `less`, must not
    exceed; None where nothing is asked and the figure is only reported.
    """

    name: str
    floor: str
    value: float
    asked: float | None = None
    less: bool = False
    unit: str = "x"
    detail: str = ""

    @property
    def met(self) -> bool | None:
        if self.asked is None:
            return None
        return self.value <= self.asked if self.less else self.value >= self.asked


def write(benchmark: str, rows: list[Row], path: Path = RESULTS) -> None:
    """Put the rows of one benchmark, measured together, in the place of its former ones."""
    told: dict[str, Any] = read_json(path) if path.exists() else {}
    lines = [asdict(row) | {"met": row.met} for row in rows]
    write_json(path, told | {benchmark: {"machine": machine(), "rows": lines}})


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """What the figures were measured on, in words that name no machine."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.system()}, {platform.machine()}, {cores()} cores, {gpu}, torch {torch.__version__}"


def _conv_backward(grad: list[int], x: list[int], weight: list[int], *rest: Any, out_shape: Any = None) -> int:
    """Operations of a convolution's gradients by their shapes: as many as forward for each of input and weight.

    torch's own count forgets that a grouped convolution's weight gradient has its groups: 96 times too many in a
    depthwise convolution of 96 channels.
    """
    return 2 * prod(grad) * prod(weight[1:]) * sum(rest[-1][:2])


def operations() -> FlopCounterMode:
    """torch's counter, right for grouped convolutions too."""
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _conv_backward})


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch and OpenCV compute on one core: the ratio of two works then depends on no other program."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
