"""A plain network on what a 3 x 3 mean leaves of a face, under `Shade` (a worked example: docs/extending.md)."""

import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.data.dataset import FaceDataset
from dfrepro.forge.shade import Shade
from dfrepro.nets.detector import Backbone, Detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.draws import Augmented, training_rows, window
from dfrepro.train.ingredients import Ingredients, Inputs, Spec


class Residual(Detector):
    """`forward(images (B, 3, S, S))` as of any detector; flat colour is invisible to it."""

    def preprocess(self, images: Tensor) -> Tensor:
        x = super().preprocess(images)  # (B, 3, S, S), normalised, at the network's own size
        return x - functional.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def build(spec: Spec) -> Residual:
    with torch.random.fork_rng(devices=[]):  # the weights follow from the seed, and no one else's draws do
        torch.manual_seed(spec["seed"])
        return Residual(Backbone(**spec["backbone"]))


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    store, training = inputs.store, spec["training"]
    data = FaceDataset(
        store, training_rows(spec, store), size=window(spec, store.meta), seed=spec["seed"],
        transform=Augmented(Shade()), draws=training["images_per_epoch"],
    )  # fmt: skip
    return Ingredients(build(spec), data, CrossEntropy(training["label_smoothing"]))
