"""README's table of verdicts and its pictures, from results and artifacts, so that nothing there is typed or stale.

`python -m dfrepro readme` puts the table between two comments, from results/study where the study has been run, else
from the committed run at laptop scale; a test holds the two in step. The pictures are the notebooks' figures, made
smaller, in docs/figures: the claims' from the study too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file, read_json
from dfrepro.report.claims import _seeds
from dfrepro.report.plots import effect
from dfrepro.report.verdict import JUDGED, VERDICTS

TITLES = {"pim": "PIM, DualFlat", "pel": "PEL", "fia_usa": "FIA-USA", "focus": "FoCus", "fpg": "FPG"}
FIGURES = {  # in docs/figures: the notebook's figure and its width there
    "claims": ("08_claims/overview", 1300),
    "motivation": ("01_motivation/table1", 1300),
    "forgeries": ("00_data/forgeries", 1300),
    "gallery-pim": ("02_pim/figure3", 1000),
    "gallery-pel": ("04_pel/figure2", 1000),
    "gallery-fia-usa": ("05_fia_usa/figure15", 1000),
    "gallery-focus": ("06_focus/kinds", 1000),
    "gallery-fpg": ("07_fpg/figure3", 1000),
}
COLOURS = 192
BEGIN, END = "<!-- verdicts: written by `python -m dfrepro readme` -->", "<!-- end of verdicts -->"


def source(root: Path = ROOT) -> Path:
    """The claims.json that README shows."""
    study = root / "results" / "study" / "claims.json"
    return study if study.exists() else root / "results" / "laptop" / "claims.json"


def write(root: Path = ROOT) -> None:
    """Bring README.md's table into step. Raises WorkbookError when its two comments are not there."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise WorkbookError("the verdicts go between two comments", where=path, remedy=f"Put {BEGIN} and {END} there")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with atomic_file(path) as partial:
        partial.write_text(f"{before}{BEGIN}\n{table(read_json(source(root)))}{END}{after}", encoding="utf-8")


def draw(figures: Path, root: Path = ROOT) -> list[str]:
    """Bring the pictures into step with the notebooks' `figures`. Returns the names of those that are there to draw."""
    drawn = []
    for name, (figure, width) in FIGURES.items():
        study = root / "results" / "study" / "figures" / f"{figure}.png"
        path = study if name == "claims" and study.exists() else figures / f"{figure}.png"
        if not path.exists():
            continue
        with Image.open(path) as image:
            size = width, round(image.height * width / image.width)
            small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        with atomic_file(root / "docs" / "figures" / f"{name}.png") as partial:
            small.quantize(COLOURS).save(partial, format="PNG", optimize=True)
        drawn.append(name)
    return drawn


def table(written: Mapping[str, Any]) -> str:
    """Markdown: the count of verdicts by paper, then one row for each claim that could be judged."""
    claims = written["claims"]
    lines = ["| paper | " + " | ".join(VERDICTS) + " |", "|---|" + "--:|" * len(VERDICTS)]
    for paper, title in TITLES.items():
        found = [claim["verdict"] for claim in claims if claim["paper"] == paper]
        lines.append(f"| {title} | " + " | ".join(str(found.count(verdict)) for verdict in VERDICTS) + " |")
    judged = [claim for claim in claims if claim["effect"] is not None and claim["verdict"] in JUDGED]
    return "\n".join([*lines, "", *_rows(judged), ""])


def _rows(judged: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| claim | | printed | here [95 %] | seeds | verdict |", "|---|---|--:|--:|--:|---|"]
    for claim in judged:
        printed = effect(claim["printed_effect"], None) or "no figure"
        cells = [claim["title"], claim["statement"], printed, effect(claim["effect"], claim["interval"]), _seeds(claim)]
        lines.append("| " + " | ".join([*(cell.replace("|", "\\|") for cell in cells), claim["verdict"]]) + " |")
    return lines
