"""Which face: a fake's mask chooses it, an empty one is a problem, one that cannot be placed is not believed."""

import cv2
import numpy as np
import pytest
from PIL import Image

from dfrepro.data.crop import crop_box
from dfrepro.data.faces import extract
from dfrepro.data.marks import Marks
from dfrepro.data.shards import Kept, Shard

from .conftest import flat, moving_face, scene, write_video

SETTINGS = {"n_frames": 4, "size": 48, "margin": 0.25, "progress": False}
LARGE, SMALL = (120, 150, 1.2), (370, 150, 0.8)


def disc(x: float, y: float, radius: float, height: int = 320, width: int = 480) -> np.ndarray:
    return cv2.circle(np.zeros((height, width, 3), np.uint8), (round(x), round(y)), round(radius), (255,) * 3, -1)


@pytest.fixture
def fake(tmp_path, video):
    """Make a fake of frames and masks (H, W, 3)."""

    def make(name, frames, masks, **columns):
        path = write_video(tmp_path / f"{name}.mp4", frames)
        mask = write_video(tmp_path / f"{name}-mask.mp4", masks)
        return video(name, path, **{"label": 1, "manipulation": "Deepfakes", "mask": mask, **columns})

    return make


def reasons(store):
    return [entry["reason"] for entry in store.report["videos"]]


def centres(store):
    boxes = np.stack(store.manifest["box"].to_list())
    return (boxes[:, :2] + boxes[:, 2:]) / 2


@pytest.mark.parametrize(("marked", "face"), [(SMALL, SMALL), (LARGE, LARGE)])
def test_of_two_people_the_one_whom_the_mask_covers_is_the_fake(tmp_path, fake, marked, face):
    x, y, scale = marked
    store = extract([fake("v", [scene([LARGE, SMALL])] * 4, [disc(x, y, 45 * scale)] * 4)], tmp_path / "s", **SETTINGS)
    assert len(store) == 4
    assert (np.abs(centres(store) - face[:2]) < 45).all()
    assert store.masks.mean() > 30
    assert store.report["counts"]["extracted"] == 1
    assert reasons(store) == ["2 faces: the one that its mask covers was followed"]


def test_a_mask_of_the_mouth_alone_chooses_as_well(tmp_path, fake):
    x, y, scale = SMALL
    masks = [disc(x, y + 30 * scale, 15 * scale)] * 4
    store = extract([fake("v", [scene([LARGE, SMALL])] * 4, masks)], tmp_path / "s", **SETTINGS)
    assert (centres(store)[:, 0] > 300).all()


def test_a_marked_face_too_small_for_a_search_of_the_whole_picture_is_found(tmp_path, fake):
    small = (1000, 500, 0.45)
    frames = [scene([(300, 300, 2.0), small], 720, 1280)] * 4
    unmarked = extract([fake("u", frames, frames, mask=None)], tmp_path / "u", **SETTINGS)
    assert not [reason for reason in reasons(unmarked) if "2 faces" in reason]  # only the large one is seen
    store = extract([fake("v", frames, [disc(1000, 500, 25, 720, 1280)] * 4)], tmp_path / "s", **SETTINGS)
    assert (np.abs(centres(store) - small[:2]) < 20).all()


def test_without_a_mask_the_largest_is_taken_and_the_report_says_so(tmp_path, fake):
    store = extract([fake("v", [scene([LARGE, SMALL])] * 4, flat(4), mask=None)], tmp_path / "s", **SETTINGS)
    assert (centres(store)[:, 0] < 200).all()
    assert "largest" in reasons(store)[0]


def test_an_empty_mask_of_a_fake_is_a_problem_and_no_mask(tmp_path, fake):
    masks = [disc(240, 150, 40), disc(240, 150, 40), disc(0, 0, 0) * 0, disc(0, 0, 0) * 0]
    frames = [scene([(240, 150, 1.0)])] * 4
    store = extract([fake("v", frames, masks), fake("r", frames, masks, label=0)], tmp_path / "s", **SETTINGS)
    table = store.manifest.set_index(["video", "frame"])["mask"]
    assert (table.loc["v"] >= 0).to_list() == [True, True, False, False]
    assert (table.loc["r"] >= 0).all()  # of a real an empty mask is the truth
    (entry,) = store.report["videos"]
    assert entry["key"][2] == "v"
    assert entry["status"] == "partial"
    assert entry["frames"] == [2, 3]
    assert "mask is empty" in entry["reason"]


