"""From a run's specification (`Params.spec`) to its checkpoint, and back to the trained detector.

A specification is plain data and says everything that decides the weights; it travels in the checkpoint.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dfrepro.data.dataset import FaceDataset, Sample, Transform, select
from dfrepro.data.manifest import FaceStore
from dfrepro.train import checkpoint
from dfrepro.train.fit import Recipe, TrainConfig, Validate, fit
from dfrepro.train.losses import CrossEntropy
from dfrepro.train.models import Backbone, Detector, build_detector
from dfrepro.train.steps import StepRule

OWN = ("epochs", "batch", "frames", "images_per_epoch", "label_smoothing")  # settings that are not the loop's


def train_run(spec: dict[str, Any], store: FaceStore, out: Path, *, resume: Path) -> dict[str, float]:
    """Train the run that `spec` describes on the faces of `store`; write its checkpoint at `out`, whole or not at all.

    Returns the last line of the history. Raises WorkbookError when faces are missing or the loss is not finite.
    """
    training, seed = spec["training"], spec["seed"]
    detector = build_detector(Backbone(**spec["backbone"]), seed=seed)
    data = training_data(spec, store)
    images = 2 if spec["data"]["fakes"] != "dataset" else 1  # a draw of pseudo-fakes is a pair
    config = TrainConfig(
        epochs=training["epochs"], batch=training["batch"] // images, seed=seed,
        **{key: value for key, value in training.items() if key not in OWN},
    )  # fmt: skip
    recipe = Recipe(
        CrossEntropy(training["label_smoothing"]), StepRule(**spec["step"], seed=seed),
        validate=_validation(spec, store) if config.select == "best_validation" else None,
    )  # fmt: skip
    meta = {"spec": spec, "faces": store.meta}
    return fit(detector, data, recipe, config, out, meta=meta, resume=resume, name=f"{spec['run']}, seed {seed}")


def load_detector(folder: Path) -> Detector:
    """The trained detector of a checkpoint, in evaluation mode on the CPU; its weights replace any pretrained ones."""
    spec = checkpoint.load_meta(folder)["spec"]
    detector = build_detector(Backbone(**spec["backbone"] | {"pretrained": False}), seed=0)
    checkpoint.load_weights(folder, detector)
    return detector.eval()


def training_data(spec: dict[str, Any], store: FaceStore) -> FaceDataset:
    """The draws that a run trains on: its manipulations and the reals, or reals and the pseudo-fakes made of them."""
    data, training = spec["data"], spec["training"]
    pseudo = data["fakes"] != "dataset"
    wanted: dict[str, Any] = {"label": 0} if pseudo else {"manipulations": data["manipulations"]}
    rows = select(store.manifest, split="train", frames=training["frames"], **wanted)
    draws = training["images_per_epoch"]
    if draws is not None and pseudo:
        draws //= 2
    size = spec["backbone"]["image_size"] if pseudo else window(spec, store.meta)
    return FaceDataset(store, rows, size=size, seed=spec["seed"], transform=_transform(spec, store), draws=draws)


def window(spec: dict[str, Any], faces: dict[str, Any]) -> int:
    """Side in stored pixels of what a network sees: a face with `crop` of margin a side, out of one with the store's.

    `faces` is a store's `meta`: its size in pixels and its margin.
    """
    return round(faces["size"] * (1 + 2 * spec["crop"]) / (1 + 2 * faces["margin"]))


def _transform(spec: dict[str, Any], store: FaceStore) -> Transform | None:
    if spec["data"]["fakes"] == "sbi":
        from dfrepro.forge.sbi import SelfBlend

        size = spec["backbone"]["image_size"]
        if window(spec, store.meta) == size:  # stored at the network's own scale: cut, never resample
            return Pairs(SelfBlend(size, margin=None))
        return Pairs(SelfBlend(size))
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
        return Sample(np.ascontiguousarray(made["image"]), sample.label, sample.landmarks, made.get("mask"))


class Pairs:
    """A maker of pseudo-fakes as the data set's transform: one real face in, the pair of real and fake out."""

    def __init__(self, forge: Any):
        self.forge = forge

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sequence[Sample]:
        pair = self.forge(np.asarray(sample.image), sample.landmarks, rng)
        mask = np.round(255 * pair.mask).astype(np.uint8)
        real = Sample(pair.real, 0, sample.landmarks, np.zeros_like(mask))
        return real, Sample(pair.fake, 1, sample.landmarks, mask)


def _validation(spec: dict[str, Any], store: FaceStore) -> Validate:
    """Video AUC on the in-domain validation split: the one thing a checkpoint may be chosen by."""
    from dfrepro.evaluate import metrics
    from dfrepro.evaluate.predict import predict

    rows = select(store.manifest, split="val", manipulations=spec["data"]["manipulations"])
    size = window(spec, store.meta)

    def validate(detector: Any) -> float:
        scores, _ = predict(detector, store, rows, size=size)
        return metrics.video_auc(scores)

    return validate
