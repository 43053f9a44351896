"""How fast FoCus is, relative to one bare encoder of the same size: two encoders and a fusion block cannot be above .5.
And what supervision by maps adds to a step of the evaluation model.

Training (a step of Adam) and inference, on the laptop's encoder and on DeiT-Small, in one run on one thread. Times are
processor time; the two sides take turns, and a ratio is the median over turns, since other programs come and go.
"""

import statistics
import time

import torch

from bench.measure import Row, one_thread
from dfrepro.evaluate.cost import Cost, cost, inference, seconds, training
from dfrepro.methods.focus.detector import FocusLoss, build
from dfrepro.methods.focus.encoder import build_plain
from dfrepro.methods.focus.evaluation import MapSupervision, build_evaluation
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy

ASKED = 0.42
EVALUATION = Backbone("efficientnet_b4", 224)
SIZES = {  # encoder, images a call, calls
    "laptop": (Backbone("vit_conv_stem", 64), 32, 20),
    "DeiT-Small, 224 px": (Backbone("deit_small_patch16_224", 224), 4, 4),
}


def bench() -> list[Row]:
    """Images per second of FoCus over those of its encoder alone, in training and inference, at two sizes."""
    with one_thread():
        return [row for name, size in SIZES.items() for row in _measure(name, *size)] + [_supervision()]


def _measure(size: str, spec: Backbone, batch: int, calls: int) -> list[Row]:
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
        rows.append(_row(f"FoCus, {phase}, {size}", batch, took, *counted))
    return rows


def _supervision(calls: int = 4) -> Row:
    """The step with a map branch and its loss over the step of the same network without."""
    model = build_evaluation(EVALUATION, 0).train()
    side = EVALUATION.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8, generator=generator)
    masks = torch.zeros(4, side, side, dtype=torch.uint8)
    masks[1::2, : side // 2] = 255
    faces = {"image": images, "label": torch.arange(4) % 2, "mask": masks}
    works = {"bare": training(model, CrossEntropy(), faces), "maps": training(model, MapSupervision(), faces)}
    took = seconds(works, repeats=calls, clock=time.process_time)
    ratio = statistics.median(ours / bare for bare, ours in zip(took["bare"], took["maps"]))
    detail = " against ".join(f"{1e3 * statistics.median(took[name]):.0f}" for name in ("maps", "bare"))
    title = f"FoCus, step supervised by maps, {EVALUATION.name} at {side} px"
    return Row(title, "the step without maps", ratio, less=True, detail=f"{detail} ms for 4 images")


def _row(name: str, batch: int, took: dict[str, list[float]], bare: Cost, focus: Cost) -> Row:
    speed = {name: batch / statistics.median(times) for name, times in took.items()}
    return Row(
        name,
        "one bare encoder",
        statistics.median(a / b for a, b in zip(took["bare"], took["focus"])),
        ASKED,
        detail=f"{speed['focus']:.1f} against {speed['bare']:.1f} images/s; by count of operations "
        f"{bare.flops / focus.flops:.3f}, {focus.flops / 1e9:.3g} against {bare.flops / 1e9:.3g} GFLOP",
    )
