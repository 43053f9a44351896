"""A foundation model as a baseline: a ViT of CLIP or DINO by its timm name, of which the layer norms alone are tuned.

After "LN + L2" of GenD (Yermakov et al., Deepfake Detection that Generalizes Across Benchmarks, WACV 2026): everything
but the layer norms and the classifier stays as it was pretrained, and the classifier reads the class token's features
on the unit sphere. Left out: the uniformity and alignment losses on that sphere, which the whole of GenD adds. The
linear probe, its public code's "Baseline", tunes the classifier alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.nets.detector import Backbone, Detector, Output
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.draws import training_data, window
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec, variant
from dfrepro.train.saliency import measured_inside, positions_of


@dataclass(frozen=True)
class Tuning:
    """What is tuned beside the classifier, and whether that reads features of length one. tune: norms | nothing."""

    tune: str = "norms"
    unit: bool = True


VARIANTS = {"norms": Tuning(), "probe": Tuning("nothing", unit=False)}


class TunedDetector(Detector):
    """A `Detector` most of whose weights do not move: `parameters()` says by `requires_grad` which do.

    A network trained from scratch learns little this way: give it weights (`pretrained` of its entry in scales/).
    """

    def __init__(self, spec: Backbone, tuning: Tuning):
        if tuning.tune not in ("norms", "nothing"):
            where, remedy = "detector.options.tune", "One of norms, nothing"
            raise WorkbookError(f"tune is {tuning.tune!r}", where=where, remedy=remedy)
        super().__init__(spec)
        self.tuning = tuning
        self.requires_grad_(False)
        norms = [module for module in self.backbone.modules() if isinstance(module, nn.LayerNorm)]
        if tuning.tune == "norms" and not norms:
            where, remedy = f"backbone {spec.name}", "Name a ViT, such as vit_large_patch14_clip_quickgelu_224.openai"
            raise WorkbookError("it has no layer norm to tune", where=where, remedy=remedy)
        for module in [*(norms if tuning.tune == "norms" else []), self.backbone.get_classifier()]:
            module.requires_grad_(True)

    def read(self, x: Tensor) -> Output:
        whole = super().read(x)
        if not self.tuning.unit:
            return whole
        features = functional.normalize(whole.features, dim=1)  # (B, D), of length one
        return Output(self.backbone.get_classifier()(features), features, whole.maps)


def build(spec: Spec) -> TunedDetector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec["seed"])
        return TunedDetector(Backbone(**spec["backbone"]), variant(spec, VARIANTS))


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    return Ingredients(build(spec), training_data(spec, inputs), CrossEntropy(spec["training"]["label_smoothing"]))


def measure(detector: Any, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """Of test fakes, how much of Grad-CAM lies inside the true mask (`dfrepro.train.saliency`)."""
    store = inputs.store
    return measured_inside(detector, store, window(spec, store.meta), positions=positions_of(spec))
