"""The ledger: what the papers print, and where each table and figure is reproduced.

papers/<paper>/tables/*.csv hold the printed values, tables.yaml says what each column would have to be measured on,
anomalies.yaml where the printed values contradict themselves, coverage.yaml where each table and figure is reproduced.
What was measured for a table is joined to it in dfrepro.report.beside.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import model_validator

from dfrepro.errors import WorkbookError
from dfrepro.report.schema import ORDER, PAPERS, Cell, Claim, Entry, Operand, read_yaml, validated

ROMAN = {name: number for number, name in enumerate(("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"), 1)}
OWN = ("run", "test", "condition", "marks")  # columns of the CSVs that the paper does not print as such
_TABLES: dict[tuple[str, str, Path], pd.DataFrame] = {}  # read once: a claim's cells look into them again and again


class Column(Entry):
    """A printed column: what to measure for it, or what it is the average of; neither: printed only."""

    test: str | tuple[str, ...] | None = None
    metric: str | None = None
    condition: str | tuple[str, ...] | None = None
    change: Literal["absolute", "relative"] | None = None
    unit: Literal["percent", "fraction"] | None = None
    average_of: tuple[str, ...] = ()


class TableSpec(Entry):
    title: str
    source: str
    unit: Literal["percent", "fraction", "count"]
    keys: tuple[str, ...]
    columns: dict[str, Column]

    def factor(self, column: str) -> float:
        return 100.0 if (self.columns[column].unit or self.unit) == "percent" else 1.0


class Covered(Entry):
    """One table or figure: either where it is reproduced, or why not; `lacks` says what a reproduced one leaves out."""

    id: str
    title: str
    printed: Literal["values", "no numbers", "missing from the text", "drawing"]
    notebook: str = ""
    stage: str = ""
    why_not: str = ""
    lacks: str = ""

    @model_validator(mode="after")
    def says_where_or_why_not(self) -> "Covered":
        if bool(self.notebook) == bool(self.why_not):
            raise ValueError("give either `notebook` or `why_not`")
        return self


def table(paper: str, identifier: str | int, root: Path = PAPERS) -> pd.DataFrame:
    """Table `identifier` ("T4", 4, "IV", "6a") of a paper, as printed: key columns, values as float, `run` and marks.

    `attrs` carry title, source and unit. Raises `WorkbookError` naming the tables that there are.
    """
    return _read(paper, *specified(paper, identifier, root), root).copy()


def specified(paper: str, identifier: str | int, root: Path) -> tuple[str, TableSpec]:
    """A table's file name ("T4") and what each of its columns would have to be measured on.

    Raises `WorkbookError` naming the papers, or the tables, that there are.
    """
    if paper not in ORDER:
        raise WorkbookError(f"no paper is called {paper}", where="ledger", remedy=f"There are {', '.join(ORDER)}")
    specs = _specs(root / paper / "tables.yaml")
    text = str(identifier)
    name = text if text in specs else f"T{ROMAN.get(text, text)}"
    if name not in specs:
        raise WorkbookError(f"{paper} has no table {text}", where="ledger", remedy=f"There are {', '.join(specs)}")
    return name, specs[name]


def _read(paper: str, name: str, spec: TableSpec, root: Path) -> pd.DataFrame:
    if (paper, name, root) in _TABLES:
        return _TABLES[paper, name, root]
    types = dict.fromkeys((*spec.keys, *OWN), str)
    frame = pd.read_csv(root / paper / "tables" / f"{name}.csv", dtype=types, keep_default_na=False, na_values=[""])
    frame[[key for key in frame if key in types]] = frame[[key for key in frame if key in types]].fillna("")
    frame.attrs = {"paper": paper, "table": name, "title": spec.title, "source": spec.source, "unit": spec.unit}
    _TABLES[paper, name, root] = frame
    return frame


def coverage(root: Path = PAPERS) -> pd.DataFrame:
    """Every table and figure of the five papers: id, title, what is printed, and where it is reproduced or why not.

    Raises `WorkbookError` where coverage.yaml leaves out a table or figure that its own count promises.
    """
    rows = [
        {"paper": paper, **entry.model_dump()} for paper in ORDER for entry in _coverage(root / paper / "coverage.yaml")
    ]
    return pd.DataFrame(rows)


def coverage_markdown(paper: str, root: Path = PAPERS) -> str:
    """The coverage of one paper as a Markdown table, as its README.md holds it."""
    lines = ["| id | content | printed | reproduced in | left out |", "|---|---|---|---|---|"]
    for entry in _coverage(root / paper / "coverage.yaml"):
        place = f"`{entry.notebook}`" if entry.notebook else f"not: {entry.why_not}"
        lines.append(f"| {entry.id} | {entry.title} | {entry.printed} | {place} | {entry.lacks} |")
    return "\n".join(lines) + "\n"


def undeclared(paper: str, runs: Collection[str], sets: Collection[str], root: Path = PAPERS) -> list[str]:
    """What stands in the way of tables that coverage.yaml calls reproducible: runs and test sets that nobody declares.

    `runs` and `sets` are those that are declared, sets by their layout's name. A line a fault: table and what it names.
    """
    specs, found = _specs(root / paper / "tables.yaml"), []
    for entry in _coverage(root / paper / "coverage.yaml"):
        if entry.id not in specs or not entry.notebook:
            continue
        rows, columns = table(paper, entry.id, root), specs[entry.id].columns.values()
        ours = rows[rows["run"] != ""] if "run" in rows else rows.head(0).assign(run="")
        measured = [column for column in columns if column.metric]
        if measured and ours.empty:
            found.append(f"{entry.id}: no row has a run")
        named = {test for column in measured for test in _many(column.test)}
        named |= set(ours["test"]) - {""} if "test" in ours else set()
        found += [f"{entry.id}: run {run}" for run in sorted(set(ours["run"]) - set(runs))]
        found += [f"{entry.id}: test set {test}" for test in sorted(named) if test.partition("/")[0] not in sets]
        if not named and measured and not ours.empty:
            found.append(f"{entry.id}: neither a column nor a row has a test set")
    return found


def without(paper: str, identifier: str, sets: Collection[str], root: Path = PAPERS) -> list[str]:
    """The columns of a table that some set is missing for, `sets` being those at hand by their layout's name."""
    columns = specified(paper, identifier, root)[1].columns
    tests = {name: [columns[part].test for part in column.average_of or (name,)] for name, column in columns.items()}
    return [
        name for name, each in tests.items()
        if any(one.partition("/")[0] not in sets for test in each for one in _many(test))
    ]  # fmt: skip


