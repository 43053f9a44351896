"""The ledger: what the papers print, beside what was measured here, and where each table and figure is reproduced.

papers/<paper>/tables/*.csv hold the printed values, tables.yaml says what each column would have to be measured on,
anomalies.yaml where the printed values contradict themselves, coverage.yaml where each table and figure is reproduced.
A measured column always carries its label ("stand-in") in its name: a number from generated faces is never the paper's.
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
from dfrepro.report.contrast import common_seeds, contrast, probits, values
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import ORDER, PAPERS, Cell, Claim, Entry, Operand, read_yaml, validated

ROMAN = {name: number for number, name in enumerate(("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"), 1)}
OWN = ("run", "test", "condition", "marks")  # columns of the CSVs that the paper does not print as such
_TABLES: dict[tuple[str, str, Path], pd.DataFrame] = {}  # read once: a claim's cells look into them again and again
NOT_RUN, NOT_OURS = "not run", "not reproduced"


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
    return _read(paper, *_spec(paper, identifier, root), root).copy()


def _read(paper: str, name: str, spec: TableSpec, root: Path) -> pd.DataFrame:
    if (paper, name, root) in _TABLES:
        return _TABLES[paper, name, root]
    types = dict.fromkeys((*spec.keys, *OWN), str)
    frame = pd.read_csv(root / paper / "tables" / f"{name}.csv", dtype=types, keep_default_na=False, na_values=[""])
    frame[[key for key in frame if key in types]] = frame[[key for key in frame if key in types]].fillna("")
    frame.attrs = {"paper": paper, "table": name, "title": spec.title, "source": spec.source, "unit": spec.unit}
    _TABLES[paper, name, root] = frame
    return frame


def beside(
    paper: str,
    identifier: str | int,
    measured: pd.DataFrame | Evidence,
    *,
    label: str = "stand-in",
    study: Evidence | None = None,
    root: Path = PAPERS,
) -> pd.DataFrame:
    """The printed table with a measured column next to every column that can be measured.

    `measured` is tidy results (run, seed, dataset, metric, value) or evidence. A measured value is the mean over seeds
    in the table's unit. A row of ours without results reads "not run", another paper's "not reproduced".
    `study`: the evidence of the committed study, for a column of its own (mean and 95 % interval, as text) before the
    measured one; where the study has a value and `measured` has none, the measured column is empty.
    """
    printed, (_, spec) = table(paper, identifier, root), _spec(paper, identifier, root)
    evidence = measured if isinstance(measured, Evidence) else Evidence(measured)
    rows = [_beside_row(row, spec, evidence, label, study) for _, row in printed.iterrows()]
    joined = pd.DataFrame(rows)
    joined.attrs = printed.attrs | {"label": label}
    return joined


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


def _many(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


def anomalies(root: Path = PAPERS) -> pd.DataFrame:
    """Where the papers' printed values contradict themselves, their text or arithmetic."""
    return pd.DataFrame([{"paper": p} | entry for p in ORDER for entry in read_yaml(root / p / "anomalies.yaml") or ()])


@lru_cache
def _specs(path: Path) -> dict[str, TableSpec]:
    tables: dict[str, Any] = read_yaml(path)["tables"]
    return {name: validated(TableSpec, entry, f"{path}: {name}") for name, entry in tables.items()}


def _spec(paper: str, identifier: str | int, root: Path) -> tuple[str, TableSpec]:
    if paper not in ORDER:
        raise WorkbookError(f"no paper is called {paper}", where="ledger", remedy=f"There are {', '.join(ORDER)}")
    specs = _specs(root / paper / "tables.yaml")
    text = str(identifier)
    name = text if text in specs else f"T{ROMAN.get(text, text)}"
    if name not in specs:
        raise WorkbookError(f"{paper} has no table {text}", where="ledger", remedy=f"There are {', '.join(specs)}")
    return name, specs[name]


def _beside_row(
    row: pd.Series, spec: TableSpec, evidence: Evidence, label: str, study: Evidence | None
) -> dict[str, Any]:
    cells: dict[str, Any] = {key: row[key] for key in spec.keys}
    found: dict[str, Any] = {}
    for name, column in spec.columns.items():
        cells[f"{name} (printed)"] = row[name]
        if not column.average_of and not column.metric:
            continue
        operands = _operands(row, spec, name)
        of_study = _studied(operands, study, spec.factor(name)) if study is not None else ""
        if column.average_of:
            found[name] = _average([found[part] for part in column.average_of])
        else:
            found[name] = _measured(operands, evidence, spec.factor(name))
        if study is not None:
            cells[f"{name} (study)"] = of_study or (NOT_OURS if not operands else NOT_RUN)
        cells[f"{name} ({label})"] = "" if of_study and found[name] == NOT_RUN else found[name]
    return cells | {"run": row.get("run", "")}


def _operands(row: pd.Series, spec: TableSpec, name: str) -> list[Operand]:
    """What a column of a row, or the columns that it averages, are measured on; nothing for another paper's row."""
    run = row.get("run", "")
    columns = [spec.columns[part] for part in spec.columns[name].average_of or (name,)]
    return [
        Operand.model_validate({
            "run": run, "metric": column.metric, "test": column.test or row.get("test"), "change": column.change,
            "condition": column.condition or row.get("condition") or "clean",
        })
        for column in columns if run
    ]  # fmt: skip


def _measured(operands: list[Operand], evidence: Evidence, factor: float) -> float | str:
    if not operands:
        return NOT_OURS
    seeds = evidence.seeds(operands[0].run)
    values = [value for seed in seeds if (value := evidence.value(operands[0], seed)) is not None]
    return float(np.mean(values)) * factor if values else NOT_RUN


def _studied(operands: list[Operand], study: Evidence, factor: float) -> str:
    """Mean and 95 % interval over the study's seeds and test sets, in the table's unit; "" where it has not all."""
    cells = [Cell(name="", of=operand, test="shown") for operand in operands]
    seeds, _ = common_seeds(cells, study) if cells else ([], "")
    if not seeds:
        return ""
    on_probit = all(probits(cell) for cell in cells)  # an AUC's interval stays in [0, 1]
    effect, digits = contrast(cells, study, seeds, on_probit), 1 if factor == 100.0 else 3
    mean = factor * float(np.mean([values(operand, study, seeds) for operand in operands]))
    interval = effect.interval()
    if interval is None:
        return f"{mean:.{digits}f}"
    low, high = (bound * factor for bound in interval)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _average(parts: list[float | str]) -> float | str:
    """The mean of a row's columns; a row that was not measured on all of them has none, rather than another average."""
    numbers = [part for part in parts if not isinstance(part, str)]
    return float(np.mean(numbers)) if len(numbers) == len(parts) else next(p for p in parts if isinstance(p, str))


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
