import re

import pandas as pd
import pytest
import yaml

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.report import ledger
from dfrepro.report.evidence import Evidence
from dfrepro.report.schema import load_claims


def results(rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["run", "seed", "dataset", "metric", "value"])


def test_a_table_is_found_by_any_of_its_names():
    frames = [ledger.table("pim", name) for name in ("T4", 4, "4", "IV")]
    assert all(frame.equals(frames[0]) for frame in frames)
    assert frames[0].attrs["source"] == "Table IV"


@pytest.mark.parametrize(
    ("paper", "name", "said"), [("pim", "T12", "has no table"), ("pam", "T1", "no paper is called")]
)
def test_an_unknown_table_says_which_there_are(paper, name, said):
    with pytest.raises(WorkbookError, match=said) as error:
        ledger.table(paper, name)
    assert "There are" in str(error.value)


def test_measured_values_stand_beside_the_printed_ones_in_the_papers_unit():
    others = (("dfdcp", 0.7), ("dfdc", 0.6), ("wdf", 0.5))
    rows = [("pim-ffpp", seed, test, "video_auc", value) for seed in (0, 1) for test, value in others]
    measured = results(
        [*rows, ("pim-ffpp", 0, "cdfv2", "video_auc", 0.80), ("pim-ffpp", 1, "cdfv2", "video_auc", 0.82)]
    )
    shown = ledger.beside("pim", "VI", measured).set_index("r")
    assert shown.loc["0.1", "cdf (printed)"] == 87.34
    assert shown.loc["0.1", "cdf (stand-in)"] == pytest.approx(81)
    assert shown.loc["0.1", "average (stand-in)"] == pytest.approx((81 + 70 + 60 + 50) / 4)


def test_a_row_without_results_is_shown_as_not_run():
    shown = ledger.beside("pim", "VI", results([]))
    assert len(shown) == len(ledger.table("pim", "VI"))
    assert set(shown["cdf (stand-in)"]) == {"not run"}


def test_the_study_has_a_column_of_its_own_with_its_interval_and_what_it_has_is_no_longer_missing():
    tests = ("cdfv2", "dfdcp", "dfdc", "wdf")
    rows = [("pim-ffpp", seed, test, "video_auc", 0.7 + seed / 100) for seed in range(5) for test in tests]
    shown = ledger.beside("pim", "VI", results([]), study=Evidence(results(rows))).set_index("r")
    mean, low, high = map(float, re.findall(r"[\d.]+", shown.loc["0.1", "cdf (study)"]))
    assert low < mean == 72.0 < high
    assert shown.loc["0.1", "average (study)"] == shown.loc["0.1", "cdf (study)"]
    assert shown.loc["0.1", "cdf (stand-in)"] == shown.loc["0.1", "average (stand-in)"] == ""
    assert shown.loc["0.05", "cdf (study)"] == shown.loc["0.05", "cdf (stand-in)"] == "not run"
    ours = ledger.beside("pim", "VI", results(rows[:4]), study=Evidence(results(rows))).set_index("r")
    assert ours.loc["0.1", "cdf (stand-in)"] == pytest.approx(70)
    others = ledger.beside("pim", "V", results([]), study=Evidence(results(rows)))
    assert "not reproduced" in set(others["cdf (study)"])


def test_another_papers_detector_is_shown_as_not_reproduced():
    shown = ledger.beside("pim", "V", results([])).set_index(["method", "train_data"])
    assert shown.loc[("RECCE", "FF++"), "cdf (stand-in)"] == "not reproduced"
    assert shown.loc[("Ours", "FF++"), "cdf (stand-in)"] == "not run"


def test_an_average_needs_all_of_its_columns():
    shown = ledger.beside("pim", "VI", results([("pim-ffpp", 0, "cdfv2", "video_auc", 0.8)])).set_index("r")
    assert shown.loc["0.1", "average (stand-in)"] == "not run"


def test_a_row_may_name_its_own_test_set_and_condition():
    measured = results([("erm-df", 0, "ffpp/Deepfakes", "accuracy", 0.9)]).assign(condition="shifted")
    shown = ledger.beside("pim", "II", measured).set_index(["dataset", "perturbation"])
    assert shown.loc[("DF", "after"), "accuracy (stand-in)"] == 0.9
    assert shown.loc[("DF", "before"), "accuracy (stand-in)"] == "not run"


def test_every_measured_column_carries_its_label():
    for paper in ledger.ORDER:
        for name in yaml.safe_load((ledger.PAPERS / paper / "tables.yaml").read_text(encoding="utf-8"))["tables"]:
            shown = ledger.beside(paper, name, results([]), label="here")
            keys = set(ledger.table(paper, name).columns) | {"run"}
            assert all(c in keys or c.endswith((" (printed)", " (here)")) for c in shown.columns)


def test_coverage_holds_every_table_and_figure():
    covered = ledger.coverage()
    expected = {"fpg": (2, 4), "pim": (9, 4), "pel": (5, 4), "fia_usa": (9, 22), "focus": (8, 11)}
    for paper, (tables, figures) in expected.items():
        known = set(covered[covered.paper == paper].id.str.rstrip("abc"))
        assert known == {f"T{n}" for n in range(1, tables + 1)} | {f"F{n}" for n in range(1, figures + 1)}, paper
    assert (covered.notebook.ne("") ^ covered.why_not.ne("")).all()


DECLARED = params.load(scale="paper", grid="full")
SETS = {dataset.layout for dataset in DECLARED.datasets.values()}


@pytest.mark.parametrize("paper", ledger.ORDER)
def test_a_table_that_is_called_reproducible_names_declared_runs_and_test_sets_alone(paper):
    assert ledger.undeclared(paper, DECLARED.runs, SETS) == []


def test_a_table_of_a_run_or_a_set_that_nobody_declares_is_not_reproducible():
    without = DECLARED.runs.keys() - {"fiausa-effb1", "fiausa-full-fpn"}
    faults = ledger.undeclared("fia_usa", without, SETS - {"df40", "cdfv1"})
    assert {"T6b: run fiausa-effb1", "T8: run fiausa-full-fpn", "T2: test set cdfv1"} <= set(faults)
    assert {"T5: test set df40/uniface", "T9a: test set df40/SiT"} <= set(faults)
    assert {fault.partition(":")[0] for fault in faults} == {"T2", "T5", "T6b", "T8", "T9a"}


def test_coverage_that_forgets_a_figure_is_an_error(tmp_path):
    path = tmp_path / "coverage.yaml"
    entry = {"id": "F1", "title": "x", "printed": "drawing", "notebook": "02_pim"}
    path.write_text(yaml.safe_dump({"tables": 0, "figures": 2, "covered": [entry]}))
    with pytest.raises(WorkbookError, match="says nothing of F2"):
        ledger._coverage(path)


def is_named(run: str, words: set[str]) -> bool:
    """`run` is one of `words`, or one of them and suffixes that are ("-printed")."""
    return run in words or any(run.endswith(w) and is_named(run.removesuffix(w), words) for w in words if w[0] == "-")


@pytest.mark.parametrize("paper", ledger.ORDER)
def test_the_readme_of_a_paper_names_every_run(paper):
    readme = (ledger.PAPERS / paper / "README.md").read_text(encoding="utf-8")
    words = {word.removesuffix("-<kind>") for word in re.findall(r"`([^`\s]+)`", readme)}
    runs = {run for claim in load_claims() if claim.paper == paper for run in claim.runs()}
    assert [run for run in sorted(runs) if not run.startswith("dual-") and not is_named(run, words)] == []
    assert not is_named(f"{min(runs)}-other", words)
