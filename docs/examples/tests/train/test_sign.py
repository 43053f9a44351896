"""The sign direction: every channel moves equally far, uphill, and the joint norm is still r."""

import pytest
import torch

from dfrepro.train.steps import StepRule


def test_every_entry_moves_by_r_over_the_root_of_their_number_and_uphill():
    gammas = [torch.randn(2, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([[3.0], [-0.01]])]
    moved = StepRule(alpha=1, r=0.3, direction="sign").deltas(gammas, index=0)
    for gamma, delta in zip(gammas, moved, strict=True):
        torch.testing.assert_close(delta, 0.3 / 12**0.5 * gamma.sign())
    assert float(torch.cat([delta.flatten() for delta in moved]).norm()) == pytest.approx(0.3)
