"""The files that set the project up agree with each other and name nothing of one machine."""

import hashlib
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile

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


def wheel(folder) -> str:
    """A wheel of an empty package in `folder`; its SHA-256."""
    path, info = folder / "nothing-1.0-py3-none-any.whl", "nothing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("nothing.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", f"nothing.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("is_right", [True, False])
def test_setting_up_checks_the_locks_hashes(tmp_path, is_right):
    """The options that `make setup` gives its installer refuse a package that is not the one that was locked."""
    (line,) = re.findall(r"\$\(BIN\)/uv (pip sync .*requirements\.lock)", (ROOT / "Makefile").read_text())
    digest = wheel(tmp_path)
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"nothing==1.0 --hash=sha256:{digest if is_right else '0' * 64}\n")
    options = [word for word in shlex.split(line) if word.startswith("--") and word not in ("--quiet", "--python")]
    command = [sys.executable, "-m", "uv", "pip", "sync", *options, "--offline", "--no-index", "--no-cache", str(lock)]
    command += ["--find-links", str(tmp_path), "--target", str(tmp_path / "target"), "--python", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == is_right, done.stderr
    assert (tmp_path / "target" / "nothing.py").exists() == is_right
    assert is_right or "ash mismatch" in done.stderr


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
    home = r"/(home|Users|root|tmp|var|work|mnt|scratch)/"
    found = subprocess.run(
        ["git", "grep", "-nIE", home, "--", ":!tests/test_setup.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (1, "")  # 1: looked and found nothing


def test_nothing_large_is_tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = listed.stdout.split("\0")
    assert len(files) > 100
    large = [name for name in files if name and (ROOT / name).is_file() and (ROOT / name).stat().st_size > 2 * 2**20]
    assert large == []


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("dfrepro.__main__", ("torch", "pandas", "pydantic")),
        ("dfrepro.workbook", ("torch", "umap", "sklearn")),
        ("dfrepro.jobs.evaluate", ("lightning_fabric", "albumentations", "umap")),
    ],
)
def test_importing_what_every_stage_starts_with_stays_light(module, heavy):
    code = f"import sys, {module}; print(*(name for name in {heavy} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
