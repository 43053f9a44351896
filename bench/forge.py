"""How fast pseudo-fakes are made, relative to the published recipe. Ratios are measured in one run, on one thread.

The floor is the self-blending recipe as it is published (FIELD-NOTES, "SBI constants"), written here in our own words
on albumentations and OpenCV: every operation a transform of its own on whole pictures, the picture elastically warped
although only the mask's warp is used, masks blurred at full size. Both sides draw their own random numbers, read the
same face and landmarks, and end with a real and a fake of the same size.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import torch

from bench.measure import Row, one_thread
from dfrepro.evaluate.corruptions import CORRUPTIONS, corrupt
from dfrepro.evaluate.cost import seconds
from dfrepro.forge.blend import Pair
from dfrepro.forge.sbi import SelfBlend
from dfrepro.methods.fia_usa.pseudo_fakes import FiaUsa

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
SBI_ASKED, FIA_USA_ASKED = 4.0, 3.0
SIZES = ((256, 256), (480, 380))  # stored crop, network input


class PublishedRecipe:
    """The self-blending recipe as published, whose albumentations (1.1) smoothed the elastic field with SciPy.

    With `scipy_elastic` False the field is that of albumentations 2.0.8, which is faster: the harder floor.
    """

    def __init__(self, size: int, scipy_elastic: bool = True):
        import albumentations as A

        class DownScale(A.ImageOnlyTransform):
            def apply(self, img: np.ndarray, **_: Any) -> np.ndarray:
                height, width = img.shape[:2]
                factor = (2, 4)[self.random_generator.integers(2)]
                small = cv2.resize(img, (width // factor, height // factor), interpolation=cv2.INTER_NEAREST)
                return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)

        def colour(limit: float, p: tuple[float, float, float]) -> list[Any]:
            shift, light = (-20, 20), (-limit, limit)
            return [
                A.RGBShift(shift, shift, shift, p=p[0]),
                A.HueSaturationValue((-0.3, 0.3), (-0.3, 0.3), (-0.3, 0.3), p=p[1]),
                A.RandomBrightnessContrast(light, light, p=p[2]),
            ]

        sharpen = A.Sharpen(alpha=(0.2, 0.5), lightness=(0.5, 1), p=1)
        self.size, self.scipy_elastic = size, scipy_elastic
        self.source = A.Compose([A.Compose(colour(0.1, (0.3, 1, 1))), A.OneOf([DownScale(p=1), sharpen], p=1)])
        self.affine = A.Affine(
            translate_percent={"x": (-0.03, 0.03), "y": (-0.015, 0.015)}, scale=(0.95, 1 / 0.95), p=1
        )
        self.elastic = A.ElasticTransform(alpha=50, sigma=7, p=1)
        self.joint = A.Compose(
            [*colour(0.3, (0.3, 0.3, 0.3)), A.ImageCompression(quality_range=(40, 100), p=0.5)],
            additional_targets={"other": "image"},
        )

    def __call__(self, image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> Pair:
        if rng.random() < 0.5:
            image, landmarks = image[:, ::-1].copy(), (image.shape[1] - 1, 0) + landmarks * (-1, 1)
        hull = cv2.convexHull(np.rint(landmarks[:68] if rng.random() < 0.25 else landmarks).astype(np.int32))
        mask = cv2.fillConvexPoly(np.zeros(image.shape[:2], np.float32), hull, 1.0)
        source, real = image.copy(), image.copy()
        if rng.random() < 0.5:
            source = self.source(image=source)["image"]
        else:
            real = self.source(image=real)["image"]
        moved = self.affine(image=source, mask=mask)
        source = moved["image"]
        mask = self._elastic(source, moved["mask"], rng)
        soft = self._soften(mask, rng) * rng.choice((0.25, 0.5, 0.75, 1, 1, 1))
        fake = (soft * source + (1 - soft) * real).astype(np.uint8)
        both = self.joint(image=fake, other=real)
        return Pair(*(self._crop(picture, landmarks, rng) for picture in (both["other"], both["image"], soft)))

    def _elastic(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.scipy_elastic:
            return self.elastic(image=image, mask=mask)["mask"]
        from scipy.ndimage import gaussian_filter

        x, y = np.meshgrid(np.arange(mask.shape[1]), np.arange(mask.shape[0]))
        dx, dy = (50 * gaussian_filter(rng.random(mask.shape) * 2 - 1, 7) for _ in range(2))
        x, y = (x + dx).astype(np.float32), (y + dy).astype(np.float32)
        cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)  # warped, and not used
        return cv2.remap(mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)

    @staticmethod
    def _soften(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = mask.shape
        mask = cv2.resize(mask, tuple(int(side) for side in rng.integers(192, 257, 2)))
        k1, k2 = (int(kernel) for kernel in rng.choice(np.arange(5, 26, 2), 2))
        mask = cv2.GaussianBlur(mask, (k1, k1), 0)
        mask = mask / mask.max()
        mask[mask < 1] = 0
        mask = cv2.GaussianBlur(mask, (k2, k2), int(rng.integers(5, 46)))
        return cv2.resize(mask / mask.max(), (width, height))[..., None]

    def _crop(self, picture: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low, high = landmarks[:68].min(0), landmarks[:68].max(0)
        margin = 0.25 * 0.5 * (high - low)
        (x0, y0), (x1, y1) = np.maximum(low - margin, 0).astype(int), (high + margin).astype(int)
        return cv2.resize(picture[y0:y1, x0:x1], (self.size, self.size), interpolation=cv2.INTER_LINEAR)


def portrait(size: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-image's public-domain portrait as a stored crop, and 81 landmarks laid out on its face."""
    import skimage.data

    picture = cv2.resize(skimage.data.astronaut()[18:208, 128:318], (size, size), interpolation=cv2.INTER_CUBIC)
    return picture, face_landmarks(size)


