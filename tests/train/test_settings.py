"""Settings that make a training faster leave its results where they were, within rounding."""

import shutil
from functools import partial
from unittest.mock import Mock

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.fit import Objective
from dfrepro.train.steps import StepRule
from tests.train.test_fit import PIM, config, run

OBJECTIVES = {"erm": Objective(CrossEntropy()), "pim": PIM, "dualflat": Objective(CrossEntropy(), StepRule(0.4, 0.3))}


@pytest.fixture(scope="module", params=OBJECTIVES)
def plain(request, store, tmp_path_factory):
    """A objective, and the losses and weights of a training by it without settings."""
    out = tmp_path_factory.mktemp(f"plain-{request.param}") / "run"
    run(store, out, OBJECTIVES[request.param], config(lr=0.01))
    return OBJECTIVES[request.param], *results(out)


def results(out) -> tuple[pd.DataFrame, torch.Tensor]:
    """The history, and the weights as one vector."""
    weights = load_file(out / "model.safetensors").values()
    return pd.read_csv(out / "history.csv"), torch.cat([value.double().flatten() for value in weights])


def differences(plain, store, out, **settings) -> tuple[float, float]:
    """The largest relative difference of an epoch's loss, and that of the weights in the norm."""
    objective, history, weights = plain
    run(store, out, objective, config(lr=0.01, **settings))
    theirs, moved = results(out)
    loss = ((theirs["loss"] - history["loss"]).abs() / history["loss"]).max()
    return float(loss), float((moved - weights).norm() / weights.norm())


def test_channels_last_changes_nothing_but_rounding(plain, store, tmp_path, monkeypatch):
    laid_out, convolve = set(), torch.nn.Conv2d.forward

    def watched(self, x):
        if torch.is_grad_enabled():  # and not when the network is looked at as it is built
            laid_out.add(self.weight.is_contiguous(memory_format=torch.channels_last))
        return convolve(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    loss, weights = differences(plain, store, tmp_path / "run", channels_last=True)
    assert laid_out == {True}
    assert loss < 1e-3
    assert weights < 1e-3


def test_bfloat16_stays_near(plain, store, tmp_path):
    loss, weights = differences(plain, store, tmp_path / "run", precision="bf16-mixed")
    assert 0 < loss < 0.05
    assert 0 < weights < 0.05


@pytest.mark.parametrize("plain", ["pim"], indirect=True)  # the rule with hooks and two passes
def test_a_network_that_torch_captures_trains_as_it_would_without(plain, store, tmp_path, monkeypatch):
    """Capture and its autograd, without the code generation that takes minutes: that is the long form's."""
    torch.compiler.reset()
    capture = partial(torch.compile, backend="aot_eager")
    captured = Mock(side_effect=lambda model, **_: capture(model))
    monkeypatch.setattr(torch, "compile", captured)
    loss, weights = differences(plain, store, tmp_path / "run", compile=True)
    captured.assert_called()  # by us and, around its own wrapper, by Fabric
    assert loss < 1e-3
    assert weights < 1e-3


@pytest.mark.long
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="compiling for a CPU needs a compiler")
@pytest.mark.parametrize("plain", ["pim"], indirect=True)
def test_a_compiled_network_trains_as_it_would_without(plain, store, tmp_path):
    torch.compiler.reset()
    loss, weights = differences(plain, store, tmp_path / "run", compile=True)
    assert loss < 1e-3
    assert weights < 1e-3
