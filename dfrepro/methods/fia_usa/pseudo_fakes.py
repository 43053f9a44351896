"""FIA-USA pseudo-fakes (arXiv 2504.04827, Sec. 3.1): five kinds of masks, reconstructed faces, combined at random.

I_s = I; I_t = Recon(I), once of .3 autoencoder, .2 super-resolution, .5 none; T recolours I_s or I_t, p .5 each; and
I_F = M I_t + (1 - M) I_s (Eq. 1): reconstructed inside, source outside. The paired real is I_s **after** T, so that
real and fake agree outside M. The ratio is 1. A macro mask, hull or rectangle, is eroded or dilated as SBI's, jitter
included; a micro mask, of eyes and mouth, is the binary hull of its points (`masks="soft"` treats all alike).

Algorithm 1 of the paper contradicts its text in three places, which `literal` turns on by name (see `LITERAL`).
Reconstructions come from outside, in the stored crop's pixels: they are made once per face and cached.

Flip, CutOut and Gaussian noise (`dfrepro.forge.erase`) are the paper's augmentation (Sec. 4.1), the same on both
members.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from dfrepro.errors import WorkbookError
from dfrepro.forge.blend import DrawView, Pair, View, apply, blend, draw_affine, transform_points, warp
from dfrepro.forge.colour import draw_source_transform
from dfrepro.forge.erase import draw_cutout, draw_noise
from dfrepro.forge.masks import MACRO, MASK_KINDS, MICRO, Face, SoftMask, face_of, hard_mask, regions, soft_mask

if TYPE_CHECKING:
    from dfrepro.train.draws import Needs
    from dfrepro.train.ingredients import Inputs

LITERAL = {
    "two-draws": "a second uniform draw decides on super-resolution: .30, .14, .56 instead of .3, .2, .5",
    "unreconstructed": "Recon returns its input, as the listing's last line has it",
    "source-inside": "I_F = M I_s + (1 - M) I_t: real and fake then agree inside the mask",
}
GROUPS: dict[str, tuple[str, ...]] = {"uniform": tuple(MASK_KINDS), "macro": MACRO, "micro": MICRO}


class FiaUsa:
    """Makes a `Pair` of `size` pixels out of a stored crop, its landmarks and its reconstructions.

    `margin`: see `DrawView`. `kinds`: "uniform" over the five masks, "macro-micro", half each and then uniform, "macro"
    or "micro", uniform over that half, or one kind alone ("hull": without MTMS). `masks`: "literal", or "soft": micro
    masks too are softened, with a hull for either eye. `without`: "ae" or "sr", never drawn; nothing is reconstructed
    in their place. `literal`: names of `LITERAL`. `augment`: CutOut and noise. `hsv_limit`: see `dfrepro.forge.colour`.
    """

    needs: ClassVar[tuple[str, ...]] = ("reconstructions",)

    def __init__(
        self,
        size: int,
        margin: tuple[float, float] | None = (0.05, 0.20),
        *,
        kinds: str = "uniform",
        masks: Literal["literal", "soft"] = "literal",
        without: Collection[str] = (),
        literal: Collection[str] = (),
        augment: bool = True,
        hsv_limit: float = 0.3,
    ):
        if kinds not in (known := (*GROUPS, "macro-micro", *MASK_KINDS)):
            raise WorkbookError(f"unknown choice of masks {kinds!r}", remedy=f"Choose one of {', '.join(known)}")
        if masks not in ("literal", "soft"):
            raise WorkbookError(f"masks are {masks!r}", where="FIA-USA", remedy="Choose literal or soft")
        if isinstance(without, str) or set(without) - {"ae", "sr"}:
            raise WorkbookError(f"without {without!r} is no list of reconstructions", remedy="Choose among ae, sr")
        if unknown := set(literal) - set(LITERAL):
            raise WorkbookError(f"unknown variant {sorted(unknown)}", remedy=f"Choose among {', '.join(LITERAL)}")
        self.draw_view = DrawView(size, margin)
        self.kinds, self.masks, self.without, self.literal = kinds, masks, frozenset(without), frozenset(literal)
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
        kind = self.draw_kind(rng)
        parts = [transform_points(affine, part) for part in self.regions(points, kind)]
        mask = self.draw_mask(kind, parts, face, source.shape, rng)
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
        name = self.kinds if self.kinds in GROUPS else "macro" if rng.random() < 0.5 else "micro"
        return GROUPS[name][rng.integers(len(GROUPS[name]))]

    def regions(self, landmarks: np.ndarray, kind: str) -> list[np.ndarray]:
        """The hulls (n, 2) of a mask of `kind`."""
        return regions(landmarks, kind, each_eye=self.masks == "soft")

    def draw_mask(
        self, kind: str, parts: list[np.ndarray], face: Face, shape: tuple[int, ...], rng: np.random.Generator
    ) -> SoftMask:
        """The mask of hulls `parts`: eroded or dilated where it is a macro one, binary where not."""
        if kind in MICRO and self.masks == "literal":
            return hard_mask(parts, shape)
        return soft_mask(parts, face, shape, rng)

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
