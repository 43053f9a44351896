"""FPG's pictures: what is shown of a refinement is what the refinement does."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dfrepro import params
from dfrepro.figures.fpg import pictures as look
from dfrepro.methods.fpg import run as runs

SIDE = 32


@pytest.fixture(scope="module")
def run():
    spec = params.load(scale="smoke", grid="full").spec("fpg-full", 0)
    return SimpleNamespace(meta={"spec": spec}, detector=lambda: runs.build(spec).eval())


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    picture = lambda n: torch.randint(60, 200, (n, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8)  # noqa: E731
    mask = torch.zeros(4, SIDE, SIDE, dtype=torch.uint8)
    mask[1::2, 4:28, 4:28] = 128  # a mask of 1 could not rise
    return {"image": picture(4), "label": torch.tensor([0, 1, 0, 1]), "mask": mask, "source": picture(4)}


def test_the_refined_fake_is_the_real_where_the_new_mask_is_empty(run, batch):
    steps = look.shape_steps(run, batch)
    assert steps.refined_mask.any()
    for real, fake, new, refined in zip(steps.real, steps.fake, steps.refined_mask, steps.refined):
        if new.any():
            assert (refined[new == 0] == real[new == 0]).all()
        else:  # erosion left nothing: the fake stays as it is
            assert (refined == fake).all()
    assert steps.region.dtype == bool
    assert steps.cam.max() <= 1


def test_one_perturbation_has_one_sign_and_the_other_one_a_pixel(run, batch):
    found = look.perturbations(run, batch)
    inside = batch["mask"][1].numpy() > 0
    assert len(set(found["unified"].signs[inside])) == 1
    assert set(found["discrete"].signs[inside]) == {-1.0, 1.0}
    for one in found.values():
        assert not one.signs[~inside].any()
        assert not one.change[~inside].any()
        assert 0 < np.abs(one.change).max() < 2  # ε = .01 of a difference of at most 140 grey levels


def test_without_a_step_the_batch_comes_back_as_it_was(run, batch):
    same = look.refined_with(run, batch, order="M", eps=0.0)
    assert torch.equal(same["image"], batch["image"].float())
