"""A small /dev/shm: fewer data workers, the same batches, and a word about it."""

import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dfrepro.data import dataset as dataset_module
from dfrepro.data import sharing
from dfrepro.data.dataset import FaceDataset, batches
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.errors import WorkbookError


@pytest.fixture
def free(monkeypatch):
    """Set how many bytes of shared memory are free."""

    def of(n: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=n))

    return of


@pytest.mark.parametrize(("n", "fitting"), [(10**9, 8), (64 * 10**6, 3), (10**6, 0)])
def test_as_many_workers_are_used_as_shared_memory_holds(free, capsys, n, fitting):
    free(n)
    assert sharing.workers_that_fit(8, 5 * 10**6) == fitting
    told = capsys.readouterr().err
    assert (f"{fitting} are used" in told and "--shm-size" in told) == (fitting < 8)


def test_without_workers_nothing_is_asked_and_nothing_said(free, capsys, monkeypatch, tmp_path):
    free(0)
    assert sharing.workers_that_fit(0, 10**9) == 0
    monkeypatch.setattr(sharing, "SHARED", tmp_path / "absent")  # no POSIX shared memory in the file system
    assert sharing.workers_that_fit(4, 10**9) == 4
    assert capsys.readouterr().err == ""


@pytest.fixture
def store(tmp_path):
    faces = (
        Face(np.full((8, 8, 3), i, np.uint8), "ffpp", "original", str(i), 0, i % 2, "train", np.zeros((81, 2)))
        for i in range(8)
    )
    return FaceStore.write(tmp_path / "store", faces, 8)


def test_batches_are_the_same_in_no_shared_memory_at_all(free, store, monkeypatch):
    data = FaceDataset(store, np.arange(8), size=8, seed=0)
    alone = [batch[0]["image"] for batch in batches(data, 4, first=0, last=4)]
    used = []
    inner = dataset_module.DataLoader
    monkeypatch.setattr(
        dataset_module, "DataLoader", lambda *a, **words: used.append(words["num_workers"]) or inner(*a, **words)
    )
    free(1)
    crowded = [batch[0]["image"] for batch in batches(data, 4, first=0, last=4, workers=8)]
    assert used == [0]
    assert all(torch.equal(a, b) for a, b in zip(alone, crowded, strict=True))


class Dying:
    """A transform whose process is killed at the fourth draw, if it is a data worker's."""

    def __init__(self, parent: int):
        self.parent = parent

    def __call__(self, sample, rng):
        if os.getpid() != self.parent and sample.row == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return sample


def test_a_killed_data_worker_is_an_error_that_says_how_to_go_on(store):
    data = FaceDataset(store, np.arange(8), size=8, seed=0, transform=Dying(os.getpid()))
    with pytest.raises(WorkbookError, match=r"data worker was killed.*goes on"):
        list(batches(data, 4, first=0, last=4, workers=1))
