"""A shared start: the weights that all arms of a seed begin with, declared by a scale, trained once a seed."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.jobs import pipeline
from dfrepro.jobs.kinds import method_of
from dfrepro.jobs.train import started, train_run
from dfrepro.params import Params, ScaleParams
from dfrepro.train.ingredients import Inputs
from tests.synthetic import noise_store

pytestmark = pytest.mark.usefixtures("one_thread")
FRAMES = [
    (kind, f"{video:03d}", frame, "train")
    for kind in ("original", "Deepfakes")
    for video in range(6)
    for frame in (0, 1)
]


def with_start(tmp_path, **backbones) -> Params:
    """The smoke scale, where `pel`, `fia_usa`, `fpg` and `focus` begin from a start of their network."""
    p = params.load(scale="smoke", grid="full")
    sizes = p.sizes.model_dump()
    for role in ("pel", "fia_usa", "fpg", "focus"):
        sizes["backbones"][role]["pretrained"] = "start:small"
    sizes["starts"] = {"small": {"backbone": "pel", "training": {"epochs": 1, "batch": 8, "images_per_epoch": 16}}}
    sizes["backbones"] |= backbones
    p = Params(**p.model_dump() | {"sizes": ScaleParams(**sizes)})
    return p.model_copy(update={"artifacts": tmp_path})


@pytest.fixture(scope="module")
def p(tmp_path_factory) -> Params:
    p = with_start(tmp_path_factory.mktemp("artifacts"))
    noise_store(places.faces_folder(p, "ffpp-c23"), FRAMES, None, size=p.sizes.faces.size)
    pipeline.start(p, "small", 0)
    return p


@pytest.mark.parametrize("run", ["fiausa-sbi", "pel-full", "focus-eval-none", "fpg-plain", "fpg-full"])
def test_every_arm_begins_with_the_starts_weights_and_a_classifier_of_its_own(p, run):
    trained = load_file(places.start_folder(p, "small", 0) / "model.safetensors")
    spec = started(p.spec(run, 0), inputs(p))
    own = method_of(spec).build(spec).state_dict()
    shared = {
        name: value
        for name, value in own.items()
        if (key := "backbone." + name.split("backbone.")[-1].split("network.")[-1]) in trained
        and "classifier" not in name and trained[key].shape == value.shape
    }  # fmt: skip
    assert len(shared) > 50
    assert all(
        torch.equal(v, trained["backbone." + n.split("backbone.")[-1].split("network.")[-1]]) for n, v in shared.items()
    )


def inputs(p: Params) -> Inputs:
    return Inputs(pipeline.inputs(p, "fpg-plain", 0).store, {"start": places.start_folder(p, "small", 0)})


def test_a_start_has_seen_reals_and_their_blends_alone(p):
    spec = p.start_spec("small", 3)
    assert spec["data"]["fakes"] == "sbi"
    assert spec["seed"] == 3
    assert spec["backbone"]["pretrained"] is False


def test_a_checkpoint_says_what_it_began_from_and_no_path(p, tmp_path):
    spec = p.spec("fpg-plain", 0)
    spec |= {"training": spec["training"] | {"epochs": 1, "batch": 8, "images_per_epoch": 8}}
    train_run(spec, pipeline.inputs(p, "fpg-plain", 0), tmp_path / "run", resume=tmp_path / "resume")
    said = json.loads((tmp_path / "run" / "meta.json").read_text())["spec"]
    assert said["start"] == p.start_spec("small", 0)
    assert said["backbone"]["pretrained"] == "start:small"
    assert str(p.artifacts) not in (tmp_path / "run" / "meta.json").read_text()


def test_a_start_that_is_not_there_is_named_with_its_remedy(p):
    with pytest.raises(WorkbookError, match=r"the start are not there|start.*dvc repro"):
        train_run(
            p.spec("fpg-plain", 7), pipeline.inputs(p, "fpg-plain", 7), p.artifacts / "x", resume=p.artifacts / "y"
        )


def test_an_undeclared_start_is_refused_when_parameters_are_read(tmp_path):
    main = {"name": "test_resnet", "image_size": 32, "pretrained": "start:nowhere"}
    with pytest.raises(ValueError, match="nowhere"):
        with_start(tmp_path, main=main)


def test_a_scale_without_starts_makes_a_folder_that_says_so(p):
    none = p.model_copy(update={"sizes": p.sizes.model_copy(update={"starts": {}})})
    pipeline.start(none, "main", 0)
    assert (places.start_folder(none, "main", 0) / "none.json").exists()


def test_every_run_whose_network_has_a_start_depends_on_it_and_dvc_makes_every_declared_one():
    stages = {
        f"{folder}{name}": stage
        for folder in ("", "grid/")
        for name, stage in yaml.safe_load((ROOT / folder / "dvc.yaml").read_text())["stages"].items()
    }
    study = params.load(scale="study", grid="full")
    assert set(stages["start"]["matrix"]["name"]) == set(study.sizes.starts)
    for name, stage in stages.items():
        if name.removeprefix("grid/").startswith("train"):
            begins = {study.sizes.backbones[study.run(run).detector.backbone].start for run in stage["matrix"]["run"]}
            for start in begins - {""}:
                assert f"artifacts/${{scale}}/starts/{start}/${{item.seed}}" in stage["deps"], name
