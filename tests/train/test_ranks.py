"""Two gloo processes under torchrun are one with the joint batch: every term of a step, and a whole training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(store) -> Path:
    """Where two processes, and one alone, have left what they found."""
    folder = store.path.parent
    alone = os.environ | {"PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    joint = alone | {"LT_DEVICES": "2", "LT_STRATEGY": "ddp", "LT_ACCELERATOR": "cpu"}  # as docs/scaling.md says
    work = [str(HERE / "on_a_rank.py"), str(folder)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    started = [
        subprocess.Popen(
            [sys.executable, *launcher, *work], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for launcher, env in ((torchrun, joint), ([], alone))
    ]
    try:
        errors = [process.communicate(timeout=550)[1] for process in started]
    finally:
        for process in started:
            process.terminate()  # torchrun then ends its own
    assert [process.returncode for process in started] == [0, 0], "\n".join(errors)[-4000:]
    return folder


@pytest.mark.timeout(580)
def test_both_ranks_have_the_same_gradient(folder):
    first, second = (load_file(folder / f"{rank}-of-2.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_processes_give_the_gradient_of_one(folder):
    """With Δ, SAM's ascent and both: all are those of the joint batch."""
    one, two = (load_file(folder / f"0-of-{devices}.safetensors") for devices in (1, 2))
    assert {name.split(".")[0] for name in one} == {"pim", "sam", "mix"}
    assert one["pim.1.gamma"] > 0
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-8, atol=1e-13)


def test_a_training_on_two_processes_is_that_on_one(folder):
    one, two = (load_file(folder / f"run-{devices}" / "model.safetensors") for devices in (1, 2))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5)
    histories = [(folder / f"run-{devices}" / "history.csv").read_text().splitlines() for devices in (1, 2)]
    losses = [[float(line.split(",")[2]) for line in lines[1:]] for lines in histories]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert abs(losses[0][-1] - losses[0][0]) > 1e-2  # and it was one: the weights moved
