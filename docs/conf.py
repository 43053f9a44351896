"""The book: executed notebooks, documents and API reference as a static site. `make book` builds it; nothing runs."""

import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

import book  # noqa: E402

from dfrepro import __version__  # noqa: E402
from dfrepro.files import read_json  # noqa: E402
from dfrepro.report import readme  # noqa: E402

for notebook in (ROOT / "notebooks").glob("*.ipynb"):
    (DOCS / "_notebooks").mkdir(exist_ok=True)
    shutil.copy(notebook, DOCS / "_notebooks")
book.gallery(DOCS / "_notebooks", DOCS / "_static" / "gallery", DOCS / "gallery.md")
book.cards(ROOT / "results", DOCS / "_cards")
book.papers(ROOT, read_json(readme.source()), DOCS / "_papers")

project = "dfrepro"
author = "The dfrepro authors"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "book"]
html_math_renderer = "svg"
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # pages load nothing from elsewhere
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
autodoc_typehints = "description"
# docstrings are written for readers of the code, in plain text with Markdown code marks
suppress_warnings = ["docutils", "mystnb.unknown_mime_type", "ref.ref", "misc.highlighting_failure"]
# ref: torch's own, inherited; highlighting: Mermaid's text, before it is drawn
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "dfrepro"
html_static_path = ["_static"]
html_copy_source = False
html_show_copyright = False  # LICENSE says it


def setup(app):
    """The explorers are pages of their own, beside the notebooks that frame them."""
    pages = ROOT / "notebooks" / "explorer"
    if pages.exists():
        beside = Path(app.outdir) / "_notebooks" / pages.name
        app.connect("build-finished", lambda *_: shutil.copytree(pages, beside, dirs_exist_ok=True))
