"""Writes the stand-in: each unit of work makes a few videos that share people, in the official layout of its dataset.

A unit leaves its files and, last of all, its part of the ground truth. A part that is there means a unit that is
done; so a killed run continues where it was, and nothing depends on the order or the number of workers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dfrepro.data.h264 import encode
from dfrepro.data.standin.camera import uploaded
from dfrepro.data.standin.domains import CDF, DFD, DFDC, DFDCP, DIFF, FFPP, WDF, Domain
from dfrepro.data.standin.forgery import SEEN, Recipe, Take, forge, perform
from dfrepro.data.standin.identity import draw_identity
from dfrepro.data.standin.noise import Array
from dfrepro.data.standin.render import Actor
from dfrepro.data.standin.spec import StandinSpec, generator
from dfrepro.files import atomic_file, atomic_folder

FF = Path("FaceForensics++")
COMPRESSIONS = {"c23": 23, "c40": 33}  # real c40 is crf 40, on faces of several hundred pixels; on 90 it erases all
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True)
class Unit:
    """Videos that are made together because they share people. `number` counts the units of a dataset."""

    dataset: str
    number: int
    split: str = "test"


@dataclass
class Film:
    """One video, as the camera saw it, and what is true about it. Its key is the one its layout's reader gives it."""

    manipulation: str
    video: str
    pipeline: str  # the recipe, "original" for reals
    identities: tuple[str, ...]
    frames: list[Array]  # (S, S, 3) uint8
    points: list[Array]  # (81, 2)
    masks: list[Array] = field(default_factory=list)  # (S, S) uint8, 255 = manipulated


class Studio:
    """Makes the films of one unit of one dataset, every random choice named by what it is for."""

    def __init__(self, domain: Domain, spec: StandinSpec, seed: int, unit: Unit, frames: int):
        self.domain, self.spec, self.unit, self.frames = domain, spec, unit, frames
        self.size = round(spec.size * domain.zoom / 16) * 16  # whole macroblocks
        self._seed = seed
        self._actors: dict[str, Actor] = {}

    def rng(self, *names: object) -> np.random.Generator:
        return generator(self._seed, self.unit.dataset, *names)

    def actor(self, person: str) -> Actor:
        if person not in self._actors:
            self._actors[person] = Actor.of(draw_identity(self.rng("person", person)))
        return self._actors[person]

    def take(self, person: str, scene: str) -> Take:
        rng = self.rng("take", person, scene)
        return perform(rng, self.actor(person), self.frames, self.size, self.domain.light, self.domain.camera)

    def real(self, video: str, person: str, take: Take) -> Film:
        return Film("original", video, "original", (person,), self._uploaded(take.frames), take.points)

    def fake(self, recipe: Recipe, video: str, people: tuple[str, str], target: Take, source: Take) -> Film:
        """`people` are target and source."""
        frames, alphas, points = forge(self.rng("forge", recipe.name, video), recipe, target, source)
        masks = [np.where(alpha > SEEN, 255, 0).astype(np.uint8) for alpha in alphas]
        return Film(recipe.name, video, _pipeline(recipe), people, self._uploaded(frames), points, masks)

    def _uploaded(self, frames: list[Array]) -> list[Array]:
        return uploaded(frames, self.domain.upload) if self.domain.upload is not None else frames


def _pipeline(recipe: Recipe) -> str:
    return "-".join([recipe.origin, recipe.region, recipe.decoder.kernel if recipe.decoder else "none"])


