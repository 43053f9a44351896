"""The statistic-shift probe of Table II; and corruptions by the names that runs give them."""

import numpy as np
import pytest
import torch
from torch import nn

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.corruptions import corrupt
from dfrepro.evaluate.probe import Corrupted, StatisticShift, corruptions, under
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.pim import EPS

SIZES = {"test_convnext": {}, "test_resnet": {}, "test_efficientnet": {}, "test_vit": {"img_size": 64}}


def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class One(nn.Module):
    def __init__(self):
        super().__init__()
        self.site = nn.Identity()

    def forward(self, x):
        return self.site(x)


def test_mean_and_deviation_of_every_channel_of_every_image_are_scaled():
    h = torch.randn(3, 5, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 2
    net = One()
    with StatisticShift(1.2, 0.65, ["site"]).on(net):
        shifted = net(h)
    torch.testing.assert_close(shifted.mean((2, 3)), 1.2 * h.mean((2, 3)))
    torch.testing.assert_close(shifted.std((2, 3)), 0.65 * h.std((2, 3)))
    mu, sigma = h.mean((2, 3), keepdim=True), (h.var((2, 3), keepdim=True, correction=0) + EPS).sqrt()
    torch.testing.assert_close(shifted, (h - mu) / sigma * (0.65 * sigma) + 1.2 * mu)  # Eq. 6 and 7


def test_it_is_a_shift_of_a_fifth_up_and_a_third_down_unless_told():
    assert StatisticShift() == StatisticShift(mu=1.2, sigma=0.65)


def test_the_effect_compounds_over_sites():
    net = nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity())
    h = torch.rand(2, 3, 4, 4) + 1
    with StatisticShift(1.2, 0.65, ["0", "1", "2"]).on(net):
        torch.testing.assert_close(net(h).mean((2, 3)), 1.2**3 * h.mean((2, 3)))


@pytest.mark.parametrize("name", SIZES)
def test_it_changes_the_output_while_it_is_on_and_nothing_after(name):
    detector = build_detector(Backbone(name, 64, SIZES[name]), seed=0).eval()
    with torch.no_grad():
        plain = detector(images())
        with StatisticShift().on(detector):
            assert not torch.allclose(detector(images()).features, plain.features)
        after = detector(images())
    assert torch.equal(after.logits, plain.logits)
    assert torch.equal(after.features, plain.features)


def test_it_is_released_when_something_fails_inside():
    detector = build_detector(Backbone("test_resnet", 64), seed=0)
    with pytest.raises(RuntimeError, match="inside"), StatisticShift().on(detector):
        raise RuntimeError("inside")
    assert not any(module._forward_hooks for module in detector.modules())


def test_a_shift_by_one_is_none():
    detector = build_detector(Backbone("test_convnext", 64), seed=0).eval()
    with torch.no_grad(), under(StatisticShift(1.0, 1.0), detector):
        shifted = detector(images()).logits
    with torch.no_grad(), under(None, detector):
        torch.testing.assert_close(shifted, detector(images()).logits)


# --- corruptions ------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
ROWS, CLIPS = np.array([3, 4, 5, 20, 21, 22]), np.array([0, 0, 0, 1, 1, 1])


def test_a_bare_name_stands_for_its_five_levels_and_a_numbered_one_for_itself():
    assert list(corruptions(["blur", "gaussian-noise-3"])) == [*(f"blur-{n}" for n in range(1, 6)), "gaussian-noise-3"]
    assert corruptions(["gaussian-noise-3"])["gaussian-noise-3"] == Corrupted("gaussian-noise", 3)


@pytest.mark.parametrize("name", ["blurr", "blur-6", "blur-0", "gaussian", "3"])
def test_an_unknown_condition_is_an_error_that_names_it(name):
    with pytest.raises(WorkbookError, match=f"no condition '{name}'"):
        corruptions([name])


@pytest.mark.parametrize("name", ["noise", "blocks", "salt-and-pepper"])
def test_a_face_is_corrupted_by_its_row_whatever_stands_beside_it(name):
    probe = Corrupted(name, 4)
    whole = probe(FACES, ROWS, CLIPS)
    assert (whole != FACES).any()
    np.testing.assert_array_equal(probe(FACES[2:4], ROWS[2:4], CLIPS[2:4]), whole[2:4])
    np.testing.assert_array_equal(whole[3], corrupt(FACES[3:4], name, 4, first=20)[0])


def test_video_compression_takes_each_video_as_a_clip_of_its_own():
    probe = Corrupted("video", 3)
    whole = probe(FACES, ROWS, CLIPS)
    np.testing.assert_array_equal(whole[:3], corrupt(FACES[:3], "video", 3))
    np.testing.assert_array_equal(whole[3:], corrupt(FACES[3:], "video", 3))
