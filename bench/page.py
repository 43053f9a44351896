"""docs/tables/performance.csv from results/bench.json; docs/performance.md says in words what is missed.

What is missed needs a paragraph there that begins with the row's name in bold; `unexplained` names those without one.
"""

import csv
import io
import re
from pathlib import Path
from typing import Any

from bench.measure import RESULTS
from dfrepro.files import ROOT, atomic_file, read_json

PAGE = ROOT / "docs" / "performance.md"
TABLE = ROOT / "docs" / "tables" / "performance.csv"
HEAD = ("benchmark", "what", "beside", "asked", "measured", "detail", "met")
MET = {True: "yes", False: "no", None: ""}


def write(path: Path = TABLE, results: Path = RESULTS) -> None:
    """Put the measured figures into the page's table."""
    with atomic_file(path) as partial:
        partial.write_text(table(read_json(results)), encoding="utf-8")


def table(results: dict[str, Any]) -> str:
    """Every row of every benchmark as CSV: what was asked, what was measured, whether it is met."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    for name, benchmark in results.items():
        for row in benchmark["rows"]:
            unit = row["unit"]
            figures = asked(row["asked"], row["less"], unit), number(row["value"], unit), row["detail"], MET[row["met"]]
            writer.writerow((name, row["name"], row["floor"], *figures))
    return text.getvalue()


def unexplained(text: str, results: dict[str, Any]) -> list[str]:
    """Names of rows that miss what is asked and have no paragraph of their own."""
    missed = [row["name"] for benchmark in results.values() for row in benchmark["rows"] if row["met"] is False]
    return [name for name in missed if not re.search(rf"^\*\*{re.escape(name)}", text, re.M)]


def number(value: float, unit: str) -> str:
    """A figure as it is shown: "1.41 ×", "5.3 s", "18 %", "3"."""
    return {"x": f"{value:.3g} ×", "s": f"{value:.1f} s", "%": f"{value:.0f} %", "": f"{value:g}"}[unit]


def asked(value: float | None, less: bool, unit: str) -> str:
    return "" if value is None else f"{'≤' if less else '≥'} {number(value, unit)}"
