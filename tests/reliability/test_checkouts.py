"""Repositories as people have them: where they lie, how git brought them, whose they are, and on what machine.

In each, a lock that a kill cut off is mended and the runner does what is left, or one line says what to do.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfrepro.files import ROOT

WORK = """
from pathlib import Path
from dfrepro.errors import WorkbookError
from dfrepro.jobs import repair, runner
root = Path.cwd()
try:
    print(*repair.repair(root), sep="\\n")
    for _ in range(2):
        print(runner.repro(print, jobs=1, root=root))
except WorkbookError as error:
    raise SystemExit(f"said: {error}")
"""


def plain(tiny, origin: Path, to: Path) -> Path:
    tiny.git(origin, "clone", "-q", f"file://{origin}", str(to))
    return to


def shallow(tiny, origin: Path, to: Path) -> Path:
    tiny.git(origin, "commit", "-q", "--allow-empty", "-m", "a second one")
    tiny.git(origin, "clone", "-q", "--depth", "1", f"file://{origin}", str(to))
    assert (to / ".git" / "shallow").exists()
    return to


def worktree(tiny, origin: Path, to: Path) -> Path:
    tiny.git(origin, "worktree", "add", "-q", "--detach", str(to))
    assert (to / ".git").is_file()
    return to


def with_windows_line_ends(tiny, origin: Path, to: Path) -> Path:
    tiny.git(origin, "clone", "-q", "-c", "core.autocrlf=true", f"file://{origin}", str(to))
    return to


def linked(tiny, origin: Path, to: Path) -> Path:
    to.symlink_to(plain(tiny, origin, to.parent / "on another disk"))
    return to


CHECKOUTS = (plain, shallow, worktree, with_windows_line_ends, linked)
ENVIRONMENTS = {
    "no user": {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "EMAIL": ""},
    "no home": {"HOME": "/nowhere/at/all"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
}


@pytest.fixture
def place(tmp_path) -> Path:
    """A path as people name it."""
    folder = tmp_path / "Größe 日本 (a copy)"
    folder.mkdir()
    return folder / "it's mine"


def worked(tiny, root: Path, **environment: str) -> subprocess.CompletedProcess:
    """Repair and two runs in `root`, whose lock is cut off first."""
    lock = root / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[:-20])
    return subprocess.run(
        [sys.executable, "-c", WORK], cwd=root, env=tiny.environment(ROOT) | environment, capture_output=True, text=True
    )


def assert_all_was_done(tiny, root: Path, done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0, done.stderr[-3000:]
    assert "taken from git" in done.stdout
    assert "1 made, 0 were up to date" in done.stdout
    assert "0 made, 1 were up to date" in done.stdout
    assert "Traceback" not in done.stderr
    assert (root / "out").read_text() == "right" * 999
    assert tiny.git(root, "status", "--porcelain") == ""  # the lock is that of who published it, to the byte


@pytest.mark.parametrize("bring", CHECKOUTS, ids=lambda bring: bring.__name__)
def test_however_it_came_a_repository_is_mended_and_run(tiny, repository, place, bring):
    root = bring(tiny, repository, place)
    assert_all_was_done(tiny, root, worked(tiny, root))


@pytest.mark.parametrize("machine", ENVIRONMENTS)
def test_on_odd_machines_a_repository_is_mended_and_run(tiny, repository, tmp_path, machine):
    root = plain(tiny, repository, tmp_path / "clone")
    assert_all_was_done(tiny, root, worked(tiny, root, **ENVIRONMENTS[machine]))


def test_a_home_whose_configuration_cannot_be_read_is_named(tiny, repository, place):
    done = worked(tiny, plain(tiny, repository, place), HOME="/dev/null/home")  # below a file: closed to root too
    assert done.returncode == 1
    assert done.stderr.startswith("said: ")
    assert "/dev/null/home" in done.stderr


def test_a_folder_whose_name_the_code_page_cannot_say_is_one_line_with_the_remedy(tiny, place):
    project = tiny.make(place)
    environment = tiny.environment(project) | ENVIRONMENTS["ascii"]
    command = [sys.executable, "-m", "dfrepro", "standin"]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Set PYTHONUTF8=1" in line
    assert not (project / "artifacts").exists()


def test_in_another_users_clone_a_cut_lock_stays_and_git_is_quoted_with_its_remedy(tiny, repository, place):
    root = plain(tiny, repository, place)
    whole = (root / "dvc.lock").read_bytes()
    done = worked(tiny, root, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")  # git's own word for it
    assert done.returncode == 1
    assert done.stderr.startswith("said: ")
    assert "dubious ownership" in done.stderr
    assert "safe.directory" in done.stderr  # git's remedy
    assert (root / "dvc.lock").read_bytes() == whole[:-20]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_another_users_clone_is_run_where_git_was_told_that_it_is_safe(tiny, repository, place, tmp_path):
    root = plain(tiny, repository, place)
    for path in (root, *root.rglob("*")):
        os.chown(path, 12345, 12345)
    (tmp_path / "config").write_text("[safe]\n    directory = *\n")
    done = worked(tiny, root, GIT_CONFIG_GLOBAL=str(tmp_path / "config"))
    os.chown(root, 0, 0)
    for path in root.rglob("*"):
        os.chown(path, 0, 0)
    assert_all_was_done(tiny, root, done)
