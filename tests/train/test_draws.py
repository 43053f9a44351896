"""What a run's settings make of its draws: augmentation of what the network sees, the hulls of its pseudo-fakes."""

from dataclasses import asdict
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dfrepro import params
from dfrepro.data.dataset import Sample, centre
from dfrepro.errors import WorkbookError
from dfrepro.train.draws import Augmented, training_data
from dfrepro.train.fit import TrainConfig
from dfrepro.train.steps import StepRule

FACE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
SAMPLE = Sample(FACE, 1, np.zeros((81, 2), np.float32), FACE[..., 0])


def unchanged(pictures: dict, rng: np.random.Generator) -> dict:
    return pictures


@pytest.mark.parametrize("size", [32, 16])
def test_an_augmentation_is_of_the_networks_window_at_the_networks_size(size):
    rng = np.random.default_rng(0)
    made = Augmented(unchanged, window=32, size=size)(SAMPLE, rng)
    seen = centre(FACE, 32)
    expected = seen if size == 32 else cv2.resize(seen, (16, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(made.image, expected)
    assert made.mask is not None
    assert made.mask.shape == (size, size)


def test_without_a_window_the_stored_face_is_augmented():
    made = Augmented(unchanged)(SAMPLE, np.random.default_rng(0))
    assert made.image.shape == FACE.shape


def self_blended(hulls: str) -> dict:
    spec = params.load(scale="smoke").spec("sam-sbi", 0)
    return spec | {"data": spec["data"] | {"forge": {"hulls": hulls}}}


def test_sites_and_the_norm_of_each_are_settings_of_a_runs_step():
    step = params.Step(alpha=1, sites=["backbone.stages.1"], per_site=True)
    rule = StepRule(**asdict(step))
    assert list(rule.sites) == ["backbone.stages.1"]
    assert rule.per_site


def test_micro_batches_are_a_setting_of_a_run():
    p = params.load(scale="smoke")
    runs = p.runs | {"erm-df": p.run("erm-df").model_copy(update={"training": {"accumulate": 4}})}
    spec = p.model_copy(update={"runs": runs}).spec("erm-df", 0)
    assert TrainConfig(**spec["training"]).accumulate == 4


@pytest.mark.parametrize("hulls", ["convex", "four"])
def test_the_hulls_of_self_blending_are_a_setting_of_a_run(store, hulls):
    data = training_data(self_blended(hulls), SimpleNamespace(store=store))
    assert data.transform.forge.hulls == hulls


def test_an_unknown_hull_is_an_error(store):
    with pytest.raises(WorkbookError, match="round"):
        training_data(self_blended("round"), SimpleNamespace(store=store))
