"""FPG's runs: which layer, which quality target, what is measured, and that a training goes through the refinement."""

import numpy as np
import pytest
import torch

from dfrepro import params
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.jobs.train import load_detector, train_run
from dfrepro.methods.fpg import run as fpg
from dfrepro.methods.fpg.quality import LaplacianQuality, ManifestQuality
from dfrepro.train.ingredients import Inputs
from dfrepro.train.steps import StepRule
from tests.synthetic import noise_store, rectangle

SIZE = 40


pytestmark = pytest.mark.usefixtures("one_thread")


def make_store(path, masks: bool = True, **options) -> FaceStore:
    """Eight videos of two frames a class, two of them tests; the fakes' mask is the left half."""
    frames = [
        (kind, f"{video:03d}", frame, "test" if video > 5 else "train")
        for kind in ("original", "Deepfakes")
        for video in range(8)
        for frame in range(2)
    ]
    half = rectangle(SIZE, slice(None), slice(SIZE // 2)) if masks else None
    return noise_store(path, frames, half, size=SIZE, **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FaceStore:
    return make_store(tmp_path_factory.mktemp("faces") / "store")


def spec(run: str = "fpg-full") -> dict:
    given = params.load(scale="smoke", grid="full").spec(run, 0)
    return given | {"training": given["training"] | {"epochs": 1, "batch": 8, "images_per_epoch": 32}}


def test_grad_cam_reads_the_papers_layer_at_the_papers_size_and_a_finer_one_on_small_faces():
    small = spec()
    large = small | {"backbone": small["backbone"] | {"image_size": 380}}
    assert fpg.variant_of(small).positions == 8
    assert fpg.variant_of(large).positions == 1


@pytest.mark.parametrize("run", ["fpg-full", "fpg-ms", "fpg-discrete", "fpg-random-sign", "fpg-baseline", "fpg-third"])
def test_every_run_differs_from_the_baseline_in_its_refinement_alone(run, store):
    made = fpg.prepare(spec(run), Inputs(store))
    assert (made.refine is None) == (run == "fpg-baseline")
    assert {"mask", "source", "ratio"} <= set(made.data[0])
    weights = fpg.build(spec("fpg-baseline")).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in made.detector.state_dict().items())


def test_the_plain_arm_trains_on_the_same_pairs_and_is_measured_as_the_others(store):
    plain = spec("fpg-baseline") | {"detector": {"kind": "fpg", "backbone": "fpg", "variant": "fpg-plain"}}
    made, full = (fpg.prepare(given, Inputs(store)) for given in (plain, spec()))
    assert made.refine is None
    assert not any("branch" in name or "attention" in name for name in made.detector.state_dict())
    assert torch.equal(made.data[3]["image"], full.data[3]["image"])
    names = {found.metric for found in fpg.measure(made.detector.eval(), plain, {"ffpp": store}, Inputs(store))}
    assert {"mask_share", "saliency_empty"} <= names


def test_an_unknown_variant_names_the_known_ones():
    wrong = spec()
    with pytest.raises(WorkbookError, match="fpg-discrete"):
        fpg.build(wrong | {"detector": wrong["detector"] | {"variant": "fpg"}})


def test_the_quality_is_the_users_where_there_is_any_and_sharpness_else(store, tmp_path):
    assert isinstance(fpg.quality_target(spec(), store), LaplacianQuality)
    scored = make_store(tmp_path / "scored", quality=float)
    target = fpg.quality_target(spec(), scored)
    assert isinstance(target, ManifestQuality)
    rows = scored.manifest.index[scored.manifest.video.isin(["000", "007"])][[0, 2]]
    assert target({"row": torch.tensor(rows.to_numpy())}).tolist() == [0, 1]


def test_scores_for_some_faces_alone_are_an_error(tmp_path):
    partly = make_store(tmp_path / "partly", quality=lambda video: float(video) or float("nan"))
    with pytest.raises(WorkbookError, match="have no quality"):
        fpg.quality_target(spec(), partly)


def test_saliency_is_the_mass_inside_the_true_mask(store, monkeypatch):
    def left_third(detector, images, positions):
        assert positions == 8
        maps = torch.zeros(len(images), *images.shape[-2:])
        maps[:, :, 0] = 3.0  # in the mask
        maps[:, :, -1] = 1.0  # outside
        maps[0] = 0.0  # one map is empty
        return maps

    monkeypatch.setattr("dfrepro.nets.cam.grad_cam", left_third)
    found = fpg.measure(fpg.build(spec()), spec(), {"ffpp-c23": store}, Inputs(store))
    assert {one.dataset for one in found} == {"ffpp"}
    values = {one.metric: one.value for one in found}
    assert values == pytest.approx({"saliency_inside": 0.75, "mask_share": 0.5, "saliency_empty": 0.25})


def test_a_set_without_masks_is_not_measured(tmp_path):
    bare = make_store(tmp_path / "bare", masks=False)
    assert fpg.measure(fpg.build(spec()), spec(), {"cdfv2": bare}, Inputs(bare)) == []


def test_a_run_trains_refined_and_loads_again(store, tmp_path):
    declared = spec()
    last = train_run(declared, Inputs(store), tmp_path / "run", resume=tmp_path / "resume")
    assert np.isfinite(last["loss"])
    assert {"cross_entropy", "similarity", "quality", "refined", "emptied"} <= set(last)
    trained, initial = load_detector(tmp_path / "run").state_dict(), fpg.build(declared).state_dict()
    moved = [name for name, value in trained.items() if not torch.equal(value, initial[name])]
    assert "attention.0.weight" in moved
    assert "branch.regression.weight" in moved
    assert StepRule(**declared["step"], seed=0).plain == 1
