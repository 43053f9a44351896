"""P4's evaluation model: a detector that also learns where a face was forged, from maps that another stage has made.

Without maps (`focus-eval-none`) the same network, from the same initial weights, learns from labels alone.
"""

import numpy as np

from dfrepro.data.dataset import FaceDataset
from dfrepro.methods.focus.evaluation import MapDetector, MapSupervision, build_evaluation
from dfrepro.methods.focus.maps import ForgeryMaps, Supervised
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.draws import training_data, training_rows, window
from dfrepro.train.ingredients import Ingredients, Inputs, Spec


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
