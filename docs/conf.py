"""The book: executed notebooks, documents and API reference as a static site. `make book` builds it; nothing runs."""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dfrepro import __version__  # noqa: E402

shutil.copytree(ROOT / "notebooks", ROOT / "docs" / "_notebooks", dirs_exist_ok=True)

project = "dfrepro"
author = "The dfrepro authors"
release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
autodoc_typehints = "description"
# docstrings are written for readers of the code, in plain text with Markdown code marks
suppress_warnings = ["docutils", "myst.xref_missing", "mystnb.unknown_mime_type"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "dfrepro"


def setup(app):
    """The explorers are pages of their own, beside the notebooks that frame them."""
    pages = ROOT / "notebooks" / "explorer"
    if pages.exists():
        beside = Path(app.outdir) / "_notebooks" / pages.name
        app.connect("build-finished", lambda *_: shutil.copytree(pages, beside, dirs_exist_ok=True))
