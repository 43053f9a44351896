"""What is in the videos: faces that a detector finds, masks that cover the forgery, geometry that inverts."""

from pathlib import Path

import av
import dlib
import numpy as np
import pandas as pd
import pytest

from dfrepro.data.layouts import layout
from dfrepro.data.standin.domains import FFPP
from dfrepro.data.standin.forgery import SEEN, forge
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
        change = np.abs(frame - real).max(-1)
        assert change[alpha == 0].max() == 0
        assert change[alpha <= SEEN].max() < 0.06
        assert change[alpha > 0.5].mean() > 0.004
        assert 0.01 < (alpha > SEEN).mean() < 0.35
    assert all(found.shape == (81, 2) for found in points)


def test_only_the_alpha_blend_of_a_forgery_touches_the_target(pair) -> None:
    """A recipe of strength 0 is the identity: there is no global trace of having been forged."""
    from dataclasses import replace

    target, source = pair
    for recipe in FFPP.recipes:
        frames, _, _ = forge(generator(7), replace(recipe, strength=0.0), target, source)
        assert all(np.array_equal(frame, real) for frame, real in zip(frames, target.frames, strict=True))


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
