"""The detector finds a real face, 68 points become 81 plausibly, and one face is followed through a video."""

import cv2
import numpy as np
import pytest

from dfrepro.data.crop import crop, crop_box, crop_mask, is_plausible, to_crop, to_source
from dfrepro.data.landmarks import (
    FOREHEAD,
    Detection,
    Predictor,
    bundled_predictor,
    detect,
    detect_harder,
    detect_near,
    extend_forehead,
    load_predictor,
)
from dfrepro.data.tracking import Follower, distance, link, overlap
from dfrepro.errors import WorkbookError

from .conftest import scene


def grey(*faces, **size):
    return cv2.cvtColor(scene(faces, **size), cv2.COLOR_RGB2GRAY)


def centre(box):
    return (box[:2] + box[2:]) / 2


def test_the_detector_finds_the_face_where_it_is():
    found = detect(grey((300, 160, 1.0)))
    assert len(found) == 1
    assert np.linalg.norm(centre(found[0].box) - (300, 160)) < 25


def test_a_large_picture_is_searched_on_a_reduced_copy_in_its_own_pixels():
    found = detect(grey((1300, 700, 4.0), height=1280, width=1920))
    assert len(found) == 1
    assert np.linalg.norm(centre(found[0].box) - (1300, 700)) < 100


def test_a_small_face_is_found_by_looking_harder():
    picture = grey((200, 120, 0.55), height=240, width=400)
    assert not detect(picture)
    assert np.linalg.norm(centre(detect_harder(picture)[0].box) - (200, 120)) < 15


def test_a_window_around_a_known_face_finds_it_and_never_another():
    picture = grey((120, 150, 1.0), (360, 150, 1.0))
    both = detect(picture)
    assert len(both) == 2
    for found in both:
        near = detect_near(picture, found.box + 12)
        assert len(near) == 1
        assert overlap(near[0].box, found.box) > 0.6
    assert detect_near(picture, np.array([900.0, 900, 1000, 1000])) == []


@pytest.mark.parametrize("shape", [(2, 2), (1, 4000), (40, 40)])
def test_pictures_without_room_for_a_face_hold_none(shape):
    picture = np.zeros(shape, np.uint8)
    assert detect(picture) == detect_harder(picture) == []


@pytest.fixture(scope="module")
def points():
    picture = grey((240, 160, 1.0))
    return load_predictor()(picture, detect(picture)[0].box)


def test_the_bundled_predictor_gives_81_points_and_says_how(points):
    assert bundled_predictor().name == "shape_predictor_68_face_landmarks.dat"
    assert load_predictor().name == "68+13"
    assert points.shape == (81, 2)
    assert np.isfinite(points).all()
    eyes, mouth, chin = points[36:48].mean(axis=0), points[48:68].mean(axis=0), points[8]
    assert eyes[1] < mouth[1] < chin[1]
    assert points[0, 0] < eyes[0] < points[16, 0]


def test_the_forehead_lies_above_the_brows_up_to_the_hairline(points):
    face_height = points[8, 1] - points[17:27, 1].mean()  # brows to chin
    arc = points[list(FOREHEAD)]
    top = points[17:27, 1].mean() - arc[:, 1].min()
    assert 0.3 * face_height < top < 0.6 * face_height  # the rule of thirds says a half, from the middle of the brows
    assert (arc[2:-2, 1] < points[17:27, 1].min()).all()


def test_the_forehead_is_a_smooth_convex_arc_from_temple_to_temple(points):
    arc = np.concatenate([points[[0]], points[list(FOREHEAD)], points[[16]]])
    steps = np.diff(arc, axis=0)
    turns = np.cross(np.c_[steps[:-1], np.zeros(13)], np.c_[steps[1:], np.zeros(13)])[:, 2]
    assert (turns > 0).all()  # it bends one way only
    angles = np.degrees(np.arcsin(turns / np.linalg.norm(steps[:-1], axis=1) / np.linalg.norm(steps[1:], axis=1)))
    assert angles.max() < 35
    assert abs(angles.sum() - 180) < 40


def test_the_extension_moves_turns_and_scales_with_the_face(points):
    turn, shift = np.radians(33), np.array([40.0, -7.0])
    rotation = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = extend_forehead(points[:68] @ rotation.T + shift)
    assert np.allclose(moved, points @ rotation.T + shift, atol=1e-9)


def test_a_turned_head_keeps_its_narrow_side(points):
    turned = points[:68].copy()
    midline = turned[27:31, 0].mean()
    right = turned[:, 0] > midline
    turned[right, 0] = midline + 0.4 * (turned[right, 0] - midline)
    arc = extend_forehead(turned)[list(FOREHEAD)]
    apex = arc[arc[:, 1].argmin(), 0]
    assert arc[:, 0].max() - apex < 0.7 * (apex - arc[:, 0].min())


