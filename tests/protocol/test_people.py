"""Which of several faces a protocol takes: found in real portraits side by side, chosen by hand-made scores."""

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit

from dfrepro import params, places
from dfrepro.data.crop import to_source
from dfrepro.data.faces import extract
from dfrepro.data.layouts.base import Video
from dfrepro.errors import WorkbookError
from dfrepro.jobs import pipeline
from dfrepro.methods.pim import run as backbone
from dfrepro.protocol import people
from dfrepro.protocol.declared import Protocol, load
from dfrepro.protocol.measure import COLUMNS, items, measure, taken
from dfrepro.protocol.sources import widened
from dfrepro.train import checkpoint

from ..data.conftest import scene, write_video

RUN, SET, FRAMES = "erm-ffpp", "ffpp-c23", 4
LARGE, SMALL = (330.0, 150.0, 1.0), (120.0, 150.0, 0.7)  # centre x, y and scale of two people in a picture

pytestmark = pytest.mark.usefixtures("one_thread")


def film(*people) -> list[np.ndarray]:
    return [scene([(x + 2 * i, y, scale) for x, y, scale in people]) for i in range(FRAMES)]


def mask_of(x: float, y: float, scale: float) -> np.ndarray:
    mask = np.zeros((320, 480, 3), np.uint8)
    return cv2.ellipse(mask, (round(x), round(y)), (round(45 * scale), round(60 * scale)), 0, 0, 360, (255,) * 3, -1)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A real of two people, a fake of the same whose mask marks the smaller one, a real and a fake of one person."""
    folder = tmp_path_factory.mktemp("crowd")

    def video(manipulation, name, label, shown, mask=None):
        path = write_video(folder / f"{name}.mp4", film(*shown))
        given = None if mask is None else write_video(folder / f"{name}-mask.mp4", [mask_of(*mask)] * FRAMES)
        return Video("ffpp", manipulation, name, label, "test", (name[:3],), "c23", path, "video", given)

    return [
        video("Deepfakes", "000_001", 1, [LARGE, SMALL], mask=SMALL),
        video("Deepfakes", "002_003", 1, [LARGE]),
        video("original", "000", 0, [LARGE, SMALL]),
        video("original", "002", 0, [LARGE]),
    ]


@pytest.fixture(scope="module")
def store(crowd, tmp_path_factory):
    return extract(crowd, tmp_path_factory.mktemp("faces") / SET, n_frames=FRAMES, size=36, margin=0.25, progress=False)


@pytest.fixture(scope="module")
def everyone(store, crowd, tmp_path_factory):
    return people.everyone(store, crowd, tmp_path_factory.mktemp("everyone") / "people", "test")


def places_of(manifest: pd.DataFrame, video: str) -> dict[int, float]:
    """Mean x of the face by person."""
    part = manifest[manifest["video"] == video]
    return {number: np.mean([(box[0] + box[2]) / 2 for box in seen["box"]]) for number, seen in part.groupby("person")}


def test_everyone_in_view_is_found_and_the_first_is_the_stored_face(store, everyone, crowd, tmp_path):
    manifest = people.by_person(everyone.manifest)
    assert manifest.groupby("video")["person"].max().to_dict() == {"000_001": 2, "002_003": 1, "000": 2, "002": 1}
    assert len(manifest) == (2 + 1 + 2 + 1) * FRAMES
    first = np.flatnonzero(manifest["person"] == 1)
    wide = widened(store, crowd, tmp_path / "wide", "test")
    assert np.array_equal(everyone.faces[first], wide.faces[:])
    points = [
        [to_source(np.reshape(row.landmarks, (-1, 2)), np.array(row.box), of.size) for row in of.manifest.itertuples()]
        for of in (store, everyone)
    ]
    np.testing.assert_allclose(points[0], np.array(points[1])[first], atol=1e-3)
    assert manifest["quality"].gt(0).all()


def test_a_fakes_first_person_is_whom_its_mask_covers_and_a_reals_the_largest(everyone):
    manifest = people.by_person(everyone.manifest)
    fake, real = places_of(manifest, "000_001"), places_of(manifest, "000")
    assert fake[1] == pytest.approx(SMALL[0], abs=25)
    assert fake[2] == pytest.approx(LARGE[0], abs=25)
    assert real[1] == pytest.approx(LARGE[0], abs=25)
    assert real[2] == pytest.approx(SMALL[0], abs=25)
    sides = manifest[manifest["video"] == "000"].groupby("person")["side"].mean()
    assert sides[2] / sides[1] == pytest.approx(0.7, abs=0.08)


def test_everyone_is_looked_for_once(store, everyone):
    assert len(people.everyone(store, [], everyone.path, "test")) == len(everyone)  # without the videos


# --- the choice, on scores by hand ------------------------------------------------------------------------------------


def scored(seed: int) -> pd.DataFrame:
    """Twelve videos of one to four people, who come and go, of any size, score and margin."""
    rng = np.random.default_rng(seed)
    rows = [
        (method, f"{i:03d}", frame, int(method != "original"), f"p{i}", "", rng.normal(), person, rng.uniform(20, 90),
         rng.choice([np.nan, rng.uniform()], p=[0.1, 0.9]))
        for i in range(6) for method in ("original", "Deepfakes")
        for person in range(1, 2 + int(rng.integers(4))) for frame in range(5) if person == 1 or rng.random() < 0.7
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*COLUMNS, "person", "side", "quality"])


def video_scores(faces: pd.DataFrame, protocol: Protocol) -> dict:
    found = items(taken(faces, protocol), protocol)
    return dict(zip(zip(found["manipulation"], found["video"]), found["margin"]))


def of_each_frame(choose):
    """The mean over frames of what `choose` gives for the faces of one."""
    return lambda part: np.mean([choose(frame) for _, frame in part.groupby("frame")])


def sbis(frame: pd.DataFrame) -> float:
    """SBI's inference: of the faces at least half as large as the largest, the highest score."""
    return max(margin for margin, side in zip(frame["margin"], frame["side"]) if side >= max(frame["side"]) / 2)


