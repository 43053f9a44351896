"""A foundation model as a baseline: which weights move, and what the classifier reads."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from dfrepro import params
from dfrepro.errors import WorkbookError
from dfrepro.methods.foundation import run
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy

VIT = Backbone("test_vit", 32, {"img_size": 32})
P = params.load(scale="smoke", grid="full")


def images(n=4, seed=0):
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def stepped(detector, rate=0.1):
    """The names of the tensors that a step of SGD has changed."""
    before = copy.deepcopy(detector.state_dict())
    optimiser = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], lr=rate)
    batch = {"image": images(), "label": torch.tensor([0, 1, 0, 1])}
    loss, _ = CrossEntropy(0.0)(detector.train(), batch)
    loss.backward()
    optimiser.step()
    return {name for name, value in detector.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("variant", ["norms", "probe"])
def test_a_step_moves_the_classifier_and_where_told_the_layer_norms_and_nothing_else(variant):
    torch.manual_seed(0)
    detector = run.TunedDetector(VIT, run.VARIANTS[variant])
    known = dict(detector.named_modules())
    norms = {name for name in detector.state_dict() if isinstance(known[name.rpartition(".")[0]], nn.LayerNorm)}
    head = {"backbone.head.weight", "backbone.head.bias"}
    assert len(norms) > 10
    moved = stepped(detector)
    assert moved == head | (norms if variant == "norms" else set())


def test_the_classifier_of_tuned_norms_reads_features_of_length_one():
    torch.manual_seed(0)
    detector = run.TunedDetector(VIT, run.VARIANTS["norms"]).eval()
    output, plain = detector(images()), run.TunedDetector(VIT, run.VARIANTS["probe"]).eval()
    plain.load_state_dict(detector.state_dict())
    torch.testing.assert_close(output.features.norm(dim=1), torch.ones(4))
    wanted = functional.linear(
        functional.normalize(plain(images()).features), detector.backbone.head.weight, detector.backbone.head.bias
    )
    torch.testing.assert_close(output.logits, wanted)


def test_a_network_without_layer_norms_and_an_unknown_tuning_are_refused():
    with pytest.raises(WorkbookError, match="no layer norm"):
        run.TunedDetector(Backbone("test_resnet", 32), run.Tuning())
    with pytest.raises(WorkbookError, match="norms, nothing"):
        run.TunedDetector(VIT, run.Tuning("biases"))


def test_initial_weights_depend_on_the_seed_alone():
    spec = P.spec("foundation-norms", 3)
    first = run.build(spec).state_dict()
    torch.manual_seed(99)
    second = run.build(spec).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_baseline_at_paper_scale_is_clips_vit_with_gends_settings():
    spec = params.load(scale="paper", grid="full").spec("foundation-norms", 0)
    assert spec["backbone"]["name"] == "vit_large_patch14_clip_quickgelu_224.openai"
    assert spec["detector"]["kind"] == "foundation"
    chosen = {key: spec["training"][key] for key in ("optimiser", "lr", "weight_decay", "schedule", "batch")}
    assert chosen == {"optimiser": "adamw", "lr": 0.0003, "weight_decay": 0.0, "schedule": "cosine", "batch": 128}
