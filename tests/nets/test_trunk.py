"""What lies before the first site is computed once, and no number changes by it."""

from collections import Counter

import pytest
import timm
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.nn.functional import cross_entropy

from dfrepro.nets.trunk import seed_generators
from dfrepro.train.steps import Step, StepRule

NETWORKS = {
    "test_convnext": {"drop_path_rate": 0.3, "drop_rate": 0.3},
    "test_resnet": {"drop_path_rate": 0.3},
    "test_efficientnet": {"drop_path_rate": 0.3},
    "test_vit": {"img_size": 64, "pos_drop_rate": 0.2, "drop_path_rate": 0.3},
}
RULES = [StepRule(alpha=1.0), StepRule(alpha=0.5), StepRule(0.4, 0.3), StepRule(0.5, 0.5)]


def loss_fn(model, batch):
    return cross_entropy(model(batch["image"]), batch["label"]), {}


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"image": torch.rand(4, 3, 64, 64, generator=generator), "label": torch.tensor([0, 1, 0, 1])}


def step(net, rule, reuse, loss=loss_fn, parts=1):
    fabric = Fabric(accelerator="cpu", devices=1)
    whole = batch()
    batches = [dict(zip(whole, part)) for part in zip(*(value.chunk(parts) for value in whole.values()))]
    with torch.random.fork_rng():
        torch.manual_seed(7)
        with Step(rule, fabric, fabric.setup_module(net), reuse=reuse) as one:
            one(loss, batches)
        after = torch.rand(3)
    return {name: p.grad for name, p in net.named_parameters() if p.grad is not None}, dict(net.named_buffers()), after


def network(name, **kwargs) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model(name, num_classes=2, **(NETWORKS[name] | kwargs)).train()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_the_same_to_the_bit(name, rule):
    plain, reused = (step(network(name), rule, reuse) for reuse in (False, True))
    for ours, theirs in zip(plain[:2], reused[:2]):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(plain[2], reused[2])  # as many draws are used up


@pytest.mark.parametrize(("rule", "times"), [(StepRule(alpha=1.0), 1), (StepRule(0.4, 0.3), 2)])
def test_the_trunk_runs_once_at_the_same_weights(rule, times):
    """A mix runs it again at the weights that SAM climbs to."""
    net, counts = network("test_convnext", depths=(2, 1, 1, 1)), Counter()
    layers = {"stem": net.stem[0], "site": net.stages[0].blocks[0].conv_dw, "rest": net.stages[0].blocks[1].conv_dw}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda *_, name=name: counts.update([name]))
    step(net, rule, reuse=True)
    assert (counts["stem"], counts["site"], counts["rest"]) == (times, times, times + 1)


def test_nothing_is_left_on_the_network():
    net = network("test_resnet")
    step(net, StepRule(alpha=1.0), reuse=True)
    assert not any("forward" in vars(module) or module._forward_hooks for module in net.modules())


def test_sites_out_of_order_are_not_reused_and_stay_right():
    sites = ("stages.0.blocks.1", "stages.0.blocks.0")
    rule, deeper = StepRule(alpha=1.0, sites=sites), {"depths": (2, 1, 1, 1)}
    plain, reused = (step(network("test_convnext", **deeper), rule, reuse) for reuse in (False, True))
    assert all(torch.equal(plain[0][key], reused[0][key]) for key in plain[0])


def test_a_loss_that_looks_twice_is_not_reused_and_stays_right():
    def twice(model, batch):
        first, second = model(batch["image"]), model(batch["image"].flip(3))
        return cross_entropy(first, batch["label"]) + (first - second).square().mean(), {}

    plain, reused = (step(network("test_resnet"), StepRule(alpha=1.0), reuse, twice) for reuse in (False, True))
    assert all(torch.equal(plain[0][key], reused[0][key]) for key in plain[0])


def test_micro_batches_are_not_reused_and_stay_right():
    plain, reused = (step(network("test_convnext"), RULES[2], reuse, parts=2) for reuse in (False, True))
    assert all(torch.equal(plain[0][key], reused[0][key]) for key in plain[0])


def test_a_failing_step_leaves_the_network_whole():
    net, seen = network("test_resnet"), []

    def failing(model, batch):
        seen.append(1)
        if len(seen) == 2:
            raise RuntimeError("second evaluation")
        return loss_fn(model, batch)

    with pytest.raises(RuntimeError, match="second"):
        step(net, StepRule(alpha=1.0), True, failing)
    assert not any("forward" in vars(module) or module._forward_hooks for module in net.modules())
    assert all(m.track_running_stats for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_a_steps_seed_gives_the_draws_of_torchs_own(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        theirs = torch.rand(8)
        torch.rand(5)
        seed_generators(seed, torch.device("cpu"))
        assert torch.equal(torch.rand(8), theirs)
