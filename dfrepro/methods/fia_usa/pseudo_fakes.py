"""FIA-USA pseudo-fakes (SPEC P3): five kinds of masks, reconstructed faces, one combination of the two at random.

I_s = I; I_t = Recon(I), once of .3 autoencoder, .2 super-resolution, .5 none; T recolours I_s or I_t, p .5 each; and
I_F = M I_t + (1 - M) I_s (Eq. 1): reconstructed inside, source outside. The paired real is I_s **after** T, so that
real and fake agree outside M. Masks are SBI's, jitter included, of one of `MASK_KINDS`; the ratio is 1.

Algorithm 1 of the paper contradicts its text in three places, which `literal` turns on by name (see `LITERAL`).
Reconstructions come from outside, in the stored crop's pixels: they are made once per face and cached.

Flip, CutOut and Gaussian noise are the paper's augmentation [T]; their strengths are silent, so they are ours. All are
the same on both members. Where CutOut has its hole nothing is forged, so the mask is 0 there; a hole that would take
most of the forgery is drawn again.
"""

from collections.abc import Collection, Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np

from dfrepro.errors import WorkbookError
from dfrepro.forge.blend import DrawView, Pair, View, apply, blend, draw_affine, transform_points, warp
from dfrepro.forge.colour import draw_source_transform
from dfrepro.forge.masks import MASK_KINDS, Box, SoftMask, face_of, regions, soft_mask

if TYPE_CHECKING:
    from dfrepro.train.draws import Needs
    from dfrepro.train.ingredients import Inputs

MACRO, MICRO = ("hull", "rectangle"), ("eyes", "mouth", "eyes+mouth")
LITERAL = {
    "two-draws": "a second uniform draw decides on super-resolution: .30, .14, .56 instead of .3, .2, .5",
    "unreconstructed": "Recon returns its input, as the listing's last line has it",
    "source-inside": "I_F = M I_s + (1 - M) I_t: real and fake then agree inside the mask",
}
CUTOUT_P, CUTOUT_SIDES = 0.5, (0.1, 0.3)  # of the picture's side
NOISE_P, NOISE_SIGMAS, NOISE_SIDE = 0.5, (1.0, 5.0), 380  # grey levels, in a picture of so many pixels a side
QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])


class FiaUsa:
    """Makes a `Pair` of `size` pixels out of a stored crop, its landmarks and its reconstructions.

    `margin`: see `DrawView`. `kinds`: "uniform" over the five masks, "macro-micro", half each and then uniform, or one
    kind alone ("hull": without MTMS). `without`: "ae" or "sr", never drawn; nothing is reconstructed in their place.
    `literal`: names of `LITERAL`. `augment`: CutOut and noise.
    """

    needs: ClassVar[tuple[str, ...]] = ("reconstructions",)

    def __init__(
        self,
        size: int,
        margin: tuple[float, float] | None = (0.05, 0.20),
        *,
        kinds: str = "uniform",
        without: Collection[str] = (),
        literal: Collection[str] = (),
        augment: bool = True,
        hsv_limit: float = 0.3,
    ):
        if kinds not in (known := ("uniform", "macro-micro", *MASK_KINDS)):
            raise WorkbookError(f"unknown choice of masks {kinds!r}", remedy=f"Choose one of {', '.join(known)}")
        if isinstance(without, str) or set(without) - {"ae", "sr"}:
            raise WorkbookError(f"without {without!r} is no list of reconstructions", remedy="Choose among ae, sr")
        if unknown := set(literal) - set(LITERAL):
            raise WorkbookError(f"unknown variant {sorted(unknown)}", remedy=f"Choose among {', '.join(LITERAL)}")
        self.draw_view = DrawView(size, margin)
        self.kinds, self.without, self.literal = kinds, frozenset(without), frozenset(literal)
        self.augment, self.hsv_limit = augment, hsv_limit

    def __call__(
        self,
        image: np.ndarray,
        landmarks: np.ndarray,
        rng: np.random.Generator,
        *,
        reconstructions: Mapping[str, np.ndarray],
        **_: Any,
    ) -> Pair:
        """Forge `image` (H, W, 3) uint8 RGB. `reconstructions`: "ae" and "sr", of the image's shape and type."""
        view = self.draw_view(landmarks, image.shape, rng)
        points = view.cut_landmarks(landmarks, image.shape[1])
        source = view.cut(image)
        target = self._reconstruct(source, view, reconstructions, image.shape, rng)
        transform = draw_source_transform(rng, self.hsv_limit)
        if rng.random() < 0.5:
            source = apply(transform, source)
        else:
            target = apply(transform, target)

        face = face_of(points)
        affine = draw_affine(face, rng)
        parts = [transform_points(affine, part) for part in regions(points, self.draw_kind(rng))]
        mask = soft_mask(parts, face, source.shape, rng)
        fake = self._blend(source, target, affine, mask)
        pair = Pair(view.resize(source), view.resize(fake), view.resize(mask.full(source.shape)))
        return draw_noise(draw_cutout(pair, rng), rng) if self.augment else pair

    def draw_reconstruction(self, rng: np.random.Generator) -> str | None:
        """ "ae", "sr" or None, with .3, .2, .5; what is in `without` becomes None, its share going to none."""
        name = self._draw_name(rng)
        return None if name in self.without else name

    def _draw_name(self, rng: np.random.Generator) -> str | None:
        draw = rng.random()
        if draw < 0.3:
            return "ae"
        if "two-draws" in self.literal:
            return "sr" if 0.3 < rng.random() <= 0.5 else None
        return "sr" if draw < 0.5 else None

    def draw_kind(self, rng: np.random.Generator) -> str:
        """One of `MASK_KINDS`."""
        if self.kinds in MASK_KINDS:
            return self.kinds
        if self.kinds == "uniform":
            group: tuple[str, ...] = tuple(MASK_KINDS)
        else:
            group = MACRO if rng.random() < 0.5 else MICRO
        return group[rng.integers(len(group))]

    def _reconstruct(
        self,
        source: np.ndarray,
        view: View,
        reconstructions: Mapping[str, np.ndarray],
        shape: tuple[int, ...],
        rng: np.random.Generator,
    ) -> np.ndarray:
        name = self.draw_reconstruction(rng)
        if name is None or "unreconstructed" in self.literal:
            return source
        if name not in reconstructions or reconstructions[name].shape != shape:
            found = {key: value.shape for key, value in reconstructions.items()}
            raise WorkbookError(
                f"no reconstruction {name!r} of a face of shape {shape}; there is {found or 'none'}",
                remedy="Run the stage that reconstructs the faces of this store",
            )
        return view.cut(reconstructions[name])

    def _blend(self, source: np.ndarray, target: np.ndarray, affine: np.ndarray, mask: SoftMask) -> np.ndarray:
        if "source-inside" in self.literal:
            return blend(warp(source, affine, mask.box), target, mask)
        return blend(warp(target, affine, mask.box), source, mask)


