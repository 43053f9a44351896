"""docs/performance.md from results/bench.json: the tables are written, the prose around them stays as it is.

A table stands between two marks, `<!-- bench: name -->` and `<!-- end -->`. What is missed needs a paragraph that
begins with the row's name in bold; `unexplained` names those that have none.
"""

import re
from pathlib import Path
from typing import Any

from bench.measure import RESULTS
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file, read_json

PAGE = ROOT / "docs" / "performance.md"
MARKS = re.compile(r"(<!-- bench: ([\w ]+) -->\n).*?(<!-- end -->)", re.S)
HEAD = "| what | beside | asked | measured | met |\n|---|---|---|---|---|\n"
MET = {True: "yes", False: "**no**", None: "–"}


def write(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Put the measured figures into the page's tables."""
    text = filled(page.read_text(encoding="utf-8"), read_json(results))
    with atomic_file(page) as partial:
        partial.write_text(text, encoding="utf-8")


def filled(text: str, results: dict[str, Any]) -> str:
    """The page's text with every table as `results` has it. Raises WorkbookError where a benchmark has no table."""
    shown = {name for _, names, _ in MARKS.findall(text) for name in names.split()}
    if missing := sorted(results.keys() - shown):
        remedy = f"Give it marks: <!-- bench: {missing[0]} --> and <!-- end -->"
        raise WorkbookError(f"{missing[0]} has no table", where="docs/performance.md", remedy=remedy)
    return MARKS.sub(lambda found: found[1] + table(found[2].split(), results) + found[3], text)


def table(names: list[str], results: dict[str, Any]) -> str:
    """The rows of the named benchmarks, as Markdown, and the machine that they were measured on."""
    measured = [results[name] for name in names if name in results]
    lines = [_line(row) for benchmark in measured for row in benchmark["rows"]]
    machines = dict.fromkeys(benchmark["machine"] for benchmark in measured)
    return HEAD + "".join(lines) + "".join(f"\nMeasured on: {machine}.\n" for machine in machines)


def unexplained(text: str, results: dict[str, Any]) -> list[str]:
    """Names of rows that miss what is asked and have no paragraph of their own."""
    missed = [row["name"] for benchmark in results.values() for row in benchmark["rows"] if row["met"] is False]
    return [name for name in missed if not re.search(rf"^\*\*{re.escape(name)}", text, re.M)]


def _line(row: dict[str, Any]) -> str:
    told = number(row["value"], row["unit"]) + (f" ({row['detail']})" if row["detail"] else "")
    cells = (row["name"], row["floor"], asked(row["asked"], row["less"], row["unit"]), told, MET[row["met"]])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def number(value: float, unit: str) -> str:
    """A figure as it is shown: "1.41 ×", "5.3 s", "18 %"."""
    return {"x": f"{value:.3g} ×", "s": f"{value:.1f} s", "%": f"{value:.0f} %"}[unit]


def asked(value: float | None, less: bool, unit: str) -> str:
    return "–" if value is None else f"{'≤' if less else '≥'} {number(value, unit)}"
