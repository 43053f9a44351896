"""A plain detector: any timm network on labels alone, by any step rule (P1: ERM, PIM, SAM, DualFlat; and baselines)."""

from collections.abc import Mapping

import torch

from dfrepro.data.dataset import centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.nets.detector import Backbone, Detector, build_detector
from dfrepro.nets.losses import CrossEntropy
from dfrepro.nets.pim import PIM
from dfrepro.train.draws import training_data, window
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec


def build(spec: Spec) -> Detector:
    return build_detector(Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    return Ingredients(build(spec), training_data(spec, inputs), CrossEntropy(spec["training"]["label_smoothing"]))


def measure(detector: Detector, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """P1-C9: PIM is attached and removed again; by how much does that change the outputs, at most?"""
    if not spec["step"]["alpha"]:
        return []
    rows = select(inputs.store.manifest, split="test")[:64]
    faces = centre(inputs.store.faces[rows], window(spec, inputs.store.meta))
    images = torch.from_numpy(faces).permute(0, 3, 1, 2)
    with torch.inference_mode():
        before = detector(images).logits
        with PIM(detector):
            detector(images)
        after = detector(images).logits
    dataset = inputs.store.manifest["dataset"].iloc[0]
    return [Measurement(dataset, "inference_difference", float((after - before).abs().max()))]
