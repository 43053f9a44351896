"""A full disk, a closed folder, a damaged cache: a clear error or a repair, never a wrong result.

The tests may run as root, whom no permission stops: a folder below a regular file is closed to root too, and a limit
on the size of files (RLIMIT_FSIZE) fills the disk for everyone.
"""

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from dfrepro.data.contact import contact_sheet
from dfrepro.data.h264 import encode
from dfrepro.data.manifest import FaceStore
from dfrepro.data.standin.trees import _write_png
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file, atomic_folder, mapped_array, read_json, refusal, write_json
from dfrepro.jobs.repair import repair

KILOBYTES = 4


@contextmanager
def full_disk():
    """Here no file of this process can grow beyond a few kilobytes: the runner's log neither, so be brief."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (KILOBYTES * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
WRITERS = {
    "text": lambda path: path.write_text("x" * 10_000),
    "array.npy": lambda path: np.save(path, np.zeros(10_000)),
    "mapped.npy": lambda path: mapped_array(path, (10_000,)),
    "weights.safetensors": lambda path: save_file({"w": torch.zeros(10_000)}, path),
    "table.parquet": lambda path: pq.write_table(pa.table({"x": np.random.default_rng(0).random(10_000)}), path),
    "video.mp4": lambda path: encode(path, [NOISE] * 8, 1),
    "picture.png": lambda path: _write_png(path, NOISE),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_whatever_library_writes_and_the_old_file_stays(tmp_path, name):
    target = tmp_path / name
    target.write_text("old")
    with full_disk(), pytest.raises(WorkbookError, match="Free some space") as error, atomic_file(target) as partial:
        WRITERS[name](partial)
    assert str(target) in str(error.value)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == [name]


def test_a_contact_sheet_on_a_full_disk_is_an_error(tmp_path, tiny, undisturbed):
    store = FaceStore.open(undisturbed.project / "artifacts" / "smoke" / "faces" / "ffpp-c23")
    with full_disk(), pytest.raises(WorkbookError, match="Free some space"):
        contact_sheet(store, tmp_path / "sheet.png")
    assert os.listdir(tmp_path) == []


def test_room_for_a_mapped_array_is_taken_before_it_is_written_to(tmp_path):
    array = mapped_array(tmp_path / "a.npy", (1000, 1000))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes  # a sparse file would kill whoever fills it
    array[:] = 7
    array.flush()
    assert (np.load(tmp_path / "a.npy") == 7).all()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_the_systems_words_are_understood_with_and_without_their_number(code):
    words = os.strerror(code)
    for error in (OSError(code, words), RuntimeError(f"I/O error: {words} (os error {code})")):
        assert words in str(refusal(error, "a.bin"))
    assert refusal(OSError(errno.ENOENT, os.strerror(errno.ENOENT)), "a.bin") is None
    assert refusal(ValueError("not about disks"), "a.bin") is None


@pytest.mark.parametrize("appearing", [atomic_file, atomic_folder])
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, appearing):
    (tmp_path / "file").touch()
    with pytest.raises(WorkbookError, match="Choose a folder"), appearing(tmp_path / "file" / "below"):
        pytest.fail("begun")


def test_a_read_only_disk_is_named(tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "mkdtemp", refuses)
    with pytest.raises(WorkbookError, match="Read-only file system"), atomic_folder(tmp_path / "f"):
        pytest.fail("begun")


def test_an_error_that_is_not_about_the_disk_is_left_as_it_is(tmp_path):
    with pytest.raises(PermissionError), atomic_file(tmp_path / "a") as _:
        raise PermissionError(errno.EACCES, "may not be read", "someone's video.mp4")


def test_an_old_folder_goes_as_a_whole(tmp_path, monkeypatch):
    """Killed while the old content is being removed, the new is there already."""
    target = tmp_path / "f"
    target.mkdir()
    (target / "old").touch()
    seen = []
    inner = shutil.rmtree
    monkeypatch.setattr(
        shutil, "rmtree", lambda path, **kw: (seen.append(sorted(os.listdir(target))), inner(path, **kw))
    )
    with atomic_folder(target) as partial:
        (partial / "new").touch()
    assert seen
    assert all(content == ["new"] for content in seen)


@pytest.fixture
def project(tiny, undisturbed, tmp_path):
    """A copy of the undisturbed project to break."""
    return Path(shutil.copytree(undisturbed.project, tmp_path / "project", symlinks=True))


@pytest.mark.parametrize("stage", ["standin", "faces", "train", "evaluate"])
def test_a_stage_on_a_full_disk_says_so_and_leaves_no_result(tiny, project, stage):
    made = {"standin": "standin", "faces": "faces", "train": "runs", "evaluate": "scores"}[stage]
    shutil.rmtree(project / "artifacts" / "smoke" / made)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (KILOBYTES * 1024, resource.RLIM_INFINITY))
    command = [sys.executable, "-m", "dfrepro", *tiny.STAGES[stage]]
    done = subprocess.run(
        command, cwd=project, env=tiny.environment(project), preexec_fn=limit, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr[-2000:]
    said = [line for line in done.stderr.splitlines() if line.startswith("dfrepro ")]  # joblib may add a warning below
    assert len(said) == 1
    assert "Free some space" in said[0]
    assert "Traceback" not in done.stderr
    left = tiny.digests(project)
    assert not [path for path in left if f"/{made}/" in path and stage != "standin"]


def test_a_stage_below_a_closed_folder_says_so(tiny, project):
    shutil.rmtree(project / "artifacts" / "smoke")
    (project / "artifacts" / "smoke").write_text("a file where a folder should be")
    done = tiny.call(project, *tiny.STAGES["standin"])
    assert done.returncode == 2
    assert "Choose a folder that you may write to" in done.stderr
    assert "Traceback" not in done.stderr


# --- DVC's own files ------------------------------------------------------------------------------------------------


def dvc(tiny, root, *words):
    return tiny.call(root, "dvc", *words)


def cache_file(root: Path) -> Path:
    (path,) = (root / ".dvc" / "cache" / "files" / "md5").glob("??/*")
    return path


def test_a_lock_that_a_kill_cut_off_is_mended_wherever_it_was_cut(repository):
    lock = repository / "dvc.lock"
    whole = lock.read_bytes()
    for length in (*range(0, len(whole), 7), len(whole) - 1):
        lock.write_bytes(whole[:length])
        told = repair(repository)
        assert lock.read_bytes() == whole or _prefix_is_a_lock(whole[:length]), length
        assert (told == []) == (lock.read_bytes() != whole)
    lock.write_bytes(whole)
    assert repair(repository) == []


def _prefix_is_a_lock(prefix: bytes) -> bool:
    """Cut between two lines, what is left may be a lock of less: DVC then runs, or finds again, what it lacks."""
    return prefix.endswith(b"\n") and prefix.startswith(b"schema: '2.0'\n")


def test_dvc_goes_on_after_a_cut_lock_was_mended_and_runs_nothing_again(tiny, repository):
    lock = repository / "dvc.lock"
    whole = lock.read_bytes()
    cut = whole[: whole.index(b"outs:") + 2]
    lock.write_bytes(cut)
    assert dvc(tiny, repository, "repro").returncode != 0  # by itself it does not
    assert len(repair(repository)) == 1
    assert "Running stage" not in dvc(tiny, repository, "repro").stdout
    tiny.git(repository, "rm", "-q", "--cached", "dvc.lock")
    tiny.git(repository, "commit", "-qm", "without")
    lock.write_bytes(cut)
    repair(repository)  # nor does git have one: what was done is in the run cache
    assert "is cached - skipping run" in dvc(tiny, repository, "repro").stdout
    assert lock.read_bytes() == whole


@pytest.fixture
def cut(repository):
    """The repository with a lock that a kill cut off."""
    lock = repository / "dvc.lock"
    lock.write_bytes(lock.read_bytes()[:-20])
    return repository


def test_where_git_fails_nothing_is_touched_and_git_is_quoted(cut, tmp_path, monkeypatch):
    """Such as in a container, in a clone that another user owns."""
    before = (cut / "dvc.lock").read_bytes()
    (tmp_path / "bin").mkdir()
    git = tmp_path / "bin" / "git"
    git.write_text('#!/bin/sh\necho "fatal: detected dubious ownership in repository" >&2\nexit 128\n')
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(WorkbookError, match="dubious ownership"):
        repair(cut)
    assert (cut / "dvc.lock").read_bytes() == before


def test_without_git_what_is_left_of_a_lock_stays_where_it_is(cut, monkeypatch):
    before = (cut / "dvc.lock").read_bytes()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WorkbookError, match="git is not installed"):
        repair(cut)
    assert (cut / "dvc.lock").read_bytes() == before


def test_a_lock_that_git_never_had_is_kept_under_another_name(tiny, cut):
    tiny.git(cut, "rm", "-q", "--cached", "dvc.lock")
    tiny.git(cut, "commit", "-qm", "without")
    before = (cut / "dvc.lock").read_bytes()
    assert "kept as dvc.lock.damaged" in repair(cut)[0]
    assert (cut / "dvc.lock.damaged").read_bytes() == before


def test_a_merge_conflict_is_named_and_no_side_is_chosen(repository):
    lock = repository / "dvc.lock"
    conflict = lock.read_text() + "<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> other\n"
    lock.write_text(conflict)
    line = conflict.splitlines().index("<<<<<<< HEAD") + 1
    with pytest.raises(WorkbookError, match=rf"dvc.lock, line {line}: holds a merge conflict. .*--ours"):
        repair(repository)
    assert lock.read_text() == conflict


def test_an_unpacked_archive_works_without_git(tiny, repository):
    shutil.rmtree(repository / ".git")
    assert "is not a git repository" in dvc(tiny, repository, "repro").stderr
    assert "told to work without" in repair(repository)[0]
    assert repair(repository) == []
    done = dvc(tiny, repository, "repro")
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout + done.stderr


def test_a_cut_rwlock_is_removed_and_a_whole_one_kept(repository):
    path = repository / ".dvc" / "tmp" / "rwlock"
    path.write_text('{"write": {"/a": {"pid": 1')
    assert len(repair(repository)) == 1
    assert not path.exists()
    write_json(path, {})
    assert repair(repository) == []
    assert read_json(path) == {}


def test_a_missing_cache_file_is_made_again(tiny, repository):
    right = (repository / "out").read_bytes()
    cache_file(repository).unlink()
    (repository / "out").unlink()
    assert dvc(tiny, repository, "repro").returncode == 0
    assert (repository / "out").read_bytes() == right


def test_a_damaged_cache_file_is_found_and_made_again(tiny, repository):
    right = (repository / "out").read_bytes()
    path = cache_file(repository)
    path.chmod(0o644)
    path.write_bytes(b"wrong" * 999)
    path.chmod(0o444)  # DVC takes a read-only file of its cache at its name's word
    (repository / "out").unlink()
    assert repair(repository) == []
    assert len(repair(repository, cache=True)) == 1
    assert not path.exists()
    assert dvc(tiny, repository, "repro").returncode == 0
    assert (repository / "out").read_bytes() == right
    assert repair(repository, cache=True) == []


def test_a_cache_that_cannot_be_written_to_is_an_error_and_locks_nothing_in(tiny, repository):
    (repository / "in").write_text("another")
    (repository / "closed").touch()
    dvc(tiny, repository, "cache", "dir", "closed/below")
    lock = (repository / "dvc.lock").read_bytes()
    done = dvc(tiny, repository, "repro")
    assert done.returncode != 0
    assert "Not a directory" in done.stderr or "File exists" in done.stderr
    assert (repository / "dvc.lock").read_bytes() == lock
