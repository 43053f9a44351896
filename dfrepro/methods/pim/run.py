"""A plain detector: any timm network on labels alone, by any step rule (ERM, PIM, SAM, DualFlat), and baselines."""

from collections.abc import Mapping

import numpy as np
import torch

from dfrepro.data.dataset import centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.nets.detector import Backbone, Detector, build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.nets.pim import PIM
from dfrepro.train.draws import training_data, window
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec
from dfrepro.train.saliency import measured_inside, positions_of

MEASURED = 64  # faces


def build(spec: Spec) -> Detector:
    return build_detector(Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    return Ingredients(build(spec), training_data(spec, inputs), CrossEntropy(spec["training"]["label_smoothing"]))


def measure(detector: Detector, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """What scores do not say of a network, on faces of its own test set: `dfrepro.train.saliency` (TIFS 2024, Figure 4)
    and, where it was trained with PIM (Sec. III-D):

    `inference_difference`: the most that the outputs change when PIM is attached and removed again;
    `identity_difference`: the most by which they differ with PIM at Δ = 0; `mu_share`: ‖Δμ‖² / ‖Δ‖² in training mode,
    0 where a Δμ shared by the batch cancels.
    """
    store = inputs.store
    found = measured_inside(detector, store, window(spec, store.meta), positions=positions_of(spec))
    return found + (_of_pim(detector, spec, store) if spec["step"]["alpha"] else [])


def _of_pim(detector: Detector, spec: Spec, store: FaceStore) -> list[Measurement]:
    from dfrepro.train.flatness import halves

    manifest = store.manifest
    rows = select(manifest, split="test")
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MEASURED)).astype(int)]
    faces = centre(store.faces[rows], window(spec, store.meta))
    images = torch.from_numpy(faces).permute(0, 3, 1, 2)
    with torch.no_grad():
        before = detector(images).logits
        with PIM(detector) as pim, pim.recording():
            recorded = detector(images).logits
        after = detector(images).logits
    parts = halves(detector, images, torch.from_numpy(manifest["label"].to_numpy(np.int64)[rows]))
    joint = parts[(parts["mode"] == "training") & (parts["site"] == "all")]
    values = {
        "inference_difference": (after - before).abs().max(),
        "identity_difference": (recorded - before).abs().max(),
        "mu_share": joint["mu_share"].iloc[0],
    }
    return [Measurement(manifest["dataset"].iloc[0], name, float(value)) for name, value in values.items()]
