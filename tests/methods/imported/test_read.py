"""A checkpoint file is read as data: nothing in it runs, whatever is wrapped around the tensors is taken off."""

import os
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from dfrepro.errors import WorkbookError
from dfrepro.methods.imported.read import tensors

STATE = {"head.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.zeros(2)}


class Command:
    """What unpickles by running a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_with_its_reason_and_does_not_run(tmp_path, zipped):
    trace = tmp_path / "it ran"
    torch.save(
        {"model": STATE, "epoch": Command(f"touch '{trace}'")},
        tmp_path / "x.pth",
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(WorkbookError, match=r"refused: its pickle calls (posix|nt)\.system.*safetensors"):
        tensors(tmp_path / "x.pth")
    assert not trace.exists()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: OrderedDict(state),
        lambda state: {"state_dict": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "epoch": 3},
        lambda state: {"model": state, "ema": {"head.bias": torch.ones(2)}},
        lambda state: {"epoch": 1, "teacher": state},
    ],
)
def test_a_state_is_found_under_what_trainings_wrap_around_it(tmp_path, wrap):
    torch.save(wrap(STATE), tmp_path / "x.pth")
    found, _ = tensors(tmp_path / "x.pth")
    assert found.keys() == STATE.keys()
    assert torch.equal(found["head.weight"], STATE["head.weight"])


def test_several_networks_in_a_file_are_named_and_chosen_by_key(tmp_path):
    both = {"nets": {"a": STATE, "b": {"x": torch.ones(1)}}, "student": STATE, "teacher": {"x": torch.ones(1)}}
    torch.save(both, tmp_path / "x.pth")
    with pytest.raises(WorkbookError, match="several networks: student, teacher"):
        tensors(tmp_path / "x.pth")
    assert tensors(tmp_path / "x.pth", "teacher")[0].keys() == {"x"}
    assert tensors(tmp_path / "x.pth", "nets.a")[0].keys() == STATE.keys()
    with pytest.raises(WorkbookError, match="no tensors under 'nets.c'"):
        tensors(tmp_path / "x.pth", "nets.c")


def test_safetensors_are_read_and_what_is_no_tensor_is_noted(tmp_path):
    save_file(STATE, tmp_path / "x.safetensors")
    assert tensors(tmp_path / "x.safetensors")[0].keys() == STATE.keys()
    torch.save(STATE | {"version": 2}, tmp_path / "x.pth")
    found, notes = tensors(tmp_path / "x.pth")
    assert found.keys() == STATE.keys()
    assert notes == ["left out, no tensors: version"]


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(100), bytes(range(256))])
def test_a_broken_file_is_an_error_and_no_traceback(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WorkbookError, match="x"):
        tensors(tmp_path / name)


def test_a_file_without_tensors_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "x.pth")
    with pytest.raises(WorkbookError, match="no tensors by name .list."):
        tensors(tmp_path / "x.pth")
