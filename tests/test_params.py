"""A mistake in the parameters is one error that names the key, the place and the remedy."""

import shutil
from dataclasses import asdict

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT

RAW = yaml.safe_load((ROOT / "params.yaml").read_text())


def load(tmp_path, **changes):
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(RAW | changes))
    if not (tmp_path / "scales").exists():
        (tmp_path / "scales").symlink_to(ROOT / "scales")
    return params.load(tmp_path / "params.yaml", scale="laptop")


@pytest.mark.parametrize(
    ("changes", "key", "remedy"),
    [
        ({"sedes": [1]}, "sedes", "'seeds'"),
        ({"grid": "big"}, "grid", "'core' or 'full'"),
        ({"seeds": [0, 0]}, "seeds", "each given once"),
        ({"seeds": []}, "seeds", "at least one"),
        ({"seeds": [-1]}, "seeds.0", "greater than or equal to 0"),
        ({"seeds": "five"}, "seeds", "tuple"),
        ({"runs": {"x": {"step": {"alpha": 1.3}}}}, "runs.x.step.alpha", "less than or equal to 1"),
        ({"runs": {"x": {"step": {"alpha": 0.8, "beta": 0.5}}}}, "runs.x.step", "at most 1"),
        ({"runs": {"x": {"step": {"alfa": 1}}}}, "runs.x.step.alfa", "'alpha'"),
        ({"runs": {"x": {"data": {"dataset": "ffp-c23"}}}}, "runs.x.data.dataset", "'ffpp-c23'"),
        ({"runs": {"x": {"tests": ["cdf9"]}}}, "runs.x.tests", "cdfv2"),
        ({"runs": {"x": {"detector": {"backbone": "resnt"}}}}, "runs.x.detector.backbone", "'resnet'"),
        ({"runs": {"x": {"training": {"lrr": 1}}}}, "lrr", "'lr'"),
        ({"runs": {"x": {"training": {"lr": -1}}}}, "lr", "greater than 0"),
        ({"datasets": {"ffpp-c23": {"layout": "ffpp", "root": "fpp"}}}, "datasets.ffpp-c23.root", "'ffpp'"),
        ({"families": {"f": {"tets": []}}, "runs": {}}, "families.f.tets", "'tests'"),
        ({"runs": {"x": {"family": "pell"}}}, "runs.x.family", "'pel'"),
        ({"runs": "many"}, "runs", "dict"),
        ({"sizes": {}}, "sizes", "scales/<scale>.yaml"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path, changes, key, remedy):
    with pytest.raises(WorkbookError) as error:
        load(tmp_path, **changes)
    assert key in str(error.value)
    assert remedy in str(error.value)


def test_a_missing_key_a_broken_file_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "scales").symlink_to(ROOT / "scales")
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump({key: value for key, value in RAW.items() if key != "roots"}))
    with pytest.raises(WorkbookError, match="roots is missing"):
        params.load(file)
    file.write_text("seeds: [0")
    with pytest.raises(WorkbookError, match="not valid YAML"):
        params.load(file)
    with pytest.raises(WorkbookError, match="no such file"):
        params.load(tmp_path / "absent.yaml")


def test_an_unknown_scale_lists_the_known_ones():
    with pytest.raises(WorkbookError, match="must be one of smoke, laptop, study, paper"):
        params.load(scale="huge")


