"""README's counts of verdicts, docs/claims.md, docs/learned.md and pictures, from results and artifacts: none is typed.

`python -m dfrepro readme` writes them from results/study where the study has been run, else from the committed run at
laptop scale; a test holds them in step. The pictures are the notebooks' figures, made smaller, in docs/figures: the
claims' from the study too.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file, read_json
from dfrepro.report import learned
from dfrepro.report.claims import _seeds, digits, here
from dfrepro.report.plots import effect
from dfrepro.report.verdict import VERDICTS

FIGURES = {  # in docs/figures: the notebook's figure and its width there
    "claims.png": ("08_claims/overview", 1300),
    "motivation.png": ("01_motivation/table1", 1300),
    "forgeries.jpg": ("00_data/forgeries", 1300),
}
BEGIN, END = "<!-- verdicts: written by `python -m dfrepro readme` -->", "<!-- end of verdicts -->"
PAGE = """# Every claim and its verdict

From the committed study, written by `python -m dfrepro readme`. Effects are positive as the paper claims, with an
interval over seeds and the test sets' people (seeds *alone*: over them only), on stand-in videos. Of several
reasons one is given; claims.json has all. [How a verdict comes about](verdicts.md).

![The papers' effects and ours, claim by claim](figures/claims.png)

*Hollow diamonds: printed effects; dots: ours, hollow where there is no verdict.*
"""


def source(root: Path = ROOT) -> Path:
    """The claims.json that README shows."""
    study = root / "results" / "study" / "claims.json"
    return study if study.exists() else root / "results" / "laptop" / "claims.json"


def levels(root: Path = ROOT) -> pd.DataFrame | None:
    """One network's AUC under protocols, of the committed run at laptop scale (notebook 09), where it is there."""
    path = root / "results" / "laptop" / "protocol" / "erm-ffpp.csv"
    return pd.read_csv(path) if path.exists() else None


def write(root: Path = ROOT) -> None:
    """Bring README.md's counts and both pages into step. Raises WorkbookError where the comments are not there."""
    path = root / "README.md"
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise WorkbookError("the verdicts go between two comments", where=path, remedy=f"Put {BEGIN} and {END} there")
    written = read_json(source(root))
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    with atomic_file(path) as partial:
        partial.write_text(f"{before}{BEGIN}\n{counts(written)}{END}{after}", encoding="utf-8")
    for name, said in (("claims.md", page(written)), ("learned.md", learned.page(written, levels(root)))):
        with atomic_file(root / "docs" / name) as partial:
            partial.write_text(said, encoding="utf-8")


def draw(figures: Path, root: Path = ROOT) -> list[str]:
    """Bring the pictures into step with the notebooks' `figures`. Returns the names of those that are there to draw."""
    drawn = []
    for name, (figure, width) in FIGURES.items():
        study = root / "results" / "study" / "figures" / f"{figure}.png"
        path = study if name == "claims.png" and study.exists() else figures / f"{figure}.png"
        if not path.exists():
            continue
        with Image.open(path) as image:
            size = width, round(image.height * width / image.width)
            small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        with atomic_file(root / "docs" / "figures" / name) as partial:
            small.save(partial, format="PNG" if name.endswith("png") else "JPEG", optimize=True, quality=90)
        drawn.append(name)
    return drawn


def counts(written: Mapping[str, Any]) -> str:
    """Markdown: how many claims of each paper have which verdict, and a line on each."""
    lines = ["|paper|" + "|".join(VERDICTS) + "|", "|---|" + "--:|" * len(VERDICTS)]
    for paper, title in learned.TITLES.items():
        found = [claim["verdict"] for claim in written["claims"] if claim["paper"] == paper]
        anchor = re.sub(r"[^\w-]", "", title.lower().replace(" ", "-"))
        lines.append(
            f"|[{title}](docs/claims.md#{anchor})|" + "|".join(str(found.count(verdict)) for verdict in VERDICTS) + "|"
        )
    said = [f"- {learned.line(paper, written['claims'])}" for paper in learned.TITLES]
    return "\n".join([*lines, "", *said, ""])


def page(written: Mapping[str, Any]) -> str:
    """docs/claims.md: a section a paper, a row a claim with its effect, verdict and reason."""
    lines = [PAGE]
    for paper, title in learned.TITLES.items():
        lines += [
            f"## {title}",
            "",
            "|claim|statement|printed|here [interval]|seeds|verdict|because|",
            "|---|---|--:|--:|--:|---|---|",
        ]
        lines += [_row(claim) for claim in written["claims"] if claim["paper"] == paper] + [""]
    return "\n".join(lines)


def _row(claim: Mapping[str, Any]) -> str:
    cells = [
        claim["title"], claim["statement"], effect(claim["printed_effect"], None, digits(claim)) or "no figure",
        here(claim), _seeds(claim), claim["verdict"] + " (former study)" * bool(claim.get("former")),
        learned.brief(claim),
    ]  # fmt: skip
    return "|" + "|".join(cell.replace("|", "\\|") for cell in cells) + "|"
