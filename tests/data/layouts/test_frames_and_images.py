"""WildDeepfake, FFIW, DF40 and DiFF: sets whose folders tell everything."""

import tarfile

import pytest

from dfrepro.data.layouts import layout
from dfrepro.errors import WorkbookError


def wilddeepfake(trees, root):
    for word in ("real", "fake"):
        for split in ("train", "test"):
            trees.touch(root, *(f"{word}_{split}/{clip}/{frame}.png" for clip in range(3) for frame in range(2)))


@pytest.mark.parametrize("below", ["", "deepfake_in_the_wild"])
def test_wilddeepfake_clips_are_folders_of_frames(trees, tmp_path, below):
    wilddeepfake(trees, tmp_path / below)
    videos = layout("wdf").videos(tmp_path)
    assert len(videos) == 12
    assert {video.kind for video in videos} == {"frames"}
    one = next(video for video in videos if video.key == ("wdf", "fake", "test/1"))
    assert one.path == tmp_path / below / "fake_test/1"
    assert one.label == 1
    assert one.identities == ("fake_test/1",)
    assert {v.split for v in videos if v.path.parent.name.endswith("_test")} == {"test"}
    assert {v.split for v in videos if v.path.parent.name.endswith("_train")} <= {"train", "val"}


def test_wilddeepfake_sequences_below_a_clip_are_one_video_packed_or_not(trees, tmp_path):
    trees.touch(tmp_path, "fake_test/12/fake/3/0.png", "fake_test/12/fake/4/0.png", "real_test/1/0.png")
    trees.touch(tmp_path / "packed", "fake_test/12.tar.gz", "real_test/1.tar.gz")
    found, packed = (
        {v.key: (v.identities, v.kind) for v in layout("wdf").videos(root)} for root in (tmp_path, tmp_path / "packed")
    )
    assert found.keys() == packed.keys()
    assert found[("wdf", "fake", "test/12")] == (("fake_test/12",), "tree")
    assert found[("wdf", "original", "test/1")] == (("real_test/1",), "frames")


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_wilddeepfake_tars_are_clips_and_are_not_opened(trees, tmp_path, suffix):
    trees.touch(tmp_path, f"fake_test/0.{suffix}", f"real_test/0.{suffix}")  # empty: opening one would fail
    videos = layout("wdf").videos(tmp_path)
    assert [(v.key, v.kind) for v in videos] == [
        (("wdf", "fake", "test/0"), "tar"),
        (("wdf", "original", "test/0"), "tar"),
    ]


def test_wilddeepfake_tar_beside_its_unpacked_clip_is_passed_over_and_noted(trees, tmp_path):
    wilddeepfake(trees, tmp_path)
    tarfile.open(tmp_path / "real_test/1.tar.gz", "w:gz").close()
    assert {video.kind for video in layout("wdf").videos(tmp_path)} == {"frames"}
    assert "tars passed over, their clips are unpacked beside them: '1.tar.gz'" in trees.texts(
        layout("wdf").check(tmp_path)
    )


def test_wilddeepfake_with_test_alone_is_usable_and_says_what_is_not_there(trees, tmp_path):
    trees.touch(tmp_path, "real_test/0/0.png", "fake_test/0/0.png")
    inventory = layout("wdf").check(tmp_path)
    assert inventory.usable
    assert "no real_train" in trees.texts(inventory)


def test_wilddeepfake_frames_without_a_clip_are_refused(trees, tmp_path):
    trees.touch(tmp_path, "real_test/0.png")
    with pytest.raises(WorkbookError, match="each clip needs a folder of its own"):
        layout("wdf").videos(tmp_path)