def test_yaml_tags_that_would_run_code_are_refused(tmp_path):
    (tmp_path / "params.yaml").write_text("seeds: !!python/object/apply:os.system ['true']")
    with pytest.raises(WorkbookError, match="not valid YAML"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("scale", ["smoke", "laptop", "study", "paper"])
def test_every_committed_scale_loads_and_gives_every_run_a_spec(scale):
    p = params.load(scale=scale)
    for run in p.runs:
        spec = p.spec(run, 0)
        assert spec["backbone"]["image_size"] > 0
        assert spec["training"]["epochs"] >= 1


def test_a_run_has_all_of_its_family_but_what_it_says_itself(tmp_path):
    family = {"data": {"dataset": "ffpp-c40", "fakes": "sbi"}, "step": {"alpha": 0.5}, "tests": ["dfd", "wdf"]}
    run = {"family": "f", "data": {"fakes": "dataset"}, "step": {"beta": 0.5}, "tests": ["cdfv2"]}
    given = load(tmp_path, families={"f": family}, runs={"x": run, "y": {"family": "f"}}, maps={})
    x, y = given.run("x"), given.run("y")
    assert (x.data.dataset, x.data.fakes) == ("ffpp-c40", "dataset")
    assert (x.step.alpha, x.step.beta, x.tests) == (0.5, 0.5, ("cdfv2",))
    assert (y.data.fakes, y.step.beta, y.tests) == ("sbi", 0, ("dfd", "wdf"))


def test_dvc_changes_nothing_of_params_yaml_but_the_parameter_that_it_is_told_to(tmp_path):
    """`dvc exp run -S` writes the file and every list of it anew: what it would fold, move or drop is written so that
    it stays, also when it does so again (a comment after a list goes with the list)."""
    file, before = tmp_path / "params.yaml", (ROOT / "params.yaml").read_text()
    file.write_text(before)
    for alpha in ("+runs.pim-df.step.beta=0", "runs.pim-df.step.beta=0.1", "seeds=[1]"):
        apply_overrides(file, [alpha])
    after = before.replace("seeds:\n- 0\n", "seeds:\n- 1\n")
    assert after != before
    pim = "  pim-df:\n    family: plain\n    data: {manipulations: [Deepfakes]}\n    step: {alpha: 1"
    assert after.count(pim) == 1
    assert file.read_text() == after.replace(pim, f"{pim}, beta: 0.1")
    assert max(map(len, before.splitlines())) <= 120


def test_parameters_are_frozen():
    p = params.load(scale="smoke")
    with pytest.raises(ValueError, match="frozen"):
        p.grid = "full"


def test_the_core_grid_leaves_rows_out_and_the_full_grid_none():
    core, full = params.load(scale="laptop"), params.load(scale="laptop", grid="full")
    assert 0 < sum(core.in_grid(run) for run in core.runs) < len(core.runs)
    assert all(full.in_grid(run) for run in full.runs)


def test_a_run_in_both_files_is_an_error_and_so_is_a_word_in_the_wrong_one(tmp_path):
    shutil.copytree(ROOT / "scales", tmp_path / "scales")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "params.yaml").write_text("runs:\n  erm-df: {}\n")
    with pytest.raises(WorkbookError, match=r"runs\.erm-df is declared twice"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "grid" / "params.yaml").write_text("seeds: [1]\n")
    with pytest.raises(WorkbookError, match="seeds is not a parameter"):
        params.load(tmp_path / "params.yaml")


def test_a_root_is_the_users_folder_or_the_stand_ins_tree():
    standin = params.load(scale="smoke")
    assert standin.root("ffpp-c23") == standin.artifacts / "standin" / "FaceForensics++"
    mine = params.load(scale="smoke", roots=RAW["roots"] | {"ffpp": "~/FaceForensics++"})
    assert mine.root("ffpp-c23").is_absolute()
    assert mine.root("dfd") == mine.root("ffpp-c23")


def test_a_recipe_may_say_another_step_rule_for_its_runs_and_no_unknown_one():
    p = params.load(scale="laptop")
    assert p.run("fiausa-full").step.beta == 1
    assert p.spec("fiausa-full", 0)["step"]["beta"] == p.sizes.recipes["fia_usa"]["step"]["beta"] == 0
    assert params.load(scale="paper").spec("fiausa-full", 0)["step"]["beta"] == 1
    wrong = p.sizes.model_copy(update={"recipes": p.sizes.recipes | {"fia_usa": {"step": {"gamma": 1}}}})
    with pytest.raises(WorkbookError, match="gamma"):
        params.Params.model_validate(p.model_dump() | {"sizes": wrong})


def test_a_set_without_a_copy_is_no_test_set_and_says_where_to_declare_one():
    p = params.load(scale="smoke")
    declared = p.run("fiausa-full").tests
    assert {"cdfv1", "df40"} <= set(declared)
    assert p.tests("fiausa-full") == tuple(test for test in declared if test not in ("cdfv1", "df40"))
    with pytest.raises(WorkbookError, match=r"roots.df40: there is no copy of df40.*licensed copy"):
        p.root("df40")
    mine = params.load(scale="smoke", roots=RAW["roots"] | {"df40": "/data/DF40"})
    assert mine.tests("fiausa-full") == tuple(test for test in declared if test != "cdfv1")
    assert str(mine.root("df40")) == "/data/DF40"
    with pytest.raises(WorkbookError, match="the stand-in has no such set"):
        params.load(scale="smoke", roots=RAW["roots"] | {"df40": "standin"}).root("df40")


