"""Scores of faces are computed once a view, and are those of an evaluation where the view is its own."""

import numpy as np
import pytest

from dfrepro import places
from dfrepro.data.dataset import centre, select
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.evaluate.predict import predict
from dfrepro.jobs import pipeline
from dfrepro.jobs.train import load_detector
from dfrepro.protocol.declared import Protocol
from dfrepro.protocol.measure import measure
from dfrepro.protocol.scoring import Scorer
from dfrepro.protocol.sources import widened
from dfrepro.protocol.views import View
from dfrepro.train.draws import window

RUN, SET = "erm-ffpp", "ffpp-c23"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def fresh(book, tmp_path, monkeypatch):
    """The book with nothing scored yet."""
    monkeypatch.setattr(Scorer, "folder", property(lambda self: tmp_path / str(self.seed)))
    return book


def test_two_protocols_that_differ_in_one_choice_share_the_scores_that_they_can(fresh):
    ours = Protocol()
    faces = 16 * 4

    def counted(*protocols):
        return measure(fresh, RUN, dict(enumerate_names(protocols)), [SET], seeds=[0]).scored

    assert counted(ours, ours.model_copy(update={"aggregate": "median"})) == faces  # each face once, for both
    assert counted(ours, ours.model_copy(update={"frames": 1}), ours.model_copy(update={"key": "folder"})) == 0
    assert counted(ours.model_copy(update={"compression": "jpeg-60"})) == faces
    assert counted(ours.model_copy(update={"compression": "jpeg-60", "frames": 2})) == 0


def test_fewer_frames_first_are_completed_and_not_scored_again(fresh):
    one, all_frames = Protocol(frames=1), Protocol()
    assert measure(fresh, RUN, {"one": one}, [SET], seeds=[0]).scored == 16
    assert measure(fresh, RUN, {"all": all_frames}, [SET], seeds=[0]).scored == 16 * 3


def enumerate_names(protocols):
    return ((f"protocol {i}", protocol) for i, protocol in enumerate(protocols))


def test_ours_gives_what_an_evaluation_gives(fresh):
    store = FaceStore.open(places.faces_folder(fresh, SET))
    rows, scorer = select(store.manifest, split="test"), Scorer(fresh, RUN, 0)
    size = window(scorer.spec, store.meta)
    expected = predict(load_detector(scorer.trained), store, rows, size=size).frames["margin"]
    found = scorer.margins(SET, store, View.of(Protocol()), rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.std() > 0


def test_a_wide_face_has_the_stored_one_in_its_middle_and_is_made_once(book, tmp_path):
    store = FaceStore.open(places.faces_folder(book, SET))
    wide = widened(store, pipeline.videos(book, SET), tmp_path / "wide", "test")
    assert wide.size == 60
    assert wide.meta["margin"] == 0.75
    assert np.array_equal(centre(wide.faces[:], 36), store.faces[:])
    points = [np.stack(each.manifest["landmarks"].to_list()).reshape(-1, 81, 2) for each in (store, wide)]
    np.testing.assert_allclose(points[0] + 12, points[1], atol=1e-4)
    made = (wide.path / "faces.npy").stat().st_mtime_ns
    again = widened(store, [], tmp_path / "wide", "test")
    assert (again.path / "faces.npy").stat().st_mtime_ns == made


def test_a_face_whose_video_is_gone_is_an_error_that_names_it(book, tmp_path):
    store = FaceStore.open(places.faces_folder(book, SET))
    with pytest.raises(WorkbookError, match=r"ffpp/Deepfakes/000_001: its video is no longer there"):
        widened(store, [], tmp_path / "wide", "test")
    assert not (tmp_path / "wide").exists()


def test_wide_views_are_scored_too(fresh):
    protocols = {"aligned": Protocol(crop={"rule": "aligned"}), "oval": Protocol(crop={"rule": "oval", "margin": 0.1})}
    measured = measure(fresh, RUN, protocols, [SET], seeds=[0])
    assert measured.scored == 2 * 16 * 4
    margins = measured.items.pivot(index=["manipulation", "video"], columns="run", values="margin")
    assert (margins["aligned"] != margins["oval"]).all()