def test_degenerate_points_stay_finite():
    assert np.isfinite(extend_forehead(np.zeros((68, 2)))).all()


def test_a_missing_or_wrong_predictor_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(WorkbookError, match="no such predictor"):
        Predictor(tmp_path / "absent.dat")
    (tmp_path / "wrong.dat").write_bytes(b"not a predictor" * 10)
    with pytest.raises(WorkbookError, match="Download it again"):
        Predictor(tmp_path / "wrong.dat")


def box(x, y, side=100.0):
    return np.array([x, y, x + side, y + side], float)


def test_links_go_to_the_nearest_in_place_and_size():
    known = [box(0, 0), box(300, 0)]
    found = [Detection(box(310, 5), 1.0), Detection(box(20, 0), 1.0), Detection(box(0, 0, 20), 1.0)]
    pairs, rest = link(known, found)
    assert pairs[0] is found[1]
    assert pairs[1] is found[0]
    assert rest == [found[2]]


def test_distance_and_overlap_have_their_closed_forms():
    assert distance(box(0, 0), box(50, 0)) == pytest.approx(0.5)
    assert distance(box(0, 0), box(-50, -50, 200)) == pytest.approx(1.0)
    assert overlap(box(0, 0), box(50, 0)) == pytest.approx(1 / 3)
    assert overlap(box(0, 0), box(500, 0)) == 0


def follow(frames):
    follower = Follower()
    for index, picture in enumerate(frames):
        follower.add(index, picture, lambda found: found.box)
    return follower


def test_the_same_face_is_followed_though_faces_cross_in_size():
    frames = [grey((120 + 4 * i, 150, 1.0 + 0.05 * i), (380, 150, 1.15 - 0.05 * i)) for i in range(6)]
    follower = follow(frames)
    chosen, joined = follower.best()
    assert list(chosen) == list(range(6))
    assert joined == 1
    assert follower.others(chosen) == 1
    assert all(abs(centre(found)[0] - 120 - 4 * i) < 25 for i, found in chosen.items())


def test_the_face_seen_throughout_beats_one_that_is_larger_for_a_moment():
    frames = [grey((120, 150, 0.95), *([(360, 160, 1.25)] if i == 2 else [])) for i in range(6)]
    chosen, _ = follow(frames).best()
    assert list(chosen) == list(range(6))
    assert all(centre(found)[0] < 200 for found in chosen.values())


def test_a_face_that_jumps_is_joined_and_counted():
    chosen, joined = follow([grey((100, 150, 1.0))] * 3 + [grey((380, 160, 1.0))] * 3).best()
    assert list(chosen) == list(range(6))
    assert joined == 2


def test_frames_without_a_face_are_left_out():
    frames = [grey((240, 150, 1.0)), grey(), grey((240, 150, 1.0))]
    follower = follow(frames)
    assert list(follower.best()[0]) == [0, 2]
    assert follow([grey()]).best() == ({}, 0)


def test_the_crop_is_the_square_around_68_landmarks_with_its_margin():
    landmarks = np.full((81, 2), 50.0)
    landmarks[0], landmarks[1], landmarks[80] = (30, 40), (69, 59), (500, 500)  # the forehead does not count
    found = crop_box(landmarks, 0.25)
    assert found.tolist() == [20, 20, 80, 80]  # 40 wide, times 1.5, about (50, 50)


def test_points_fall_on_the_same_pixels_in_source_and_crop():
    picture = np.zeros((100, 120), np.uint8)
    picture[40:44, 60:64] = 255  # its centre is (61.5, 41.5)
    found = np.array([40.0, 20, 80, 60])
    for size in (20, 40, 160):
        small = crop(picture, found, size).astype(float)
        rows, columns = np.mgrid[:size, :size]
        seen = np.array([(columns * small).sum(), (rows * small).sum()]) / small.sum()
        assert np.allclose(to_crop(np.array([61.5, 41.5]), found, size), seen, atol=0.05)
    assert np.allclose(to_source(to_crop(landmark := np.array([3.0, 9.0]), found, 33), found, 33), landmark)


def test_what_lies_outside_repeats_the_edge_and_no_mask_does():
    picture = np.arange(16, dtype=np.uint8).reshape(4, 4)
    outside = crop(picture, np.array([-2.0, -2, 4, 4]), 6)
    assert (outside[:3, :3] == 0).all()
    assert np.array_equal(outside[2:, 2:], picture)
    assert crop_mask(np.full((4, 4), 255, np.uint8), np.array([-2.0, -2, 4, 4]), 6).sum() == 16 * 255


def test_boxes_off_the_picture_or_absurdly_large_are_not_plausible():
    assert is_plausible(box(-50, -50), 100, 100)
    for wrong in (box(200, 0), box(-200, 0), box(0, 0, 1e9), box(np.nan, 0)):
        assert not is_plausible(wrong, 100, 100)