def test_the_reals_of_a_set_are_those_of_a_declared_set(tmp_path):
    assert params.load(scale="smoke").datasets["df40"].reals == "ffpp-c23"
    odd = {"df40": {"layout": "df40", "root": "df40", "reals": "ffpp"}}
    with pytest.raises(WorkbookError, match="datasets.df40.reals"):
        load(tmp_path, datasets=RAW["datasets"] | odd)


def test_a_recipes_options_change_every_variant_and_a_runs_own_win():
    """FIA-USA's classifier reads the pyramid at paper scale, Table 8's."""
    spec = params.load(scale="paper").spec
    assert spec("fiausa-full", 0)["detector"]["options"] == {"head": "fpn"}
    assert spec("fiausa-sbi", 0)["detector"]["options"] == {}  # a plain network has no variant
    assert params.load(scale="laptop").spec("fiausa-full", 0)["detector"]["options"] == {}
    run = {"family": "fia_usa", "detector": {"options": {"head": "c5", "normalisation": "signed"}}}
    mine = params.load(scale="paper", runs=RAW["runs"] | {"x": run})
    assert mine.spec("x", 0)["detector"]["options"] == {"head": "c5", "normalisation": "signed"}


def test_a_recipe_has_its_own_number_of_frames_a_test_video():
    p = params.load(scale="paper")
    assert p.evaluation("pel-full").frames == p.sizes.recipes["pel"]["frames"] == 50
    assert p.evaluation("erm-ffpp").frames == p.sizes.evaluation.frames == 32
    assert all(p.evaluation(run).frames <= p.sizes.faces.n_frames for run in p.runs)
    assert all(p.training(run).frames <= p.sizes.faces.n_frames for run in p.runs)


def test_defaults_that_decide_results_are_what_they_were():
    """DVC sees params.yaml and scales/*.yaml, but not what neither of them says and dfrepro/params.py fills in.

    Another default would leave results of the former one in place without a word: say it in scales/*.yaml instead, or,
    if it has to be here, change it together with this test and run everything again.
    """
    training = asdict(params.Training(epochs=1, batch=1, frames=1, optimiser="sgd", lr=1))
    assert {key: training[key] for key in training.keys() - {"epochs", "batch", "frames", "optimiser", "lr"}} == {
        "weight_decay": 0.0, "momentum": 0.9, "betas": (0.9, 0.999), "eps": 1e-8, "schedule": "cosine", "warmup": 0.0,
        "images_per_epoch": None, "label_smoothing": 0.0, "validation": 144, "select": "last", "accumulate": 1,
        "workers": 0,
        "precision": "32-true", "channels_last": False, "compile": False,
    }  # fmt: skip
    run = params.Run().model_dump()
    assert run == {
        "family": "", "augment": False, "epochs_factor": 1.0, "conditions": (), "recipe": "", "training": {},
        "tests": ("ffpp-c23", "dfd", "cdfv2", "dfdc", "dfdcp", "wdf"),
        "data": {"dataset": "ffpp-c23", "fakes": "dataset", "forge": {},
                 "manipulations": ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")},
        "detector": {"kind": "backbone", "backbone": "main", "variant": "", "options": {}, "maps": ""},
        "step": {"alpha": 0.0, "beta": 0.0, "r": 0.1, "r_prime": 0.05, "direction": "gradient", "sites": (),
                 "per_site": False},
    }  # fmt: skip
    assert params.Reconstruction().model_dump() == {"steps": 600, "autoencoder": None, "restorer": None}
    assert {key: value for key, value in params.Evaluation().model_dump().items() if key != "n_bootstrap"} == {
        "corrupted": 1.0,
        "batch": 256, "frames": 32,
    }  # fmt: skip
    assert {name: field.default for name, field in params.Standin.model_fields.items() if not field.is_required()} == {
        "seed": 0, "size": 224,
    }  # fmt: skip
    assert params.Maps(kind="focus").model_dump() == {"kind": "focus", "run": "", "reading": "", "shuffled": False}
    assert asdict(params.Backbone(name="x", image_size=32)) == {
        "name": "x", "image_size": 32, "kwargs": {}, "pretrained": False,
    }  # fmt: skip
