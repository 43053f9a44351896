"""README and docs/claims.md show what results/ says."""

import json

import pytest
from PIL import Image

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT
from dfrepro.report import readme

CLAIM = {
    "id": "P1-C9", "title": "PIM 9", "paper": "pim", "statement": "a | b", "verdict": "refuted", "reason": "so",
    "missing": [], "effect": -0.02, "interval": [-0.03, -0.01],
    "printed_effect": 0.0123, "one_seed": False, "seeds": [0, 1, 2], "interval_over": "seeds and people",
}  # fmt: skip


def test_readmes_counts_and_the_page_of_claims_are_those_of_the_committed_results():
    written = json.loads(readme.source().read_text())
    assert readme.counts(written) in (ROOT / "README.md").read_text(), "run `python -m dfrepro readme`"
    assert readme.page(written) == (ROOT / "docs" / "claims.md").read_text(), "run `python -m dfrepro readme`"


def test_every_claim_has_a_row_with_its_reason_and_every_paper_its_counts():
    other = CLAIM | {"id": "P1-C1", "title": "PIM 1", "verdict": "not run", "effect": None, "interval": None}
    written = {"claims": [CLAIM, other]}
    page = readme.page(written)
    assert "|PIM 9|a \\| b|+0.012|-0.020 [-0.030, -0.010]|3|refuted|so|" in page
    assert "|PIM 1|a \\| b|+0.012||3|not run|so|" in page
    assert "|[PIM, DualFlat](docs/claims.md#pim-dualflat)|0|1|0|0|0|0|1|" in readme.counts(written)
    assert "- **PIM**: refuted, “a | b”: -0.020 [-0.030, -0.010] (printed +0.012)." in readme.counts(written)


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


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
    assert readme.draw(tmp_path / "figures", tmp_path) == ["claims.png"]
    with Image.open(tmp_path / "docs" / "figures" / "claims.png") as drawn:
        assert drawn.size == (1300, 650)
        assert drawn.convert("RGB").getpixel((0, 0)) == (0, 0, 255)


def test_every_picture_that_is_drawn_is_shown_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = "".join(page.read_text() for page in pages)
    assert all(f"figures/{name}" in shown for name in readme.FIGURES)


def test_all_prose_can_be_read_in_an_hour():
    """At some 13,000 words; Markdown's own marks that stand alone count as words here."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "papers").glob("*/*.md")]
    words = {page: len(page.read_text(encoding="utf-8").split()) for page in pages if page.name != "gallery.md"}
    assert len(pages) > 20
    assert sum(words.values()) <= 13_000, sorted(words.items(), key=lambda item: -item[1])[:5]
