"""What is in the videos: faces that a detector finds, masks that cover the forgery, geometry that inverts."""

from dataclasses import replace
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pandas as pd
import pytest

from dfrepro.data.layouts import layout
from dfrepro.data.standin.camera import uploaded
from dfrepro.data.standin.decoder import Decoder
from dfrepro.data.standin.domains import FFPP
from dfrepro.data.standin.forgery import SEEN, Recipe, Take, forge
from dfrepro.data.standin.motion import STRIDE, move
from dfrepro.data.standin.render import project, seen_at
from dfrepro.data.standin.spec import StandinSpec, generator
from dfrepro.data.standin.trees import Studio, Unit

DECLARED = StandinSpec(train=4, val=0, test=0, cross=0, wild=0, images=0, frames=2)


@pytest.fixture(scope="module")
def pair():
    studio = Studio(FFPP, DECLARED, 1, Unit("ffpp", 0), 2)
    return studio.take("target", "target"), studio.take("source", "source")


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("recipe", FFPP.recipes, ids=lambda recipe: recipe.name)
def test_nothing_changes_outside_the_mask_and_the_face_changes_inside(recipe, pair) -> None:
    target, source = pair
    frames, alphas, points = forge(generator(7), recipe, target, source)
    for frame, alpha, real in zip(frames, alphas, target.frames, strict=True):
        change = np.abs(frame.astype(float) - real).max(-1) / 255
        assert change[alpha == 0].max() == 0
        assert change[alpha <= SEEN].max() < 0.06
        assert change[alpha > 0.5].mean() > 0.004
        assert 0.01 < (alpha > SEEN).mean() < 0.35
    assert all(found.shape == (81, 2) for found in points)


def test_only_the_alpha_blend_of_a_forgery_touches_the_target(pair) -> None:
    """A recipe of strength 0 is the identity: there is no global trace of having been forged."""
    target, source = pair
    for recipe in FFPP.recipes:
        frames, _, _ = forge(generator(7), replace(recipe, strength=0.0), target, source)
        assert all(np.array_equal(frame, real) for frame, real in zip(frames, target.frames, strict=True))


def detail(frame: np.ndarray, alpha: np.ndarray) -> float:
    """Logarithm of the deviation of the Laplacian well inside a mask: what smoothing takes and sharpening adds."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = cv2.erode((alpha > 0.95).astype(np.uint8), np.ones((9, 9))) > 0
    return float(np.log(cv2.Laplacian(grey, cv2.CV_32F)[inside].std()))


def gained(recipe: Recipe, pairs: list[tuple[Take, Take]]) -> float:
    """The detail that a forgery has more than its real in the same place, after the codec; mean over videos."""
    found = []
    for number, (target, source) in enumerate(pairs):
        frames, alphas, _ = forge(generator(number), recipe, target, source)
        fake, real = (uploaded(list(each), 23) for each in (frames, target.frames))
        found += [detail(f, a) - detail(r, a) for f, r, a in zip(fake, real, alphas, strict=True)]
    return float(np.mean(found))


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Take, Take]]:
    studios = [Studio(FFPP, DECLARED, 2, Unit("ffpp", number), 2) for number in range(4)]
    return [(s.take(f"{i}a", f"{i}a"), s.take(f"{i}b", f"{i}b")) for i, s in enumerate(studios)]


TRACES = [("Deepfakes", -1), ("Face2Face", -1), ("FaceSwap", 1), ("NeuralTextures", -1)]


@pytest.mark.parametrize(("name", "sign"), TRACES)
def test_a_forgery_leaves_more_or_less_detail_than_its_real(name: str, sign: int, pairs) -> None:
    recipe = next(recipe for recipe in FFPP.recipes if recipe.name == name)
    assert sign * gained(recipe, pairs) > 0.1


def test_no_trace_is_shared_by_all_four_forgeries() -> None:
    assert {sign for _, sign in TRACES} == {-1, 1}


def test_a_video_shows_its_traces_more_or_less() -> None:
    recipe = Recipe("x", "swap", "inner", 9, Decoder(22, uneven=0.1, skip=0.5), grid=0.6, sharpen=2.0)
    half = recipe.of(0.5)
    assert (half.grid, half.sharpen, half.noise) == (0.8, 1.0, 0.5)
    assert half.decoder == Decoder(22, uneven=0.05, skip=0.75)
    none = recipe.of(0)
    assert (none.grid, none.sharpen, none.noise, none.decoder) == (1, 0, 1, Decoder(22, uneven=0, skip=1))
    assert recipe.of(1.2).noise == 0


def test_the_renderer_inverts_its_projection(pair) -> None:
    take, _ = pair
    state = take.motion[0]
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 9), np.linspace(-0.5, 0.7, 9))
    pixels = project(take.actor, state, np.stack([x.ravel(), y.ravel()], 1))
    u, v = seen_at(take.actor, state, *pixels.T.astype(np.float32)[:, None])
    pixel = 1 / state.scale
    assert np.abs(np.stack([u[0] - x.ravel(), v[0] - y.ravel()])).max() < 0.5 * pixel


def test_motion_is_smooth_and_stays_in_the_picture() -> None:
    for seed in range(20):
        states = move(np.random.default_rng(seed), 40, size=224)
        yaw = np.degrees([state.yaw for state in states])
        assert np.abs(np.diff(yaw)).max() < 60 * STRIDE  # degrees in one frame
        assert yaw.std() > 0.3
        assert all(80 < state.cx < 144 and 80 < state.cy < 144 for state in states)
        assert all(0 <= state.blink <= 1 and 0 <= state.gap < 0.2 for state in states)


def test_dlib_finds_one_face_in_the_frames_where_the_truth_says(tiny_tree: Path) -> None:
    detector = dlib.get_frontal_face_detector()
    truth = pd.read_parquet(tiny_tree / "truth.parquet").set_index(["dataset", "manipulation", "video", "frame"])
    hits, count = 0, 0
    for name, root in (("ffpp", "FaceForensics++"), ("dfdc", "DFDC"), ("cdfv2", "Celeb-DF-v2")):
        for video in layout(name).videos(tiny_tree / root, "c23"):
            for i, frame in enumerate(frames_of(video.path)[:2]):
                points = np.array(truth.landmarks[(*video.key, i)]).reshape(81, 2)
                boxes = detector(frame, 0)
                count += 1
                hits += len(boxes) == 1 and boxes[0].contains(dlib.point(*points[30].round().astype(int)))
    assert count > 80
    assert hits / count >= 0.98


def test_masks_are_white_on_the_forgery_in_the_encoded_videos(tiny_tree: Path) -> None:
    truth = pd.read_parquet(tiny_tree / "truth.parquet").set_index(["dataset", "manipulation", "video", "frame"])
    for video in layout("ffpp").videos(tiny_tree / "FaceForensics++", "c23"):
        if video.mask is None:
            continue
        mask = frames_of(video.mask)[0][..., 0]
        mouth = np.array(truth.landmarks[(*video.key, 0)]).reshape(81, 2)[62].round().astype(int)
        assert mask[mouth[1], mouth[0]] > 200
        assert mask[:10].max() < 50
        assert mask[-10:].max() < 50
