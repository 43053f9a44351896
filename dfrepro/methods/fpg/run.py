"""FPG (P0): pairs self-blended from reals, refined against the detector as it stands before every step."""

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np
import torch

from dfrepro.data.dataset import centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.methods.fpg.detector import FPG, VARIANTS
from dfrepro.methods.fpg.detector import build as build_fpg
from dfrepro.methods.fpg.quality import LaplacianQuality, ManifestQuality, QualityTarget
from dfrepro.nets.detector import Backbone, Detector
from dfrepro.train.draws import some_faces, training_data, window
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec, variant

REGION = 8  # positions a side that Grad-CAM's map needs to tell a region of a small face
FULL_SIZE = 224  # px: from here on the last features have 7 positions a side or more, and are the paper's layer
QUALITY_FACES = 512
SALIENCY_FRAMES = 4  # of a video


def build(spec: Spec) -> Detector:
    return build_fpg(variant_of(spec), Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    declared = variant_of(spec)
    data = training_data(spec, inputs, with_source=True)
    return Ingredients(build(spec), data, declared.loss(quality_target(spec, inputs.store)), declared.refinement())


def variant_of(spec: Spec) -> FPG:
    """The declared variant, with Grad-CAM on a layer that has positions enough at this size of input.

    The papers' 380 pixels end in 12 x 12 positions; the laptop's 64 end in 2 x 2, where P, "above the mean", is one
    quarter of the picture or three and says nothing of a shape. The deepest stage with 8 x 8 stands in there.
    """
    small = spec["backbone"]["image_size"] < FULL_SIZE
    declared: FPG = variant(spec, VARIANTS)
    return replace(declared, positions=REGION if small else 1)


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
    """P0-C4 on the test sets whose fakes have true masks: how much of Grad-CAM's mass lies inside, and by chance would.

    `saliency_inside`: the mean share over fakes; a map that is zero everywhere has none and is counted apart.
    `mask_share`: what a map that is the same everywhere would get.
    """
    found = []
    for store in stores.values():
        if store.masks is None:
            continue
        inside, covered = saliency(detector, spec, store)
        dataset, seen = str(store.manifest["dataset"].iloc[0]), np.isfinite(inside)
        found += [
            Measurement(dataset, "mask_share", float(covered.mean())),
            Measurement(dataset, "saliency_empty", float(1 - seen.mean())),
        ]
        if seen.any():
            found.append(Measurement(dataset, "saliency_inside", float(inside[seen].mean())))
    return found


def saliency(detector: Detector, spec: Spec, store: FaceStore, batch: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Of test fakes with masks: the share of Grad-CAM's mass inside (NaN: an empty map), and the mask's own share."""
    from dfrepro.nets.cam import grad_cam, share_inside

    rows = select(store.manifest, split="test", label=1, frames=SALIENCY_FRAMES)
    rows = rows[store.manifest["mask"].to_numpy()[rows] >= 0]
    side, positions = window(spec, store.meta), variant_of(spec).positions
    inside, covered = [], []
    assert store.masks is not None
    for start in range(0, len(rows), batch):
        these = rows[start : start + batch]
        images = torch.from_numpy(centre(store.faces[these], side)).permute(0, 3, 1, 2)
        places = store.manifest["mask"].to_numpy()[these]
        masks = centre(store.masks[places][..., None], side)[..., 0] / 255.0  # (B, side, side)
        maps = grad_cam(detector, images, positions=positions).numpy()  # (B, side, side)
        inside.append(share_inside(maps, masks))
        covered.append(masks.mean((1, 2)))
    return np.concatenate(inside), np.concatenate(covered)
