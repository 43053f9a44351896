"""The book piece by piece: formulas, the gallery, papers, links. The whole of it, in a browser: test_browser.py."""

import base64
import importlib.util
import io
import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfrepro.files import ROOT
from dfrepro.report import learned, ledger, readme

sys.path.append(str(ROOT / "docs"))  # book.py's own neighbours


def module(name: str):
    """docs/<name>.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


book, links, mermaid = module("book"), module("links"), module("mermaid")


# --- formulas -------------------------------------------------------------------------------------------------------


def formulas() -> list[str]:
    cells = [c for path in sorted((ROOT / "notebooks").glob("*.ipynb")) for c in json.loads(path.read_text())["cells"]]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$", text, re.S)]


def test_every_formula_of_the_notebooks_can_be_drawn():
    found = formulas()
    assert len(found) > 50
    for tex in found:
        drawn = ElementTree.fromstring(book.svg(tex))
        assert drawn.get("aria-label") == re.sub(r"\s", " ", tex.strip())
        assert drawn.find("path").get("d").startswith("M")


def box(tex: str) -> tuple[float, float, float, float]:
    """left, top, right, bottom of what is drawn, from the coordinates of the path itself."""
    data = ElementTree.fromstring(book.svg(tex)).find("path").get("d")
    points = np.array(re.findall(r"-?\d+\.\d", data), float).reshape(-1, 2)
    return (*points.min(0), *points.max(0))


def test_a_formula_is_drawn_inside_its_frame_and_on_the_line():
    for tex in ("x", "y_{ij}^2", r"\frac{a}{b}", r"\sum_{n=1}^{N} z_n"):
        left, top, width, height = map(float, ElementTree.fromstring(book.svg(tex)).get("viewBox").split())
        x0, y0, x1, y1 = box(tex)
        assert left - 10 <= x0 < x1 <= left + width + 10  # a tenth of an em
        assert top - 10 <= y0 < y1 <= top + height + 10
    assert box("x")[3] == pytest.approx(0, abs=3)  # it stands on the line of the text,
    assert box("y")[3] > 10  # and a tail hangs below it


def test_what_cannot_be_drawn_is_an_error_and_not_an_empty_picture():
    with pytest.raises(ValueError, match="nosuchcommand"):
        book.svg(r"\nosuchcommand{x}")


# --- the gallery ----------------------------------------------------------------------------------------------------


def picture(width: int, height: int, kind: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_gallery_shows_each_picture_small_and_leads_to_its_heading(tmp_path, kind):
    cells = [
        {"cell_type": "markdown", "source": ["# A title\n", "\n", "words\n", "## Figure 3: α & $x$"]},
        {
            "cell_type": "code",
            "outputs": [{"data": {f"image/{kind}": picture(1600, 400, kind)}}, {"text": "no picture"}],
        },
    ]
    (tmp_path / "02_x.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "03_y.ipynb").write_text(json.dumps({"cells": cells[:1]}))
    assert book.gallery(tmp_path, tmp_path / "static", tmp_path / "gallery.md") == 1
    page = (tmp_path / "gallery.md").read_text()
    assert page.count("<a class") == 1
    assert 'href="_notebooks/02_x.html#figure-3-x"' in page
    assert "## A title\n" in page
    assert "Figure 3: α &amp; x" in page
    assert Image.open(tmp_path / "static" / "02_x-0.png").size == (640, 160)


def test_cards_are_the_studys_where_there_are_any(tmp_path):
    for scale in ("laptop", "study"):
        (tmp_path / scale / "cards").mkdir(parents=True)
    (tmp_path / "laptop" / "cards" / "a.md").write_text("laptop")
    assert book.cards(tmp_path, tmp_path / "out") == 1
    (tmp_path / "study" / "cards" / "a.md").write_text("study")
    book.cards(tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "a.md").read_text() == "study"


# --- docstrings -----------------------------------------------------------------------------------------------------


def test_marks_of_a_docstring_mean_code_and_stars_mean_nothing():
    assert book._as_rst("raises `WorkbookError`s of papers/*/x, |a| / b") == (
        "raises ``WorkbookError``\\ s of papers/\\*/x, \\|a\\| / b"
    )
    assert book._as_rst(":attr:`x` and ``y*``") == ":attr:`x` and ``y*``"
    assert book._as_rst("") == ""


# --- links ----------------------------------------------------------------------------------------------------------


def test_broken_links_and_anchors_are_found_and_good_ones_are_not(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a b.png").touch()
    (tmp_path / "sub" / "there.html").write_text('<h1 id="top">x</h1>')
    (tmp_path / "index.html").write_text(
        '<a href="sub/there.html#top"></a><a href="#own"></a><p id="own"><img src="a%20b.png?v=1">'
        '<a href="https://example.org/x"></a><a href="sub/there.html#gone"></a><img src="gone.png"><a href="#none"></a>'
    )
    assert links.broken(tmp_path) == [
        "index.html: sub/there.html#gone (no such anchor)",
        "index.html: gone.png",
        "index.html: #none (no such anchor)",
    ]


def sources() -> list[Path]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "papers").glob("*/*.md")]
    return [page for page in pages if page.name != "gallery.md"]  # written when the book is built


@pytest.mark.parametrize("page", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_document_leads_to_a_file(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(<?([^)>\s]+)>?\)", text):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path = page.parent / target.partition("#")[0].replace("_notebooks/", "../notebooks/")
        assert path.exists() or path.with_suffix(".md").exists() or path.with_suffix(".ipynb").exists(), target


def test_every_document_is_in_the_book():
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", (ROOT / "docs" / "index.md").read_text(), re.M | re.S)
    named = {line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")}
    written = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index", "gallery"}
    notebooks = {f"_notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert named >= written | notebooks
    assert next(line for line in trees[0].splitlines() if line and line[0] != ":") == "claims"


# --- papers and flowcharts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", book.NOTEBOOKS)
def test_a_papers_page_has_question_result_coverage_and_links(paper, tmp_path):
    written = json.loads(readme.source().read_text())
    page = book.paper_page(ROOT, paper, written)
    assert "?**" in page
    assert all(sentence in page for sentence in learned.sentences(paper, written["claims"]))
    assert ledger.coverage_markdown(paper) in page
    assert all(f"_notebooks/{name}.ipynb" in page for name in book.NOTEBOOKS[paper])
    assert len(book.papers(ROOT, written, tmp_path / "out")) == 10


def test_every_flowchart_is_drawn_with_all_its_boxes():
    pages = [*(ROOT / "papers").glob("*/README.md"), ROOT / "docs" / "pipeline.md"]
    for page in pages:
        source = re.search(r"```mermaid\n(.*?)```", page.read_text(), re.S)[1]
        _, labels, edges = mermaid.parse(source)
        drawn = ElementTree.fromstring(mermaid.svg(source))
        assert [each.text for each in drawn.iter("text") if not each.get("class")] == list(labels.values())
        assert len([each for each in drawn.iter("path") if each.get("marker-end")]) == len(edges)


def test_boxes_of_a_flowchart_do_not_overlap_and_what_follows_lies_below():
    drawn = ElementTree.fromstring(mermaid.svg("flowchart TD\n a[one] --> b\n a --> c\n b --> d\n c --> d\n d --> a"))
    boxes = [[float(each.get(key)) for key in ("x", "y", "width", "height")] for each in drawn.iter("rect")]
    (_, ay, *_), (bx, by, bw, _), (cx, cy, *_), (_, dy, *_) = boxes
    assert ay < by == cy < dy
    assert bx + bw < cx or cx < bx


def test_a_line_that_is_no_flowcharts_is_an_error():
    with pytest.raises(ValueError, match="subgraph"):
        mermaid.svg("flowchart TD\n subgraph a { b }")


@pytest.mark.parametrize(("page", "written", "read"), [
    ("start", "[PEL](../papers/pel/README.md)", "[PEL](_papers/pel.md)"),
    ("_notebooks/04_pel", "[PEL](../papers/pel/README.md), [rules](../docs/verdicts.md)",
     "[PEL](../_papers/pel.md), [rules](../verdicts.md)"),
    ("performance", "[All](tables/a.csv)", ":::{csv-table} {download}`All <tables/a.csv>`"),
    ("extending", "[a.py](examples/a.py)", ":::{literalinclude} examples/a.py"),
    ("standin", "see [all](tables/a.csv)", "see [all](tables/a.csv)"),
])  # fmt: skip
def test_links_lead_to_the_books_own_pages_and_files_on_their_own_are_shown(page, written, read):
    source = [written]
    book.shown(None, page, source)
    assert source[0].startswith(read)
