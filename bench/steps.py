"""What a step costs over a plain one: PIM, SAM and a mix on three networks, in one run.

The floor is ERM's step of the same code on the same batch: forward, backward, optimiser. A naive PIM is two of them.
Times are CPU seconds of one thread, so that neighbours disturb little; rounds go through all rules in turn, and a ratio
is the median over rounds of the ratio within a round.
"""

import statistics
import time
from typing import Any

import torch
from lightning_fabric import Fabric

from dfrepro.train.losses import CrossEntropy
from dfrepro.train.models import Backbone, build_detector
from dfrepro.train.steps import Step, StepRule

TARGETS = {"pim": 1.5, "sam": 2.05, "mix": 2.8}
RULES = {"erm": StepRule(), "pim": StepRule(alpha=1.0), "sam": StepRule(beta=1.0), "mix": StepRule(0.4, 0.3)}
NETWORKS = {  # the laptop scale's networks, at its size and batch
    "convnext": Backbone("convnext_atto", 64, {"depths": (2, 2, 2, 2), "dims": (24, 48, 96, 192)}),
    "resnet": Backbone("test_resnet", 64),
    "efficientnet": Backbone("test_efficientnet", 64),
}
BATCH, ROUNDS, WARM_UP = 32, 15, 3


def seconds(backbone: Backbone, rounds: int = ROUNDS) -> list[dict[str, float]]:
    """CPU seconds of one step of every rule, a round."""
    fabric = Fabric(accelerator="cpu", devices=1)
    network = build_detector(backbone, seed=0).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    model, optimizer = fabric.setup(network, optimizer)
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, 3, backbone.image_size, backbone.image_size)
    batch = {
        "image": torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        "label": torch.arange(BATCH) % 2,
    }
    measured: list[dict[str, float]] = []
    for _ in range(WARM_UP + rounds):
        times: dict[str, float] = {}
        for name, rule in RULES.items():
            with Step(rule, fabric, model) as step:
                started = time.process_time()
                step(CrossEntropy(), [batch])
                optimizer.step()
                times[name] = time.process_time() - started
        measured.append(times)
    return measured[WARM_UP:]


def bench() -> list[dict[str, Any]]:
    """One row a network and rule: cost over ERM's step, and what it must not exceed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = []
        for network, backbone in NETWORKS.items():
            rounds = seconds(backbone)
            floor = statistics.median(times["erm"] for times in rounds)
            for rule, target in TARGETS.items():
                ratio = statistics.median(times[rule] / times["erm"] for times in rounds)
                detail = f"{backbone.name}, {BATCH} x {backbone.image_size} px, ERM {1000 * floor:.0f} ms CPU a step"
                rows.append(
                    {
                        "name": f"step cost: {rule}, {network}",
                        "ratio": ratio,
                        "target": target,
                        "floor": floor,
                        "detail": detail,
                    }
                )
        return rows
    finally:
        torch.set_num_threads(threads)
