"""The short-cut controls see a short cut when there is one, and see none in the stand-in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfrepro.data.h264 import encode
from dfrepro.data.standin import controls
from dfrepro.data.standin.camera import uploaded
from dfrepro.data.standin.domains import FFPP
from dfrepro.data.standin.spec import StandinSpec
from dfrepro.data.standin.trees import Studio, Unit

PAIRS, FRAMES = 12, 2
DECLARED = StandinSpec(train=2 * PAIRS, val=0, test=0, cross=0, wild=0, images=0, frames=FRAMES)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Two reals and two fakes of each pair, the methods in turn: c23 files and decoded crops of the head."""
    folder, rows = tmp_path_factory.mktemp("films"), []
    for pair in range(PAIRS):
        studio = Studio(FFPP, DECLARED, 0, Unit("ffpp", pair), FRAMES)
        names = (f"{pair}a", f"{pair}b")
        takes = {name: studio.take(name, name) for name in names}
        made = [studio.real(name, name, takes[name]) for name in names]
        for turn, (target, source) in enumerate((names, names[::-1])):
            recipe = FFPP.recipes[(2 * pair + turn) % 4]
            video = f"{target}_{source}"
            made.append(studio.fake(recipe, video, (target, source), takes[target], takes[source]))
        for film in made:
            path = folder / f"{film.manipulation}-{film.video}.mp4"
            encode(path, film.frames, 23)
            crop = uploaded(film.frames, 23)[0][40:200, 32:192]
            rows.append((film.identities, int(film.manipulation != "original"), path, crop))
    return pd.DataFrame(rows, columns=["identities", "label", "path", "crop"])


def auc(films: pd.DataFrame, features: list[np.ndarray]) -> float:
    groups = controls.people(films.identities.tolist())
    assert len(set(groups)) == PAIRS
    return controls.linear_auc(np.stack(features), films.label.to_numpy(), groups, folds=4)


# a reduced set has 24 + 24 videos: near chance allows for an interval of +- .15, a real short cut would be at .9
WIDE = (0.25, 0.75)


def test_the_border_tells_nothing(films: pd.DataFrame) -> None:
    assert WIDE[0] < auc(films, [controls.border(crop) for crop in films.crop]) < WIDE[1]


def test_the_file_tells_nothing(films: pd.DataFrame) -> None:
    assert WIDE[0] < auc(films, [controls.file_traits(path) for path in films.path]) < WIDE[1]


def test_the_colours_tell_nothing(films: pd.DataFrame) -> None:
    assert WIDE[0] < auc(films, [controls.colours(crop) for crop in films.crop]) < WIDE[1]


def test_the_border_control_would_see_fakes_filmed_by_a_sharper_camera(films: pd.DataFrame) -> None:
    noise = np.random.default_rng(0)
    spoilt = [
        np.clip(crop + label * noise.normal(0, 25, crop.shape), 0, 255).astype(np.uint8)
        for crop, label in zip(films.crop, films.label, strict=True)
    ]
    assert auc(films, [controls.border(crop) for crop in spoilt]) > 0.85


def test_the_file_control_would_see_fakes_that_are_encoded_otherwise(films: pd.DataFrame, tmp_path: Path) -> None:
    paths = []
    for i, film in enumerate(films.itertuples()):
        paths.append(tmp_path / f"{i}.mp4")
        encode(paths[-1], [np.ascontiguousarray(film.crop)] * 2, 12 if film.label else 34)
    assert auc(films, [controls.file_traits(path) for path in paths]) > 0.85


def test_the_colour_control_would_see_fakes_with_a_tint(films: pd.DataFrame) -> None:
    spoilt = [
        np.clip(crop * (1 + label * np.array([0.35, 0, -0.35])), 0, 255).astype(np.uint8)
        for crop, label in zip(films.crop, films.label, strict=True)
    ]
    assert auc(films, [controls.colours(crop) for crop in spoilt]) > 0.85


def test_people_joins_videos_that_share_somebody_through_others() -> None:
    groups = controls.people([["a"], ["b", "c"], ["a", "b"], ["d"]])
    assert groups[0] == groups[1] == groups[2] != groups[3]


def test_per_video_averages_in_order_of_appearance() -> None:
    manifest = pd.DataFrame({"dataset": "x", "manipulation": "m", "video": ["b", "a", "b"]})
    np.testing.assert_allclose(controls.per_video(manifest, np.array([[1.0], [5.0], [3.0]])), [[2.0], [5.0]])


def test_reals_and_fakes_pass_the_codec_equally_often() -> None:
    """A fake that changes nothing is its real: filmed once, uploaded alike."""
    domain = replace(FFPP, upload=28, recipes=(replace(FFPP.recipes[0], strength=0.0),))
    studio = Studio(domain, DECLARED, 0, Unit("ffpp", 0), FRAMES)
    take = studio.take("a", "a")
    real, fake = studio.real("v", "a", take), studio.fake(domain.recipes[0], "v", ("a", "a"), take, take)
    assert all(np.array_equal(r, f) for r, f in zip(real.frames, fake.frames, strict=True))
