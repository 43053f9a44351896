"""What the claims of PEL and FPG call printed, worked out of the papers' tables."""

import pandas as pd
import pytest

from dfrepro.report.ledger import PAPERS, table
from dfrepro.report.schema import Cell, Operand, load_claims, load_paper_claims, read_yaml

CELLS = [
    pytest.param(paper, claim.id, cell, id=f"{claim.id}: {cell.name}")
    for paper in ("pel", "fpg")
    for claim in load_paper_claims(PAPERS / paper / "claims.yaml")
    for cell in claim.cells
]


def printed(paper: str, side: Operand) -> float | None:
    """The paper's number for a run, averaged over the operand's sets; None where it prints not all of them."""
    found = []
    for test, metric in zip(side.test, side.metrics):
        one = [
            value
            for name in read_yaml(PAPERS / paper / "tables.yaml")["tables"]
            for value in _in(paper, name, side, test, metric)
        ]
        if not one:
            return None
        assert len(set(one)) == 1, (side, one)  # a run that stands in two tables has one number
        found.append(one[0])
    return sum(found) / len(found)


def _in(paper: str, name: str, side: Operand, test: str, metric: str) -> list[float]:
    """The number in one table, or nothing."""
    described = read_yaml(PAPERS / paper / "tables.yaml")["tables"][name]
    frame = table(paper, name)
    values = []
    for column, entry in described["columns"].items():
        wanted = {"metric": metric, "condition": side.condition[0], "change": side.change}
        has = {
            "metric": entry.get("metric"),
            "condition": entry.get("condition", "clean"),
            "change": entry.get("change"),
        }
        if has != wanted:
            continue
        rows = frame[frame["run"] == side.run]
        if "test" in entry:
            rows = rows if entry["test"] == test else rows.head(0)
        else:
            rows = rows[rows["test"] == test]
        scale = 100 if entry.get("unit", described["unit"]) == "percent" else 1
        values += [float(value) / scale for value in rows[column] if pd.notna(value)]
    return values


@pytest.mark.parametrize(("paper", "claim", "cell"), CELLS)
def test_printed_is_the_tables_of_minus_over(paper, claim, cell: Cell):
    sides = [printed(paper, side) for side in (cell.of, cell.over) if isinstance(side, Operand)]
    known = len(sides) == 2 and None not in sides and claim not in ("P0-C3", "P0-C5")
    if not known:
        assert cell.printed is None or cell.printed_from, "no such numbers in the tables"
    else:
        expected = sides[0] - sides[1]
        assert cell.printed is None or cell.printed == pytest.approx(expected, abs=1e-6)
        assert cell.printed is not None or not cell.primary or cell.test == "shown"


def test_the_counts_that_the_notes_give_are_the_tables():
    """PEL ranks best in 7 of 8 AUCs of Table 2, and decays least in 10 of 12 cells of Table 3."""
    t2 = table("pel", "T2")
    best = t2.loc[t2.groupby(["train", "test_set"])["auc"].idxmax(), "method"]
    assert (best == "Ours").sum() == 7
    t3 = table("pel", "T3")
    changes = [column for column in t3 if column.endswith("_change")]
    least = [t3.loc[rows[column].idxmax(), "method"] for _, rows in t3.groupby("dataset") for column in changes]
    assert least.count("Ours") == 10


def test_accuracy_is_judged_where_half_of_the_videos_are_fake_and_nowhere_else():
    """On FF++ as a whole four in five are: who calls everything fake has .8 of all, and loses nothing by noise."""
    judged = [
        (claim.title, test.partition(":")[0])
        for claim in load_claims()
        for cell in claim.primary
        for side in cell.sides
        for test, metric in zip(side.test, side.metrics)
        if metric.endswith("accuracy") and "balanced" not in metric
    ]
    assert judged, "no claim is of accuracy"
    assert {test for _, test in judged} == {"ffpp/Deepfakes", "ffpp/Face2Face"}  # the originals and one manipulation
