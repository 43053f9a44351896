"""Operations are counted right, grouped convolutions included."""

import pytest
import torch
from torch import nn

from bench.measure import operations


@pytest.mark.parametrize(("channels", "groups"), [(6, 1), (6, 2), (6, 6)])
def test_a_convolution_and_its_gradients_cost_three_times_its_products(channels, groups):
    conv = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, groups=groups)
    x = torch.randn(2, channels, 8, 8, requires_grad=True)
    with operations() as counted:
        conv(x).sum().backward()
    products = 2 * (2 * channels) * 4 * 4 * (channels // groups) * 3 * 3  # images, channels, positions, window
    assert counted.get_total_flops() == 3 * 2 * products


def test_an_input_that_needs_no_gradient_is_not_counted():
    conv = nn.Conv2d(3, 4, 1)
    with operations() as counted:
        conv(torch.randn(1, 3, 5, 5)).sum().backward()
    assert counted.get_total_flops() == 2 * 2 * 4 * 25 * 3
