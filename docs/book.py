"""What the book needs beyond Sphinx: formulas and flowcharts without JavaScript, a gallery, papers' pages, model cards.

A Sphinx extension (`setup`). Formulas are drawn by matplotlib as inline SVG in the colour of the text: they read in the
dark, on a phone and without a network, and a formula that cannot be drawn is a warning and shown as its source.
"""

import base64
import html
import io
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mermaid
from docutils import nodes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath, text_to_path
from PIL import Image
from sphinx.application import Sphinx
from sphinx.util import logging

from dfrepro.report import learned, ledger

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent
THUMBNAIL = 640  # pixels: twice the width of a card
SCALE = 100  # drawn large, so that two decimals of a coordinate are enough
STIX = FontProperties(family="STIXGeneral", math_fontfamily="stix")
# what TeX takes and matplotlib's mathtext does not
REWRITTEN = [
    (r"\\[bB]ig+[lrm]?(?![a-zA-Z])", ""),
    (r"\\(?:text|display)style(?![a-zA-Z])", ""),
    (r"\\[lr]Vert(?![a-zA-Z])", r"\\Vert "),
    (r"\\[dt]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\frac\s*([0-9A-Za-z])\s*([0-9A-Za-z])", r"\\frac{\1}{\2}"),
    (r"\\(mathcal|mathbb|mathrm)\s+([A-Za-z])", r"\\\1{\2}"),
    (r"\\operatorname\{", r"\\mathrm{"),
    (r"\\text\{([^}]*)\}", lambda m: r"\mathrm{" + m[1].replace(" ", r"\ ") + "}"),
    (r"\s+", " "),
]


# --- formulas -------------------------------------------------------------------------------------------------------


def svg(tex: str) -> str:
    """A formula as an <svg> element, sized in em of the text around it. Raises ValueError where it cannot be drawn."""
    source = tex.strip()
    for pattern, replacement in REWRITTEN:
        source = re.sub(pattern, replacement, source)
    text = f"${source.strip()}$"
    path = TextPath((0, 0), text, size=SCALE, prop=STIX)
    width, height, descent = text_to_path.get_text_width_height_descent(text, STIX, ismath=True)
    factor = SCALE / STIX.get_size_in_points()
    width, height, descent = width * factor, height * factor, descent * factor
    data = _outline(path)
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(tex.strip(), quote=True)}" '
        f'viewBox="0 {descent - height:.1f} {width:.1f} {height:.1f}" '
        f'style="width:{width / SCALE:.3f}em;height:{height / SCALE:.3f}em;vertical-align:{-descent / SCALE:.3f}em">'
        f'<path d="{data}"/></svg>'
    )