def units(spec: StandinSpec) -> list[Unit]:
    """All units of a spec, the long ones first so that no worker is left waiting."""
    splits = ("train",) * (spec.train // 2) + ("val",) * (spec.val // 2) + ("test",) * (spec.test // 2)
    result = [Unit("ffpp", number, split) for number, split in enumerate(splits)]
    for dataset in ("dfd", "cdfv2", "dfdc", "dfdcp", "wdf"):
        result += [Unit(dataset, number) for number in range(spec.cross // 2)]
    result += [Unit("wdf", spec.cross // 2 + number, "train") for number in range(spec.wild // 2)]
    return result + [Unit("diff", number) for number in range(-(-spec.images // 4))]


def produce(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> None:
    """Write the files of `unit` below `root`, then its ground truth. Does nothing if that is there."""
    part = root / ".truth" / f"{unit.dataset}-{unit.number:04d}.parquet"
    if part.exists():
        return
    cv2.setNumThreads(1)
    films = list(_WRITERS[unit.dataset](root, spec, seed, unit))
    with atomic_file(part) as partial:
        pd.concat([_truth(unit.dataset, film) for film in films], ignore_index=True).to_parquet(partial, index=False)


def _truth(dataset: str, film: Film) -> pd.DataFrame:
    count = len(film.frames)
    return pd.DataFrame({
        "dataset": dataset, "manipulation": film.manipulation, "video": film.video, "frame": np.arange(count),
        "identities": [list(film.identities)] * count, "pipeline": film.pipeline,
        "landmarks": [points.astype(np.float32).ravel().tolist() for points in film.points],
    })  # fmt: skip


def ffpp_names(seed: int, spec: StandinSpec, number: int) -> tuple[str, str]:
    """The two originals of a pair: three digits in random order, so that a name tells nothing."""
    total = spec.train + spec.val + spec.test
    order = generator(seed, "ffpp", "names").permutation(max(total, 1))
    return f"{order[2 * number]:03d}", f"{order[2 * number + 1]:03d}"


def _ffpp(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> Iterator[Film]:
    studio = Studio(FFPP, spec, seed, unit, spec.frames)
    names = ffpp_names(seed, spec, unit.number)
    takes = {name: studio.take(name, name) for name in names}
    for name in names:
        film = studio.real(name, name, takes[name])
        _two_compressions(root / FF / "original_sequences" / "youtube", film)
        yield film
    for target, source in (names, names[::-1]):
        for recipe in FFPP.recipes:
            video = f"{target}_{source}"
            film = studio.fake(recipe, video, (target, source), takes[target], takes[source])
            _two_compressions(root / FF / "manipulated_sequences" / recipe.name, film)
            yield film


def _two_compressions(folder: Path, film: Film) -> None:
    for name, crf in COMPRESSIONS.items():
        _write_video(folder / name / "videos" / f"{film.video}.mp4", film.frames, crf)
    _write_masks(folder, film)


def _write_masks(folder: Path, film: Film) -> None:
    if film.masks:
        _write_video(folder / "masks" / "videos" / f"{film.video}.mp4", film.masks, 12, gray=True, preset="veryfast")


def _write_video(path: Path, frames: list[Array], crf: int, **options) -> None:
    if not path.exists():
        with atomic_file(path) as partial:
            encode(partial, frames, crf, **options)


Namer = Callable[[np.random.Generator, Recipe | None, tuple[str, ...], int], str]


def _pair(studio: Studio, people: tuple[str, str], name: Namer) -> Iterator[tuple[Film, Recipe | None]]:
    """Two reals and the two fakes made from them, named by `name(rng, recipe, people, number)`."""
    number = studio.unit.number
    takes = {person: studio.take(person, f"{person}-{number}") for person in people}
    for person in people:
        video = name(studio.rng("name", number, person), None, (person,), number)
        yield studio.real(video, person, takes[person]), None
    recipes = studio.domain.recipes
    for turn, (target, source) in enumerate((people, people[::-1])):
        recipe = recipes[(2 * number + turn) % len(recipes)] if len(recipes) > 2 else recipes[(number + turn) % 2]
        video = name(studio.rng("name", number, target, source), recipe, (target, source), number)
        yield studio.fake(recipe, video, (target, source), takes[target], takes[source]), recipe


def _cast(unit: Unit) -> tuple[str, str]:
    """The pair of people of a unit, who are in no other: as many people as real videos."""
    return f"{2 * unit.number:02d}", f"{2 * unit.number + 1:02d}"


def _dfd(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> Iterator[Film]:
    scenes = ("talking_against_wall", "walking_outside_cafe_disgusted", "kitchen_pan", "podium_speech_happy")

    def name(rng: np.random.Generator, recipe: Recipe | None, people: tuple[str, ...], number: int) -> str:
        scene = scenes[number % len(scenes)]
        if recipe is None:
            return f"{people[0]}__{scene}"
        return f"{people[0]}_{people[1]}__{scene}__{''.join(rng.choice(list(LETTERS), 8))}"

    first, second = (f"{int(person) + 1:02d}" for person in _cast(unit))  # actors count from 01
    for film, recipe in _pair(Studio(DFD, spec, seed, unit, spec.cross_frames), (first, second), name):
        folder = "manipulated_sequences/DeepFakeDetection" if recipe else "original_sequences/actors"
        _two_compressions(root / FF / folder, film)
        yield film


def _cdf(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> Iterator[Film]:
    """Half of the reals of a pair of units are Celeb-real, half YouTube-real, as faces from elsewhere are."""
    youtube = unit.number % 2 == 1

    def name(rng: np.random.Generator, recipe: Recipe | None, people: tuple[str, ...], number: int) -> str:
        if youtube and recipe is None:
            return f"{2 * number + int(people[0][2:]) % 2:05d}"
        return f"{'_'.join(people)}_{number:04d}"

    first, second = (f"id{int(person)}" for person in _cast(unit))
    for film, recipe in _pair(Studio(CDF, spec, seed, unit, spec.cross_frames), (first, second), name):
        folder = "Celeb-synthesis" if recipe else "YouTube-real" if youtube else "Celeb-real"
        _write_video(root / "Celeb-DF-v2" / folder / f"{film.video}.mp4", film.frames, CDF.crf)
        yield film


def _dfdc(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> Iterator[Film]:
    def name(rng: np.random.Generator, recipe: Recipe | None, people: tuple[str, ...], number: int) -> str:
        return "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 10))

    for film, _ in _pair(Studio(DFDC, spec, seed, unit, spec.cross_frames), _cast(unit), name):
        _write_video(root / "DFDC" / "test" / f"{film.video}.mp4", film.frames, DFDC.crf)
        yield film


def _dfdcp(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> Iterator[Film]:
    def name(rng: np.random.Generator, recipe: Recipe | None, people: tuple[str, ...], number: int) -> str:
        return f"{people[0]}/{'_'.join(people)}_{number:03d}"

    first, second = (f"{1000 + int(person)}" for person in _cast(unit))
    for film, recipe in _pair(Studio(DFDCP, spec, seed, unit, spec.cross_frames), (first, second), name):
        folder = recipe.name if recipe else "original_videos"
        _write_video(root / "DFDCP" / folder / f"{film.video}.mp4", film.frames, DFDCP.crf)
        yield film


def _wdf(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> Iterator[Film]:
    def name(rng: np.random.Generator, recipe: Recipe | None, people: tuple[str, ...], number: int) -> str:
        return f"{unit.split}/{2 * number + int(people[0]) % 2}"

    for film, recipe in _pair(Studio(WDF, spec, seed, unit, spec.cross_frames), _cast(unit), name):
        folder = root / "WildDeepfake" / f"{'fake' if recipe else 'real'}_{unit.split}"
        _write_frames(folder / film.video.split("/")[1], uploaded(film.frames, WDF.crf))
        yield film


def _write_frames(folder: Path, frames: list[Array]) -> None:
    if not folder.exists():
        with atomic_folder(folder) as partial:
            for number, frame in enumerate(frames):
                _write_png(partial / f"{number}.png", frame)


def _write_png(path: Path, frame: Array) -> None:
    """`cv2.imwrite` would not raise on a full disk, and leave what it had written."""
    path.write_bytes(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())


def _diff(root: Path, spec: StandinSpec, seed: int, unit: Unit) -> Iterator[Film]:
    """Four people a unit; of each a real image and one of every method, all of the whole picture."""
    for number in range(4 * unit.number, min(4 * unit.number + 4, spec.images)):
        studio = Studio(DIFF, spec, seed, unit, 1)
        person = f"{number:04d}"
        take, video = studio.take(person, person), f"test/{person}"
        films = [studio.real(video, person, take)]
        films += [studio.fake(r, video, (person, person), take, take) for r in DIFF.recipes]
        for film in films:
            folder = "real" if film.manipulation == "original" else film.manipulation
            path = root / "DiFF" / "test" / folder / f"{person}.png"
            if not path.exists():
                with atomic_file(path) as partial:
                    _write_png(partial, uploaded(film.frames, DIFF.crf)[0])
            yield film


_WRITERS: dict[str, Callable[[Path, StandinSpec, int, Unit], Iterator[Film]]] = {
    "ffpp": _ffpp, "dfd": _dfd, "cdfv2": _cdf, "dfdc": _dfdc, "dfdcp": _dfdcp, "wdf": _wdf, "diff": _diff,
}  # fmt: skip
