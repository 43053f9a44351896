"""`own` in params.yaml: one entry declares a run with its network and recipe, or a test set, at every scale."""

import shutil

import pytest
import yaml

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT

VIT = {
    "name": "vit_tiny_patch16_224",
    "image_size": 64,
    "kwargs": {"patch_size": 8, "embed_dim": 96, "depth": 1, "num_heads": 3},
}


@pytest.fixture
def declared(tmp_path):
    """declared(runs={...}, datasets={...}): the repository's parameters with these of one's own."""

    def load(scale="smoke", **own):
        raw = yaml.safe_load((ROOT / "params.yaml").read_text()) | {"own": own}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
        if not (tmp_path / "scales").exists():
            shutil.copytree(ROOT / "scales", tmp_path / "scales")
        return params.load(tmp_path / "params.yaml", scale=scale)

    return load


@pytest.mark.parametrize("scale", ["smoke", "laptop", "study", "paper"])
def test_a_network_that_is_given_in_full_is_known_at_every_scale(declared, scale):
    p = declared(scale, runs={"my-vit": {"detector": {"backbone": VIT}, "tests": ["ffpp-c23"]}})
    assert p.in_grid("my-vit")
    network = p.spec("my-vit", 0)["backbone"]
    assert (network["name"], network["image_size"]) == (VIT["name"], 64)
    assert network["kwargs"] == {"img_size": 64, **VIT["kwargs"]}
    assert p.spec("erm-df", 0) == params.load(scale=scale).spec("erm-df", 0)  # and no other run is another


def test_a_run_may_take_a_familys_recipe_and_another_network(declared):
    p = declared(runs={"my-fpg": {"family": "fpg", "detector": {"backbone": VIT}}})
    spec = p.spec("my-fpg", 0)
    assert spec["detector"]["kind"] == "fpg"
    assert spec["detector"]["variant"] == "fpg-full"
    assert spec["backbone"]["name"] == VIT["name"]


def test_a_recipe_may_be_given_in_full(declared):
    recipe = {"epochs": 3, "step": {"beta": 0.5}}
    spec = declared(runs={"mine": {"recipe": recipe}}).spec("mine", 0)
    assert spec["training"]["epochs"] == 3
    assert spec["step"]["beta"] == 0.5


def test_a_test_set_is_one_entry_with_its_folder(declared, tmp_path):
    mine = {"layout": "cdfv2", "root": str(tmp_path)}
    p = declared(datasets={"mine": mine}, runs={"my-run": {"tests": ["ffpp-c23", "mine"]}})
    assert p.has("mine")
    assert p.root("mine") == tmp_path
    assert p.tests("my-run") == ("ffpp-c23", "mine")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"runs": {"erm-df": {}}}, "own.runs.erm-df is declared already"),
        ({"datasets": {"dfd": {"layout": "dfd", "root": "/x"}}}, "own.datasets.dfd is declared already"),
        ({"networks": {}}, "own.networks is not a parameter"),
        ({"runs": {"main": {"detector": {"backbone": VIT}}}}, "own.runs.main is called as one of backbones"),
        ({"runs": {"mine": {"detector": {"backbone": VIT | {"nme": 1}}}}}, "nme is not a parameter"),
        ({"runs": {"mine": {"tests": ["mien"]}}}, "runs.mine.tests names 'mien'"),
    ],
)
def test_a_mistake_is_named(declared, own, said):
    with pytest.raises(WorkbookError, match=said):
        declared(**own)