def _outline(path: Any) -> str:
    """A matplotlib path as the data of an SVG path; y points down."""
    letters = {path.MOVETO: "M", path.LINETO: "L", path.CURVE3: "Q", path.CURVE4: "C", path.CLOSEPOLY: "Z"}
    parts = []
    for points, code in path.iter_segments(simplify=False, curves=True):
        pairs = "" if code == path.CLOSEPOLY else " ".join(f"{v:.1f}" for v in points * ([1, -1] * (len(points) // 2)))
        parts.append(letters[code] + pairs)
    return "".join(parts)


def _drawn(writer: Any, node: nodes.Node) -> str:
    tex = node.astext()
    try:
        return svg(tex)
    except ValueError as error:
        logger.warning("formula cannot be drawn: %s (%s)", tex, str(error).splitlines()[-1], location=node)
        return f"<code>{html.escape(tex)}</code>"


def _inline(writer: Any, node: nodes.Node) -> None:
    writer.body.append(_drawn(writer, node))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.Node) -> None:
    writer.body.append(f'<div class="formulas">{_drawn(writer, node)}</div>')
    raise nodes.SkipNode


LANGUAGES = {"py": "python", "diff": "diff", "yaml": "yaml", "csv": "text"}


def shown(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to papers and notebooks lead to the book's own pages, and a file that stands on a line of its own is shown.

    Shown are CSVs of docs/tables, as tables, and docs/examples, as code.
    """
    up = "../" if page.startswith("_notebooks/") else ""
    source[0] = re.sub(r"\(\.\./papers/(\w+)/README\.md\)", rf"({up}_papers/\1.md)", source[0])
    source[0] = source[0].replace("(../docs/", "(../").replace("(../notebooks/", f"({up}_notebooks/")
    table = r":::{csv-table} {download}`\1 <\2>`\n:file: \2\n:header-rows: 1\n:::"
    text = re.sub(r"^\[([^\]\n]+)\]\((tables/[\w-]+\.csv)\)$", table, source[0], flags=re.M)
    source[0] = re.sub(r"^\[([^\]\n]+)\]\((examples/[\w./-]+\.(\w+))\)$", _example, text, flags=re.M)


def _example(found: re.Match[str]) -> str:
    name, path, suffix = found.groups()
    return f":::{{literalinclude}} {path}\n:language: {LANGUAGES[suffix]}\n:caption: {name}\n:::"


def flowcharts(app: Sphinx, document: nodes.document) -> None:
    """Mermaid's source, where a page has any, becomes a picture."""
    for block in list(document.findall(nodes.literal_block)):
        if block.get("language") == "mermaid":
            drawn = f'<div class="flow">{mermaid.svg(block.astext())}</div>'
            block.replace_self(nodes.raw("", drawn, format="html"))


# --- pages made of what is there ------------------------------------------------------------------------------------


def gallery(notebooks: Path, static: Path, page: Path) -> int:
    """Write a page of every picture among the notebooks' outputs, each a link to its place; return how many."""
    shutil.rmtree(static, ignore_errors=True)
    static.mkdir(parents=True)
    lines = ["# Gallery", "", "Every figure of the notebooks. A picture leads to its place, with code and words.", ""]
    count = 0
    for notebook in sorted(notebooks.glob("*.ipynb")):
        title, cards = "", []
        heading = ""
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                found = re.findall(r"^#+ +(.*)", "".join(cell["source"]), re.M)
                heading = found[-1] if found else heading
                title = title or next(iter(found), "")
                continue
            for picture in _pictures(cell):
                name = f"{notebook.stem}-{len(cards)}.png"
                _thumbnail(picture, static / name)
                cards.append(_card(f"_static/{static.name}/{name}", notebook.stem, heading))
        if cards:
            lines += [f"## {title}", "", '<div class="gallery">', *cards, "</div>", ""]
        count += len(cards)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(lines), encoding="utf-8")
    return count


def _pictures(cell: dict[str, Any]) -> list[str]:
    data = [output.get("data", {}) for output in cell.get("outputs", ())]
    return ["".join(entry[kind]) for entry in data for kind in ("image/png", "image/jpeg") if kind in entry]


def _thumbnail(picture: str, path: Path) -> None:
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.save(path, optimize=True)


def _card(source: str, notebook: str, heading: str) -> str:
    title = html.escape(re.sub(r"[$`*]", "", heading))
    where = f"_notebooks/{notebook}.html#{nodes.make_id(heading)}"
    return f'<a class="card" href="{where}"><img loading="lazy" src="{source}" alt="{title}"><span>{title}</span></a>'


NOTEBOOKS = {
    "pim": ("01_motivation", "02_pim", "03_dualflat"), "pel": ("04_pel",), "fia_usa": ("05_fia_usa",),
    "focus": ("06_focus",), "fpg": ("07_fpg",),
}  # fmt: skip


def papers(root: Path, written: Mapping[str, Any], out: Path) -> list[Path]:
    """Write a page a paper and one of its deviations. `written`: claims.json, which says what was found."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pages = []
    for paper in NOTEBOOKS:
        for name, text in ((paper, paper_page(root, paper, written)), (f"{paper}-deviations", _text(root, paper))):
            pages.append(out / f"{name}.md")
            pages[-1].write_text(text, encoding="utf-8")
    return pages


def paper_page(root: Path, paper: str, written: Mapping[str, Any]) -> str:
    """Question and method (README.md), result, where code, data and decisions are, and every table and figure."""
    links = [f"[notebook {name}](../_notebooks/{name}.ipynb)" for name in NOTEBOOKS[paper]]
    links += ["[claims](../claims.md)", f"[decisions and departures]({paper}-deviations.md)"]
    links += [f"{{download}}`{name} <../../papers/{paper}/{name}>`" for name in ("claims.yaml", "settings.yaml")]
    found = "\n".join(f"- {sentence}" for sentence in learned.sentences(paper, written["claims"]))
    printed = ", ".join(
        f"{{download}}`{path.stem} <../../papers/{paper}/tables/{path.name}>`"
        for path in sorted((root / "papers" / paper / "tables").glob("*.csv"))
    )
    covered = ledger.coverage_markdown(paper, root / "papers")
    return (
        f"{(root / 'papers' / paper / 'README.md').read_text(encoding='utf-8')}\n## What was found\n\n{found}\n\n"
        f"{' · '.join(links)}\n\n## Tables and figures\n\nPrinted values: {printed}.\n\n{covered}\n"
        f"```{{toctree}}\n:hidden:\n\n{paper}-deviations\n```\n"
    )


def _text(root: Path, paper: str) -> str:
    """DEVIATIONS.md, its links to data as downloads."""
    text = (root / "papers" / paper / "DEVIATIONS.md").read_text(encoding="utf-8")
    return re.sub(r"\[([\w.]+\.yaml)\]\(\1\)", rf"{{download}}`\1 <../../papers/{paper}/\1>`", text)


def cards(results: Path, out: Path) -> int:
    """Copy the model cards, the study's where there are any, else those of the laptop run; return how many."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for folder in (results / "study" / "cards", results / "laptop" / "cards"):
        if found := sorted(folder.glob("*.md")):
            for path in found:
                shutil.copy(path, out)
            return len(found)
    (out / "none.md").write_text("# None written yet\n\nRun `python -m dfrepro card`.\n", encoding="utf-8")
    return 0


def as_rst(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with Markdown code marks: make them the reStructuredText that Sphinx expects."""
    lines[:] = [_as_rst(line) for line in lines]


def _as_rst(line: str) -> str:
    """One line: `code` as literal text, and no meaning for the stars and bars outside of it."""
    parts = re.split(r"(``.+?``|:\w+:`[^`]+`|`[^`]+`)", line)
    words, codes = parts[::2], parts[1::2]
    words = [re.sub(r"(?<!\\)([*|])", r"\\\1", word) for word in words]
    marked = [code if code.startswith(("``", ":")) else f"`{code}`" for code in codes]
    literal = [code + ("\\ " if after[:1].isalnum() else "") for code, after in zip(marked, words[1:])]
    return words[0] + "".join(code + word for code, word in zip(literal, words[1:]))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_html_math_renderer("svg", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.add_css_file("book.css")
    app.add_js_file("book.js")
    app.connect("source-read", shown)
    app.connect("doctree-read", flowcharts)
    app.connect("autodoc-process-docstring", as_rst, priority=100)  # before napoleon's
    return {"parallel_read_safe": True, "parallel_write_safe": True}
