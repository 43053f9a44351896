"""The hot paths do no more work than is committed: counts, which no busy machine changes."""

import pytest

from bench.counts import RESULTS, counted
from dfrepro.files import read_json

COMMITTED = read_json(RESULTS)
MARGIN = 1.02  # another build of a codec or of OpenCV may look at a frame more


@pytest.fixture(scope="module")
def now() -> dict[str, float]:
    return counted()


def test_everything_that_is_counted_is_committed(now):
    assert now.keys() == COMMITTED.keys()


@pytest.mark.parametrize("name", COMMITTED)
def test_a_hot_path_does_no_more_work_than_is_committed(now, name):
    """Where more work is meant, `python -m bench.counts` writes the new figure, and the diff says what it costs."""
    assert now[name] <= MARGIN * COMMITTED[name]


@pytest.mark.parametrize("name", COMMITTED)
def test_what_is_committed_is_what_is_counted(now, name):
    """A figure that the code has long left behind would let work creep back in."""
    assert COMMITTED[name] <= MARGIN * now[name]


def test_a_face_is_read_once_for_all_conditions(now):
    assert now["scoring: reads of a face"] == 1


def test_only_wanted_frames_are_converted(now):
    assert now["faces of a video: frames converted"] == 1


def test_pim_runs_less_than_twice_a_plain_step(now):
    plain, pim, sam = (now[f"step {rule}: MFLOP"] for rule in ("erm", "pim", "sam"))
    assert plain < pim < sam
    assert sam == pytest.approx(2 * plain, rel=0.01)
