"""How large a stand-in is, and how every random choice follows from one seed."""

import zlib
from dataclasses import dataclass, fields

import numpy as np

from dfrepro.errors import WorkbookError

VERSION = "standin-v3"


@dataclass(frozen=True)
class StandinSpec:
    """Sizes of the trees. Reals and fakes are equal in number in every cross-domain set and per FF++ method.

    `train`, `val` and `test` count FF++ originals and must be even (originals come in pairs). `cross` counts the real
    test videos (and as many fakes) of each of Celeb-DF, DFD, DFDC, DFDCP and WildDeepfake, `wild` those that there are
    to train on in WildDeepfake; both are multiples of 4. `images` counts the images of each DiFF method and of the real
    folder; `frames` and `cross_frames` are the lengths of the videos of FF++ and of the other sets; `size` is the side
    of an FF++ frame in pixels.
    """

    train: int = 72
    val: int = 12
    test: int = 40
    cross: int = 32
    wild: int = 48
    images: int = 40
    frames: int = 20
    cross_frames: int = 16
    size: int = 224

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            step = 2 if field.name in ("train", "val", "test") else 4 if field.name in ("cross", "wild") else 1
            if value < 0 or value % step:
                raise WorkbookError(f"{field.name} is {value}; must be a multiple of {step}", where="stand-in spec")
        if self.size < 160:
            raise WorkbookError(
                f"size is {self.size}; faces under 160 px frames escape the detector", where="stand-in spec"
            )


LAPTOP = StandinSpec()
SMOKE = StandinSpec(train=4, val=2, test=2, cross=4, wild=4, images=4, frames=6, cross_frames=4)


def generator(seed: int, *names: object) -> np.random.Generator:
    """The random stream of one thing, named by (dataset, unit, ...): the same in any process and any order."""
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])
