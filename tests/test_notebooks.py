"""Committed notebooks are complete: outputs, in order, without errors, short, with a parameters cell and a header."""

import re
import subprocess
import sys

import pytest

from dfrepro.files import ROOT, read_json, write_json

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


def problems(notebook) -> list[str]:
    """What is wrong with a committed notebook; empty when nothing is."""
    cells = code_cells(notebook)
    counts = [cell["execution_count"] for cell in cells]
    found = []
    if counts != list(range(1, len(cells) + 1)):
        found.append(f"not run from top to bottom: execution counts {counts}")
    if not any(cell["outputs"] for cell in cells):
        found.append("committed without outputs")
    if any(output["output_type"] == "error" for cell in cells for output in cell["outputs"]):
        found.append("committed with an error")
    streams = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "stream"]
    if any(stream["name"] == "stderr" for stream in streams):
        found.append("committed with a warning, which names a file of the machine that ran it")
    if sum("parameters" in cell["metadata"].get("tags", []) for cell in cells) != 1:
        found.append("needs exactly one cell tagged parameters")
    if len(cells) > 15:
        found.append(f"{len(cells)} code cells; at most 15")
    if any(len("".join(cell["source"]).splitlines()) > 15 for cell in cells):
        found.append("a cell of more than 15 lines; logic lives in the library")
    header = "".join(notebook["cells"][0]["source"])
    found += [
        f"the header lacks {part}" for part in ("**Question.**", "Inputs", "Outputs", "Time") if part not in header
    ]
    if notebook["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("the kernel is not python3: `make repro` writes it")
    return found


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_is_complete(path):
    assert problems(read_json(path)) == []


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda cells: [cell.update(outputs=[]) for cell in cells], "without outputs"),
        (lambda cells: cells[1].update(execution_count=99), "top to bottom"),
        (lambda cells: cells[1].update(execution_count=None), "top to bottom"),
        (lambda cells: cells[1].update(outputs=[{"output_type": "error"}]), "with an error"),
        (
            lambda cells: cells[1].update(outputs=[{"output_type": "stream", "name": "stderr", "text": ["x"]}]),
            "warning",
        ),
        (lambda cells: cells[1].update(source=["x = 1\n"] * 16), "15 lines"),
    ],
)
def test_a_spoiled_notebook_is_caught(spoil, complaint):
    notebook = read_json(NOTEBOOKS[-1])
    spoil(code_cells(notebook))
    assert any(complaint in problem for problem in problems(notebook))


def tables(notebook) -> list[list[str]]:
    """The cells of the tables that a notebook shows, a list a table."""
    shown = ["".join(o["data"]["text/html"]) for c in code_cells(notebook) for o in c["outputs"]
             if "text/html" in o.get("data", {})]  # fmt: skip
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", text, re.DOTALL) for text in shown if "<td" in text]


def unmeasured(cells: list[str]) -> int:
    return sum(re.sub("<.*?>", "", cell).strip() in ("not run", "NaN", "nan", "None") for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_at_most_one_table_cell_in_twenty_is_not_measured_and_none_where_claims_are_judged(path):
    cells = [cell for table in tables(read_json(path)) for cell in table]
    assert unmeasured(cells) <= (0 if path.stem == "08_claims" else len(cells) / 20)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_table_has_more_than_twelve_columns(path):
    for cell in code_cells(read_json(path)):
        for output in cell["outputs"]:
            rows = re.findall(r"<tr.*?</tr>", "".join(output.get("data", {}).get("text/html", "")), re.DOTALL)
            assert max([len(re.findall(r"<t[dh]", row)) for row in rows], default=0) <= 12


def test_a_cell_without_a_value_is_counted():
    text = ['<table><tr><td style="color:gray">not ', "run</td><td>0.5</td></tr></table>"]
    cell = {"cell_type": "code", "source": "x", "outputs": [{"data": {"text/html": text}}]}
    assert [unmeasured(table) for table in tables({"cells": [cell]})] == [1]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_that_only_set_up_or_check_are_folded_in_jupyterlab_and_in_the_book(path):
    for cell in code_cells(read_json(path)):
        if "".join(cell["source"]).startswith(("scale =", "from dfrepro", "import ", "assert")):
            assert "hide-input" in cell["metadata"]["tags"]
            assert cell["metadata"]["jupyter"] == {"source_hidden": True}


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem < "09"], ids=lambda path: path.stem)
def test_every_notebook_of_the_papers_ends_with_what_the_study_found(path):
    cells = code_cells(read_json(path))
    calls = ("wb.found(", "wb.conclusion(") if path.stem != "00_data" else ("datasheet.studied(",)
    assert all(call in "".join(cells[-1]["source"]) for call in calls)


def compared(notebook):
    """The cells whose tables nbval compares with what they show when they are run again, at whatever scale."""
    return [
        cell
        for cell in code_cells(notebook)
        if "nbval-ignore-output" not in cell["metadata"].get("tags", [])
        and any("text/html" in output.get("data", {}) for output in cell["outputs"])
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_table_of_every_notebook_is_compared_with_what_it_shows_when_it_is_run_again(path):
    assert compared(read_json(path))


def test_a_wrong_number_in_a_compared_table_fails(tmp_path):
    notebook = read_json(ROOT / "notebooks" / "04_pel.ipynb")
    (table,) = compared(notebook)
    source = 'from dfrepro import workbook\nwb = workbook.open("04_pel", "smoke")'
    opened = {"cell_type": "code", "id": "open", "source": source, "execution_count": 1, "outputs": [],
              "metadata": {"tags": ["nbval-ignore-output"]}}  # fmt: skip
    for name, change in (("right", lambda text: text), ("wrong", lambda text: re.sub("[0-8]", "9", text, count=1))):
        spoiled = [
            {key: [change(part) for part in value] if isinstance(value, list) else value for key, value in data.items()}
            for data in (output["data"] for output in table["outputs"])
        ]
        outputs = [output | {"data": data} for output, data in zip(table["outputs"], spoiled)]
        cells = [opened, table | {"outputs": outputs}]
        write_json(tmp_path / f"{name}.ipynb", notebook | {"cells": cells})
    words = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
    ]
    done = subprocess.run([*words, tmp_path, tmp_path], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 failed, 3 passed" in done.stdout, done.stdout[-2000:]
