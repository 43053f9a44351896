"""The sliders show what the probe and Eq. 9 do to a batch, and a picture where there is no kernel."""

import base64
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from dfrepro.evaluate.probe import StatisticShift
from dfrepro.figures import sliders
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.report import plots


@pytest.fixture(scope="module")
def run():
    detector = build_detector(Backbone("test_convnext", 32), seed=0).eval()
    with torch.no_grad():
        detector.backbone.get_classifier().weight.mul_(100)  # as sure of itself as a trained network
    return SimpleNamespace(detector=lambda: detector, window=32)


@pytest.fixture(scope="module")
def faces():
    return torch.randint(0, 256, (8, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])


def loss_of(scores) -> float:
    return functional.binary_cross_entropy(torch.as_tensor(scores), LABELS.double()).item()


def test_at_one_and_at_nought_the_network_is_the_one_that_was_trained(run, faces):
    batch = sliders.Batch(run, faces, LABELS)
    with torch.no_grad():
        plain = run.detector()(faces[..., 4:36, 4:36]).margins.sigmoid().numpy()
    np.testing.assert_allclose(batch.scores(StatisticShift(1, 1).on(batch.detector)), plain, atol=1e-6)
    np.testing.assert_allclose(batch.along_gamma(0.0), plain, atol=1e-6)
    assert not any(module._forward_hooks for module in batch.detector.modules())


def test_along_gamma_the_batchs_own_loss_rises(run, faces):
    batch = sliders.Batch(run, faces, LABELS)
    losses = [loss_of(batch.along_gamma(r)) for r in (0.0, 0.01, 0.02)]
    assert losses[0] < losses[1] < losses[2]


def test_turning_a_slider_draws_the_batch_anew_and_the_still_is_the_first_setting(run, faces, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    sliders.statistics({"ERM": run}, faces, LABELS)
    sliders.radius({"ERM": run, "PIM": run}, faces, LABELS)
    for data, names in zip(shown, (["μ ×", "σ ×"], ["r"]), strict=True):
        box = widget(data)
        controls, image = box.children
        assert [slider.description for slider in controls.children] == names
        first = bytes(image.value)
        assert base64.b64decode(data["image/png"]) == first
        assert first.startswith(b"\x89PNG")
        controls.children[0].value = controls.children[0].max
        assert bytes(image.value) != first


def widget(data):
    from ipywidgets import Widget
    from ipywidgets.widgets.widget import _instances

    found = _instances[data["application/vnd.jupyter.widget-view+json"]["model_id"]]
    assert isinstance(found, Widget)
    return found


def test_every_face_stands_at_its_score_on_its_own_side_of_the_line():
    from matplotlib.figure import Figure

    pictures = np.arange(1, 5, dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 8, 3), 10, np.uint8)
    labels, scores = np.array([0, 0, 1, 1]), np.array([0.02, 1.0, 0.55, 0.57])
    axis = Figure().subplots()
    sliders.face_histogram(axis, pictures, labels, scores)
    sheet = axis.images[0].get_array()
    tile = 8 + 6
    found = {}
    for value in (10, 20, 30, 40):
        y, x = (int(v.mean()) // tile for v in np.nonzero((sheet[..., :3] == value).all(-1) & (sheet[..., 3] == 255)))
        found[value] = (y, x // sliders.WIDE)
    assert found == {10: (1, 0), 20: (1, 9), 30: (0, 5), 40: (0, 5)}  # fakes above, reals below; the bin of the score
    assert axis.get_xlim() == (0, 1)
    assert {text.get_color() for text in axis.texts} == {plots.REAL, plots.FAKE}