def longest(part: pd.DataFrame) -> float:
    return max(part.groupby("person"), key=lambda each: each[1]["side"].sum())[1]["margin"].mean()


def detectors(frame: pd.DataFrame) -> float:
    return frame.loc[frame["quality"].fillna(-1).idxmax(), "margin"]


BY_HAND = {
    "longest": longest,
    "largest": of_each_frame(lambda frame: frame.loc[frame["side"].idxmax(), "margin"]),
    "confident": of_each_frame(detectors),
    "all": of_each_frame(sbis),
    "highest": lambda part: part.groupby("person")["margin"].mean().max(),
    "mean": lambda part: part.groupby("person")["margin"].mean().mean(),
}


@pytest.mark.parametrize("face", BY_HAND)
@pytest.mark.parametrize("seed", range(3))
def test_a_videos_score_is_that_of_the_face_that_the_protocol_takes(face, seed):
    faces = scored(seed)
    expected = {key: BY_HAND[face](part) for key, part in faces.groupby(["manipulation", "video"])}
    assert video_scores(faces, Protocol(face=face)) == pytest.approx(expected)


def test_people_are_pooled_as_frames_are_and_in_a_frame_where_frames_are_counted():
    faces = scored(3)
    medians = faces.groupby(["manipulation", "video", "person"])["margin"].median().groupby(level=[0, 1]).max()
    assert video_scores(faces, Protocol(face="highest", aggregate="median")) == pytest.approx(medians.to_dict())
    chances = faces.assign(p=expit(faces["margin"])).groupby(["manipulation", "video", "person"])["p"].mean()
    found = video_scores(faces, Protocol(face="mean", average="probability"))
    assert {key: expit(margin) for key, margin in found.items()} == pytest.approx(
        chances.groupby(level=[0, 1]).mean().to_dict()
    )
    frames = items(taken(faces, Protocol(face="highest")), Protocol(face="highest", aggregate="frame"))
    highest = faces.groupby(["manipulation", "video", "frame"])["margin"].max()
    assert len(frames) == len(highest)
    np.testing.assert_allclose(frames["margin"], highest)


def test_every_choice_of_a_face_stands_in_protocols_yaml_and_is_told_from_the_others():
    declared = {protocol.face for protocol in load().values()}
    assert declared == {"tracked", *BY_HAND}
    faces = scored(0)
    found = [tuple(video_scores(faces, Protocol(face=face)).values()) for face in BY_HAND]
    assert len(set(found)) == len(found)


def test_people_of_merged_videos_cannot_be_told_apart():
    with pytest.raises(ValueError, match="needs key video"):
        Protocol(face="highest", key="folder")


# --- with a network ---------------------------------------------------------------------------------------------------


@pytest.fixture
def book(crowd, store, tmp_path, monkeypatch):
    monkeypatch.setattr(params.Params, "artifacts", property(lambda self: tmp_path / "artifacts"))
    monkeypatch.setattr(pipeline, "videos", lambda p, dataset: crowd)
    p = params.load(scale="smoke")
    p = p.model_copy(update={"roots": dict.fromkeys(p.roots, "/data")})
    folder = places.faces_folder(p, SET)
    folder.parent.mkdir(parents=True)
    folder.symlink_to(store.path)
    out = places.run_folder(p, RUN, 0)
    out.mkdir(parents=True)
    torch.manual_seed(0)
    spec = p.spec(RUN, 0)
    checkpoint.save(out, backbone.build(spec).eval(), {"spec": spec, "faces": {}})
    return p


def test_choices_of_a_face_share_all_scores_but_those_of_the_others_in_view(book):
    def counted(**choices) -> int:
        return measure(book, RUN, {"one": Protocol(**choices)}, [SET], seeds=[0]).scored

    assert counted() == 4 * FRAMES
    assert counted(face="largest") == 2 * FRAMES  # the second person of two videos
    for face in BY_HAND:
        assert counted(face=face) == 0
    assert counted(face="all", aggregate="frame", average="probability") == 0


def test_the_face_decides_a_videos_score_where_there_are_several_and_not_elsewhere(book):
    protocols = {face: Protocol(face=face) for face in ("tracked", *BY_HAND)}
    measured = measure(book, RUN, protocols, [SET], seeds=[0])
    table = measured.items.pivot(index="video", columns="run", values="margin")
    alone, fake, real = table.loc[["002", "002_003"]], table.loc["000_001"], table.loc["000"]
    np.testing.assert_allclose(alone, np.repeat(alone[["tracked"]], table.shape[1], axis=1), atol=1e-5)
    assert fake["longest"] == pytest.approx(fake["largest"])  # the larger one, whom the mask leaves out
    assert fake["longest"] != pytest.approx(fake["tracked"])
    assert real["longest"] == pytest.approx(real["tracked"])
    for each in (fake, real):
        assert each["highest"] >= each["mean"]
        assert each["all"] >= each["highest"] - 1e-9
    assert measured.several == {SET: (2, 4)}


def test_a_video_that_is_gone_is_named(store, tmp_path):
    with pytest.raises(WorkbookError, match="its video is no longer there"):
        people.everyone(store, [], tmp_path / "people", "test")
