"""What a step costs over a plain one: PIM, SAM and a mix on three networks, in one run.

The floor is ERM's step of the same code on the same batch: forward, backward, optimiser. A naive PIM is two of them.
Times are processor seconds of one thread, so that neighbours disturb little; rounds go through all rules in turn, and a
ratio is the median over rounds of the ratio within a round.
"""

import statistics
import time
from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import nn

from bench.measure import Row, one_thread
from dfrepro import params
from dfrepro.evaluate.cost import seconds
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.steps import Loss, Step, StepRule

ASKED = {"pim": 1.5, "sam": 2.05, "mix": 2.8}
RULES = {"erm": StepRule(), "pim": StepRule(alpha=1.0), "sam": StepRule(beta=1.0), "mix": StepRule(0.4, 0.3)}
NAMES = {"pim": "PIM", "sam": "SAM", "mix": "DualFlat"}
NETWORKS = {  # at the laptop scale's size and batch
    "ConvNeXt": Backbone("convnext_atto", 64, {"depths": (2, 2, 2, 2), "dims": (24, 48, 96, 192)}),
    "ResNet": Backbone("test_resnet", 64),
    "EfficientNet": Backbone("test_efficientnet", 64),
}
BATCH, ROUNDS = 32, 9


def bench() -> list[Row]:
    """One row a network and rule: cost over ERM's step, and what it must not exceed."""
    study = params.load(scale="study").sizes.backbones["main"]
    networks = NETWORKS | {"the study's network": Backbone(study.name, study.image_size, study.kwargs)}
    with one_thread():
        return [row for network, backbone in networks.items() for row in _measure(network, backbone)]


def _measure(network: str, backbone: Backbone) -> list[Row]:
    works = {name: stepper(backbone, rule=rule) for name, rule in RULES.items()}
    works["published sam"] = published_sam(backbone)
    took = seconds(works, repeats=ROUNDS, clock=None if torch.cuda.is_available() else time.process_time)
    floor = 1000 * statistics.median(took["erm"])
    detail = f"{backbone.name}, {BATCH} images of {backbone.image_size} px, ERM {floor:.0f} ms"
    ratios = {rule: statistics.median(ours / erm for ours, erm in zip(took[rule], took["erm"])) for rule in ASKED}
    gain = statistics.median(theirs / ours for theirs, ours in zip(took["published sam"], took["sam"]))
    return [
        Row(f"Step of {NAMES[rule]}, {network}", "ERM's step", ratio, ASKED[rule], less=True, detail=detail)
        for rule, ratio in ratios.items()
    ] + [Row(f"SAM's step, {network}", "davda54/sam's step, as published", gain, detail=detail)]


def images(n: int, size: int) -> dict[str, torch.Tensor]:
    """A batch of noise, real and fake in turn."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    return {"image": noise, "label": torch.arange(n) % 2}


def stepper(
    spec: Backbone, *, batch: int = BATCH, rule: StepRule = StepRule(), precision: str = "32-true",  # noqa: B008
    channels_last: bool = False, compiled: bool = False, network: nn.Module | None = None,
    loss: Loss = CrossEntropy(),  # noqa: B008
) -> Callable[[], None]:  # fmt: skip
    """A step of the loop on a resident batch, on the GPU where there is one, as work to be timed.

    `network`: default, the detector on the backbone `spec`.
    """
    fabric = Fabric(accelerator="auto", devices=1, precision=precision)  # type: ignore[arg-type]
    network = (network or build_detector(spec, seed=0)).train()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    model, optimizer = fabric.setup(torch.compile(network) if compiled else network, optimizer)
    faces = fabric.to_device(images(batch, spec.image_size))
    step = Step(rule, fabric, model, reuse=not compiled)

    def take() -> None:
        step(loss, [faces])
        optimizer.step()

    return take


def published_sam(spec: Backbone, *, batch: int = BATCH, network: nn.Module | None = None) -> Callable[[], None]:
    """SAM as github.com/davda54/sam publishes it, written anew: two plain passes, and a copy of every weight between.

    Batch-norm's running statistics move in both, which its README mends by hand and which costs nothing.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = (network or build_detector(spec, seed=0)).train().to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    faces = {name: value.to(device) for name, value in images(batch, spec.image_size).items()}
    loss, weights, rho = CrossEntropy(), list(network.parameters()), RULES["sam"].r_prime

    def take() -> None:
        loss(network, faces)[0].backward()
        with torch.no_grad():
            norm = torch.norm(torch.stack([weight.grad.norm(p=2) for weight in weights if weight.grad is not None]))
            before = [weight.clone() for weight in weights]
            for weight in weights:
                if weight.grad is not None:
                    weight.add_(weight.grad * (rho / (norm + 1e-12)))
        optimizer.zero_grad()
        loss(network, faces)[0].backward()
        for weight, was in zip(weights, before):
            weight.data = was
        optimizer.step()
        optimizer.zero_grad()

    return take