def blurred_copies(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Stand-ins for cached reconstructions: training only reads them."""
    return {"ae": cv2.GaussianBlur(picture, (5, 5), 1.5), "sr": cv2.GaussianBlur(picture, (3, 3), 0.8)}


def face_landmarks(size: int) -> np.ndarray:
    """A schematic face of 81 landmarks in a crop of `size` with a margin of .25: (81, 2) float32."""

    def arc(n: int, centre: tuple[float, float], radii: tuple[float, float], turn: tuple[float, float]) -> np.ndarray:
        angle = np.linspace(*turn, n)
        return np.stack([centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)], 1)

    pi = np.pi
    parts = [
        arc(17, (0.5, 0.42), (0.32, 0.42), (pi, 0)),  # jaw, from the picture's left to its right
        arc(5, (0.36, 0.33), (0.1, 0.03), (pi, 2 * pi)),
        arc(5, (0.64, 0.33), (0.1, 0.03), (pi, 2 * pi)),
        np.stack([np.full(4, 0.5), np.linspace(0.4, 0.54, 4)], 1),
        arc(5, (0.5, 0.57), (0.06, 0.02), (pi, 0)),
        arc(6, (0.36, 0.41), (0.06, 0.025), (pi, pi * 8 / 3)),
        arc(6, (0.64, 0.41), (0.06, 0.025), (pi, pi * 8 / 3)),
        arc(12, (0.5, 0.68), (0.12, 0.045), (pi, pi * 17 / 6)),
        arc(8, (0.5, 0.68), (0.09, 0.02), (pi, pi * 11 / 4)),
    ]
    points = np.empty((81, 2))
    points[:68] = np.concatenate(parts)
    forehead = arc(15, (0.5, 0.4), (0.31, 0.3), (pi, 2 * pi))[1:-1]
    points[[77, 75, 76, 68, 69, 70, 71, 80, 72, 73, 79, 74, 78]] = forehead
    return (points * size).astype(np.float32)


Recipe = Callable[[np.ndarray, np.ndarray, np.random.Generator], Any]


def milliseconds(recipes: dict[str, Recipe], picture: np.ndarray, points: np.ndarray, n: int = 200) -> dict[str, float]:
    """Mean processor time a call in milliseconds, the recipes taking turns: a busy machine slows all alike."""
    rng = np.random.default_rng(0)
    spent: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(n):
        for name, recipe in recipes.items():
            start = time.thread_time()
            recipe(picture, points, rng)
            spent[name].append(time.thread_time() - start)
    # draws differ in cost, so the mean is the right figure; the first five warm up, the slowest 2 % are other programs
    kept = {name: np.sort(times[5:]) for name, times in spent.items()}
    return {name: 1e3 * float(times[: int(0.98 * len(times))].mean()) for name, times in kept.items()}


def bench() -> list[Row]:
    """Speed of SBI and FIA-USA beside the published self-blending recipe, at two sizes of crop; and corruptions."""
    with one_thread():
        return [row for stored, size in SIZES for row in _pseudo_fakes(stored, size)] + [
            _corruptions(), *_corruptions_of_others(),
        ]  # fmt: skip


def _pseudo_fakes(stored: int, size: int) -> list[Row]:
    picture, points = portrait(stored)
    fia_usa = partial(FiaUsa(size), reconstructions=blurred_copies(picture))
    recipes: dict[str, Recipe] = {
        "published": PublishedRecipe(size),
        "2.0.8": PublishedRecipe(size, scipy_elastic=False),
        "sbi": SelfBlend(size),
        "fia-usa": fia_usa,
    }
    took = milliseconds(recipes, picture, points, n=200 if stored < 400 else 60)
    where, floor = f"crops of {stored} to {size} px", "the published recipe"
    newer = f"{floor} on albumentations 2.0.8"
    return [
        _row(f"SBI, {where}", floor, took["published"], took["sbi"], SBI_ASKED),
        _row(f"SBI, {where}, harder floor", newer, took["2.0.8"], took["sbi"], None),
        _row(f"FIA-USA, {where}", floor, took["published"], took["fia-usa"], FIA_USA_ASKED),
    ]


def _row(name: str, floor: str, theirs: float, ours: float, asked: float | None) -> Row:
    detail = f"{ours:.2f} against {theirs:.2f} ms a pair"
    return Row(name, floor, theirs / ours, asked, detail=detail)


def _corruptions(faces: int = 64, size: int = 64) -> Row:
    """All corruptions but the codec's at level 3, a batch at a time and a face at a time."""
    pictures = np.random.default_rng(0).integers(0, 256, (faces, size, size, 3), dtype=np.uint8)
    names = [name for name in CORRUPTIONS if name != "video"]
    works = {
        "batch": lambda: [corrupt(pictures, name, 3) for name in names],
        "one": lambda: [corrupt(pictures[i : i + 1], name, 3, first=i) for name in names for i in range(faces)],
    }
    took = {name: 1e3 * min(s) for name, s in seconds(works, repeats=5, clock=time.thread_time).items()}
    detail = f"{took['batch']:.0f} against {took['one']:.0f} ms for {len(names)} corruptions of {faces} faces"
    return Row("Corruptions in a batch", "the same, face by face", took["one"] / took["batch"], detail=detail)


def _corruptions_of_others(faces: int = 64, size: int = 128) -> list[Row]:
    """Blur, noise and JPEG at one strength, beside the libraries' own: albumentations; kornia where it is installed.

    kornia is no dependency, as in bench/pel.py; it takes batches of floats, and its JPEG is a differentiable one.
    """
    import albumentations as A

    pictures = np.random.default_rng(0).integers(0, 256, (faces, size, size, 3), dtype=np.uint8)
    singly = [
        A.GaussianBlur(blur_limit=(7, 7), sigma_limit=(1.2, 1.2), p=1), A.GaussNoise(std_range=(0.05, 0.05), p=1),
        A.ImageCompression(quality_range=(50, 50), p=1),
    ]  # fmt: skip
    works: dict[str, Callable[[], Any]] = {
        "ours": lambda: [corrupt(pictures, name, 3) for name in ("gaussian-blur", "gaussian-noise", "jpeg")],
        "albumentations'": lambda: [each(image=picture)["image"] for each in singly for picture in pictures],
    }
    if find_spec("kornia"):
        augmentation = import_module("kornia.augmentation")
        batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        batched = [
            augmentation.RandomGaussianBlur((7, 7), (1.2, 1.2), p=1), augmentation.RandomGaussianNoise(std=0.05, p=1),
            augmentation.RandomJPEG((50.0, 50.0), p=1),
        ]  # fmt: skip
        works["kornia's"] = lambda: [each(batch) for each in batched]
    took = {name: 1e3 * min(s) for name, s in seconds(works, repeats=5, clock=time.thread_time).items()}
    return [
        Row("Blur, noise and JPEG", f"{name}, as a library", took[name] / took["ours"],
            detail=f"{took['ours']:.0f} against {took[name]:.0f} ms for {faces} faces of {size} px")
        for name in took if name != "ours"
    ]  # fmt: skip
