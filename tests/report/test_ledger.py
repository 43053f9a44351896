import re

import pytest
import yaml

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.report import ledger
from dfrepro.report.schema import load_claims


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


def test_columns_are_missing_whose_test_sets_are_not_at_hand_and_so_are_averages_over_them():
    assert ledger.without("fpg", "T1", {"cdfv2", "dfd", "dfdc", "dfdcp"}) == ["ffiw", "average"]
    assert ledger.without("fpg", "T1", {"cdfv2", "dfd", "dfdc", "dfdcp", "ffiw"}) == []


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
