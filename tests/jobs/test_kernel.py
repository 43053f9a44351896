"""A notebook runs in this interpreter: without a kernelspec, whatever a site calls python3, without a home."""

import sys
from pathlib import Path

import nbformat
import pytest

from dfrepro import params, places
from dfrepro.files import write_json
from dfrepro.jobs import kernel, pipeline

CELLS = ["scale = None", "import sys\nprint(sys.executable, scale)"]


@pytest.fixture
def p(tmp_path, monkeypatch):
    """Parameters beside a notebook `00_data` whose editor left out what it is written in."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, id=f"c{i}") for i, source in enumerate(CELLS)]
    )
    notebook.cells[0].metadata["tags"] = ["parameters"]
    monkeypatch.setattr(places, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(params.Params, "artifacts", tmp_path / "artifacts")
    places.NOTEBOOKS.mkdir()
    nbformat.write(notebook, places.NOTEBOOKS / "00_data.ipynb")
    return params.load()


def test_a_notebook_without_a_kernelspec_runs_here_though_a_site_has_another_python3_and_there_is_no_home(
    p, tmp_path, monkeypatch
):
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "The site's", "language": "python"}
    (tmp_path / "site" / "kernels" / "python3").mkdir(parents=True)
    write_json(tmp_path / "site" / "kernels" / "python3" / "kernel.json", spec)
    for variable in ("JUPYTER_DATA_DIR", "JUPYTER_PATH"):
        monkeypatch.setenv(variable, str(tmp_path / "site"))
    monkeypatch.setenv("HOME", "/dev/null/home")  # below a file: closed to root too
    for variable in kernel.HOMES:
        monkeypatch.delenv(variable, raising=False)
    pipeline.notebook(p, "00_data")
    executed = nbformat.read(p.artifacts / "notebooks" / "00_data.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text == f"{sys.executable} {p.scale}\n"
    pipeline.publish(p)
    published = nbformat.read(places.NOTEBOOKS / "00_data.ipynb", as_version=4)
    assert published.metadata.kernelspec == kernel.PYTHON3
    assert [cell.source for cell in published.cells] == CELLS


@pytest.mark.parametrize(("home", "named"), [(None, True), ("/dev/null/home", True), ("", False)])
def test_a_place_is_named_for_what_a_kernel_keeps_where_there_is_no_home(tmp_path, monkeypatch, home, named):
    for variable in kernel.HOMES:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home or str(tmp_path))
    kernel.with_a_home()
    places_named = [Path(value) for variable in kernel.HOMES if (value := kernel.os.environ.get(variable))]
    assert bool(places_named) == named
    assert all(place.is_dir() for place in places_named)


def test_a_notebook_that_is_executed_again_is_the_same_file(p):
    notebook = nbformat.read(places.NOTEBOOKS / "00_data.ipynb", as_version=4)
    bar = "from tqdm.auto import tqdm\nfor _ in tqdm(range(3), desc='a bar'): pass"
    table = "import pandas as pd\npd.DataFrame({'x': [1, 2]})"
    slider = (
        "from uuid import uuid4\nview = {'version_major': 2, 'version_minor': 0, 'model_id': uuid4().hex}\n"
        "display({'application/vnd.jupyter.widget-view+json': view, 'image/png': 'AA=='}, raw=True)"
    )
    cells = {"bar": bar, "table": table, "slider": slider}
    notebook.cells += [nbformat.v4.new_code_cell(source, id=name) for name, source in cells.items()]
    nbformat.write(notebook, places.NOTEBOOKS / "00_data.ipynb")
    executed, twice = p.artifacts / "notebooks" / "00_data.ipynb", []
    for _ in range(2):
        pipeline.notebook(p, "00_data")
        twice.append(executed.read_bytes())
    assert twice[0] == twice[1]
    assert b"a bar" not in b"".join(line for line in twice[0].splitlines() if b"tqdm" not in line)
    assert str(p.artifacts).encode() not in twice[0]
