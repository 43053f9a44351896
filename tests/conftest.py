"""Fixtures of all tests."""

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """torch on one thread: on networks this small a second one costs more than it gives."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
