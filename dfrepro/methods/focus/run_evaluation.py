"""P4's evaluation model: a detector that also learns where a face was forged, from maps that another stage has made.

Without maps (`focus-eval-none`) the same network, from the same initial weights, learns from labels alone.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dfrepro.data.dataset import FaceDataset, select
from dfrepro.data.manifest import FaceStore
from dfrepro.evaluate.embedding import neighbour_agreement
from dfrepro.evaluate.predict import predict
from dfrepro.methods.focus.evaluation import MapDetector, MapSupervision, build_evaluation
from dfrepro.methods.focus.maps import ForgeryMaps, Supervised
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.draws import training_data, training_rows, window
from dfrepro.train.ingredients import Ingredients, Inputs, Measurement, Spec

LOOKED = 400  # faces of a test set whose neighbours are looked for


def build(spec: Spec) -> MapDetector:
    return build_evaluation(Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    if not spec["maps"]:
        return Ingredients(build(spec), training_data(spec, inputs), CrossEntropy(spec["training"]["label_smoothing"]))
    return Ingredients(build(spec), _supervised(spec, inputs), MapSupervision())


def _supervised(spec: Spec, inputs: Inputs) -> FaceDataset:
    """Reals, and the fakes that have a map: a fake whose original is missing has none of a paired kind."""
    store, maps = inputs.store, ForgeryMaps.open(inputs.folder("maps"))
    rows = training_rows(spec, store)
    labels = store.manifest["label"].to_numpy()[rows]
    rows = rows[(labels == 0) | np.isin(rows, maps.rows)]
    side = window(spec, store.meta)
    draws = spec["training"]["images_per_epoch"]
    transform = Supervised(maps, side=side, size=store.size)
    return FaceDataset(store, rows, size=side, seed=spec["seed"], transform=transform, draws=draws)


def measure(detector: MapDetector, spec: Spec, stores: Mapping[str, FaceStore], inputs: Inputs) -> list[Measurement]:
    """Whom the classifier's features lie next to (Sec. IV-E, Figure 9), on `LOOKED` faces spread over each test set.

    neighbours_label: `neighbour_agreement` of real and fake, neighbours from other videos alone.
    neighbours_manipulation: the same among fakes, each manipulation against the others, the mean; where there are two.
    """
    found = []
    for store in stores.values():
        rows = select(store.manifest, split="test")
        rows = rows[np.linspace(0, len(rows) - 1, min(LOOKED, len(rows))).astype(int)]
        seen = predict(detector, store, rows, size=window(spec, store.meta))
        dataset = str(store.manifest["dataset"].iloc[0])
        for name, value in neighbours(seen.features, seen.frames).items():
            if np.isfinite(value):
                found.append(Measurement(dataset, name, value))
    return found


def neighbours(features: np.ndarray, frames: pd.DataFrame) -> dict[str, float]:
    """The measurements of `measure`, by name, of features (N, D) and their rows (manipulation, video, label)."""
    label, video = frames["label"].to_numpy(), frames["video"].to_numpy()
    found = {"neighbours_label": _agreement(features, label, video)}
    fakes = np.flatnonzero(label == 1)
    kinds = frames["manipulation"].to_numpy()[fakes]
    if len(names := np.unique(kinds)) > 1:
        sides = [_agreement(features[fakes], (kinds == name).astype(int), video[fakes]) for name in names]
        found["neighbours_manipulation"] = float(np.mean(sides))
    return found


def _agreement(features: np.ndarray, sides: np.ndarray, videos: np.ndarray) -> float:
    """NaN where a side is missing, or where there are too few videos to have ten neighbours in others."""
    if min(np.bincount(sides, minlength=2)) == 0 or len(np.unique(videos)) < 3:
        return float("nan")
    return neighbour_agreement(features, sides, videos)
