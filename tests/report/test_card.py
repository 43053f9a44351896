"""Model cards: what they say is read from the artifacts, and changes with them."""

import re
import runpy

import numpy as np
import pandas as pd
import pytest

from dfrepro import __main__ as command_line
from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import metrics
from dfrepro.evaluate.scores import VALIDATION, read
from dfrepro.files import ROOT, read_json, write_json
from dfrepro.jobs import pipeline
from dfrepro.report import card, operating

write_store = runpy.run_path(str(ROOT / "tests" / "train" / "conftest.py"))["write_store"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """erm-df at smoke scale, trained and scored on a few faces, in a folder of the test's own."""
    folder = tmp_path_factory.mktemp("cards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params.Params, "artifacts", property(lambda self: folder / "artifacts"))
        patch.setattr(places, "results_folder", lambda p: folder / "results")
        patch.setenv("DFREPRO_SCALE", "smoke")
        p = params.load()
        p = p.model_copy(
            update={"runs": p.runs | {"erm-df": p.run("erm-df").model_copy(update={"tests": ("ffpp-c23",)})}}
        )
        store = write_store(places.faces_folder(p, "ffpp-c23"))
        write_json(store.path / "report.json", {"counts": {"videos": 20, "skipped": 2}})
        pipeline.train(p, "erm-df", 0)
        pipeline.evaluate(p, "erm-df", 0)
        yield p


@pytest.fixture(scope="module")
def text(trained) -> str:
    return card.Card(trained, "erm-df").text()


def scores(p) -> pd.DataFrame:
    return read(places.scores_folder(p, "erm-df", 0))


def test_the_figures_are_those_of_the_scores(trained, text):
    clean = scores(trained).query("condition == 'clean'")
    row, _ = re.findall(r"^\| `ffpp` \|(.*)\|$", text, re.M)  # the second is of operating points
    shown = [float(cell.split()[0]) for cell in row.split("|")[1:]]
    assert shown[0] == pytest.approx(metrics.video_auc(clean), abs=6e-4)
    assert shown[1] == pytest.approx(metrics.frame_auc(clean), abs=6e-4)
    assert "[" not in row  # the test videos at smoke scale are two people's who share them: nothing is known of others


def test_operating_points_are_at_the_thresholds_of_validation(trained, text):
    section = text.partition("## At a threshold")[2].partition("\n## ")[0]
    validation = read(places.scores_folder(trained, "erm-df", 0), VALIDATION)
    at = operating.threshold(validation, 0.05)
    assert f"{at.passed} of {at.reals} at 5%" in section
    (row,) = re.findall(r"^\| `ffpp` \|(.*)\|$", section, re.M)
    clean = metrics.video_scores(scores(trained).query("condition == 'clean'"))
    fakes, reals = clean[clean.label == 1].margin, clean[clean.label == 0].margin
    found, alarms = (float(cell.split()[0]) for cell in row.split("|")[2:4])
    assert found == pytest.approx((fakes > at.margin).mean(), abs=6e-3)
    assert alarms == pytest.approx((reals > at.margin).mean(), abs=6e-3)


def test_other_scores_give_another_card(trained, text):
    path = places.scores_folder(trained, "erm-df", 0) / "scores.parquet"
    before = scores(trained)
    try:
        before.assign(margin=np.where(before.label == 1, 2.0, -2.0)).to_parquet(path)
        perfect = card.Card(trained, "erm-df").text()
    finally:
        before.to_parquet(path)
    assert "| 1.000 |" in perfect
    assert perfect != text


def test_training_data_and_settings_are_the_checkpoints_own(trained, text):
    assert "4 original, 4 Deepfakes" in text  # four of the six videos of the little store are for training
    assert "32 faces" in text.replace("| faces | 32", "32 faces")
    steps = card.Card(trained, "erm-df").meta["training"]["steps"]
    assert f"({steps:,} steps)" in text
    assert "ERM (α = 0, β = 0)" in text


def test_the_stand_in_is_named_before_anything_else(text):
    assert text.split("\n\n")[1].startswith("> **Stand-in data.**")
    assert "One seed" in text
    assert "2 of 20 videos gave no face" in text


def test_a_real_copy_is_not_called_a_stand_in(trained):
    copied = trained.model_copy(update={"roots": dict.fromkeys(trained.roots, "/data")})
    real = card.Card(copied, "erm-df")
    real.meta["spec"]["data"]["root"] = "/data"
    assert "Stand-in" not in real.text()


def test_an_untrained_run_has_no_card_and_says_so(trained):
    assert card.published(trained) == ["erm-df"]
    with pytest.raises(WorkbookError, match="erm-fs has not been trained and scored"):
        card.Card(trained, "erm-fs").text()
    with pytest.raises(WorkbookError, match="erm-dff"):
        card.Card(trained, "erm-dff").text()


def test_the_command_writes_one_card_a_published_run(trained, monkeypatch, capsys):
    monkeypatch.setattr(params, "load", lambda: trained)
    assert command_line.main(["card"]) == 0
    path = card.cards_folder(trained) / "erm-df.md"
    assert path.read_text().startswith("# erm-df\n")
    assert capsys.readouterr().out.split() == [str(path)]


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/cards/*.md")), ids=lambda path: path.stem)
def test_a_committed_card_shows_the_committed_metrics(path):
    """Where this fails: `python -m dfrepro card` where the artifacts are."""
    rows = re.findall(r"^\| `(\w+)` \| \d+ \+ \d+ \| ([\d.]+) ", path.read_text(), re.M)
    files = {file.stem: read_json(file) for file in path.parent.parent.glob("metrics/*.json")}
    seeds = {name.rpartition("-")[2]: sets for name, sets in files.items() if name.rpartition("-")[0] == path.stem}
    told = re.search(r"^\| seeds \| (.*) \|$", path.read_text(), re.M)
    assert rows
    assert told
    assert sorted(seeds) == told[1].split(", ")
    for name, value in rows:
        found = [sets[key]["video_auc"] for sets in seeds.values() for key in sets if key.split("-c")[0] == name]
        assert float(value) == pytest.approx(np.mean(found), abs=6e-4), name