def test_a_face_beside_which_another_place_is_marked_is_not_stored_as_fake(tmp_path, fake):
    frames = [scene([(120, 150, 1.0)])] * 4  # the marked person is seen by no detector
    store = extract([fake("v", frames, [disc(430, 280, 30)] * 4)], tmp_path / "s", **SETTINGS)
    assert len(store) == 0
    assert "marks another place" in reasons(store)[0]
    assert store.report["counts"]["skipped"] == 1


def test_a_mask_of_another_length_is_not_used_since_nothing_tells_whose_it_is(tmp_path, fake):
    store = extract([fake("v", moving_face(40), [disc(150, 150, 40)] * 6)], tmp_path / "s", **SETTINGS)
    assert len(store) == 4
    assert store.masks is None
    assert "6 frames for a video of 40" in reasons(store)[0]
    assert store.report["counts"]["partial"] == 1


def test_masks_that_are_files_belong_to_the_frames_of_their_names(tmp_path, video):
    for name, picture in (("frames", scene([(240, 150, 1.0)])), ("masks", disc(240, 150, 40))):
        (tmp_path / name).mkdir()
        for stem in ("3", "7", "9") if name == "frames" else ("7", "12"):
            Image.fromarray(picture).save(tmp_path / name / f"{stem}.png")
    clip = video("v", tmp_path / "frames", kind="frames", label=1, mask=tmp_path / "masks")
    store = extract([clip], tmp_path / "s", **SETTINGS)
    assert (store.manifest["mask"] >= 0).to_list() == [False, True, False]


def test_agreement_is_dice_of_mask_and_landmarks_summed_over_frames():
    points = np.array([[10.0, 10.0], [29.0, 29.0]] * 34)  # a square of 20 pixels a side
    face = Kept(np.zeros((8, 8, 3), np.uint8), crop_box(points, 0.25), points, 60, 40)
    mask = np.zeros((40, 60), np.uint8)
    mask[20:30, 20:40] = 255  # 200 pixels, half of them inside
    marks = Marks({0: cv2.imencode(".png", mask)[1], 2: cv2.imencode(".png", mask * 0)[1]})
    assert marks.agreement({0: face, 1: face, 2: face}) == pytest.approx(2 * 100 / (200 + 400))


def test_everyone_in_view_is_stored_under_a_number_if_asked_for(tmp_path, video):
    people = [LARGE, SMALL, (260, 260, 0.6)]
    path = write_video(tmp_path / "v.mp4", [scene(people)] * 4)
    store = extract([video("v", path), video("w", path)], tmp_path / "s", everyone=True, **SETTINGS)
    seen = store.manifest.groupby("video").size().to_dict()
    assert seen == {f"{name}{number}": 4 for name in "vw" for number in ("", "#2", "#3")}
    assert store.manifest["video"].is_monotonic_increasing
    assert store.report == {
        "counts": {"videos": 2, "extracted": 2, "partial": 0, "skipped": 0, "faces": 24}, "videos": [],
    }  # fmt: skip
    middles = np.stack([centres(store)[store.manifest["video"] == name].mean(0) for name in ("v", "v#2", "v#3")])
    apart = np.abs(middles[:, None] - np.array(people)[None, :, :2]).max(-1)  # (3 stored, 3 shown)
    assert sorted(apart.argmin(1)) == [0, 1, 2]
    assert (apart.min(1) < 45).all()


def test_a_shard_keeps_people_apart(tmp_path):
    def face(value):
        return Kept(np.full((8, 8, 3), value, np.uint8), np.zeros(4), np.zeros((81, 2)), 9, 9)

    shard = Shard({1: face(1), 2: face(2)}, [{1: face(3)}, {2: face(4), 3: face(5)}])
    shard.save(tmp_path / "face-0.npz", 8)
    loaded = Shard.load(tmp_path / "face-0.npz")
    found = [{frame: int(kept.pixels.max()) for frame, kept in seen.items()} for seen in (loaded.faces, *loaded.others)]
    assert found == [{1: 1, 2: 2}, {1: 3}, {2: 4, 3: 5}]
