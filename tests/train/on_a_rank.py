"""What one process of test_ranks.py does: `python on_a_rank.py FOLDER`. How many there are, the environment says."""

import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from test_steps import RULES, batch_of, convnext, loss_fn

from dfrepro.data.dataset import FaceDataset, select
from dfrepro.data.manifest import FaceStore
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.fit import Objective, TrainConfig, fit
from dfrepro.train.steps import Step, StepRule

CASES = [("pim", 1), ("sam", 1), ("mix", 1), ("mix", 2)]  # the rule, and into how many micro-batches a rank splits


def gradients(fabric: Fabric) -> dict[str, torch.Tensor]:
    """g and ‖γ‖ of every case, on this rank's share of the joint batch."""
    joint = batch_of(dtype=torch.float64)
    share = {key: value.chunk(fabric.world_size)[fabric.global_rank] for key, value in joint.items()}
    found = {}
    for name, micro in CASES:
        net = convnext()
        with Step(RULES[name], fabric, fabric.setup_module(net)) as step:
            parts = zip(*(value.chunk(micro) for value in share.values()))
            stats = step(loss_fn, [dict(zip(share, part)) for part in parts])
        found |= {f"{name}.{micro}.{key}": p.grad for key, p in net.named_parameters()}
        found[f"{name}.{micro}.gamma"] = stats.get("gamma", torch.zeros(())).double()
    return found


def train(store: FaceStore, out: Path) -> None:
    """A short training with a mix of all three terms, on layer norm: batch norm's batches are a rank's own."""
    data = FaceDataset(store, select(store.manifest, split="train"), size=32, seed=0)
    settings = TrainConfig(epochs=2, batch=16, frames=1, optimiser="sgd", lr=0.05, accelerator="cpu", threads=1)
    objective = Objective(CrossEntropy(), StepRule(0.4, 0.3))
    fit(build_detector(Backbone("test_convnext", 32), seed=1), data, objective, settings, out)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    fabric = Fabric(accelerator="cpu", devices=1)  # LT_DEVICES and LT_STRATEGY win over what code says
    fabric.launch()
    save_file(gradients(fabric), folder / f"{fabric.global_rank}-of-{fabric.world_size}.safetensors")
    train(FaceStore.open(folder / "store"), folder / f"run-{fabric.world_size}")
