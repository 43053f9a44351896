"""The augmentation of PIM's Table IV, "With" block (TIFS 2024, Sec. V-B): the one import of albumentations.

The paper names six transforms and nothing else. Probabilities (.3, and .5 for flip and compression) and limits are
ours: those of SBI for RGB shifts and JPEG, albumentations' long-standing ones elsewhere.
albumentations is pinned to 2.0.8, whose default noise (a standard deviation of .2 to .44 of the range) would drown a
face, so that the older default of 3 to 7 grey levels is given here.
"""

import os
import random
from functools import cached_property
from typing import Any

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read at import: no network check

GREY = 1 / 255

TRANSFORMS: dict[str, dict[str, Any]] = {  # in this order
    "HorizontalFlip": {"p": 0.5},
    "RGBShift": {"r_shift_limit": (-20, 20), "g_shift_limit": (-20, 20), "b_shift_limit": (-20, 20), "p": 0.3},
    "HueSaturationValue": {
        "hue_shift_limit": (-20, 20),
        "sat_shift_limit": (-30, 30),
        "val_shift_limit": (-20, 20),
        "p": 0.3,
    },
    "RandomBrightnessContrast": {"brightness_limit": (-0.2, 0.2), "contrast_limit": (-0.2, 0.2), "p": 0.3},
    "ImageCompression": {"quality_range": (40, 100), "p": 0.5},
    "GaussNoise": {"std_range": (3 * GREY, 7 * GREY), "p": 0.3},
}
NAMES = tuple(TRANSFORMS)


class Augment:
    """Flip, colour, compression and noise for one face, drawn from the generator that is passed in.

    A data set's `transform(item, rng)`: replaces `image` (H, W, 3) uint8 and, where there is one, `mask` (H, W), which
    only the flip touches. Landmarks would be wrong after the flip and are dropped. `flip` False leaves the flip out.
    """

    def __init__(self, flip: bool = True):
        self.flip = flip

    @cached_property
    def compose(self) -> Any:
        import albumentations

        chosen = TRANSFORMS if self.flip else TRANSFORMS | {"HorizontalFlip": {"p": 0.0}}
        return albumentations.Compose([getattr(albumentations, name)(**given) for name, given in chosen.items()])

    def __getstate__(self) -> dict[str, Any]:
        return {"flip": self.flip}  # workers build their own pipeline: its state is drawn anew for each item

    def __call__(self, item: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        # Not set_random_seed: it gives every transform a generator with the same seed, so that those of equal
        # probability fire together. One state, shared, is drawn from in turn.
        self.compose.set_random_state(rng, random.Random(int(rng.integers(2**63))))
        pictures = {key: item[key] for key in ("image", "mask") if item.get(key) is not None}
        kept = {key: value for key, value in item.items() if key != "landmarks"}
        return kept | self.compose(**pictures)
