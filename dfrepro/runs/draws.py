"""The draws that a run trains on: its manipulations and the reals, or reals and the pseudo-fakes made of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dfrepro.data.dataset import FaceDataset, Sample, Transform, select
from dfrepro.data.manifest import FaceStore
from dfrepro.runs import Inputs, Spec

Needs = Callable[[int], Mapping[str, Any]]  # row of the manifest -> what a forge takes beside picture and landmarks


def training_data(spec: Spec, inputs: Inputs, **forge: Any) -> FaceDataset:
    """The data set of a run; `forge` are options of its maker of pseudo-fakes."""
    data, training, store = spec["data"], spec["training"], inputs.store
    pseudo = data["fakes"] != "dataset"
    draws = training["images_per_epoch"]
    if draws is not None and pseudo:
        draws //= 2
    size = spec["backbone"]["image_size"] if pseudo else window(spec, store.meta)
    transform = _transform(spec, inputs, **forge)
    return FaceDataset(
        store, training_rows(spec, store), size=size, seed=spec["seed"], transform=transform, draws=draws
    )


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
    from dfrepro.data.dataset import centre

    rows = training_rows(spec, store)
    rows = rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int)]
    return centre(store.faces[rows], window(spec, store.meta))


def _transform(spec: Spec, inputs: Inputs, **forge: Any) -> Transform | None:
    fakes, size = spec["data"]["fakes"], spec["backbone"]["image_size"]
    # stored at the network's own scale: cut, never resample
    margin: dict[str, Any] = {"margin": None} if window(spec, inputs.store.meta) == size else {}
    if fakes == "sbi":
        from dfrepro.forge.sbi import SelfBlend

        return Pairs(SelfBlend(size, **margin, **spec["data"]["forge"], **forge))
    if fakes == "fia-usa":
        from dfrepro.forge.fia_usa import FiaUsa
        from dfrepro.forge.reconstruct import Reconstructions

        made = Reconstructions.open(inputs.folder("reconstructions"), inputs.store)
        options = spec["data"]["forge"]
        return Pairs(FiaUsa(size, **margin, **options, **forge), Reconstructed(made))
    if spec["augment"]:
        from dfrepro.forge.augment import Augment

        return Augmented(Augment())
    return None


class Augmented:
    """An augmentation of pictures as the data set's transform."""

    def __init__(self, augment: Any):
        self.augment = augment

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        made = self.augment({"image": sample.image, "mask": sample.mask}, rng)
        image = np.ascontiguousarray(made["image"])
        return Sample(image, sample.label, sample.landmarks, made.get("mask"), sample.row)


class Reconstructed:
    """What FIA-USA's forge needs of a face: its reconstructions."""

    def __init__(self, made: Any):
        self.made = made

    def __call__(self, row: int) -> Mapping[str, Any]:
        return {"reconstructions": self.made.of(row)}


class Pairs:
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
