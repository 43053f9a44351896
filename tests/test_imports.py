"""A notebook's stage loads what it uses: seconds of a stage are seconds of every `dvc repro` that runs it."""

import ast
import subprocess
import sys

import pytest

from dfrepro.files import ROOT, read_json
from dfrepro.report.schema import load_claims

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEVER = {"umap", "numba", "albumentations"}  # asked for when an embedding is fitted, or a face forged
NETWORKS = {"torch", "timm", "lightning_fabric"}  # Fabric with the norm that flatness shares with the step rule
WITHOUT_NETWORKS = {"00_data", "08_claims"}


def loaded(code: str) -> set[str]:
    """What of the heavy libraries a process has loaded after `code`."""
    tell = f"\nimport sys\nprint('loaded', *({NEVER | NETWORKS} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code + tell], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split()[1:])


def imports(notebook) -> str:
    """All import statements of its code cells."""
    source = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, found))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_imports_what_it_uses(path):
    allowed = set() if path.stem in WITHOUT_NETWORKS else NETWORKS
    assert loaded(imports(read_json(path))) <= allowed


def test_judging_all_claims_loads_no_network_library(tmp_path):
    code = f"""
from pathlib import Path
from dfrepro import params, places
from dfrepro.report import judge
places.results_folder = lambda p: Path({str(tmp_path)!r})
judge.present(params.load())
"""
    assert loaded(code) == set()
    assert len(read_json(tmp_path / "claims.json")["claims"]) == len(load_claims())
