"""The measured rise of the loss along γ follows Eq. 11 for small r and beats random directions; what γ is made of."""

import numpy as np
import pytest
import torch

from dfrepro import params
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.train.flatness import halves, rise


def faces(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, side, side), generator=generator).float()
    return images, torch.randint(0, 2, (16,), generator=generator)


def curve(radii):
    images, labels = faces(32)
    return rise(build_detector(Backbone("test_convnext", 32), seed=0).double(), images.double(), labels, radii)


def test_for_small_r_the_rise_is_the_first_order_one():
    table = curve([1e-5, 1e-4])
    start = table.linear[0] - (table.linear[1] - table.linear[0]) / 9
    assert np.allclose(table.gradient - start, table.linear - start, rtol=1e-2)


def test_the_gradients_direction_rises_more_than_random_ones():
    table = curve([0.01])
    start = curve([1e-9]).gradient[0]
    assert (table.gradient - start > 2 * (table.random - start).abs()).all()


def test_the_network_is_left_as_it_was():
    detector = build_detector(Backbone("test_convnext", 32), seed=0).train()
    images, labels = torch.zeros(2, 3, 32, 32), torch.tensor([0, 1])
    rise(detector, images, labels, [0.1])
    assert detector.training
    assert not any(module._forward_hooks for module in detector.modules())


# --- the halves of γ --------------------------------------------------------------------------------------------------

SMALL = params.load(scale="laptop").sizes.backbones


def shares(name: str, kwargs: dict, mode: str = "training"):
    """‖γ_μ‖² / ‖γ‖² of every site and of all, of the network at random weights."""
    detector = build_detector(Backbone(name, 64, kwargs), seed=0)
    found = halves(detector, *faces(64))
    return found[found["mode"] == mode].set_index("site")["mu_share"]


def test_a_shared_shift_of_means_cancels_before_batch_norm():
    """‖γ_μ‖ is not zero to the bit: the border of a padded convolution sees less of the constant."""
    assert shares("test_resnet", {"stem_width": 8, "channels": [16, 32, 48, 96]})["all"] < 0.01
    assert shares("resnet10t", {"stem_width": 16, "channels": [24, 48, 96, 192]})["all"] < 0.01


def test_in_evaluation_mode_it_does_not_cancel():
    assert shares("test_resnet", {"stem_width": 8, "channels": [16, 32, 48, 96]}, "evaluation")["all"] > 0.3


def test_in_the_laptops_main_network_it_acts_at_three_sites_of_the_first_stage():
    found = shares(SMALL["main"].name, SMALL["main"].kwargs)
    assert list(found.index) == [*(f"backbone.layer1.{i}" for i in range(3)), "all"]
    assert (found > 0.05).all()


def test_the_halves_are_of_the_gradient_by_finite_differences():
    """∂L/∂Δμ of one channel against the loss with that constant added after the site."""
    detector = build_detector(Backbone("test_convnext", 32), seed=0).double().eval()
    images, labels = faces(32)
    site = detector.backbone.stages[0].blocks[0]
    slopes = []
    for channel in range(site.mlp.fc2.out_features):
        losses = []
        for step in (-1e-4, 1e-4):
            added = torch.zeros(1, site.mlp.fc2.out_features, 1, 1, dtype=torch.float64)
            added[0, channel] = step
            handle = site.register_forward_hook(lambda _, __, output, added=added: output + added)
            losses.append(torch.nn.functional.cross_entropy(detector(images.double()).logits, labels).item())
            handle.remove()
        slopes.append((losses[1] - losses[0]) / 2e-4)
    found = halves(detector, images.double(), labels).set_index(["mode", "site"])
    assert found.loc[("evaluation", "all"), "mu"] == pytest.approx(float(np.linalg.norm(slopes)), rel=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_measuring_the_halves_leaves_mode_weights_and_running_statistics(training):
    detector = build_detector(Backbone("test_resnet", 64), seed=0).train(training)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    halves(detector, *faces(64))
    assert detector.training is training
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())
