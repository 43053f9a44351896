"""A training's memory does not grow with its set: faces stay on disk, memory-mapped."""

import tracemalloc

from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.fit import Objective
from tests.train.conftest import write_store
from tests.train.test_fit import config, data, run


def peak(store, out) -> int:
    """Bytes that Python and NumPy held at most in a training of four steps."""
    dataset = data(store, draws=16)
    tracemalloc.start()
    run(store, out, Objective(CrossEntropy()), config(epochs=2), dataset)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_twice_the_faces_take_no_more_memory(tmp_path):
    stores = [write_store(tmp_path / str(videos), videos=videos, size=96) for videos in (30, 60)]
    peak(stores[0], tmp_path / "warm-up")
    few, many = (peak(store, tmp_path / f"run{len(store)}") for store in stores)
    assert many - few < 0.05 * (stores[1].faces.nbytes - stores[0].faces.nbytes)
