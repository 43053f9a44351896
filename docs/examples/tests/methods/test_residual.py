"""The residual detector: what it cannot see, and that its weights follow from the seed."""

import torch

from dfrepro import params
from dfrepro.jobs.kinds import method_of

DECLARED = params.load(scale="smoke").spec("residual", 0)


def test_a_brighter_picture_is_the_same_picture():
    detector = method_of(DECLARED).build(DECLARED).eval()
    images = torch.randint(0, 200, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    torch.testing.assert_close(detector(images + 40).logits, detector(images).logits, rtol=1e-4, atol=1e-4)


def test_the_seed_decides_the_weights():
    one, same, other = (method_of(DECLARED).build(DECLARED | {"seed": seed}) for seed in (0, 0, 1))
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not all(torch.equal(a, c) for a, _, c in pairs)
