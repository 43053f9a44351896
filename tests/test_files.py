"""Files and folders appear whole or not at all."""

import os
import pickle

import pytest

from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file, atomic_folder, read_json, write_json


def test_a_failure_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(target) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_the_old_folder_and_no_litter(tmp_path):
    target = tmp_path / "f"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(RuntimeError), atomic_folder(target) as partial:
        (partial / "new").touch()
        raise RuntimeError
    assert os.listdir(target) == ["old"]
    assert os.listdir(tmp_path) == ["f"]


def test_success_replaces_a_folder_as_a_whole(tmp_path):
    target = tmp_path / "f"
    target.mkdir()
    (target / "old").touch()
    with atomic_folder(target) as partial:
        (partial / "new").touch()
    assert os.listdir(target) == ["new"]


def test_others_can_read_what_was_written(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    assert os.stat(tmp_path / "a.json").st_mode & 0o777 == 0o666 & ~_umask()
    assert read_json(tmp_path / "a.json") == {"x": 1}


def test_nan_is_refused_because_it_is_not_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_an_error_keeps_its_parts_when_it_crosses_processes():
    error = pickle.loads(pickle.dumps(WorkbookError("is gone", where="a.mp4", remedy="Fetch it")))  # noqa: S301
    assert str(error) == "a.mp4: is gone. Fetch it"
    assert error.remedy == "Fetch it"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
