"""FPG (P0): pairs self-blended from reals, refined against the detector as it stands before every step."""

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from dfrepro.data.manifest import FaceStore
from dfrepro.methods.fpg.detector import FPG, VARIANTS
from dfrepro.methods.fpg.detector import build as build_fpg
from dfrepro.methods.fpg.quality import LaplacianQuality, ManifestQuality, QualityTarget
from dfrepro.nets.detector import Backbone, Detector
from dfrepro.train.draws import some_faces, training_data, window
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec, variant
from dfrepro.train.saliency import measured_inside, positions_of

QUALITY_FACES = 512


def build(spec: Spec) -> Detector:
    return build_fpg(variant_of(spec), Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    declared = variant_of(spec)
    data = training_data(spec, inputs, with_source=True)
    return Ingredients(build(spec), data, declared.loss(quality_target(spec, inputs.store)), declared.refinement())


def variant_of(spec: Spec) -> FPG:
    """The declared variant, with Grad-CAM on a layer that has positions enough at this size of input.

    Of 2 x 2 positions P, "above the mean", is one quarter of the picture or three and says nothing of a shape.
    """
    declared: FPG = variant(spec, VARIANTS)
    return replace(declared, positions=positions_of(spec))


def quality_target(spec: Spec, store: FaceStore) -> QualityTarget:
    """The user's quality scores where the manifest has any (then every face needs one), else sharpness."""
    scores = store.manifest["quality"].to_numpy(np.float64)
    if np.isfinite(scores).any():
        return ManifestQuality(scores)
    side = spec["backbone"]["image_size"]
    faces = some_faces(spec, store, QUALITY_FACES)
    if faces.shape[1] != side:  # sharpness depends on the size: as large as the network will see them
        faces = np.stack([cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA) for face in faces])
    return LaplacianQuality.of_faces(faces)


def measure(detector: Detector, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """Figure 3 as numbers, on the test sets whose fakes have true masks: see `dfrepro.train.saliency`."""
    positions = variant_of(spec).positions
    return [
        one
        for store in stores.values()
        for one in measured_inside(detector, store, window(spec, store.meta), positions=positions)
    ]
