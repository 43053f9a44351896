"""How much of a detector's Grad-CAM lies inside the true masks of test fakes."""

from typing import Any

import numpy as np
import torch

from dfrepro.data.dataset import centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.train.ingredients import Measurement, Spec

FRAMES = 4  # of a video
REGION = 8  # positions a side that Grad-CAM's map needs to tell a region of a small face
FULL_SIZE = 224  # px: from here on the last features have 7 positions a side or more, and are the papers' layer


def positions_of(spec: Spec) -> int:
    """Positions a side that a run's Grad-CAM is of at least: the papers' 380 pixels end in 12, the laptop's 64 in 2."""
    return REGION if spec["backbone"]["image_size"] < FULL_SIZE else 1


def shares_inside(
    detector: Any, store: FaceStore, side: int, *, positions: int = 1, batch: int = 128
) -> tuple[np.ndarray, np.ndarray]:
    """Of test fakes with masks: the share of Grad-CAM's mass inside (NaN: an empty map), and the mask's own share.

    `side`: of the window that the network sees, in stored pixels; `positions`: see `dfrepro.nets.cam.grad_cam`.
    """
    from dfrepro.nets.cam import grad_cam, share_inside

    rows = select(store.manifest, split="test", label=1, frames=FRAMES)
    rows = rows[store.manifest["mask"].to_numpy()[rows] >= 0]
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
    return np.concatenate([*inside, np.empty(0)]), np.concatenate([*covered, np.empty(0)])


def measured_inside(detector: Any, store: FaceStore, side: int, *, positions: int = 1) -> list[Measurement]:
    """`saliency_inside`, the mean share over fakes whose map is not empty; `mask_share`, what a constant map would get;
    `saliency_empty`, the share of empty maps. Nothing where a set has no masks."""
    if store.masks is None:
        return []
    inside, covered = shares_inside(detector, store, side, positions=positions)
    if not len(inside):
        return []
    dataset, seen = str(store.manifest["dataset"].iloc[0]), np.isfinite(inside)
    found = [Measurement(dataset, "mask_share", float(covered.mean()))]
    found += [Measurement(dataset, "saliency_empty", float(1 - seen.mean()))]
    return found + ([Measurement(dataset, "saliency_inside", float(inside[seen].mean()))] if seen.any() else [])
