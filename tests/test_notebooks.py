"""Committed notebooks are complete: outputs, in order, without errors, short, with a parameters cell and a header."""

import pytest

from dfrepro.files import ROOT, read_json

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
    if notebook["metadata"]["kernelspec"]["name"] != "python3":
        found.append("the kernel is not python3")
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
