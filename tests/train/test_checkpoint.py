"""Checkpoints are data: what is damaged, foreign or hostile is refused with a name."""

import os
import pickle
import random
import signal
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dfrepro import __version__
from dfrepro.errors import WorkbookError
from dfrepro.train.checkpoint import (
    ResumeState,
    load_meta,
    load_weights,
    pack_optimizer,
    save,
    unpack_optimizer,
)


class Trap:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def folder(tmp_path):
    save(tmp_path, network(), {"run": "pim", "seed": 3})
    return tmp_path


def test_weights_and_meta_come_back(tmp_path):
    net, other = network(), network()
    save(tmp_path, net, {"run": "pim", "seed": 3})
    load_weights(tmp_path, other)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in net.state_dict().items())
    assert load_meta(tmp_path) == {"run": "pim", "seed": 3, "library": __version__}


def test_channels_last_weights_come_back(tmp_path):
    net = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    save(tmp_path, net, {})
    other = nn.Conv2d(3, 4, 3)
    load_weights(tmp_path, other)
    assert torch.equal(net.weight, other.weight)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_are_refused(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WorkbookError, match=r"model\.safetensors"):
        load_weights(folder, network())


def test_a_pickle_in_the_weights_place_is_not_executed(folder, tmp_path):
    mark = tmp_path / "mark"
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(WorkbookError):
        load_weights(folder, network())
    assert not mark.exists()
    torch.save({"0.weight": Trap(mark)}, folder / "model.safetensors")
    with pytest.raises(WorkbookError):
        load_weights(folder, network())
    assert not mark.exists()


def test_a_header_that_claims_more_than_there_is_is_refused(folder):
    (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(WorkbookError):
        load_weights(folder, network())


def test_weights_of_another_network_are_refused_by_name(folder):
    with pytest.raises(WorkbookError, match=r"0\.weight|1\."):
        load_weights(folder, nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)))
    with pytest.raises(WorkbookError, match=r"1\.bias"):
        load_weights(folder, nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_weights_that_are_not_finite_are_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["0.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(WorkbookError, match=r"0\.bias"):
        load_weights(folder, network())


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_meta_that_is_no_object_is_refused(folder, text):
    (folder / "meta.json").write_text(text)
    with pytest.raises(WorkbookError, match=r"meta\.json"):
        load_meta(folder)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(WorkbookError, match="nowhere"):
        load_weights(tmp_path / "nowhere", network())
    with pytest.raises(WorkbookError, match="nowhere"):
        load_meta(tmp_path / "nowhere")


def stepped(kind) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    optimizer = kind(net.parameters())
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.ones(1, 3)).square().sum().backward()
        optimizer.step()
    return net, optimizer


OPTIMISERS = [
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: torch.optim.AdamW(p, lr=0.1),
    lambda p: torch.optim.Adagrad(p, lr=0.1),
    lambda p: torch.optim.SGD(p, lr=0.1),
]


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_an_optimiser_goes_on_from_its_state(tmp_path, kind):
    net, optimizer = stepped(kind)
    tensors, plain = pack_optimizer(optimizer)
    ResumeState(tensors, {"optimizer": plain}).save(tmp_path / "state.safetensors", {"a": 1})
    found = ResumeState.load(tmp_path / "state.safetensors", {"a": 1})
    other = nn.Linear(3, 2)
    other.load_state_dict(net.state_dict())
    resumed = kind(other.parameters())
    unpack_optimizer(resumed, found.tensors, found.values["optimizer"])
    for model, optim in ((net, optimizer), (other, resumed)):
        optim.zero_grad()
        model(torch.ones(1, 3)).square().sum().backward()
        optim.step()
    assert torch.equal(net.weight, other.weight)


def test_a_state_is_taken_by_its_own_run_alone(tmp_path):
    path = tmp_path / "state.safetensors"
    ResumeState({"x": torch.ones(2)}, {"step": 4}).save(path, {"seed": 1})
    assert ResumeState.load(path, {"seed": 1}).values == {"step": 4}
    assert ResumeState.load(path, {"seed": 2}) is None
    assert ResumeState.load(tmp_path / "none.safetensors", {"seed": 1}) is None


def test_what_a_kill_left_half_written_is_swept_away(tmp_path):
    path = tmp_path / "state.safetensors"
    ResumeState({}, {}).save(path, {})
    (tmp_path / ".state-ab12_cd8.safetensors").write_bytes(b"half")
    ResumeState.load(path, {})
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_safetensors_itself_left_half_written_is_swept_away(tmp_path):
    path, left, rng = tmp_path / "state.safetensors", set(), random.Random(0)
    state = ResumeState({"x": torch.ones(1000)}, {})
    for _ in range(200):
        child = os.fork()
        if child == 0:
            while True:
                state.save(path, {})
        time.sleep(rng.uniform(0.01, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        left |= {file.name for file in tmp_path.iterdir()} - {path.name}
        if len({name[:4] for name in left}) == 2:  # one of ours and one under the library's own name
            break
    assert left
    ResumeState.load(path, {})
    assert {file.name for file in tmp_path.iterdir()} <= {path.name}
