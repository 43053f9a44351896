"""Committed notebooks are complete: outputs, in order, without errors, short, with a parameters cell and a header."""

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
    for name, change in (("right", lambda text: text), ("wrong", lambda text: text.replace("+0.0", "+0.1", 1))):
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
