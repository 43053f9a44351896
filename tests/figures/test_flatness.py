"""The measured rise of the loss along γ follows Eq. 11 for small r and beats random directions."""

import numpy as np
import torch

from dfrepro.figures.flatness import rise
from dfrepro.nets.detector import Backbone, build_detector


def curve(radii):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 32, 32), generator=generator).float()
    labels = torch.randint(0, 2, (16,), generator=generator)
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
