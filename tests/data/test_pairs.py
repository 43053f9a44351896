"""The real behind each fake: the right original, the same frame, the fake's own box; gaps are listed."""

import av
import numpy as np
import pytest

from dfrepro.data.crop import crop
from dfrepro.data.layouts.base import Video
from dfrepro.data.manifest import Face, FaceStore
from dfrepro.data.media import open_media
from dfrepro.data.pairs import Pairs, write_pairs
from dfrepro.errors import WorkbookError

SIZE = 24


def originals(folder, names, frames=6):
    """One video an original: a ramp that moves with the frame, brighter with the name."""
    videos = []
    for number, name in enumerate(names):
        path = folder / f"{name}.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25)
            stream.height = stream.width = 64
            stream.pix_fmt, stream.options = "yuv420p", {"crf": "8"}
            for index in range(frames):
                ramp = np.roll(np.arange(64) * 2, 8 * index) + 60 * number
                picture = np.repeat(np.broadcast_to(ramp, (64, 64))[..., None], 3, axis=2).astype(np.uint8)
                output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            output.mux(stream.encode())
        videos.append(Video("ffpp", "original", name, 0, "train", (name,), "c40", path))
    return videos


def store(path, fakes, dataset="ffpp"):
    """A store of one real and the `fakes` (video, frame, box, split)."""

    def face(video, frame, box, split, label):
        kind, ids = ("Deepfakes", tuple(video.split("_"))) if label else ("original", (video,))
        pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
        return Face(pixels, dataset, kind, video, frame, label, split, np.ones((81, 2)), box=box, identities=ids)

    rows = [face("001", 0, (0, 0, 24, 24), "train", 0), *(face(*fake, 1) for fake in fakes)]
    return FaceStore.write(path, rows, SIZE)


def frame_of(video, index):
    with open_media(video.path, video.kind) as media:
        return dict(media.read([index]))[index]


def test_a_pair_is_the_targets_same_frame_at_the_fakes_own_box(tmp_path):
    videos = originals(tmp_path, ["001", "002"])
    fakes = [("002_001", 4, (8, 8, 56, 56), "train"), ("001_002", 1, (-6, 0, 42, 48), "test")]
    made = write_pairs(store(tmp_path / "store", fakes), videos, tmp_path / "pairs")
    assert made.rows.tolist() == [1, 2]
    assert not made.report["missing"]
    found = made.of(np.array([2, 1]))
    assert np.array_equal(found[0], crop(frame_of(videos[0], 1), np.array([-6.0, 0, 42, 48]), SIZE))
    assert np.array_equal(found[1], crop(frame_of(videos[1], 4), np.array([8.0, 8, 56, 56]), SIZE))


def test_a_missing_original_and_a_missing_frame_are_listed_and_left_out(tmp_path):
    fakes = [("001_002", 3, (0, 0, 24, 24), "train"), ("001_002", 99, (0, 0, 24, 24), "train"),
             ("009_001", 0, (0, 0, 24, 24), "train"), ("001_009", 5, (0, 0, 24, 24), "val")]  # fmt: skip
    made = write_pairs(store(tmp_path / "store", fakes), originals(tmp_path, ["001"]), tmp_path / "pairs")
    assert made.rows.tolist() == [1]
    assert "99" in made.report["missing"]["001"]
    assert "009" in made.report["missing"]
    assert made.has(np.array([1, 2, 3])).tolist() == [True, False, False]
    with pytest.raises(WorkbookError, match="face 2 has no pair"):
        made.of(np.array([1, 2]))


def test_without_any_original_the_artifact_is_there_and_empty(tmp_path):
    made = write_pairs(store(tmp_path / "store", [("001_002", 0, (0, 0, 9, 9), "train")]), [], tmp_path / "pairs")
    assert len(made.rows) == 0
    assert len(Pairs.open(tmp_path / "pairs").reals) == 0


def test_a_dataset_that_tells_no_pairs_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(WorkbookError, match="does not tell pairs"):
        write_pairs(store(tmp_path / "store", [], dataset="wdf"), [], tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()
