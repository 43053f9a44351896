"""Someone else's checkpoint is imported, evaluated and scored as README's lines say, and is a run like any other."""

import json
import os
import runpy

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from dfrepro import __main__ as command_line
from dfrepro import params, places, workbook
from dfrepro.data.dataset import centre, select
from dfrepro.errors import WorkbookError
from dfrepro.evaluate.scores import read
from dfrepro.files import ROOT, write_json
from dfrepro.jobs import imports
from dfrepro.jobs.trained import TrainedRun
from dfrepro.methods.imported.kinds import KINDS
from dfrepro.report import card

from ..data.conftest import PORTRAIT
from ..methods.imported.test_fit import in_published_names

write_store = runpy.run_path(str(ROOT / "tests" / "train" / "conftest.py"))["write_store"]
PREDICT = "def predict(crops):\n    return crops.mean((1, 2, 3)) / 255\n"


def main(*words):
    return command_line.main(list(map(str, words)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder whose `files` are checkpoints of others, and a workbook with a few faces of one dataset and no runs."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params, "IMPORTS", folder / "imports")
        patch.setattr(params.Params, "artifacts", property(lambda self: folder / "artifacts"))
        patch.setattr(places, "results_folder", lambda p: folder / "results")
        patch.setattr(params.Params, "tests", lambda self, run: ("ffpp-c23",))
        store = write_store(places.faces_folder(params.load(), "ffpp-c23"))
        write_json(store.path / "report.json", {"counts": {"videos": 20, "skipped": 2}})
        (folder / "files").mkdir()
        write_checkpoints(folder / "files")
        yield folder


def write_checkpoints(folder):
    torch.manual_seed(0)
    b4 = in_published_names(timm.create_model("tf_efficientnet_b4", num_classes=2))
    torch.save({"model": {f"net.{n}": v for n, v in b4.items()}, "optimizer": {}, "epoch": 99}, folder / "FFraw.tar")
    xception = timm.create_model("legacy_xception", num_classes=2).state_dict()
    renamed = {f"module.backbone.{n.replace('fc.', 'last_linear.')}": v for n, v in xception.items()}
    torch.save(renamed, folder / "xception_best.pth")
    (folder / "predict.py").write_text(PREDICT)


WAYS = {
    "sbi": ("FFraw.tar", "--image-size", 64),  # its own 380 pixels are tests/methods/imported's
    "deepfakebench-xception": ("xception_best.pth", "--image-size", 64),
    "python": ("predict.py", "--image-size", 32),
}


@pytest.mark.parametrize("kind", WAYS)
def test_import_evaluate_and_score_in_three_lines(place, kind, capsys, tmp_path):
    name, (file, *words) = f"their-{kind}", WAYS[kind]
    assert main("import", name, place / "files" / file, "--as", kind, *words) == 0
    assert f"evaluate {name}" in capsys.readouterr().out
    held = sorted(path.name for path in (place / "imports" / name).iterdir())
    assert held == ["history.csv", "meta.json", "model.safetensors"]
    assert main("evaluate", name, "--seed", 0) == 0
    p = params.load()
    scores = read(places.scores_folder(p, name, 0))
    assert scores.groupby(["label", "condition"]).size().min() > 0
    assert np.isfinite(scores.margin).all()
    Image.fromarray(PORTRAIT).save(tmp_path / "face.png")
    assert main("score", tmp_path / "face.png", "--run", name, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f"{name}, imported, {KINDS[kind].what}; trained elsewhere" in " ".join(said.split())
    about = json.loads((tmp_path / "out" / "scores.json").read_text())["about"]
    assert about["trained_on"]["data"] == "elsewhere"


def test_the_scores_of_a_predict_are_what_it_says_of_the_centre_of_each_face(place):
    main("import", "plain", place / "files" / "predict.py", "--as", "python", "--image-size", 33, "--crop", 0.125)
    p = params.load()
    run = workbook.Workbook("02_pim", p).run("plain")
    assert isinstance(run, TrainedRun)
    store = workbook.Workbook("02_pim", p).store("ffpp-c23")
    rows = select(store.manifest, split="test", frames=p.evaluation("plain").frames)
    assert run.window == 33  # of 40 with a margin of .25, that with .125: no resizing
    share = centre(store.faces[rows], 33).mean((1, 2, 3)) / 255
    clean = run.scores[run.scores.split == "test"] if "split" in run.scores else run.scores
    np.testing.assert_allclose(np.sort(clean.margin), np.sort(np.log(share / (1 - share))), rtol=1e-4)


def test_a_workbook_takes_it_as_a_run_and_its_other_seeds_as_left_out(place):
    main("import", "once", place / "files" / "predict.py", "--as", "python", "--image-size", 32)
    p = params.load(seeds=[0, 1])
    wb = workbook.Workbook("02_pim", p)
    assert wb.run("once", 1) is None
    found = wb.scores(["once"])
    assert set(found.seed) == {0}
    assert len(wb.run("once").history) == 0
    assert p.trained_on["once"] == "ffpp"
    assert "once" in p.imports
    assert "once" not in p.runs


def test_its_card_says_where_it_comes_from_and_nothing_of_a_training(place):
    main("import", "carded", place / "files" / "FFraw.tar", "--as", "sbi", "--image-size", 64)
    main("evaluate", "carded", "--seed", 0)
    text = card.Card(params.load(), "carded").text()
    for said in ("trained elsewhere", "`FFraw.tar`", "prefix 'net.'", "RetinaFace", "not known here", "| `ffpp` |"):
        assert said in text
    assert "optimiser" not in text
    assert "from scratch" not in text


def test_a_malicious_checkpoint_is_refused_and_leaves_nothing(place, tmp_path, capsys):
    class Command:
        def __reduce__(self):
            return os.system, (f"touch '{tmp_path / 'it ran'}'",)

    torch.save({"model": Command()}, tmp_path / "x.tar")
    assert main("import", "evil", tmp_path / "x.tar", "--as", "sbi") == 2
    assert "its pickle calls posix.system" in capsys.readouterr().err
    assert not (tmp_path / "it ran").exists()
    assert not (place / "imports" / "evil").exists()
    assert "evil" not in params.load().imports


def test_another_import_of_the_name_is_asked_for_and_forgets_the_scores(place, capsys):
    file = place / "files" / "other.py"
    file.write_text(PREDICT)
    main("import", "again", file, "--as", "python", "--image-size", 32)
    main("evaluate", "again", "--seed", 0)
    p = params.load()
    before = read(places.scores_folder(p, "again", 0)).margin
    file.write_text(PREDICT.replace("/ 255", "/ 510"))
    assert main("import", "again", file, "--as", "python", "--image-size", 32) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main("import", "again", file, "--as", "python", "--image-size", 32, "--overwrite") == 0
    after = workbook.Workbook("02_pim", p).run("again").scores.margin
    assert (after < before).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("erm-df", "FFraw.tar", "--as", "sbi"), "is a run of params.yaml"),
        (("../x", "FFraw.tar", "--as", "sbi"), "cannot be called"),
        (("x", "none.tar", "--as", "sbi"), "no such file"),
        (("x", "FFraw.tar", "--as", "sbj"), "One of timm, sbi"),
        (("x", "FFraw.tar", "--as", "timm"), "Name it with --backbone"),
        (("x", "FFraw.tar", "--as", "timm", "--backbone", "resnt"), "no such network"),
        (("x", "FFraw.tar", "--as", "sbi", "--crop", ".4"), "margin of 0.4 a side cannot be cut"),
        (("x", "FFraw.tar", "--as", "sbi", "--mean", "0", "0", "0"), "go together"),
        (("x", "FFraw.tar", "--as", "sbi", "--trained-on", "cdf"), "no dataset 'cdf'"),
        (("x", "FFraw.tar", "--as", "deepfakebench-xception"), "linear layer of 2048 inputs"),
        (("x", "FFraw.tar", "--as", "sbi", "--classes", "a,b"), "--classes real,fake"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_remedy(place, words, said, capsys):
    name, file, *rest = words
    assert main("import", name, place / "files" / file, *rest) == 2
    assert said in capsys.readouterr().err


def test_an_imported_run_is_not_trained_and_a_broken_import_names_its_folder(place, capsys):
    main("import", "still", place / "files" / "predict.py", "--as", "python", "--image-size", 32)
    capsys.readouterr()
    assert main("train", "still", "--seed", 0) == 2
    assert "not trained here" in capsys.readouterr().err
    meta = place / "imports" / "still" / "meta.json"
    meta.write_text("{}")
    with pytest.raises(WorkbookError, match="still: no import.*Remove the folder"):
        params.load()
    meta.unlink()


def test_any_timm_network_keeps_its_mean_its_side_and_its_logits(place, tmp_path):
    network = timm.create_model("test_vit", num_classes=2).eval()
    torch.save({f"encoder.{n}": v for n, v in network.state_dict().items()}, tmp_path / "x.pth")
    p = params.load()
    imports.import_run(p, "vit", tmp_path / "x.pth", imports.Source("timm", backbone="test_vit"))
    detector = TrainedRun("vit", 0, params.load().imports["vit"].folder, tmp_path).detector()
    images = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        torch.testing.assert_close(detector(images).logits, network((images / 255 - mean) / std), rtol=1e-4, atol=1e-4)


def test_every_kinds_settings_are_what_its_authors_declare():
    """From their public code: mapooon/SelfBlendedImages src/inference; SCLBD/DeepfakeBench training/config/detector."""
    published = {
        "sbi": (380, 0.125, (0, 0, 0), (1, 1, 1)),
        "deepfakebench-xception": (256, 0.15, (0.5,) * 3, (0.5,) * 3),
        "deepfakebench-efficientnetb4": (256, 0.15, (0.5,) * 3, (0.5,) * 3),
        "deepfakebench-resnet34": (256, 0.15, (0.5,) * 3, (0.5,) * 3),
        "deepfakebench-clip": (224, 0.15, (0.5,) * 3, (0.5,) * 3),
    }
    for name, settings in published.items():
        kind = KINDS[name]
        assert (kind.image_size, kind.crop, *kind.normalise) == settings
