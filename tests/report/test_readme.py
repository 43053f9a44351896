"""README shows what results/ says."""

import json
import re

import pytest
import yaml
from PIL import Image

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.report import readme

CLAIM = {
    "id": "P1-C9", "title": "PIM 9", "paper": "pim", "statement": "a | b", "verdict": "refuted",
    "effect": -0.02, "interval": [-0.03, -0.01],
    "printed_effect": 0.0123, "one_seed": False, "seeds": [0, 1, 2],
}  # fmt: skip


def test_readmes_table_is_that_of_the_committed_results():
    written = json.loads(readme.source().read_text())
    assert readme.table(written) in (ROOT / "README.md").read_text(), "run `python -m dfrepro readme`"


def test_a_judged_claim_has_a_row_and_one_that_was_not_run_only_counts():
    table = readme.table(
        {"claims": [CLAIM, CLAIM | {"id": "P1-C1", "title": "PIM 1", "verdict": "not run", "effect": None}]}
    )
    assert "| PIM 9 | a \\| b | +0.012 | -0.020 [-0.030, -0.010] | 3 | refuted |" in table
    assert "PIM 1" not in table
    assert "| PIM, DualFlat | 0 | 1 | 0 | 0 | 0 | 0 | 1 |" in table


def test_the_study_comes_before_the_committed_run(tmp_path):
    for name in ("laptop", "study"):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "claims.json").write_text("{}")
    assert readme.source(tmp_path).parent.name == "study"
    (tmp_path / "results" / "study" / "claims.json").unlink()
    assert readme.source(tmp_path).parent.name == "laptop"


def test_a_readme_without_the_place_for_it_is_an_error(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(WorkbookError, match="between two comments"):
        readme.write(tmp_path)


def test_pictures_are_the_notebooks_figures_made_smaller_and_the_claims_the_studys(tmp_path):
    for where, colour in (("figures", "red"), ("results/study/figures", "blue")):
        (tmp_path / where / "08_claims").mkdir(parents=True)
        Image.new("RGB", (2000, 1000), colour).save(tmp_path / where / "08_claims" / "overview.png")
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    assert readme.draw(tmp_path / "figures", tmp_path) == ["claims"]
    with Image.open(tmp_path / "docs" / "figures" / "claims.png") as drawn:
        assert drawn.size == (1300, 650)
        assert drawn.convert("RGB").getpixel((0, 0)) == (0, 0, 255)


def test_readme_shows_every_picture_that_is_drawn():
    text = (ROOT / "README.md").read_text()
    assert all(f"docs/figures/{name}.png" in text for name in readme.FIGURES)


def test_every_picture_of_the_gallery_leads_to_its_notebook_and_to_its_stage():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    rows = [row for row in (ROOT / "README.md").read_text().splitlines() if row.startswith("| [![")]
    pictures = [picture for row in rows for picture in row.strip("| ").split(" | ")]
    assert len(pictures) == 6
    for picture in pictures:
        notebook = re.search(r"\]\(notebooks/(\w+)\.ipynb\)", picture)[1]
        assert re.search(r"stage \[`(\w+)`\]\(dvc\.yaml\)", picture)[1] == notebook
        assert notebook in stages
