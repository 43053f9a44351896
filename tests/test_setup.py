"""The files that set the project up agree with each other and name nothing of one machine."""

import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from dfrepro.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(python: str = "3.11") -> dict[str, str]:
    """Name -> version in requirements.lock, of the entries that hold for this Python."""
    newer = "python_full_version >= '3.12'"
    entries = re.findall(r"^([\w.-]+)==([^\s;]+)(?: ; (.*?))? \\$", (ROOT / "requirements.lock").read_text(), re.M)
    return {normal(name): version for name, version, marker in entries if newer not in marker}


def direct() -> list[str]:
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    return [normal(re.match(r"[\w.-]+", requirement).group()) for requirement in wanted]


def test_every_direct_dependency_is_locked_with_hashes():
    assert set(direct()) <= set(locked())
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text().strip())
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)


def test_environment_yml_agrees_with_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    pinned = {normal(name): version for name, version in (line.split("==") for line in pip)}
    assert pinned == {name: locked()[name] for name in direct()}


def test_the_lock_names_no_index_host():
    assert not re.search(r"https?://|--(extra-)?index-url|--find-links|file:", (ROOT / "requirements.lock").read_text())


def test_every_make_target_has_a_one_line_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):(?!=)(.*)$", makefile, re.M)
    assert {"repro", "test", "lint", "lab", "bench", "book", "clean"} <= {name for name, _ in targets}
    assert all("## " in rest for _, rest in targets)


def test_no_tracked_file_names_a_path_of_one_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    home = r"/(home|Users|root)/[a-z]"
    found = subprocess.run(
        ["git", "grep", "-nIE", home, "--", ":!tests/test_setup.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert found.stdout == ""


def test_nothing_large_is_tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    large = [name for name in files if name and (ROOT / name).is_file() and (ROOT / name).stat().st_size > 2 * 2**20]
    assert large == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("dfrepro.__main__", ("torch", "pandas", "pydantic")),
        ("dfrepro.workbook", ("torch", "umap", "sklearn")),
        ("dfrepro.evaluate.run", ("lightning_fabric", "albumentations", "umap")),
    ],
)
def test_importing_what_every_stage_starts_with_stays_light(module, heavy):
    code = f"import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
