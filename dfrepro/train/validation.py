"""What a training sees of the validation split of its own set: one AUC over videos at the end of an epoch.

A look at a fixed few hundred faces, forward only. It draws nothing at random and leaves modes, statistics and weights
as they were, so that a training with it and one without end in the same weights, to the bit.
"""

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from dfrepro.data.dataset import centre, select, spread
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.nets.detector import evaluating
from dfrepro.train.draws import window
from dfrepro.train.fit import Validate
from dfrepro.train.ingredients import Spec

KEY = ["dataset", "manipulation", "video"]
BATCH = 64


def in_domain(spec: Spec, store: FaceStore, faces: int | None) -> Validate | None:
    """Video AUC on the validation split of the set that a run trains on: its reals, and the fakes of its manipulations
    whether it trains on them or on pseudo-fakes. None where the split lacks reals or fakes.

    faces: about so many (None: all), spread evenly over the videos and over each video's frames.
    """
    try:
        rows = select(store.manifest, split="val", manipulations=spec["data"]["manipulations"])
    except WorkbookError:  # a copy without a validation split
        return None
    if faces is not None:
        rows = some(store, rows, faces)
    if set(store.manifest["label"].to_numpy()[rows]) != {0, 1}:
        return None
    return lambda detector: video_auc(detector, store, rows, window(spec, store.meta))


def some(store: FaceStore, rows: np.ndarray, faces: int) -> np.ndarray:
    """Of `rows`, about `faces`: as many frames of each video as that allows, or, of more videos, one frame of some."""
    videos = store.manifest.iloc[rows].groupby(KEY, sort=True).indices
    frames = max(1, faces // len(videos))
    kept = list(videos.values())
    kept = [kept[place] for place in spread(np.arange(len(kept)), faces)]
    return np.sort(np.concatenate([rows[spread(np.sort(places), frames)] for places in kept]))


def video_auc(detector: nn.Module, store: FaceStore, rows: np.ndarray, size: int) -> float:
    """Area under the ROC curve of the videos' mean margins; see `dfrepro.evaluate.metrics`, which defines it.

    NaN where a margin is not finite. The detector is in evaluation mode meanwhile.
    """
    where = next(detector.parameters()).device
    margins = []
    with evaluating(detector):
        for start in range(0, len(rows), BATCH):
            faces = np.stack([centre(store.faces[row], size) for row in rows[start : start + BATCH]])  # (B, S, S, 3)
            margins.append(detector(torch.from_numpy(faces).permute(0, 3, 1, 2).to(where)).margins.double().numpy())
    if not np.isfinite(np.concatenate(margins)).all():
        return float("nan")
    table = store.manifest.iloc[rows][[*KEY, "label"]].assign(margin=np.concatenate(margins))
    videos = table.groupby(KEY, sort=False).mean().round({"margin": 10})
    return float(roc_auc_score(videos["label"], videos["margin"]))
