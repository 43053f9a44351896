"""How fast FoCus is, relative to one bare encoder of the same size: two encoders and a fusion block cannot be above .5.

Training (a step of Adam) and inference, on the laptop's encoder and on DeiT-Small, in one run on one thread. Times are
processor time; the two sides take turns, and a ratio is the median over turns, since other programs come and go.
"""

import statistics
import time
from typing import Any

import torch

from dfrepro.methods.focus import FocusLoss, build
from dfrepro.methods.focus_cost import Cost, cost, inference, seconds, training
from dfrepro.methods.focus_encoder import build_plain
from dfrepro.train.losses import CrossEntropy
from dfrepro.train.models import Backbone

TARGET = 0.42
SIZES = {  # encoder, images a call, calls
    "laptop": (Backbone("vit_conv_stem", 64), 32, 40),
    "DeiT-Small, 224 px": (Backbone("deit_small_patch16_224", 224), 4, 4),
}


def bench() -> list[dict[str, Any]]:
    """Images per second of FoCus over those of its encoder alone, in training and inference, at two sizes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [row for name, size in SIZES.items() for row in _measure(name, *size)]
    finally:
        torch.set_num_threads(threads)


def _measure(size: str, spec: Backbone, batch: int, calls: int) -> list[dict[str, Any]]:
    bare, focus = build_plain(spec, 0), build("focus", spec, 0)
    generator = torch.Generator().manual_seed(0)
    side = spec.image_size
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=generator)
    faces = {"image": images, "label": torch.arange(batch) % 2}
    counted = cost(bare, side), cost(focus, side)
    works = {
        "inference": {"bare": inference(bare, images), "focus": inference(focus, images)},
        "training": {"bare": training(bare, CrossEntropy(), faces), "focus": training(focus, FocusLoss(), faces)},
    }
    rows = []
    for phase, pair in works.items():
        for network in (bare, focus):
            network.train(phase == "training")
        took = seconds(pair, repeats=calls, clock=time.process_time)
        rows.append(_row(f"FoCus {phase}, {size}", batch, took, *counted))
    return rows


def _row(name: str, batch: int, took: dict[str, list[float]], bare: Cost, focus: Cost) -> dict[str, Any]:
    speed = {name: batch / statistics.median(times) for name, times in took.items()}
    return {
        "name": name,
        "ratio": statistics.median(a / b for a, b in zip(took["bare"], took["focus"])),
        "target": TARGET,
        "floor": "one bare encoder of the same size, same run, one thread",
        "detail": f"{speed['focus']:.1f} images/s against {speed['bare']:.1f}",
        "operations": f"{focus.flops / 1e9:.3g} against {bare.flops / 1e9:.3g} GFLOP: {bare.flops / focus.flops:.3f}",
        "parameters": f"{focus.parameters / 1e6:.2f} against {bare.parameters / 1e6:.2f} M",
    }


if __name__ == "__main__":
    for row in bench():
        print(f"{row['name']}: {row['ratio']:.3f} (target {row['target']}), {row['detail']}; {row['operations']}")
