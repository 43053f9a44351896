"""docs/checkpoints.md and README: every line on someone else's checkpoint is a command, and does what it says."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from dfrepro.__main__ import parser
from dfrepro.files import ROOT, read_json

from ..jobs.test_imports import write_checkpoints

BLOCK = re.search(r"^```sh\n(.*?)^```", (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8"), re.M | re.S)[1]
README = re.findall(r"^python -m dfrepro import .*", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
IMPORTS, OTHERS = (
    [line for line in BLOCK.splitlines() if (" import " in line) == wanted] for wanted in (True, False)
)  # fmt: skip


def words(line: str) -> list[str]:
    return shlex.split(line, comments=True)


@pytest.mark.parametrize("line", [*README, *IMPORTS, *OTHERS])
def test_every_line_is_a_command_with_options_that_there_are(line):
    assert words(line)[:3] == ["python", "-m", "dfrepro"]
    parser().parse_args(words(line)[3:])


def test_the_lines_go_from_an_import_to_a_notebook_that_takes_its_name():
    assert README
    assert {parser().parse_args(words(line)[3:]).kind for line in IMPORTS} == {
        "sbi", "deepfakebench-xception", "python",
    }  # fmt: skip
    said = [parser().parse_args(words(line)[3:]) for line in OTHERS]
    assert [words(line)[3] for line in OTHERS] == ["evaluate", "protocol", "notebook"]
    names = {parser().parse_args(words(line)[3:]).name for line in IMPORTS}
    assert {getattr(args, "run", None) for args in said} <= names
    cells = read_json(ROOT / "notebooks" / f"{said[-1].name}.ipynb")["cells"]
    (parameters,) = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assert any(line.startswith("run = None") for line in parameters["source"])


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", [parser().parse_args(words(line)[3:]).name for line in IMPORTS])
def test_the_lines_as_they_stand_in_a_fresh_clone(tmp_path, name):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    settings = (clone / "params.yaml").read_text(encoding="utf-8")
    (clone / "params.yaml").write_text(re.sub(r"^scale: \w+", "scale: smoke", settings, flags=re.M), encoding="utf-8")
    write_checkpoints(clone)
    (line,) = [line for line in IMPORTS if words(line)[4] == name]
    given = parser().parse_args(words(OTHERS[0])[3:]).run  # the others are of one name, and of any
    lines = "\n".join([line, *OTHERS]).replace(given, name)
    where = {"PYTHONPATH": str(clone), "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    environment = {key: value for key, value in os.environ.items() if key not in ("DFREPRO_SCALE", "MPLBACKEND")}
    done = subprocess.run(
        ["bash", "-e"], input=lines, cwd=clone, env=environment | where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"in imports/{name}" in done.stdout
    assert "nearest to 0.9382 on cdfv2" in done.stdout
    table = (clone / "results" / "smoke" / "protocol" / f"{name}.csv").read_text()
    assert all(f"{protocol},cdfv2," in table for protocol in ("ours", "sbi", "deepfakebench"))
    notebook = read_json(clone / "build" / "notebooks" / f"09_protocol-{name}.ipynb")
    shown = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2
    assert not any(output["output_type"] == "error" for output in shown)
