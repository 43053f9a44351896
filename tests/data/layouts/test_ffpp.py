"""FaceForensics++ and DeepFakeDetection in their official folders."""

import json
import os
from pathlib import Path

import pytest

from dfrepro.data.layouts import layout
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT

REAL = Path(os.environ.get("DFREPRO_REAL", ROOT.parent / "shared" / "real")) / "FaceForensics++"


def test_a_pair_puts_its_originals_and_both_fakes_in_one_split(trees, tmp_path):
    trees.ffpp(tmp_path)
    videos = layout("ffpp").videos(tmp_path)
    by_split = {split: {(v.manipulation, v.video) for v in videos if v.split == split} for split in ("val", "test")}
    fakes = {(m, v) for m in ("Deepfakes", "FaceShifter") for v in ("720_672", "672_720")}
    assert by_split["val"] == {("original", "720"), ("original", "672")} | fakes
    assert {v for _, v in by_split["test"]} == {"953", "974", "953_974", "974_953"}


def test_splits_share_no_identity(trees, tmp_path):
    trees.ffpp(tmp_path)
    people = {}
    for video in layout("ffpp").videos(tmp_path):
        for identity in video.identities:
            people.setdefault(identity, set()).add(video.split)
    assert len(people) == 8
    assert all(len(splits) == 1 for splits in people.values())


def test_videos_are_sorted_and_unique_and_labelled(trees, tmp_path):
    trees.ffpp(tmp_path)
    videos = layout("ffpp").videos(tmp_path)
    keys = [video.key for video in videos]
    assert keys == sorted(set(keys))
    assert len(keys) == 8 + 2 * 8
    assert {(v.label, len(v.identities)) for v in videos} == {(0, 1), (1, 2)}
    assert all((v.label == 0) == (v.manipulation == "original") for v in videos)


@pytest.mark.parametrize(("compression", "folder"), [("raw", "raw"), ("raw", "c0"), ("c40", "c40")])
def test_each_compression_is_read_from_its_folder(trees, tmp_path, compression, folder):
    trees.ffpp(tmp_path, compressions=["c23", folder])
    videos = layout("ffpp").videos(tmp_path, compression)
    assert {video.compression for video in videos} == {compression}
    assert all(f"/{folder}/videos/" in str(video.path) for video in videos)


def test_masks_belong_to_the_fake_of_the_same_name(trees, tmp_path):
    trees.ffpp(tmp_path)
    trees.touch(tmp_path, "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")
    masked = [video for video in layout("ffpp").videos(tmp_path) if video.mask]
    assert [video.key for video in masked] == [("ffpp", "Deepfakes", "000_003")]
    assert masked[0].mask == tmp_path / "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4"


def test_a_partial_copy_gives_what_is_there_and_lists_what_is_not(trees, tmp_path):
    trees.ffpp(tmp_path)
    (tmp_path / "original_sequences/youtube/c23/videos/870.mp4").unlink()
    assert ("ffpp", "original", "870") not in {video.key for video in layout("ffpp").videos(tmp_path)}
    inventory = layout("ffpp").check(tmp_path)
    assert inventory.usable
    assert "missing: original c23: 1 that the split files name are not there: '870'" in trees.texts(inventory)
    assert [(c.found, c.official) for c in inventory.counts if c.what == "original c23"] == [(7, 8)]


def test_a_file_in_no_split_is_left_out_and_listed(trees, tmp_path):
    trees.ffpp(tmp_path)
    trees.touch(tmp_path, "manipulated_sequences/Deepfakes/c23/videos/000_870.mp4")  # both train, but no pair
    assert "000_870" not in {video.video for video in layout("ffpp").videos(tmp_path)}
    assert "in no split: '000_870'" in trees.texts(layout("ffpp").check(tmp_path))


def test_a_split_that_is_not_the_official_one_is_a_note(trees, tmp_path):
    trees.ffpp(tmp_path)
    inventory = layout("ffpp").check(tmp_path)
    assert inventory.usable
    assert "note: train.json is not the official split of 360 pairs" in trees.texts(inventory)


def test_a_missing_split_file_says_where_the_official_ones_are(trees, tmp_path):
    trees.ffpp(tmp_path)
    (tmp_path / "val.json").unlink()
    with pytest.raises(WorkbookError, match=r"val\.json.*missing.*dataset/splits of github\.com/ondyari"):
        layout("ffpp").videos(tmp_path)
    assert not layout("ffpp").check(tmp_path).usable


def test_the_parent_folder_given_by_mistake_is_recognised(trees, tmp_path):
    trees.ffpp(tmp_path / "FaceForensics++")
    with pytest.raises(WorkbookError, match=r"did you mean .*FaceForensics\+\+"):
        layout("ffpp").videos(tmp_path)


