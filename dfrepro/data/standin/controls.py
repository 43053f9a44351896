"""Short cuts: what could be told without looking at the face.

A detector that scores well on one of these would not need to see a forgery, and no claim tested on the set would mean
anything. Each control is a logistic regression on video-level features, cross-validated by people: the two persons of
a pair and all videos made of them lie in the same fold. The datasheet and the tests hold each to `BAND`.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
import pandas as pd

from dfrepro.data.layouts import layout
from dfrepro.data.standin.noise import Array
from dfrepro.data.standin.trees import FF

if TYPE_CHECKING:
    from dfrepro.data.manifest import FaceStore

BAND = (0.40, 0.62)  # video AUC that counts as near chance
KEY = ["dataset", "manipulation", "video"]
RING = 0.1  # width of the border over the side of the crop
BINS = 16


def run(store: "FaceStore", standin: Path, *, folds: int = 5) -> dict[str, dict[str, float]]:
    """All controls on the faces and files of FF++ c23; {"video_auc": {"border", "file", "colour"}}."""
    m = store.manifest
    videos = m.drop_duplicates(KEY).reset_index(drop=True)
    groups, labels = people(videos.identities.tolist()), videos.label.to_numpy()
    paths = {video.key: video.path for video in layout("ffpp").videos(Path(standin) / FF, "c23")}
    features = {
        "border": per_video(m, np.stack([border(face) for face in store.faces])),
        "file": np.stack([file_traits(paths[tuple(key)]) for key in videos[KEY].itertuples(index=False)]),
        "colour": per_video(m, np.stack([colours(face) for face in store.faces])),
    }
    return {"video_auc": {name: linear_auc(x, labels, groups, folds=folds) for name, x in features.items()}}


def border(face: Array) -> Array:
    """What a crop's outermost ring tells: its colours, side by side, and how rough it is. (S, S, 3) -> (36,)."""
    width = max(2, round(RING * face.shape[0]))
    sides = [face[:width], face[-width:], face[:, :width].swapaxes(0, 1), face[:, -width:].swapaxes(0, 1)]
    traits = []
    for side in sides:
        edges = cv2.Laplacian(side.astype(np.float32), cv2.CV_32F)[1:-1, 1:-1]
        traits += [*side.mean((0, 1)) / 255, *side.std((0, 1)) / 255, *np.log(edges.std((0, 1)) + 1)]
    return np.array(traits)


def file_traits(path: Path) -> Array:
    """What a file's size and bit rate tell, (5,): bytes in all, key frames, other frames, their spread, their trend."""
    with av.open(path) as container:
        packets = [(packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    keys, others = ([size for size, key in packets if key is wanted] or [1] for wanted in (True, False))
    logs = np.log(others)
    trend = np.polyfit(np.arange(len(logs)), logs, 1)[0] if len(logs) > 1 else 0.0
    return np.array([np.log(path.stat().st_size), np.log(np.mean(keys)), np.log(np.mean(others)), logs.std(), trend])


def colours(face: Array) -> Array:
    """Histograms of the three channels, (3 * BINS,), each summing to 1."""
    counts = [np.bincount(face[..., c].ravel() // (256 // BINS), minlength=BINS) for c in range(3)]
    return np.concatenate(counts) / face[..., 0].size


def per_video(manifest: pd.DataFrame, traits: Array) -> Array:
    """Mean of face-level `traits` (N, D) over each video, in the order of first appearance."""
    codes = manifest.groupby(KEY, sort=False).ngroup().to_numpy()
    return np.stack([np.bincount(codes, column) for column in traits.T], 1) / np.bincount(codes)[:, None]


def people(identities: list) -> Array:
    """A group number for each video: videos that share a person, also through others, are one group."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for names in identities:
        for name in names:
            parent[root(str(name))] = root(str(names[0]))
    return np.unique([root(str(names[0])) for names in identities], return_inverse=True)[1]


def linear_auc(features: Array, labels: Array, groups: Array, *, folds: int = 5) -> float:
    """AUC of a class-balanced logistic regression, mean over folds of people it was not fitted on."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = []
    folds = min(folds, len(np.unique(groups)))
    for fit, held_out in GroupKFold(folds).split(features, labels, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000))
        model.fit(features[fit], labels[fit])
        scores.append(roc_auc_score(labels[held_out], model.decision_function(features[held_out])))
    return float(np.mean(scores))
