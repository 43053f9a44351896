"""What the PIM notebooks look at beside scores: test faces, the rise of the loss, and where the networks look."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from dfrepro.nets import cam
from dfrepro.nets.detector import build_detector
from dfrepro.train import flatness

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore
    from dfrepro.jobs.trained import TrainedRun
    from dfrepro.settings import Backbone

RADII = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)  # the second is for Eq. 11, which holds where r is small


def test_batch(store: "FaceStore", manipulation: str, n: int) -> tuple[Tensor, Tensor]:
    """n test faces, half real and half of one manipulation, from many videos: (n, 3, S, S) uint8 and labels (n,)."""
    m = store.manifest[store.manifest.split == "test"]
    halves = [m[m.manipulation == name] for name in ("original", manipulation)]
    rows = np.concatenate([half.index[np.linspace(0, len(half) - 1, n // 2).astype(int)] for half in halves])
    return to_tensor(store.faces[rows]), torch.from_numpy(m.label.loc[rows].to_numpy(dtype=np.int64))


def rise(run: "TrainedRun", faces: Tensor, labels: Tensor) -> pd.DataFrame:
    """The loss of a run's network along Δ for the radii that the notebook draws (dfrepro.train.flatness)."""
    return flatness.rise(run.detector(), _window(faces, run.window), labels, RADII)


def halves(networks: "Mapping[str, Backbone]", faces: Tensor, labels: Tensor) -> pd.DataFrame:
    """‖Δμ‖² / ‖Δ‖² of untrained networks on these faces, and their number of sites: rows by name, columns by mode.

    Near 0 where batch norm follows every site (dfrepro.train.flatness.halves).
    """
    lines = {}
    for name, network in networks.items():
        detector = build_detector(replace(network, pretrained=False), seed=0)
        found = flatness.halves(detector, faces, labels)
        joint = found[found.site == "all"].set_index("mode").mu_share
        lines[name] = {"sites": found.site.nunique() - 1, **joint}
    return pd.DataFrame.from_dict(lines, orient="index")


def picks(stores: dict[str, "FaceStore"]) -> tuple[np.ndarray, list[str]]:
    """One real and one fake of every FF++ manipulation, and one fake of every other set: faces (N, S, S, 3), titles."""
    from dfrepro.report.plots import LABELS, SETS

    faces, titles = [], []
    for store in stores.values():
        m = store.manifest[store.manifest.split == "test"]
        groups = m.groupby("manipulation", sort=True) if "Deepfakes" in set(m.manipulation) else [("", m[m.label == 1])]
        for name, group in groups:
            faces.append(store.faces[group.index[len(group) // 2]])
            titles.append(LABELS.get(name) or SETS[group.dataset.iloc[0]])
    return np.stack(faces), titles


def cams(run: "TrainedRun", faces: np.ndarray) -> np.ndarray:
    """Grad-CAM for 'fake' of faces (N, S, S, 3), (N, S, S): zero in the margin that the network does not see."""
    images = to_tensor(faces)
    maps = cam.grad_cam(run.detector(), _window(images, run.window), positions=7)  # (N, s, s)
    before = (images.shape[-1] - run.window) // 2
    after = images.shape[-1] - run.window - before
    return functional.pad(maps, (before, after, before, after)).numpy()


def to_tensor(faces: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(faces)).permute(0, 3, 1, 2)


def _window(images: Tensor, side: int) -> Tensor:
    start = (images.shape[-1] - side) // 2
    return images[..., start : start + side, start : start + side]
