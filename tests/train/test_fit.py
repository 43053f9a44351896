"""The loop learns, is a function of its arguments, survives kills and stops at bad numbers."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from dfrepro.data.dataset import FaceDataset, Sample, select
from dfrepro.errors import WorkbookError
from dfrepro.evaluate.metrics import video_auc
from dfrepro.evaluate.predict import predict
from dfrepro.nets.detector import Backbone, build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train import checkpoint
from dfrepro.train.fit import Objective, TrainConfig, fit
from dfrepro.train.steps import StepRule

DECLARED = Backbone("test_resnet", 32, {"drop_rate": 0.2})
PIM = Objective(CrossEntropy(), StepRule(alpha=1.0))


def config(**changes) -> TrainConfig:
    settings = {
        "epochs": 2,
        "batch": 8,
        "frames": 1,
        "optimiser": "sgd",
        "lr": 0.05,
        "accelerator": "cpu",
        "threads": 1,
        "seed": 3,
    }
    return TrainConfig(**(settings | changes))


def data(store, seed=3, **kwargs) -> FaceDataset:
    return FaceDataset(store, select(store.manifest, split="train"), size=32, seed=seed, **kwargs)


def run(store, out, objective=PIM, settings=None, dataset=None, **kwargs):
    detector = build_detector(DECLARED, seed=1)
    return fit(detector, dataset or data(store), objective, settings or config(), out, **kwargs)


def weights(folder) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


class Killed(BaseException):
    """What no handler catches: stands for a kill inside the process."""


def killing(objective: Objective, at: int) -> Objective:
    """`objective`, but the process 'dies' in the middle of step `at`."""
    seen = [0]

    def refine(model, batch, generator):
        seen[0] += 1
        if seen[0] == at:
            raise Killed
        return batch

    return Objective(objective.loss, objective.rule, refine, objective.validate)


# --- it trains ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    values = run(store, out, settings=config(epochs=8), meta={"run": "pim"})
    return out, values


def test_a_tiny_network_learns_what_there_is_to_learn(store, trained):
    out, _ = trained
    detector = build_detector(DECLARED, seed=9)
    checkpoint.load_weights(out, detector)
    frames, _ = predict(detector, store, select(store.manifest, split="test"), size=32)
    assert video_auc(frames) == 1.0


def test_the_checkpoint_is_data_with_its_history_and_nothing_else(trained):
    out, values = trained
    assert sorted(path.name for path in out.iterdir()) == ["history.csv", "meta.json", "model.safetensors"]
    assert [path.name for path in out.parent.iterdir()] == ["run"]  # nothing is left beside it
    history = pd.read_csv(out / "history.csv")
    assert list(history["epoch"]) == list(range(1, 9))
    assert {"loss", "gamma", "delta_sigma", "sigma_min", "lr", "step"} <= set(history.columns)
    assert history["loss"].iloc[-1] < 0.2 * history["loss"].iloc[0]
    meta = checkpoint.load_meta(out)
    assert meta["run"] == "pim"
    assert meta["training"]["loss"] == history["loss"].iloc[-1]
    assert values["images_per_second"] > 0


def test_pim_leaves_no_trace_in_the_checkpoint(trained):
    assert load_file(trained[0] / "model.safetensors").keys() == build_detector(DECLARED, seed=0).state_dict().keys()


def test_the_detector_is_returned_without_hooks_and_in_evaluation_mode(store, tmp_path):
    detector = build_detector(DECLARED, seed=1)
    fit(detector, data(store), PIM, config(epochs=1), tmp_path / "run")
    assert not detector.training
    assert not any(module._forward_hooks for module in detector.modules())


# --- the same to the bit --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def undisturbed(store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    run(store, out)
    return out


def test_the_same_arguments_give_the_same_bytes(store, undisturbed, tmp_path):
    torch.rand(7)  # the global generator is somewhere else
    run(store, tmp_path / "again")
    for name in ("model.safetensors", "history.csv", "meta.json"):
        assert (tmp_path / "again" / name).read_bytes() == (undisturbed / name).read_bytes()


def test_data_workers_do_not_change_the_weights(store, undisturbed, tmp_path):
    run(store, tmp_path / "workers", settings=config(workers=2))
    assert weights(tmp_path / "workers") == weights(undisturbed)


def test_what_a_kill_left_of_a_checkpoint_is_removed(store, undisturbed, tmp_path):
    (tmp_path / ".run-ab12_cd8").mkdir()
    (tmp_path / ".run-ab12_cd8" / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".run-2-ab12_cd8").mkdir()  # another run's
    run(store, tmp_path / "run")
    assert weights(tmp_path / "run") == weights(undisturbed)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".run-2-ab12_cd8", "run"]


def test_the_seed_changes_the_weights(store, undisturbed, tmp_path):
    run(store, tmp_path / "other", settings=config(seed=4))
    assert weights(tmp_path / "other") != weights(undisturbed)


def test_the_global_generator_and_the_settings_are_put_back(store, tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    run(store, tmp_path / "run", settings=config(epochs=1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("at", [2, 5, 8])
def test_a_pim_run_killed_in_a_step_ends_in_the_same_bytes(store, tmp_path, optimiser, at):
    settings = config(save_seconds=0, optimiser=optimiser, lr=0.01)
    run(store, tmp_path / "whole", settings=settings)
    with pytest.raises(Killed):
        run(store, tmp_path / "killed", killing(PIM, at), settings=settings)
    assert not (tmp_path / "killed").exists()
    seen = []
    counting = Objective(PIM.loss, PIM.rule, lambda model, batch, generator: seen.append(1) or batch)
    run(store, tmp_path / "killed", counting, settings=settings)
    assert len(seen) == 8 - (at - 1)  # it went on from where it was
    for name in ("model.safetensors", "history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_state_of_another_run_is_not_taken(store, undisturbed, tmp_path):
    other = config(save_seconds=0, lr=0.01)
    with pytest.raises(Killed):
        run(store, tmp_path / "run", killing(PIM, 4), settings=other)
    run(store, tmp_path / "run")
    assert weights(tmp_path / "run") == weights(undisturbed)


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_a_damaged_state_means_starting_over(store, undisturbed, tmp_path, damage):
    settings = config(save_seconds=0)
    with pytest.raises(Killed):
        run(store, tmp_path / "run", killing(PIM, 4), settings=settings, resume=tmp_path / "state")
    state = tmp_path / "state" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100] if damage is None else damage)
    run(store, tmp_path / "run", settings=settings, resume=tmp_path / "state")
    assert weights(tmp_path / "run") == weights(undisturbed)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
sys.path[:0] = [{here!r}, {root!r}]
import test_fit as t
from dfrepro.data.manifest import FaceStore
store = FaceStore.open({store!r})
rng, kills = random.Random(0), 0
while True:
    child = os.fork()
    if child == 0:
        t.run(store, Path({out!r}), settings=t.config(save_seconds=0, epochs=12))
        os._exit(0)
    if kills < 4:
        time.sleep(rng.uniform(0.1, 0.5))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status) or (kills < 2) * 3)
    kills += 1
"""


