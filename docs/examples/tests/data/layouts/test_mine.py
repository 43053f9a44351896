"""One's own folder: what is read, in which split, and what is refused."""

import pytest

from dfrepro.data.layouts import layout
from dfrepro.data.layouts.splits import overlap
from dfrepro.errors import WorkbookError


@pytest.fixture
def root(tmp_path):
    for name in ("real/ann_1", "real/bob_1", "fake/swap/ann_1", "fake/swap/bob_2"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "test.txt").write_text("ann\n")
    return tmp_path


def test_videos_have_labels_and_splits_by_person(root):
    videos = layout("mine").videos(root)
    assert {(v.manipulation, v.video, v.label, v.split) for v in videos} >= {
        ("original", "ann_1", 0, "test"), ("swap", "ann_1", 1, "test"),
    }  # fmt: skip
    assert not overlap(videos)
    assert layout("mine").check(root).usable


def test_without_the_list_nothing_is_guessed(root):
    (root / "test.txt").unlink()
    with pytest.raises(WorkbookError, match="test people are not listed"):
        layout("mine").videos(root)
    assert not layout("mine").check(root).usable
