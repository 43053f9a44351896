"""FIA-USA's detector (P3): its channels are ranked before the first step, then it trains on pairs with RCR.

A run on SBI's pairs is Table 6a's row without FIA-USA. The plain backbones on the same data (`fiausa-data`,
`fiausa-sbi`) are runs of kind `backbone`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from scipy.stats import entropy
from torch import Tensor
from torch.nn import functional

from dfrepro.data.dataset import FaceDataset, batches
from dfrepro.data.manifest import FaceStore
from dfrepro.forge.masks import MACRO
from dfrepro.methods.fia_usa import detector as fia_usa
from dfrepro.methods.fia_usa.affs import rank_channels, warmed_up
from dfrepro.methods.fia_usa.detector import STRIDES, VARIANTS, FiaUsaDetector, regions, usable
from dfrepro.nets.detector import Backbone
from dfrepro.train.draws import training_data
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec, variant

RANKED_EPOCHS = 5  # "5 epochs on all samples on the training set" (Appendix E.3)
FRESH = 256  # pairs, of which `measure` tells
WARM_UP_EPOCHS, WARM_UP_RATE = 2, 3e-3  # of one from scratch: a copy learns, then is ranked


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

    A pretrained network is ranked as it is, where there is a GPU on it. One from scratch learns a little first, both on
    one thread of the CPU: the warm-up turns rounding errors into other channels, and other numbers of threads and
    devices round otherwise. So it can be made again from the seed alone.
    """
    if spec["backbone"]["pretrained"]:
        copy = deepcopy(detector).to("cuda" if torch.cuda.is_available() else "cpu")
        return copy, rank_channels(copy, _passes(data, spec, 0, RANKED_EPOCHS))
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec["seed"])  # of networks that drop units at random
        copy = warmed_up(deepcopy(detector), _passes(data, spec, 0, WARM_UP_EPOCHS), lr=WARM_UP_RATE)
        return copy, rank_channels(copy, _passes(data, spec, WARM_UP_EPOCHS, RANKED_EPOCHS))


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread for torch, as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure(detector: FiaUsaDetector, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """What the training's own pairs say, on `FRESH` draws that it has not seen: of the run's own set.

    rcr_pairs: the share of pairs that have a say in RCR. cross_entropy: of the classifier. below_macro: how far that
    is below the best of a detector that sees macro masks alone; none where all masks are macro. A training that stays
    above it has not learned from micro masks.
    """
    data, training = training_data(spec, inputs), spec["training"]
    batch = min(FRESH, 32)
    first = training["epochs"] * len(data) // batch + 1
    detector.eval()
    entropies, shares = [], []
    for (drawn,) in batches(data, batch, first=first, last=first + FRESH // batch):
        with torch.inference_mode():
            entropies.append(functional.cross_entropy(detector(drawn["image"]).logits, drawn["label"]).item())
        cells = regions(
            drawn["mask"][1::2] / 255, [-(-s // STRIDES[0]) for s in drawn["mask"].shape[-2:]], detector.variant.inside
        )
        shares.append(usable(cells).float().mean().item())
    dataset, mean = str(inputs.store.manifest["dataset"].iat[0]), float(np.mean(entropies))
    found = {"cross_entropy": mean}
    if detector.variant.contrasts:
        found["rcr_pairs"] = float(np.mean(shares))
    if spec["data"]["fakes"] == "fia-usa" and (bound := macro_only(spec["data"]["forge"].get("kinds", "uniform"))):
        found["below_macro"] = bound - mean
    return [Measurement(dataset, name, value) for name, value in found.items()]


def macro_only(kinds: str) -> float:
    """The least cross-entropy, in nats, of a detector that knows every macro fake and no micro one from a real.

    With a share p of macro fakes, what is left is half reals and (1 − p)/2 fakes: (2 − p)/2 · H((1 − p)/(2 − p)).
    """
    p = {"uniform": 0.4, "macro-micro": 0.5}.get(kinds, float(kinds in ("macro", *MACRO)))
    return (2 - p) / 2 * float(entropy([1 / (2 - p), (1 - p) / (2 - p)]))


def _passes(data: FaceDataset, spec: Spec, first: int, epochs: int) -> Iterator[Any]:
    """Batches of the training's size of `epochs` epochs of draws, from epoch `first` on."""
    pairs = spec["training"]["batch"] // 2
    per_epoch = max(1, len(data) // pairs)
    workers = spec["training"]["workers"]
    steps = batches(data, pairs, first=first * per_epoch, last=(first + epochs) * per_epoch, workers=workers)
    return (batch for (batch,) in steps)