def test_an_identity_in_two_splits_is_refused_with_file_and_entry(trees, tmp_path):
    trees.ffpp(tmp_path)
    trees.dump(tmp_path / "test.json", [["953", "974"], ["955", "003"]])
    with pytest.raises(WorkbookError, match=r"test\.json: entry 2.*'003' is in this split and in train"):
        layout("ffpp").videos(tmp_path)


@pytest.mark.parametrize("entry", [["071"], ["071", 54], "071_054", ["../071", "054"], ["07_1", "054"], ["", "054"]])
def test_an_entry_that_is_no_pair_is_refused(trees, tmp_path, entry):
    trees.ffpp(tmp_path)
    trees.dump(tmp_path / "val.json", [["720", "672"], entry])
    with pytest.raises(WorkbookError, match=r"val\.json: entry 2.*no pair"):
        layout("ffpp").videos(tmp_path)


def test_broken_json_is_refused_with_its_line(trees, tmp_path):
    trees.ffpp(tmp_path)
    (tmp_path / "val.json").write_text('[["720",\n "672"],\n oops]')
    with pytest.raises(WorkbookError, match=r"val\.json:3.*no valid JSON"):
        layout("ffpp").videos(tmp_path)


def test_two_files_for_one_video_are_refused(trees, tmp_path):
    trees.ffpp(tmp_path)
    trees.touch(tmp_path, "original_sequences/youtube/c23/videos/000.avi")
    with pytest.raises(WorkbookError, match="duplicate video '000'"):
        layout("ffpp").videos(tmp_path)
    assert "duplicate" in trees.texts(layout("ffpp").check(tmp_path))


@pytest.mark.parametrize("compression", ["c24", ""])
def test_an_unknown_compression_is_refused(trees, tmp_path, compression):
    trees.ffpp(tmp_path)
    with pytest.raises(WorkbookError, match="one of raw, c23, c40"):
        layout("ffpp").videos(tmp_path, compression)


def test_a_compression_that_is_not_there_is_an_error(trees, tmp_path):
    trees.ffpp(tmp_path)
    with pytest.raises(WorkbookError, match="no ffpp videos here"):
        layout("ffpp").videos(tmp_path, "c40")


def test_appledouble_and_link_loops_are_no_videos(trees, tmp_path):
    trees.ffpp(tmp_path)
    folder = tmp_path / "original_sequences/youtube/c23/videos"
    trees.touch(folder, "._000.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    assert len(layout("ffpp").videos(tmp_path)) == 24
    assert "loop" not in trees.texts(layout("ffpp").check(tmp_path))


def test_dfd_is_all_test_and_knows_its_actors(trees, tmp_path):
    trees.dfd(tmp_path)
    fake, real = layout("dfd").videos(tmp_path)
    assert (fake.manipulation, fake.identities, fake.label, fake.split) == (
        "DeepFakeDetection",
        ("01", "02"),
        1,
        "test",
    )
    assert (real.manipulation, real.identities, real.label, real.split) == ("original", ("01",), 0, "test")
    assert fake.mask
    assert fake.mask.parts[-3:-1] == ("masks", "videos")
    assert real.mask is None


def test_dfd_needs_no_split_files_and_ffpp_does_not_see_dfd(trees, tmp_path):
    trees.dfd(tmp_path)
    trees.ffpp(tmp_path)
    assert {video.dataset for video in layout("ffpp").videos(tmp_path)} == {"ffpp"}
    assert "DeepFakeDetection" not in {video.manipulation for video in layout("ffpp").videos(tmp_path)}


def test_dfd_names_that_tell_no_actors_are_listed(trees, tmp_path):
    trees.dfd(tmp_path)
    trees.touch(tmp_path, "original_sequences/actors/c23/videos/kitchen.mp4")
    assert len(layout("dfd").videos(tmp_path)) == 2
    inventory = layout("dfd").check(tmp_path)
    assert "tell no actors: 'kitchen'" in trees.texts(inventory)
    assert {c.what: (c.found, c.official) for c in inventory.counts}["original c23"] == (1, 363)
    assert "missing: DeepFakeDetection c23: 1 of 3068" in trees.texts(inventory)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real videos are not here")
def test_the_real_partial_copy_is_read_with_the_official_splits(trees):
    videos = {video.key[1:]: video.split for video in layout("ffpp").videos(REAL)}
    assert videos == {
        ("FaceSwap", "634_660"): "test",
        ("NeuralTextures", "004_982"): "val",
        ("original", "004"): "val",
        ("original", "634"): "test",
    }
    inventory = layout("ffpp").check(REAL)
    assert inventory.usable
    assert "not the official split" not in trees.texts(inventory)
    assert {c.what: (c.found, c.official) for c in inventory.counts}["original c23"] == (2, 1000)
    assert sum(len(json.loads((REAL / f"{s}.json").read_text())) for s in ("train", "val", "test")) == 500