@pytest.mark.timeout(300)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sigkill_at_random_moments_ends_in_the_same_bytes(store, tmp_path):
    here = Path(__file__).parent
    names = {"here": str(here), "root": str(here.parent.parent), "store": str(store.path), "out": str(tmp_path / "run")}
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLS.format(**names)], capture_output=True, env=env, timeout=280)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    run(store, tmp_path / "whole", settings=config(epochs=12))
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


# --- bad numbers ----------------------------------------------------------------------------------------------------


class Poisoned(CrossEntropy):
    """Cross-entropy that is not finite from the `at`-th batch on."""

    def __init__(self, at: int, value: float):
        super().__init__()
        object.__setattr__(self, "state", [0, at, value])

    def __call__(self, model, batch):
        loss, parts = super().__call__(model, batch)
        self.state[0] += 1
        return (loss * self.state[2] if self.state[0] >= self.state[1] else loss), parts


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_and_names_the_faces(store, tmp_path, value):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "kept").touch()
    objective = Objective(Poisoned(6, value))
    with pytest.raises(WorkbookError, match=r"loss is (nan|inf) on ffpp/\w+/00\d:\d") as error:
        run(store, tmp_path / "run", objective, settings=config(save_seconds=0, log_every=1), resume=tmp_path / "state")
    assert "step 6" in str(error.value)
    assert (tmp_path / "run" / "kept").exists()  # what was there is still there
    state = load_file(tmp_path / "state" / "state.safetensors")
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())


def test_the_batch_that_is_named_is_the_one(store, tmp_path):
    rows: list[torch.Tensor] = []

    class Watching(Poisoned):
        def __call__(self, model, batch):
            rows.append(batch["row"])
            return super().__call__(model, batch)

    dataset = data(store)
    with pytest.raises(WorkbookError) as error:
        run(store, tmp_path / "run", Objective(Watching(3, math.nan)), dataset=dataset)
    for key in dataset.keys(rows[2].tolist()):
        assert key in str(error.value)


