"""Conditions: corruptions by the names that runs give them, the same for a face in any batch."""

import numpy as np
import pytest

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.corruptions import corrupt
from dfrepro.evaluate.probe import Corrupted, corruptions

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
ROWS, CLIPS = np.array([3, 4, 5, 20, 21, 22]), np.array([0, 0, 0, 1, 1, 1])


def test_a_bare_name_stands_for_its_five_levels_and_a_numbered_one_for_itself():
    assert list(corruptions(["blur", "gaussian-noise-3"])) == [*(f"blur-{n}" for n in range(1, 6)), "gaussian-noise-3"]
    assert corruptions(["gaussian-noise-3"])["gaussian-noise-3"] == Corrupted("gaussian-noise", 3)


@pytest.mark.parametrize("name", ["blurr", "blur-6", "blur-0", "gaussian", "3"])
def test_an_unknown_condition_is_an_error_that_names_it(name):
    with pytest.raises(WorkbookError, match=f"no condition '{name}'"):
        corruptions([name])


@pytest.mark.parametrize("name", ["noise", "blocks", "salt-and-pepper"])
def test_a_face_is_corrupted_by_its_row_whatever_stands_beside_it(name):
    probe = Corrupted(name, 4)
    whole = probe(FACES, ROWS, CLIPS)
    assert (whole != FACES).any()
    np.testing.assert_array_equal(probe(FACES[2:4], ROWS[2:4], CLIPS[2:4]), whole[2:4])
    np.testing.assert_array_equal(whole[3], corrupt(FACES[3:4], name, 4, first=20)[0])


def test_video_compression_takes_each_video_as_a_clip_of_its_own():
    probe = Corrupted("video", 3)
    whole = probe(FACES, ROWS, CLIPS)
    np.testing.assert_array_equal(whole[:3], corrupt(FACES[:3], "video", 3))
    np.testing.assert_array_equal(whole[3:], corrupt(FACES[3:], "video", 3))
