"""A paper's table as tidy numbers: the paper's, the study's and this clone's, in the table's unit."""

import re

import pandas as pd
import pytest
import yaml

from dfrepro.report import ledger
from dfrepro.report.beside import COLUMNS, beside, levels, pick
from dfrepro.report.evidence import Evidence

OTHERS = ("dfdcp", "dfdc", "wdf")


def evidence(rows) -> Evidence:
    return Evidence(pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"]))


def value(cells: pd.DataFrame, source: str, column: str, **keys: str) -> pd.Series:
    part = cells[(cells["source"] == source) & (cells["column"] == column)]
    for key, wanted in keys.items():
        part = part[part[key] == wanted]
    (row,) = part.to_dict("records")
    return pd.Series(row)


def test_measured_values_are_in_the_papers_unit_and_an_average_is_that_of_its_columns():
    means = dict(zip(("cdfv2", *OTHERS), (0.81, 0.7, 0.6, 0.5)))
    rows = [("pim-ffpp", seed, test, "video_auc", mean + (-1) ** seed * 0.01)
            for seed in (0, 1) for test, mean in means.items()]  # fmt: skip
    cells = beside("pim", "VI", {"here": evidence(rows)})
    assert value(cells, "paper", "cdf", r="0.1")["value"] == 87.34
    assert value(cells, "here", "cdf", r="0.1")["value"] == pytest.approx(81)
    average = value(cells, "here", "average", r="0.1")
    assert average["value"] == pytest.approx((81 + 70 + 60 + 50) / 4)
    assert average["each"] == pytest.approx((66.25, 64.25))
    assert average["seeds"] == 2


def test_the_study_has_its_interval_and_what_nobody_has_measured_has_no_row():
    rows = [("pim-ffpp", seed, test, "video_auc", 0.7 + seed / 100) for seed in range(5) for test in ("cdfv2", *OTHERS)]
    cells = beside("pim", "VI", {"study": evidence(rows), "here": evidence([])})
    found = value(cells, "study", "cdf", r="0.1")
    assert found["low"] < found["value"] < found["high"]
    assert found["value"] == pytest.approx(72)
    assert set(cells[cells["source"] == "study"]["r"]) == {"0.1"}
    assert not (cells["source"] == "here").any()


def test_an_average_needs_all_of_its_columns():
    cells = beside("pim", "VI", {"here": evidence([("pim-ffpp", 0, "cdfv2", "video_auc", 0.8)])})
    assert set(cells[cells["source"] == "here"]["column"]) == {"cdf"}


def test_an_accuracys_interval_stays_within_0_and_1():
    rows = [("erm-df", seed, "ffpp/Deepfakes", "accuracy", value) for seed, value in enumerate((1.0, 0.99, 0.9))]
    found = value(beside("pim", "II", {"study": evidence(rows)}), "study", "accuracy", dataset="DF")
    assert found["high"] == 1


def test_a_row_may_name_its_own_test_set_and_condition():
    measured = pd.DataFrame(
        [("erm-df", 0, "ffpp/Deepfakes", "accuracy", 0.9)], columns=["run", "seed", "dataset", "metric", "value"]
    ).assign(condition="shifted")
    cells = beside("pim", "II", {"here": Evidence(measured)})
    ours = cells[cells["source"] == "here"]
    assert ours[["dataset", "perturbation", "value"]].to_numpy().tolist() == [["DF", "after", 0.9]]


def test_every_table_can_be_read_and_another_papers_row_is_printed_alone():
    for paper in ledger.ORDER:
        for name in yaml.safe_load((ledger.PAPERS / paper / "tables.yaml").read_text(encoding="utf-8"))["tables"]:
            cells = beside(paper, name, {"here": evidence([])})
            assert set(COLUMNS) <= set(cells.columns)
            assert set(cells["source"]) <= {"paper"}
    rows = [("pim-ffpp", 0, "cdfv2", "video_auc", 0.8)]
    others = beside("pim", "V", {"here": evidence(rows)})
    assert set(others[others["run"] == ""]["source"]) == {"paper"}


def test_what_no_paper_prints_is_measured_by_run_and_operand():
    rows = [("a", seed, "ffpp", "map_auc", 0.5 + seed / 10) for seed in (0, 1)]
    columns = {"pixel AUC": {"metric": "map_auc", "test": "ffpp"}}
    cells = levels({"one": "a", "two": "b"}, columns, {"here": evidence(rows)}, key="maps")
    assert cells[["maps", "run", "value", "seeds"]].to_numpy().tolist() == [["one", "a", 0.55, 2]]
    assert cells.attrs["rows"] == ["one", "two"]


def test_one_sources_values_are_picked_by_printed_row():
    rows = [("erm-ffpp", 0, "cdfv2", "video_auc", 0.8)]
    cells = beside("pim", "VI", {"here": evidence(rows)})
    picked = pick(cells, "here", "cdf", "wdf")
    assert picked["cdf"].notna().sum() == 1
    assert picked["wdf"].isna().all()
    assert len(picked) == len(ledger.table("pim", "VI"))
    assert re.match(r"\d", str(pick(cells, "paper", "cdf")["cdf"].iloc[0]))


def test_the_former_study_stands_only_where_the_study_has_not_come_to_it():
    measured = {
        "study": evidence([("pim-ffpp", 0, "cdfv2", "video_auc", 0.8)]),
        "former": evidence([("pim-ffpp", 0, test, "video_auc", 0.6) for test in ("cdfv2", "wdf")]),
    }
    ours = beside("pim", "VI", measured).query("source != 'paper'")
    assert ours[["column", "source", "value"]].to_numpy().tolist() == [["cdf", "study", 80.0], ["wdf", "former", 60.0]]