class Cliff(CrossEntropy):
    """Finite, with a gradient that is not."""

    def __call__(self, model, batch):
        loss, parts = super().__call__(model, batch)
        return loss + (0 * loss).sqrt(), parts


def test_weights_that_are_not_finite_are_never_a_checkpoint(store, tmp_path):
    everything = config(epochs=1, batch=len(data(store)))  # one step: its loss is finite, what it leaves is not
    with pytest.raises(WorkbookError, match="weights are not finite"):
        run(store, tmp_path / "run", Objective(Cliff()), settings=everything)
    assert not (tmp_path / "run").exists()


# --- settings -------------------------------------------------------------------------------------------------------


def test_schedules_start_and_end_where_they_should():
    cosine, constant = config(schedule="cosine"), config(schedule="constant")
    linear = config(schedule="constant_then_linear")
    assert cosine.rate(0, 100) == 1
    assert cosine.rate(50, 100) == pytest.approx(0.5)
    assert cosine.rate(99, 100) < 1e-3
    assert {constant.rate(step, 100) for step in range(100)} == {1.0}
    assert {linear.rate(step, 100) for step in range(75)} == {1.0}
    assert linear.rate(80, 100) == pytest.approx(0.8)
    assert linear.rate(99, 100) == pytest.approx(0.04)


def test_warm_up_rises_linearly_and_then_the_schedule_begins():
    warm = config(schedule="cosine", warmup=0.1)
    rates = [warm.rate(step, 100) for step in range(12)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1
    assert rates[11] < 1


def test_the_rate_of_every_epoch_is_in_the_history(store, undisturbed):
    history = pd.read_csv(undisturbed / "history.csv")
    expected = [0.05 * config().rate(step - 1, 8) for step in history["step"]]
    assert list(history["lr"]) == pytest.approx(expected)


def test_best_validation_keeps_the_best_epochs_weights(store, tmp_path):
    values = iter([0.7, 0.9, 0.8])
    kept = []

    def validate(detector: nn.Module) -> float:
        assert not detector.training
        kept.append({name: value.clone() for name, value in detector.state_dict().items()})
        return next(values)

    objective = Objective(CrossEntropy(), validate=validate)
    run(store, tmp_path / "run", objective, settings=config(epochs=3, select="best_validation"))
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(saved[name], kept[1][name]) for name in saved)
    assert list(pd.read_csv(tmp_path / "run" / "history.csv")["validation"]) == [0.7, 0.9, 0.8]


def test_best_validation_without_a_validation_is_refused(store, tmp_path):
    with pytest.raises(WorkbookError, match="validation"):
        run(store, tmp_path / "run", settings=config(select="best_validation"))


def test_looking_at_the_network_does_not_change_it(store, undisturbed, tmp_path):
    objective = Objective(PIM.loss, PIM.rule, validate=lambda detector: float(torch.rand(())))
    run(store, tmp_path / "run", objective)
    assert weights(tmp_path / "run") == weights(undisturbed)


def test_pairs_that_a_transform_makes_are_trained_on(store, tmp_path):
    def pair(sample: Sample, rng: np.random.Generator):
        return sample, Sample(sample.image[::-1], 1, sample.landmarks)

    seen = []
    rows = select(store.manifest, split="train", label=0)
    dataset = FaceDataset(store, rows, size=32, seed=0, transform=pair)
    objective = Objective(CrossEntropy(), refine=lambda model, batch, generator: seen.append(batch["label"]) or batch)
    run(store, tmp_path / "run", objective, settings=config(epochs=1, batch=4), dataset=dataset)
    assert seen
    assert all(labels.tolist() == [0, 1] * 4 for labels in seen)


def test_micro_batches_see_the_same_draws(store, tmp_path):
    seen: dict[int, list[int]] = {}
    for accumulate in (1, 2):
        rows = seen.setdefault(accumulate, [])
        objective = Objective(
            CrossEntropy(), refine=lambda m, batch, g, rows=rows: rows.extend(batch["row"].tolist()) or batch
        )
        run(store, tmp_path / str(accumulate), objective, settings=config(accumulate=accumulate, epochs=1))
    assert seen[1]
    assert seen[1] == seen[2]


def test_a_batch_that_cannot_be_split_is_refused(store, tmp_path):
    with pytest.raises(WorkbookError, match="micro-batches"):
        run(store, tmp_path / "run", settings=config(accumulate=3))


def test_channels_last_and_bfloat16_train(store, tmp_path):
    values = run(store, tmp_path / "run", settings=config(epochs=1, channels_last=True, precision="bf16-mixed"))
    assert math.isfinite(values["loss"])
