"""What the loop's settings gain: images a second of a step with one setting changed, over those of the plain step.

The settings are `precision: bf16-mixed`, `channels_last` and `compile` of a scale's `training`. What they gain depends
on machine and network, so nothing is asked; tests/train/test_settings.py holds their results to those without them.
Runs on the GPU where there is one.
"""

import shutil
import statistics

import torch

from bench.measure import Row
from bench.steps import BATCH, NETWORKS, stepper
from dfrepro import params
from dfrepro.evaluate.cost import seconds
from dfrepro.nets.detector import Backbone

REPEATS = 12


def bench() -> list[Row]:
    """One row a network and setting."""
    laptop = params.load(scale="laptop").sizes.backbones["main"]
    networks = {
        "ConvNeXt": NETWORKS["ConvNeXt"],
        "the laptop's network": Backbone(laptop.name, laptop.image_size, laptop.kwargs),
    }
    return [row for name, spec in networks.items() for row in measure(name, spec)]


def measure(name: str, spec: Backbone, repeats: int = REPEATS) -> list[Row]:
    works = {
        "plain": stepper(spec),
        "bf16-mixed": stepper(spec, precision="bf16-mixed"),
        "channels_last": stepper(spec, channels_last=True),
    }
    if torch.cuda.is_available() or shutil.which("c++") or shutil.which("g++"):  # compiling for a CPU needs a compiler
        works["compile"] = stepper(spec, compiled=True)
    took = {setting: statistics.median(times) for setting, times in seconds(works, repeats=repeats).items()}
    return [
        Row(
            f"Setting {setting}, {name}",
            "the step without it",
            took["plain"] / took[setting],
            detail=f"{BATCH / took[setting]:.0f} against {BATCH / took['plain']:.0f} images/s",
        )
        for setting in works
        if setting != "plain"
    ]
