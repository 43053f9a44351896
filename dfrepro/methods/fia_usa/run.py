"""FIA-USA's detector (P3): its channels are ranked before the first step, then it trains on pairs with RCR.

A run on SBI's pairs is Table 6a's row without FIA-USA. The plain backbones on the same data (`fiausa-data`,
`fiausa-sbi`) are runs of kind `backbone`.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from dfrepro.data.dataset import FaceDataset, batches
from dfrepro.methods.fia_usa import detector as fia_usa
from dfrepro.methods.fia_usa.affs import rank_channels, warmed_up
from dfrepro.methods.fia_usa.detector import VARIANTS, FiaUsaDetector
from dfrepro.nets.detector import Backbone
from dfrepro.train.draws import training_data
from dfrepro.train.ingredients import Ingredients, Inputs, Spec, variant

RANKED_EPOCHS = 5  # of a pretrained network (Appendix E)
WARM_UP_EPOCHS, WARM_UP_RATE, WARM_RANKED_EPOCHS = 2, 3e-3, 1  # of one from scratch: a copy learns, then is ranked


def build(spec: Spec) -> FiaUsaDetector:
    """The detector with initial weights; where AFFS chooses its channels they are not chosen yet."""
    return fia_usa.build(variant(spec, VARIANTS), Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    detector, data = build(spec), training_data(spec, inputs)
    if detector.selection is not None and detector.variant.needs_ranking:
        _, errors = ranking(detector, data, spec)
        detector.selection.keep_least(errors)
    return Ingredients(detector, data, detector.variant.loss(spec["training"]["label_smoothing"]))


def ranking(detector: FiaUsaDetector, data: FaceDataset, spec: Spec) -> tuple[FiaUsaDetector, list[Tensor]]:
    """A copy of the network, whose channels are ranked, and L_ik (C_i,) of its stages C2 to C5 (Eq. 3).

    A pretrained network is ranked as it is; one from scratch learns a little first. From the seed alone.
    """
    copy = deepcopy(detector).to("cuda" if torch.cuda.is_available() else "cpu")
    if spec["backbone"]["pretrained"]:
        return copy, rank_channels(copy, _passes(data, spec, 0, RANKED_EPOCHS))
    copy = warmed_up(copy, _passes(data, spec, 0, WARM_UP_EPOCHS), lr=WARM_UP_RATE)
    return copy, rank_channels(copy, _passes(data, spec, WARM_UP_EPOCHS, WARM_RANKED_EPOCHS))


def _passes(data: FaceDataset, spec: Spec, first: int, epochs: int) -> Iterator[Any]:
    """Batches of the training's size of `epochs` epochs of draws, from epoch `first` on."""
    pairs = spec["training"]["batch"] // 2
    per_epoch = max(1, len(data) // pairs)
    workers = spec["training"]["workers"]
    steps = batches(data, pairs, first=first * per_epoch, last=(first + epochs) * per_epoch, workers=workers)
    return (batch for (batch,) in steps)