@pytest.mark.timeout(20)
def test_folders_that_link_to_each_other_do_not_hang(trees, tmp_path):
    wilddeepfake(trees, tmp_path)
    (tmp_path / "real_test/round").mkdir()
    (tmp_path / "real_test/round/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "real_test/self").symlink_to(tmp_path / "real_test/self")
    assert len(layout("wdf").videos(tmp_path)) >= 12
    for name in ("df40", "diff"):
        layout(name).check(tmp_path)


@pytest.mark.parametrize("videos", ["", "/videos"])
def test_ffiw_pairs_forgeries_with_masks_and_tests_on_val(trees, tmp_path, videos):
    for top in ("source", "target", "target_mask"):
        trees.touch(tmp_path / "FFIW10K-v1-release", f"{top}/train{videos}/t0.mp4", f"{top}/val{videos}/v0.mp4")
    found = {v.key[1:]: v for v in layout("ffiw").videos(tmp_path)}
    assert found["original", "v0"].split == found["fake", "v0"].split == "test"
    assert found["original", "t0"].split == found["fake", "t0"].split in ("train", "val")
    assert found["fake", "v0"].mask
    assert found["original", "v0"].mask is None
    assert found["fake", "t0"].identities == found["original", "t0"].identities


def test_ffiw_with_a_test_folder_keeps_val_for_validation(trees, tmp_path):
    trees.touch(tmp_path, *(f"{top}/{s}/{s}0.mp4" for top in ("source", "target") for s in ("train", "val", "test")))
    splits = {v.video: v.split for v in layout("ffiw").videos(tmp_path)}
    assert splits["val0"] == "val"
    assert splits["test0"] == "test"
    assert "without a mask" in trees.texts(layout("ffiw").check(tmp_path))


def test_df40_tells_clips_from_single_images(trees, tmp_path):
    trees.touch(tmp_path, "test/simswap/ff/frames/000_003/0.png", "test/simswap/cdf/frames/id0_id1_0002/9.png")
    trees.touch(tmp_path, "test/e4e/cdf/Celeb-real/inversions/00012.jpg", "test/heygen/real/frames/a/0.png")
    found = {v.key[1:]: v for v in layout("df40").videos(tmp_path)}
    assert found["simswap", "test/ff/000_003"].kind == "frames"
    assert found["simswap", "test/ff/000_003"].identities == ("ff/000", "ff/003")
    assert found["simswap", "test/cdf/id0_id1_0002"].identities == ("cdf/id0", "cdf/id1")
    assert found["e4e", "test/cdf/Celeb-real/inversions/00012"].kind == "image"
    assert found["original", "test/heygen/a"].label == 0
    assert len(found) == 4


@pytest.mark.parametrize(("domain", "kept"), [("ff", {"a", "c"}), ("cdf", {"b", "c"}), ("", {"a", "b", "c"})])
def test_df40_can_be_asked_for_one_domain(trees, tmp_path, domain, kept):
    trees.touch(
        tmp_path, "test/fsgan/ff/frames/a/0.png", "test/fsgan/cdf/frames/b/0.png", "test/heygen/fake/frames/c/0.png"
    )
    assert {v.video.rpartition("/")[2] for v in layout("df40").videos(tmp_path, domain)} == kept


def test_df40_train_folder_is_split_by_identity(trees, tmp_path):
    trees.touch(tmp_path, *(f"train/{m}/ff/frames/{i:03d}/0.png" for m in ("simswap", "fsgan") for i in range(60)))
    videos = layout("df40").videos(tmp_path)
    sides = {split: {p for v in videos if v.split == split for p in v.identities} for split in ("train", "val")}
    assert sides["val"]
    assert not sides["train"] & sides["val"]
    assert len(videos) == 120


def test_df40_reads_the_parts_that_come_as_videos(trees, tmp_path):
    trees.touch(tmp_path, "heygen/fake/a.mp4", "heygen/real/b.mp4", "simswap/ff/frames/000_003/0.png")
    found = {(v.manipulation, v.video, v.label, v.kind) for v in layout("df40").videos(tmp_path)}
    assert found == {
        ("heygen", "test/a", 1, "video"),
        ("original", "test/heygen/b", 0, "video"),
        ("simswap", "test/ff/000_003", 1, "frames"),
    }


def test_what_a_layout_does_not_read_is_a_finding(trees, tmp_path):
    trees.touch(
        tmp_path, "source/val/0.mp4", "target/val/0.mp4", "target_mask/val/0.mp4", "extra/val/0.mp4", "notes.txt"
    )
    said = trees.texts(layout("ffiw").check(tmp_path))
    assert "nothing is read of 1 folders with videos or pictures: 'extra/val'" in said
    assert "notes" not in said


def test_df40_without_reals_says_where_they_are(trees, tmp_path):
    trees.touch(tmp_path, "simswap/ff/frames/000_003/0.png")
    inventory = layout("df40").check(tmp_path)
    assert inventory.usable
    assert "1 of 40 methods" in trees.texts(inventory)
    assert "forgeries only" in trees.texts(inventory)


def test_diff_names_condition_and_method(trees, tmp_path):
    trees.touch(tmp_path, "T2I/SDXL/00001.png", "FS/DiffSwap/images/00001.png", "real/00001.png", "T2I/SDXL/notes.txt")
    found = {v.key[1:]: (v.label, v.kind, v.split) for v in layout("diff").videos(tmp_path)}
    assert found == {
        ("T2I/SDXL", "test/00001"): (1, "image", "test"),
        ("FS/DiffSwap", "test/00001"): (1, "image", "test"),
        ("original", "test/00001"): (0, "image", "test"),
    }


@pytest.mark.parametrize(("path", "split", "label"), [
    ("test/FE/Imagic/1.png", "test", 1), ("train_fake/FE/Imagic/1.png", "train", 1),
    ("fake-val/FE/Imagic/1.png", "val", 1), ("test/pristine/1.png", "test", 0),
    ("val_real/1.png", "val", 0), ("FE/realistic/1.png", "test", 1),
])  # fmt: skip
def test_diff_reads_split_and_label_off_the_path(trees, tmp_path, path, split, label):
    trees.touch(tmp_path, path)
    (video,) = layout("diff").read(tmp_path, "").videos
    assert (video.split, video.label) == (split, label)


def test_diff_without_reals_is_reported(trees, tmp_path):
    trees.touch(tmp_path, "T2I/SDXL/1.png")
    assert "missing: no reals" in trees.texts(layout("diff").check(tmp_path))


def test_two_images_of_one_name_are_refused(trees, tmp_path):
    trees.touch(tmp_path, "T2I/SDXL/1.png", "T2I/SDXL/1.jpg")
    with pytest.raises(WorkbookError, match="duplicate video"):
        layout("diff").videos(tmp_path)
