"""Contact sheets for the datasheet: every manipulation as real | fake | mask | difference, and the faces of each set.

python -m dfrepro.data.standin.sheets docs/figures
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from dfrepro.data.standin import domains
from dfrepro.data.standin.camera import uploaded
from dfrepro.data.standin.domains import Domain
from dfrepro.data.standin.noise import Array
from dfrepro.data.standin.spec import LAPTOP
from dfrepro.data.standin.trees import Studio, Unit
from dfrepro.files import atomic_file

SETS = {"ffpp": domains.FFPP, "dfd": domains.DFD, "cdfv2": domains.CDF, "dfdcp": domains.DFDCP,
        "dfdc": domains.DFDC, "wdf": domains.WDF, "diff": domains.DIFF}  # fmt: skip
GAIN = 4  # of the difference, so that faint traces show
SIDE = 176  # pixels of a tile


def forgeries(name: str, domain: Domain, *, seed: int = 0, pairs: tuple[int, ...] = (3, 5)) -> Array:
    """One line per recipe, for each pair of people: real, fake, true mask, amplified difference. RGB uint8."""
    return np.hstack([_forgeries_of(name, domain, seed, pair) for pair in pairs])


def _forgeries_of(name: str, domain: Domain, seed: int, pair: int) -> Array:
    studio, people = Studio(domain, LAPTOP, seed, Unit(name, pair), 3), (f"{2 * pair:02d}", f"{2 * pair + 1:02d}")
    target, source = (studio.take(person, person) for person in people)
    real = studio.real("sheet", people[0], target)
    lines = []
    for recipe in domain.recipes:
        fake = studio.fake(recipe, "sheet", people, target, source)
        before, after = (uploaded(film.frames, domain.crf)[1] for film in (real, fake))
        change = np.clip(GAIN * np.abs(before.astype(int) - after), 0, 255).astype(np.uint8)
        lines.append(np.hstack([_tile(t) for t in (before, after, fake.masks[1][..., None].repeat(3, 2), change)]))
    return np.vstack(lines)


def faces(*, seed: int = 0, columns: int = 8) -> Array:
    """A line of real people per set, as its camera sees them."""
    lines = []
    for name, domain in SETS.items():
        films = []
        for number in range(columns):
            studio = Studio(domain, LAPTOP, seed, Unit(name, number), 1)
            person = f"{number:02d}"
            films.append(studio.real("sheet", person, studio.take(person, person)))
        lines.append(np.hstack([_tile(uploaded(film.frames, domain.crf)[0]) for film in films]))
    return np.vstack(lines)


def motion(*, seed: int = 0, people: int = 3, columns: int = 8) -> Array:
    """A line per person: every other frame of a video."""
    lines = []
    for number in range(people):
        studio = Studio(domains.FFPP, LAPTOP, seed, Unit("ffpp", number), 2 * columns)
        film = studio.real("sheet", f"{number}", studio.take(f"{number}", f"{number}"))
        lines.append(np.hstack([_tile(frame) for frame in film.frames[::2]]))
    return np.vstack(lines)


def _tile(picture: Array) -> Array:
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def save(path: Path, sheet: Array) -> None:
    with atomic_file(path) as partial:
        cv2.imwrite(str(partial), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def write_all(folder: Path) -> None:
    for name, domain in SETS.items():
        save(folder / f"standin-{name}.jpg", forgeries(name, domain))
    save(folder / "standin-faces.jpg", faces())
    save(folder / "standin-motion.jpg", motion())


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
