"""The draws that a run trains on: its manipulations and the reals, or reals and the pseudo-fakes made of them."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import cv2
import numpy as np

from dfrepro.data.dataset import FaceDataset, Sample, Transform, centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.train.ingredients import Inputs, Spec

Needs = Callable[[int], Mapping[str, Any]]  # row of the manifest -> what a forge takes beside picture and landmarks
FORGES = {  # makers of pseudo-fakes by the name that `data.fakes` gives them: module, class
    "sbi": ("dfrepro.forge.sbi", "SelfBlend"),
    "fia-usa": ("dfrepro.methods.fia_usa.pseudo_fakes", "FiaUsa"),
}


def training_data(spec: Spec, inputs: Inputs, **forge: Any) -> FaceDataset:
    """The data set of a run; `forge` are options of its maker of pseudo-fakes."""
    data, training, store = spec["data"], spec["training"], inputs.store
    pseudo = data["fakes"] != "dataset"
    rows, draws = training_rows(spec, store), training["images_per_epoch"]
    if isinstance(draws, int) and pseudo:
        draws //= 2
    size = spec["backbone"]["image_size"] if pseudo or spec["augment"] else window(spec, store.meta)
    transform = _transform(spec, inputs, **forge)
    return FaceDataset(store, rows, size=size, seed=spec["seed"], transform=transform, draws=draws)


def training_rows(spec: Spec, store: FaceStore) -> np.ndarray:
    """Row numbers of the faces that a run trains on; of the reals alone where its fakes are made of them."""
    data = spec["data"]
    wanted: dict[str, Any] = {"manipulations": data["manipulations"]} if data["fakes"] == "dataset" else {"label": 0}
    return select(store.manifest, split="train", frames=spec["training"]["frames"], **wanted)


def window(spec: Spec, faces: Mapping[str, Any]) -> int:
    """Side in stored pixels of what a network sees: a face with `crop` of margin a side, out of one with the store's.

    `faces` is a store's `meta`: its size in pixels and its margin.
    """
    return round(faces["size"] * (1 + 2 * spec["crop"]) / (1 + 2 * faces["margin"]))


def some_faces(spec: Spec, store: FaceStore, n: int) -> np.ndarray:
    """At most `n` training faces as the network sees them, spread over the rows: (N, S, S, 3) uint8."""
    rows = training_rows(spec, store)
    rows = rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int)]
    return centre(store.faces[rows], window(spec, store.meta))


def _transform(spec: Spec, inputs: Inputs, **forge: Any) -> Transform | None:
    fakes, size = spec["data"]["fakes"], spec["backbone"]["image_size"]
    # stored at the network's own scale: cut, never resample
    margin: dict[str, Any] = {"margin": None} if window(spec, inputs.store.meta) == size else {}
    if fakes in FORGES:
        module, forge_name = FORGES[fakes]
        made = getattr(import_module(module), forge_name)(size, **margin, **spec["data"]["forge"], **forge)
        needs = getattr(import_module(module), "needs", None)
        return PseudoFakes(made, None if needs is None else needs(inputs))
    if spec["augment"]:
        from dfrepro.forge.augment import Augment

        return Augmented(Augment(), window=window(spec, inputs.store.meta), size=size)
    return None


class Augmented:
    """An augmentation of pictures as the data set's transform.

    With `window` it is applied to what the network sees, the centre `window` pixels at `size`: noise and JPEG that are
    followed by a resizing are weaker than they say.
    """

    def __init__(self, augment: Any, *, window: int | None = None, size: int = 0):
        self.augment, self.window, self.size = augment, window, size

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        made = self.augment({"image": self._seen(sample.image), "mask": self._seen(sample.mask)}, rng)
        image = np.ascontiguousarray(made["image"])
        return Sample(image, sample.label, sample.landmarks, made.get("mask"), sample.row)

    def _seen(self, picture: np.ndarray | None) -> np.ndarray | None:
        if picture is None or self.window is None:
            return picture
        cut = centre(picture.reshape(*picture.shape[:2], -1), self.window)  # (window, window, C)
        if self.window != self.size:
            cut = cv2.resize(cut, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return cut.reshape(self.size, self.size, *picture.shape[2:])


class PseudoFakes:
    """A maker of pseudo-fakes as the data set's transform: one real face in, the pair of real and fake out.

    A forge that returns what it blended in puts `source` and `ratio` into the batch.
    """

    def __init__(self, forge: Any, needs: Needs | None = None):
        self.forge, self.needs = forge, needs

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sequence[Sample]:
        needs = {} if self.needs is None else self.needs(sample.row)
        pair = self.forge(np.asarray(sample.image), sample.landmarks, rng, **needs)
        mask = np.round(255 * pair.mask).astype(np.uint8)
        extras: dict[str, np.ndarray] = {}
        if pair.source is not None:
            extras = {"source": pair.source.transpose(2, 0, 1), "ratio": np.array(pair.ratio, np.float32)}
        real = Sample(pair.real, 0, sample.landmarks, np.zeros_like(mask), sample.row, extras)
        return real, Sample(pair.fake, 1, sample.landmarks, mask, sample.row, extras)
