"""Grad-CAM agrees with the grad-cam library, and keeps the scale that the library throws away."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from dfrepro.errors import WorkbookError
from dfrepro.nets.cam import grad_cam, share_inside
from dfrepro.nets.detector import Backbone, build_detector


class Logits(torch.nn.Module):
    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, images):
        return self.detector.backbone(self.detector.preprocess(images))


@pytest.fixture
def images():
    return torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)).float()


def test_it_equals_the_library_up_to_the_librarys_rescaling(images):
    detector = build_detector(Backbone("test_resnet", 64), seed=0).eval()
    ours = grad_cam(detector, images)
    with GradCAM(model=Logits(detector), target_layers=[detector.backbone.layer4]) as library:
        theirs = library(images, [ClassifierOutputTarget(1)] * len(images))
    small = torch.nn.functional.interpolate(ours[:, None], (2, 2), mode="area")
    theirs_small = torch.nn.functional.interpolate(torch.from_numpy(theirs)[:, None], (2, 2), mode="area")
    for a, b in zip(small.flatten(1), theirs_small.flatten(1)):
        assert np.corrcoef(a, b)[0, 1] > 0.99


def test_it_equals_the_definition(images):
    detector = build_detector(Backbone("test_resnet", 64), seed=1).eval()
    logits, _, maps = detector(images)
    slopes = torch.autograd.grad(logits[:, 1].sum(), maps)[0]
    for i in range(len(images)):
        cam = sum(slopes[i, c].mean() * maps[i, c] for c in range(maps.shape[1])).clamp_min(0)
        assert torch.allclose(grad_cam(detector, images)[i].max(), cam.max(), rtol=0.3)
        assert torch.allclose(grad_cam(detector, images)[i].mean(), cam.mean(), rtol=1e-4)


def test_the_mode_and_the_gradients_are_left_as_they_were(images):
    detector = build_detector(Backbone("test_resnet", 64), seed=0).train()
    grad_cam(detector, images)
    assert detector.training
    assert all(parameter.grad is None for parameter in detector.parameters())


def test_a_network_whose_patches_reach_no_logit_at_any_stage_is_an_error(images):
    detector = build_detector(Backbone("test_vit", 64, {"img_size": 64}), seed=0)
    detector.backbone.feature_info = []
    with pytest.raises(WorkbookError, match="depend on no map"):
        grad_cam(detector, images)


def test_share_inside_is_the_mass_under_the_mask_and_nan_for_an_empty_map():
    cam = np.zeros((2, 4, 4))
    cam[0, 0, 0], cam[0, 3, 3] = 3, 1
    mask = np.zeros((2, 4, 4))
    mask[:, 0, 0] = 1
    shares = share_inside(cam, mask)
    assert shares[0] == 0.75
    assert np.isnan(shares[1])


def test_an_earlier_stage_is_taken_where_the_last_has_too_few_positions(images):
    detector = build_detector(Backbone("test_convnext", 64), seed=0)
    fine = grad_cam(detector, images, positions=7)
    coarse = grad_cam(detector, images, positions=1)
    assert detector(images).maps.shape[-1] == 2
    assert fine.shape == coarse.shape
    assert (fine.diff(dim=-1).abs() > 0).float().mean() > 0
    assert not torch.allclose(fine, coarse)
    assert not any(module._forward_hooks for module in detector.modules())
