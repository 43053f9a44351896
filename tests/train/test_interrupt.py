"""Ctrl-C, sent for real: a training saves its state, says how to go on, and ends in the weights of one left alone."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from dfrepro.data.dataset import FaceDataset, select
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.fit import Objective, TrainConfig, fit

SLOW = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from dfrepro.data.dataset import FaceDataset, select
    from dfrepro.data.manifest import FaceStore
    from dfrepro.nets.detector import Backbone, build_detector
    from dfrepro.nets.losses import CrossEntropy
    from dfrepro.train.fit import Objective, TrainConfig, fit

    store, out = FaceStore.open(Path(sys.argv[1])), Path(sys.argv[2])
    pause, workers = float(sys.argv[3]), int(sys.argv[4])

    def refine(model, batch, generator):
        print("step", flush=True)
        time.sleep(pause)
        return batch

    data = FaceDataset(store, select(store.manifest, split="train"), size=32, seed=3, draws=64)
    config = TrainConfig(epochs=2, batch=8, frames=1, optimiser="sgd", lr=.05, accelerator="cpu", threads=1,
                         workers=workers, save_seconds=1e9)
    detector = build_detector(Backbone("test_resnet", 32), seed=1)
    try:
        fit(detector, data, Objective(CrossEntropy(), refine=refine), config, out, name="slow")
    except KeyboardInterrupt as stopped:
        print("stopped:", stopped, flush=True)
        sys.exit(130)
    """
)


def start(store, out, pause: float, workers: int) -> subprocess.Popen:
    words = [sys.executable, "-c", SLOW, str(store.path), str(out), str(pause), str(workers)]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"TQDM_DISABLE": "1"},
    )  # fmt: skip


def after_steps(process: subprocess.Popen, steps: int) -> None:
    for _ in range(steps):
        assert process.stdout.readline() == "step\n"


def train(store, out, stop_at: int | None = None, **changes) -> None:
    """A training whose user presses Ctrl-C in the middle of a step."""
    seen = [0]

    def refine(model, batch, generator):
        seen[0] += 1
        if seen[0] == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return batch

    data = FaceDataset(store, select(store.manifest, split="train"), size=32, seed=3, draws=32)
    settings = {"epochs": 2, "batch": 8, "frames": 1, "optimiser": "sgd", "lr": 0.05, "seed": 3}
    settings |= {"accelerator": "cpu", "threads": 1}
    objective = Objective(CrossEntropy(), refine=refine)
    detector = build_detector(Backbone("test_resnet", 32, {"drop_rate": 0.2}), seed=1)
    fit(detector, data, objective, TrainConfig(**settings | changes), out, name="mine")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("step", [1, 4, 7])  # in an epoch, at its end, and just before the last
def test_a_stopped_training_goes_on_to_the_weights_of_one_left_alone(store, tmp_path, step, workers):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=f"mine is saved at step {step} of 8"):
        train(store, tmp_path / "run", step, workers=workers)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (tmp_path / "run").exists()
    train(store, tmp_path / "run", workers=workers)
    train(store, tmp_path / "alone", workers=workers)
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_in_the_last_step_there_is_nothing_to_save(store, tmp_path):
    train(store, tmp_path / "run", 8)
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_terminals_request_reaches_data_workers_too_and_is_answered_once(store, tmp_path):
    process = start(store, tmp_path / "run", 0.05, 1)
    after_steps(process, 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "stopped: slow is saved at step 3 of 16" in out
    assert err.count("stopping after this step; Ctrl-C once more stops at once") == 1
    assert "Traceback" not in err


def test_a_second_request_does_not_wait_for_the_step(store, tmp_path):
    process = start(store, tmp_path / "run", 60, 0)
    after_steps(process, 1)
    process.send_signal(signal.SIGINT)
    while "stopping" not in process.stderr.readline():
        pass
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - begun < 40
