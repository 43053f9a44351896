"""Two real people in one video: both are found where they are, and of a fake the one whom its mask covers is taken."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfrepro.data.crop import to_source
from dfrepro.data.faces import extract, extract_layout
from dfrepro.data.manifest import FaceStore
from dfrepro.files import ROOT, write_json

from .conftest import side_by_side, write_video

REAL = Path(os.environ.get("DFREPRO_REAL", ROOT.parent / "shared" / "real"))
VIDEOS = REAL / "FaceForensics++" / "original_sequences" / "youtube" / "c23" / "videos"
FAKE = REAL / "FaceForensics++" / "manipulated_sequences" / "NeuralTextures" / "c23" / "videos" / "004_982.mp4"
PAIRS = {
    "videos": [(VIDEOS / "004.mp4", 480), (VIDEOS / "634.mp4", 360)],
    "portraits": [(REAL / "portraits" / "obama.jpg", 480), (REAL / "portraits" / "biden.jpg", 700)],
}
SETTINGS = {"n_frames": 6, "size": 48, "margin": 0.25, "progress": False}

pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="the real videos and portraits are not here")


def points(store: FaceStore, name: str) -> dict[int, np.ndarray]:
    """Landmarks (81, 2) of one stored video in pixels of the source, by frame."""
    rows = store.manifest[store.manifest["video"] == name]
    return {row.frame: to_source(np.reshape(row.landmarks, (-1, 2)), np.array(row.box), store.size)
            for row in rows.itertuples()}  # fmt: skip


@pytest.mark.parametrize("kind", PAIRS)
def test_two_real_people_are_two_tracks_each_where_it_is(tmp_path, video, kind):
    path = side_by_side(tmp_path / "two.mp4", *PAIRS[kind])
    store = extract([video("two", path)], tmp_path / "store", everyone=True, **SETTINGS)
    assert store.manifest.groupby("video").size().to_dict() == {"two": 6, "two#2": 6}
    found = [np.mean(list(points(store, name).values()), axis=0) for name in ("two", "two#2")]
    start = 0.0
    for source, height in PAIRS[kind]:  # each by itself, brought to its place by hand
        one = video("one", side_by_side(tmp_path / "one.mp4", (source, height)))
        alone = extract([one], tmp_path / "one", **SETTINGS)
        expected = np.mean(list(points(alone, "one").values()), axis=0) + np.array([start, 0.0])
        face = np.ptp(expected[:68], axis=0).max()
        nearest = min(found, key=lambda each: np.abs(each - expected).mean())
        assert np.abs(nearest - expected).mean() < 0.06 * face
        start += alone.manifest["source_width"].iat[0]


def test_of_a_fake_of_two_real_people_in_the_official_layout_the_manipulated_face_is_taken(tmp_path, video):
    root, fake = tmp_path / "FaceForensics++", "manipulated_sequences/Deepfakes"
    for folder in ("original_sequences/youtube/c23/videos", f"{fake}/c23/videos", f"{fake}/masks/videos"):
        (root / folder).mkdir(parents=True)
    beside, size = (VIDEOS / "634.mp4", 480), 300  # the manipulated face is the smaller one, on the right
    both = side_by_side(root / f"{fake}/c23/videos/004_982.mp4", beside, (FAKE, size))
    side_by_side(root / "original_sequences/youtube/c23/videos/004.mp4", beside, (VIDEOS / "004.mp4", size))
    for split in ("train", "val", "test"):
        write_json(root / f"{split}.json", [["004", "982"]] if split == "test" else [])
    alone = extract([video("fake", side_by_side(tmp_path / "alone.mp4", (FAKE, size)))], tmp_path / "alone", **SETTINGS)
    offset = width(both) - alone.manifest["source_width"].iat[0]
    masks = []
    for frame in range(6):
        mask = np.zeros((480, width(both), 3), np.uint8)
        hull = cv2.convexHull((points(alone, "fake")[frame] + [offset, 0]).astype(np.int32))
        masks.append(cv2.fillConvexPoly(mask, hull, (255, 255, 255)))
    write_video(root / f"{fake}/masks/videos/004_982.mp4", masks)

    def stored() -> dict[str, float]:
        store = extract_layout("ffpp", root, tmp_path / "store", **SETTINGS)
        middles = store.manifest["box"].map(lambda box: (box[0] + box[2]) / 2)
        assert set(store.manifest["split"]) == {"test"}
        return middles.groupby(store.manifest["manipulation"]).mean().to_dict(), store

    middles, store = stored()
    fakes = np.flatnonzero(store.manifest["label"] == 1)
    assert middles["Deepfakes"] > offset > middles["original"]  # a real's face is the largest
    assert len(fakes) == 6
    assert all(store.mask(row).mean() > 40 for row in fakes)
    (root / f"{fake}/masks/videos/004_982.mp4").unlink()
    assert stored()[0]["Deepfakes"] < offset  # without its mask the larger face is followed


def width(path: Path) -> int:
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_WIDTH))
