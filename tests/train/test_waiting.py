"""A step leaves the device to its work: nothing in it brings a value to the host.

Seen on the CPU, where nothing waits, by what torch runs: reading a number out of a tensor, or a shape that depends on
values, would wait on a GPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dfrepro.methods.fia_usa import detector as fia_usa
from dfrepro.methods.focus import detector as focus
from dfrepro.methods.focus import evaluation as focus_evaluation
from dfrepro.methods.fpg import detector as fpg
from dfrepro.methods.fpg.quality import LaplacianQuality
from dfrepro.methods.pel import detector as pel
from dfrepro.methods.pel.frequency import Statistics
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.fit import Objective, _Loop
from dfrepro.train.steps import StepRule
from tests.train.test_fit import config, data, run

RULES = [StepRule(), StepRule(alpha=1.0), StepRule(beta=1.0), StepRule(0.4, 0.3)]
READING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "unique_dim")
FACE = Backbone("test_efficientnet", 64)


class Watch(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(getattr(i, "dtype", None) == torch.bool for i in args[1] if i is not None)
        if name in READING or by_mask:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def watched() -> Iterator[list[str]]:
    """What would wait inside. `cpu`, `numpy` and `tolist` run nothing on a CPU's tensor, so their calls are noted."""
    with pytest.MonkeyPatch.context() as patch, Watch() as watch:
        for name in ("cpu", "numpy", "tolist"):
            patch.setattr(torch.Tensor, name, noted(name, watch.waits))
        yield watch.waits


def noted(name: str, waits: list[str]):
    """A method of tensors that also notes its name."""
    own = getattr(torch.Tensor, name)
    return lambda *args, **kwargs: waits.append(name) or own(*args, **kwargs)


def steps_waits(monkeypatch, store, out, objective) -> list[str]:
    """What waits in the steps of a training, batch to optimiser; the loop's own looks between them do not count."""
    waits: list[str] = []
    take = _Loop._take

    def watching(loop, micro):
        with watched() as seen:
            images = take(loop, micro)
        waits.extend(seen)
        return images

    monkeypatch.setattr(_Loop, "_take", watching)
    run(store, out, objective, config(epochs=1, log_every=2))
    return waits


@pytest.mark.parametrize("rule", RULES, ids=("erm", "pim", "sam", "dualflat"))
def test_no_step_rule_waits(monkeypatch, store, tmp_path, rule):
    assert steps_waits(monkeypatch, store, tmp_path / "run", Objective(CrossEntropy(), rule)) == []


def test_a_loss_that_looks_at_its_value_is_seen(monkeypatch, store, tmp_path):
    class Looking(CrossEntropy):
        def __call__(self, model, batch):
            loss, parts = super().__call__(model, batch)
            assert loss.item() > 0
            assert loss.detach().cpu().numpy() > 0
            assert len(batch["image"][batch["label"] == 1])
            return loss, parts

    waits = steps_waits(monkeypatch, store, tmp_path / "run", Objective(Looking()))
    assert {"_local_scalar_dense", "cpu", "numpy", "index"} <= set(waits)


def test_the_loop_looks_at_the_losses_once_in_a_while(monkeypatch, store, tmp_path):
    looks = []
    look = _Loop._collect
    monkeypatch.setattr(_Loop, "_collect", lambda loop: looks.append(len(loop.pending)) or look(loop))
    run(store, tmp_path / "run", settings=config(epochs=1, log_every=3))
    assert looks == [3, len(data(store)) // 8 - 3]


def pairs(n: int = 4, size: int = 64) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    picture = {"size": (2 * n, 3, size, size), "dtype": torch.uint8, "generator": generator}
    mask = torch.zeros(2 * n, size, size, dtype=torch.uint8)
    mask[1::2, 16:48, 16:48] = 255
    return {
        "image": torch.randint(0, 256, **picture),
        "source": torch.randint(0, 256, **picture),
        "label": torch.tensor([0, 1] * n),
        "mask": mask,
        "draw": torch.arange(n).repeat_interleave(2),
    }


def method(name: str):
    """The detector and the loss of a paper's method."""
    if name == "pel":
        unit = Statistics(torch.zeros(192), torch.ones(192))
        return pel.build(pel.VARIANTS["full"], FACE, 0, unit), CrossEntropy()
    if name == "fia_usa":
        variant = fia_usa.VARIANTS["random-channels"]
        return fia_usa.build(variant, FACE, 0), variant.loss()
    if name == "focus":
        detector = focus.build("focus", Backbone("vit_conv_stem", 64), 0)
        return detector, focus.loss_of(detector.config)
    if name == "fpg":
        quality = LaplacianQuality.of_faces(pairs()["image"].permute(0, 2, 3, 1).numpy())
        return fpg.build(fpg.FPG(), FACE, 0), fpg.FPG().loss(quality)
    return focus_evaluation.build_evaluation(FACE, 0), CrossEntropy()


KNOWN = {
    "focus": ["_local_scalar_dense"] * 2,  # one_hot looks at its range on a CPU, and not on a GPU
    "fpg": ["nonzero", "nonzero", "equal"],  # the one known wait: which faces are pairs
}


@pytest.mark.parametrize("name", ["pel", "fia_usa", "focus", "focus_evaluation", "fpg"])
def test_no_methods_loss_waits_but_for_what_is_known(name):
    detector, loss = method(name)
    detector.train()
    loss(detector, pairs())  # the first batch is checked, once
    with watched() as waits:
        loss(detector, pairs())[0].backward()
    assert waits == KNOWN.get(name, [])


def test_fpgs_refinement_waits_for_its_pairs_alone():
    """What it draws on the host, before anything is asked of the network, waits for nothing."""
    detector, _ = method("fpg")
    refine, generator = fpg.FPG(probability=1.0).refinement(), torch.Generator().manual_seed(0)
    with watched() as waits:
        refine(detector.train(), pairs(), generator)
    assert waits[:3] == KNOWN["fpg"]
    assert set(waits[3:]) <= {"_local_scalar_dense"}
