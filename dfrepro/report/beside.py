"""A paper's table as tidy numbers: what it prints, what the committed study measured, and what this clone did.

Where the study has not come to a number yet, that of the former study stands for it, under its own name.

One row a printed cell and source. Values are in the table's unit; a source that has no number for a cell has no row.
`dfrepro.report.tables` shows it to readers, the figures draw from it.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfrepro.report.contrast import common_seeds, contrast, probits, values
from dfrepro.report.evidence import Evidence
from dfrepro.report.ledger import TableSpec, specified, table
from dfrepro.report.schema import PAPERS, Cell, Operand

PAPER, STUDY, FORMER, HERE = "paper", "study", "former", "here"
SOURCES = (PAPER, STUDY, FORMER, HERE)
BOUNDED = ("accuracy", "eer")  # no interval leaves [0, 1]; AUCs' never do (dfrepro.report.effects)
NOT_NEGATIVE = re.compile(r".*log_loss|map_mass_.*|share_.*|saliency_.*|mask_share")
COLUMNS = ["row", "run", "column", "source", "value", "low", "high", "seeds", "each"]

Numbers = tuple[float, float, float, int, tuple[float, ...]]  # value, low, high, seeds, each


def beside(paper: str, identifier: str | int, measured: Mapping[str, Evidence], root: Path = PAPERS) -> pd.DataFrame:
    """Every printed cell with what was measured for it: the table's keys, and COLUMNS.

    `row` counts the printed rows; `run` is "" for another paper's. `value` is the printed number, or the mean over the
    seeds of a source; `low` and `high` are its 95 % interval over seeds and people, NaN where there is none; `seeds`
    how many, and `each` what each of them gave. An average is there only where all of its columns are.
    `measured`: evidence by source ("study", "former", "here").
    `attrs`: paper, table, title, source, unit, keys, columns, and the columns in percent.
    """
    printed, (_, spec) = table(paper, identifier, root), specified(paper, identifier, root)
    rows = []
    for number, row in printed.iterrows():
        keys, run = {key: row[key] for key in spec.keys}, row.get("run", "")
        for name in spec.columns:
            found: dict[str, Numbers] = {PAPER: (row[name], np.nan, np.nan, 0, ())}
            found |= _found(operands(row, spec, name), measured, spec.factor(name))
            rows += [
                keys | dict(zip(COLUMNS, (number, run, name, source, *numbers)))
                for source, numbers in found.items() if pd.notna(numbers[0])
            ]  # fmt: skip
    joined = pd.DataFrame(rows, columns=[*spec.keys, *COLUMNS])
    percent = [name for name in spec.columns if spec.factor(name) == 100.0]
    joined.attrs = printed.attrs | {"keys": list(spec.keys), "columns": list(spec.columns), "percent": percent}
    return joined


def levels(
    rows: Mapping[str, str], columns: Mapping[str, Mapping[str, Any]], measured: Mapping[str, Evidence], *,
    key: str, title: str = "", percent: Collection[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """The same for what no paper prints: `rows` are runs by their name for people, `columns` operands without the run.

    `measured`: evidence by source; `percent`: the columns whose values are in percent.
    """
    lines = []
    for number, (name, run) in enumerate(rows.items()):
        for column, operand in columns.items():
            one = [Operand.model_validate({"run": run} | dict(operand))]
            for source, numbers in _found(one, measured, 100.0 if column in percent else 1.0).items():
                lines.append({key: name} | dict(zip(COLUMNS, (number, run, column, source, *numbers))))
    cells = pd.DataFrame(lines, columns=[key, *COLUMNS])
    cells.attrs = {
        "keys": [key],
        "columns": list(columns),
        "rows": list(rows),
        "percent": list(percent),
        "title": title,
    }
    return cells


def pick(cells: pd.DataFrame, source: str, *columns: str, value: str = "value") -> pd.DataFrame:
    """What one source has for some columns of the table: one row a printed row, NaN where it has nothing."""
    part = cells[cells["source"] == source].pivot(index="row", columns="column", values=value)
    return part.reindex(index=sorted(cells["row"].unique()), columns=list(columns)).astype(float)


def operands(row: pd.Series, spec: TableSpec, name: str) -> list[Operand]:
    """What a column of a row, or the columns that it averages, are measured on; nothing for another paper's row."""
    run = row.get("run", "")
    columns = [spec.columns[part] for part in spec.columns[name].average_of or (name,)]
    if not run or any(column.metric is None for column in columns):
        return []
    return [
        Operand.model_validate({
            "run": run, "metric": column.metric, "test": column.test or row.get("test"), "change": column.change,
            "condition": column.condition or row.get("condition") or "clean",
        })
        for column in columns
    ]  # fmt: skip


def _found(operands: list[Operand], measured: Mapping[str, Evidence], factor: float) -> dict[str, Numbers]:
    """What each source that has it measured; the former study only where the study has not come to it."""
    each = {source: _level(operands, evidence, factor) for source, evidence in measured.items()}
    known = {source: numbers for source, numbers in each.items() if numbers is not None and pd.notna(numbers[0])}
    return {source: numbers for source, numbers in known.items() if source != FORMER or STUDY not in known}


def _level(found: list[Operand], evidence: Evidence, factor: float) -> Numbers | None:
    """Mean, 95 % interval and seeds in the table's unit; None where a part of it was not measured."""
    cells = [Cell(name="", of=operand, test="shown") for operand in found]
    seeds, _ = common_seeds(cells, evidence) if cells else ([], "")
    if not seeds:
        return None
    effect = contrast(cells, evidence, seeds, all(probits(cell) for cell in cells))  # an AUC's interval is in [0, 1]
    each = factor * np.mean([values(operand, evidence, seeds) for operand in found], axis=0)
    low, high = effect.interval() or (np.nan, np.nan)
    plain = [operand.metric for operand in found if operand.change is None]
    if len(plain) == len(found) and all(metric.rpartition("_")[2] in BOUNDED for metric in plain):
        low, high = np.clip([low, high], 0, 1)
    elif len(plain) == len(found) and all(map(NOT_NEGATIVE.fullmatch, plain)):
        low = max(low, 0.0)
    return float(each.mean()), factor * low, factor * high, len(seeds), tuple(each)