def _many(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


def anomalies(root: Path = PAPERS) -> pd.DataFrame:
    """Where the papers' printed values contradict themselves, their text or arithmetic."""
    return pd.DataFrame([{"paper": p} | entry for p in ORDER for entry in read_yaml(root / p / "anomalies.yaml") or ()])


@lru_cache
def _specs(path: Path) -> dict[str, TableSpec]:
    tables: dict[str, Any] = read_yaml(path)["tables"]
    return {name: validated(TableSpec, entry, f"{path}: {name}") for name, entry in tables.items()}


def _coverage(path: Path) -> list[Covered]:
    document = read_yaml(path)
    entries = [validated(Covered, entry, f"{path}: {entry.get('id')}") for entry in document["covered"]]
    promised = [f"T{n}" for n in range(1, document["tables"] + 1)] + [
        f"F{n}" for n in range(1, document["figures"] + 1)
    ]
    known = {entry.id.rstrip("abc") for entry in entries}
    if absent := [name for name in promised if name not in known]:
        raise WorkbookError(
            f"says nothing of {', '.join(absent)}", where=path, remedy="Say where it is reproduced, or why not"
        )
    return entries


def printed(claim: Claim, cell: Cell, root: Path = PAPERS) -> float | None:
    """What the paper's tables print for a cell, `of` minus `over` in [0, 1]; None where they do not print both sides.

    Looked for in the tables that the claim's source names, then in the others.
    A side over several test sets is the mean of their columns,
    or, where one of them has no column or `printed_from` is "average", the table's own average.
    """
    sides = [_printed_side(claim, side, cell.printed_from == "average", root) for side in (cell.of, cell.over)]
    if any(side is None for side in sides):
        return None
    return sides[0] - sides[1]  # type: ignore[operator]


def _printed_side(claim: Claim, side: Operand | float | None, average: bool, root: Path) -> float | None:
    if not isinstance(side, Operand):
        return None
    specs = _specs(root / claim.paper / "tables.yaml")
    cited = {name for name, spec in specs.items() if _cites(claim.source, spec.source)}
    for name in sorted(specs, key=lambda name: name not in cited):
        spec = specs[name]
        frame = _read(claim.paper, name, spec, root)
        for _, row in (frame[frame["run"] == side.run] if "run" in frame else frame.iloc[:0]).iterrows():
            found = None if average else _printed_mean(row, spec, side)
            if found is None and (average or len(side.test) > 1):
                found = next((row[key] / spec.factor(key) for key, c in spec.columns.items() if c.average_of), None)
            if found is not None and np.isfinite(found):
                return float(found) * side.scale
    return None


def _cites(source: str, table: str) -> bool:
    """Whether a claim's source ("Tables VIII and IX") names a table ("Table IX")."""
    return bool(re.search(rf"Tables? [^;]*?\b{re.escape(table.split()[-1])}\b", source))


def _printed_mean(row: pd.Series, spec: TableSpec, side: Operand) -> float | None:
    values = []
    for test, metric in zip(side.test, side.metrics):
        wanted = (test.partition(":")[0], metric, side.change)
        fits = [
            row[name] / spec.factor(name)
            for name, column in spec.columns.items()
            if (column.test or row.get("test"), column.metric, column.change) == wanted
            and _many(column.condition or row.get("condition") or "clean") == side.condition
        ]
        if not fits and len(side.test) == 1:  # a set that is printed by its methods alone
            fits = [
                float(np.mean([row[name] / spec.factor(name) for name, column in spec.columns.items()
                               if str(column.test).startswith(wanted[0] + "/") and column.metric == metric]
                              or [np.nan]))
            ]  # fmt: skip
        if len(fits) != 1:
            return None
        values.append(fits[0])
    return float(np.mean(values))
