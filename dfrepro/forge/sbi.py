"""Self-blended images (Shiohara and Yamasaki, CVPR 2022): a fake whose only flaw is that it was blended.

A face is blended with a slightly recoloured, moved and scaled copy of itself. Constants: FIELD-NOTES, "SBI constants".
Departures from the official code, all of them in its favour or neutral:

- masks are float32 (in uint8 the erosion vanishes), and the blend rounds where the official one truncates;
- the training window is cut before the blending, not after it, so that nothing outside it is computed. Only the phase
  of JPEG's grid relative to the face differs, which is random anyway;
- the elastic field moves the mask alone: the official code moves the picture as well and then drops the result;
- the affine map is centred on the face's box, which is .3 h below the centre of the official crop.
"""

from typing import Any, ClassVar, Literal

import numpy as np

from dfrepro.errors import WorkbookError
from dfrepro.forge.blend import DrawView, Pair, apply, blend, draw_affine, transform_points, warp
from dfrepro.forge.colour import draw_joint_transform, draw_source_transform
from dfrepro.forge.erase import draw_cutout, draw_noise
from dfrepro.forge.hulls import KINDS, outline
from dfrepro.forge.masks import Box, face_of, soft_mask

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)


class SelfBlend:
    """Makes a `Pair` of `size` pixels out of a stored crop and its landmarks.

    `margin`: see `DrawView`. `hsv_limit`: see `dfrepro.forge.colour`. `augment`: what both members go through, "sbi"'s
    colour and JPEG, or "fia-usa"'s CutOut and noise in their place: the control that changes the pseudo-fakes of a
    FIA-USA run alone. `hulls`: "convex", the hull of all landmarks, as the official code runs when it is cloned, or
    "four", one of four outlines, as it runs with its optional library (`dfrepro.forge.hulls`). `with_source`: return
    what was blended in, under the same joint transforms (FPG's refinement needs it).
    """

    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        size: int,
        margin: tuple[float, float] | None = (0.05, 0.20),
        *,
        hsv_limit: float = 0.3,
        augment: Literal["sbi", "fia-usa"] = "sbi",
        hulls: Literal["convex", "four"] = "convex",
        with_source: bool = False,
    ):
        if hulls not in ("convex", "four"):
            raise WorkbookError(f"hulls is {hulls!r}", where="SBI", remedy="convex or four")
        if augment not in ("sbi", "fia-usa") or (with_source and augment != "sbi"):
            raise WorkbookError(
                f"augment is {augment!r}" + (" with a source" if with_source else ""),
                where="SBI", remedy="sbi, or fia-usa without a source",
            )  # fmt: skip
        self.draw_view = DrawView(size, margin)
        self.hsv_limit, self.augment, self.hulls = hsv_limit, augment, hulls
        self.with_source = with_source

    def __call__(self, image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, **_: Any) -> Pair:
        """Blend `image` (H, W, 3) uint8 RGB with itself. `landmarks`: (81 | 68, 2), in its pixels. Not changed."""
        view = self.draw_view(landmarks, image.shape, rng)
        points = view.cut_landmarks(landmarks, image.shape[1])
        if rng.random() < 0.25:
            points = points[:68]  # a mask without the forehead
        real = source = view.cut(image)
        transform = draw_source_transform(rng, self.hsv_limit)
        if rng.random() < 0.5:
            source = apply(transform, source)
        else:
            real = apply(transform, real)

        face = face_of(points)
        affine = draw_affine(face, rng)
        kind = KINDS[rng.integers(len(KINDS))] if self.hulls == "four" else "convex"
        mask = soft_mask([transform_points(affine, outline(points, kind))], face, real.shape, rng)
        ratio = RATIOS[rng.integers(len(RATIOS))]
        inside = warp(source, affine, mask.box)
        fake = blend(inside, real, mask, ratio)

        if self.augment == "fia-usa":
            finished = Pair(view.resize(real), view.resize(fake), view.resize(mask.full(real.shape)), ratio)
            return draw_noise(draw_cutout(finished, rng), rng)
        joint = draw_joint_transform(rng, self.hsv_limit)
        finish = lambda picture: view.resize(apply(joint, picture))  # noqa: E731
        return Pair(
            real=finish(real),
            fake=finish(fake),
            mask=view.resize(mask.full(real.shape)),
            ratio=ratio,
            source=finish(_pasted(inside, real, mask.box)) if self.with_source else None,
        )


def _pasted(inside: np.ndarray, outside: np.ndarray, box: Box) -> np.ndarray:
    picture = outside.copy()
    picture[box.pixels] = inside
    return picture