def needs(inputs: "Inputs") -> "Needs":
    """What the forge takes of a face beside picture and landmarks: its reconstructions, by its row of the manifest."""
    from dfrepro.methods.fia_usa.reconstruct import Reconstructions

    made = Reconstructions.open(inputs.folder("reconstructions"), inputs.store)
    return lambda row: {"reconstructions": made.of(row)}


def draw_cutout(pair: Pair, rng: np.random.Generator) -> Pair:
    """With p .5, black out one square of both members, and of the mask, that leaves most of the forgery."""
    if rng.random() >= CUTOUT_P:
        return pair
    size = len(pair.mask)
    forged = pair.mask.sum()
    for _ in range(8):
        side = max(1, round(size * rng.uniform(*CUTOUT_SIDES)))
        x, y = (int(start) for start in rng.integers(0, size - side + 1, 2))
        hole = Box(x, y, x + side, y + side).pixels
        if pair.mask[hole].sum() < 0.5 * forged:
            real, fake, mask = (_filled(picture, hole) for picture in (pair.real, pair.fake, pair.mask))
            return Pair(real, fake, mask)
    return pair


def draw_noise(pair: Pair, rng: np.random.Generator) -> Pair:
    """With p .5, add one field of Gaussian noise to both members.

    Weaker in smaller pictures: a face of fewer pixels has fewer of them to average it out. Drawn as bytes through the
    normal distribution's 256 quantiles: a fiftieth of the time of floats, and an eight-bit picture cannot tell.
    """
    if rng.random() >= NOISE_P:
        return pair
    sigma = rng.uniform(*NOISE_SIGMAS) * min(1.0, len(pair.mask) / NOISE_SIDE)
    levels = np.rint(sigma * QUANTILES).astype(np.int16)
    drawn = np.frombuffer(rng.bytes(pair.real.size), np.uint8).reshape(pair.real.shape)
    noise = cv2.LUT(drawn, levels)
    real, fake = (cv2.add(picture, noise, dtype=cv2.CV_8U) for picture in (pair.real, pair.fake))
    return Pair(real, fake, pair.mask)


def _filled(picture: np.ndarray, hole: tuple[slice, slice]) -> np.ndarray:
    picture = picture.copy()
    picture[hole] = 0
    return picture
