"""What the stand-in is calibrated on: for every baseline that the papers print, the band that it must reach here.

`calibration.csv` has one row a cell: `printed` says where the papers print it (paper/table row=... column), `run` and
`test`, `manipulation`, `condition` what is measured in its place, `minus` the condition whose value is subtracted,
`low` and `high` the band, `pilot` what one network from scratch found before the study, on laptop's tests. Baselines
only: no method's gain is in the table, and none may enter it. The study's own baselines measure the cells, a draw of
the stand-in every five seeds; `python -m dfrepro.report.calibration` writes docs/tables/calibration.csv.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dfrepro import places
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import metrics
from dfrepro.evaluate.scores import NAME, read
from dfrepro.files import ROOT, atomic_file
from dfrepro.params import Params
from dfrepro.report import ledger
from dfrepro.report.collect import of_others

BANDS = Path(__file__).with_name("calibration.csv")
MEASURED = places.STUDY / "calibration.csv"
COLUMNS = ["run", "seed", "cell", "value"]
CLEAN = "clean"


class Printed(NamedTuple):
    """A number in a paper's table."""

    paper: str
    table: str
    row: dict[str, str]
    column: str

    @classmethod
    def parse(cls, text: str) -> "Printed":
        """From "pim/T1 train=DF F2F"."""
        place, _, rest = text.partition(" ")
        chosen, _, column = rest.rpartition(" ")
        paper, _, table = place.partition("/")
        return cls(paper, table, dict(part.split("=", 1) for part in chosen.split(",")), column)

    def value(self) -> float:
        """The number as a share of 1. Raises `WorkbookError` unless exactly one row of the table has it."""
        table = ledger.table(self.paper, self.table)
        rows = table[np.logical_and.reduce([table[name].astype(str) == value for name, value in self.row.items()])]
        if len(rows) != 1 or self.column not in table:
            raise WorkbookError(
                f"{len(rows)} rows match {self.row}, column {self.column}", where=f"{self.paper}/{self.table}"
            )
        value = float(rows[self.column].iloc[0])
        return value / 100 if abs(value) > 2 else value  # percent


def cells() -> pd.DataFrame:
    """The table: its columns, an empty field "" (a condition: clean, a manipulation: all), and the number `value`."""
    table = pd.read_csv(BANDS, keep_default_na=False)
    table["condition"] = table.condition.replace("", CLEAN)
    return table.assign(value=[Printed.parse(text).value() for text in table.printed])


def value(scores: pd.DataFrame, cell: pd.Series) -> float:
    """One cell from the `scores` of its run (as `evaluate_run` writes them)."""
    found = scores[(scores.dataset == cell.test) & scores.manipulation.isin(["original", cell.manipulation])]
    if not cell.manipulation:
        found = scores[scores.dataset == cell.test]
    measure = metrics.video_auc if cell.metric == "auc" else _accuracy
    at = {name: measure(found[found.condition == name]) for name in (cell.condition, cell.minus) if name}
    return at[cell.condition] - at.get(cell.minus, 0.0)


def _accuracy(frames: pd.DataFrame) -> float:
    return metrics.value("accuracy", frames.label.to_numpy(), metrics.margins(frames))


def measured(p: Params, artifacts: Path) -> pd.DataFrame:
    """The cells whose runs have been scored below `artifacts`, on their sets and conditions: run, seed, cell, value."""
    here, rows = p.model_copy(update={"artifacts": artifacts}), []
    for run, mine in cells().groupby("run", sort=False):
        for seed in p.seeds:
            folder = places.scores_folder(here, str(run), seed)
            if not (folder / NAME).is_file():
                continue
            scores = read(folder)
            there = set(zip(scores.dataset, scores.condition))
            rows += [
                (run, seed, cell.cell, value(scores, cell))
                for _, cell in mine.iterrows()
                if {(cell.test, name) for name in (cell.condition, cell.minus) if name} <= there
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def add(new: pd.DataFrame, path: Path = MEASURED) -> None:
    """Put what was measured into the file, in place of what that holds of the same runs and seeds."""
    with atomic_file(path) as partial:
        found = pd.concat([of_others(kept(path), new), new]).sort_values(["run", "seed"], kind="stable")
        found.to_csv(partial, index=False, float_format="%.4f")


def kept(path: Path = MEASURED) -> pd.DataFrame:
    """Everything that the study has measured: run, seed, cell, value."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)


def report(measured: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: cell, printed, band, pilot, measured (mean), from (seeds), in band ("yes", "no" or "")."""
    table = cells()
    groups = measured.groupby("cell").value
    mean, count = table.cell.map(groups.mean()), table.cell.map(groups.count()).fillna(0).astype(int)
    inside = np.where(mean.isna(), "", np.where((mean >= table.low) & (mean <= table.high), "yes", "no"))
    columns = {
        "cell": table.cell,
        "printed in": table.printed.str.split(" ").str[0],
        "printed": table.value.map("{:.3f}".format),
        "band": [f"{low:g} to {high:g}" for low, high in zip(table.low, table.high, strict=True)],
        "pilot": table.pilot,
        "measured": mean.map("{:.3f}".format).where(count > 0, ""),
        "from": count,
        "in band": inside,
    }
    return pd.DataFrame(columns)


if __name__ == "__main__":
    report(kept()).to_csv(ROOT / "docs" / "tables" / "calibration.csv", index=False)
