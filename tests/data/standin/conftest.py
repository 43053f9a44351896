"""One small stand-in for all tests that only read it."""

from pathlib import Path

import pytest

from dfrepro.data.standin import StandinSpec, generate

TINY = StandinSpec(train=2, val=2, test=2, cross=4, wild=4, images=2, frames=4, cross_frames=3)


@pytest.fixture(scope="session")
def tiny_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("standin") / "tree"
    generate(out, TINY, seed=3, workers=1, progress=False)
    return out
