"""DeepfakeBench's preprocessed form, with the quirks of its published JSONs."""

import json
import os

import numpy as np
import pytest

from dfrepro.data.layouts import layout
from dfrepro.data.layouts.given_landmarks import read_landmarks
from dfrepro.errors import WorkbookError

FF = "FaceForensics++/original_sequences/youtube/c23/frames"
DF = "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames"
FF_DF = {
    "FF-real": {"train": {"c23": {"000": f"{FF}/000"}}, "val": {"c23": {"720": f"{FF}/720"}}, "test": {"c23": {}}},
    "FF-DF": {"train": {"c23": {"000_003": f"{DF}/000_003"}}, "test": {"c23": {"953_974": f"{DF}/953_974"}}},
}
CDF = "Celeb-DF-v2/Celeb-real/frames"


def rewrite(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_ffpp_json_gives_the_workbooks_names(trees, tmp_path):
    trees.bench(tmp_path, "FF-DF", FF_DF)
    found = {v.key: v for v in layout("deepfakebench").videos(tmp_path)}
    fake = found["ffpp", "Deepfakes", "953_974"]
    assert (fake.split, fake.label, fake.identities, fake.compression) == ("test", 1, ("953", "974"), "c23")
    assert fake.kind == "frames"
    assert fake.path == tmp_path / DF / "953_974"
    assert fake.landmarks == tmp_path / DF.replace("frames", "landmarks") / "953_974"
    assert found["ffpp", "original", "720"].split == "val"
    assert len(found) == 4


def test_the_reals_that_several_jsons_share_are_one_video(trees, tmp_path):
    trees.bench(tmp_path, "FF-DF", FF_DF)
    trees.bench(tmp_path, "FF-F2F", {"FF-real": FF_DF["FF-real"]})
    assert len(layout("deepfakebench").videos(tmp_path)) == 4


def test_another_compression_is_another_reading(trees, tmp_path):
    low = {"FF-real": {"test": {"c40": {"000": f"{FF.replace('c23', 'c40')}/000"}}}}
    trees.bench(tmp_path, "FF-F2F", low)
    trees.bench(tmp_path, "FF-DF", FF_DF)
    assert {v.compression for v in layout("deepfakebench").videos(tmp_path, "c40")} == {"c40"}
    assert {c.what for c in layout("deepfakebench").check(tmp_path).counts} >= {"ffpp, test, original c40"}


@pytest.mark.parametrize(
    "prefix", [".\\datasets\\", "./datasets/rgb/", "rgb\\", "./", "/data/ann/rgb/", "D:\\faces\\", "deep/"]
)
def test_leading_folders_of_the_authors_tree_are_tolerated(trees, tmp_path, prefix):
    trees.bench(tmp_path, "FF-DF", FF_DF)

    def change(value):
        video = value["FF-DF"]["FF-DF"]["test"]["c23"]["953_974"]
        video["frames"] = [prefix + frame for frame in video["frames"]]

    rewrite(tmp_path / "FF-DF.json", change)
    assert ("ffpp", "Deepfakes", "953_974") in {v.key for v in layout("deepfakebench").videos(tmp_path)}


@pytest.mark.parametrize(
    "frame", ["../x/frames/a/0.png", "..\\x\\0.png", "/data/../../etc/0.png", "C:\\..\\x\\0.png", "a/../../0.png", 7]
)
def test_a_path_that_leaves_the_root_is_refused_by_entry(trees, tmp_path, frame):
    trees.bench(tmp_path, "FF-DF", FF_DF)
    rewrite(tmp_path / "FF-DF.json", lambda v: v["FF-DF"]["FF-DF"]["test"]["c23"]["953_974"].update(frames=[frame]))
    with pytest.raises(WorkbookError, match=r"FF-DF\.json: entry FF-DF/FF-DF/test/953_974: (the path|not a path)"):
        layout("deepfakebench").videos(tmp_path)


def test_an_absolute_path_is_never_followed_as_such(trees, tmp_path):
    trees.bench(tmp_path / "root", "FF-DF", FF_DF)
    trees.touch(tmp_path / "elsewhere" / "frames" / "953_974", "0.png")
    frame = str(tmp_path / "elsewhere" / "frames" / "953_974" / "0.png")
    table = tmp_path / "root" / "FF-DF.json"
    rewrite(table, lambda v: v["FF-DF"]["FF-DF"]["test"]["c23"]["953_974"].update(frames=[frame]))
    found = layout("deepfakebench").videos(tmp_path / "root")
    assert "953_974" not in {video.video for video in found}
    assert "1 videos of the JSONs have no frames here" in trees.texts(layout("deepfakebench").check(tmp_path / "root"))


def test_a_datasets_folder_may_be_a_link_to_another_disk(trees, tmp_path):
    trees.bench(tmp_path / "root", "FF-DF", FF_DF)
    folder = tmp_path / "root" / DF.split("/")[0]
    before = [video.key for video in layout("deepfakebench").videos(tmp_path / "root")]
    folder.rename(tmp_path / "disk")
    folder.symlink_to(tmp_path / "disk")
    assert [video.key for video in layout("deepfakebench").videos(tmp_path / "root")] == before


def test_a_link_out_of_the_root_is_refused(trees, tmp_path):
    trees.bench(tmp_path / "root", "FF-DF", FF_DF)
    folder = tmp_path / "root" / DF / "953_974"
    folder.rename(tmp_path / "outside")
    folder.symlink_to(tmp_path / "outside")
    with pytest.raises(WorkbookError, match="through a symbolic link"):
        layout("deepfakebench").videos(tmp_path / "root")


def test_celebdf_test_videos_that_are_also_in_train_are_tested_only(trees, tmp_path):
    both = {name: f"{CDF}/{name}" for name in ("id0_0000", "id1_0000")}
    test = {"id0_0000": f"{CDF}/id0_0000"}
    trees.bench(tmp_path, "Celeb-DF-v2", {"CelebDFv2_real": {"train": both, "val": test, "test": test}})
    splits = {v.video: v.split for v in layout("deepfakebench").videos(tmp_path)}
    assert splits["id0_0000"] == "test"
    assert splits["id1_0000"] in ("train", "val")
    assert "1 videos are in several splits; test wins" in trees.texts(layout("deepfakebench").check(tmp_path))


def test_a_dataset_without_val_gets_one_by_identity(trees, tmp_path):
    train = {f"id{i}_0000": f"{CDF}/id{i}_0000" for i in range(60)}
    trees.bench(tmp_path, "Celeb-DF-v2", {"CelebDFv2_real": {"train": train}})
    splits = [v.split for v in layout("deepfakebench").videos(tmp_path)]
    assert 0 < splits.count("val") < 20
    assert splits.count("train") + splits.count("val") == 60
    assert "cdfv2: no validation split left in its JSON" in trees.texts(layout("deepfakebench").check(tmp_path))


def test_two_places_for_one_video_are_refused(trees, tmp_path):
    trees.bench(tmp_path, "FF-DF", FF_DF)
    trees.bench(tmp_path, "FF-F2F", {"FF-real": {"train": {"c23": {"000": f"{FF}/copy/000"}}}})
    with pytest.raises(WorkbookError, match="duplicate video 'ffpp/original/000'"):
        layout("deepfakebench").videos(tmp_path)


@pytest.mark.parametrize(("tree", "complaint"), [
    ({"FF-XX": {"test": {"c23": {"1": f"{DF}/1"}}}}, "unknown label 'FF-XX'"),
    ({"FF-DF": {"dev": {"c23": {"1": f"{DF}/1"}}}}, "unknown split 'dev'"),
    ({"FF-real": {"test": {"c23": {"1_2": f"{DF}/1_2"}}}}, "labels swapped.*folder manipulated_sequences says fake"),
    ({"FF-DF": {"test": {"c23": {"1": f"{FF}/1"}}}}, "labels swapped.*folder original_sequences says real"),
])  # fmt: skip
def test_labels_that_contradict_are_refused(trees, tmp_path, tree, complaint):
    trees.bench(tmp_path, "FF-DF", tree)
    with pytest.raises(WorkbookError, match=rf"FF-DF\.json: .*{complaint}"):
        layout("deepfakebench").videos(tmp_path)


def test_a_label_that_contradicts_its_heading_is_refused(trees, tmp_path):
    trees.bench(tmp_path, "DFDC", {"DFDC_Real": {"test": {"aaa": "DFDC/test/frames/aaa"}}})
    rewrite(tmp_path / "DFDC.json", lambda v: v["DFDC"]["DFDC_Real"]["test"]["aaa"].update(label="DFDC_Fake"))
    with pytest.raises(WorkbookError, match="labels swapped.*its label says fake, its heading says real"):
        layout("deepfakebench").videos(tmp_path)


def test_the_leftovers_in_the_published_dfdc_json_are_passed_over(trees, tmp_path):
    trees.bench(tmp_path, "DFDC", {"DFDC_Real": {"test": {"aaa": "DFDC/test/frames/aaa"}}})
    rewrite(tmp_path / "DFDC.json", lambda v: v["DFDC"]["DFDC_Real"].update(val={"label": "DFDC_Real", "frames": []}))
    assert [v.key for v in layout("deepfakebench").videos(tmp_path)] == [("dfdc", "original", "aaa")]
    assert "no video, passed over" in trees.texts(layout("deepfakebench").check(tmp_path))


def test_missing_frames_and_landmarks_are_reported(trees, tmp_path):
    trees.bench(tmp_path, "FF-DF", FF_DF)
    os.rename(tmp_path / FF / "000", tmp_path / FF / "gone")
    marks = tmp_path / DF.replace("frames", "landmarks")
    (marks / "000_003/007.npy").unlink()
    os.rename(marks / "953_974", marks / "gone")
    said = trees.texts(layout("deepfakebench").check(tmp_path))
    assert "1 videos of the JSONs have no frames here: 'FF-DF/000'" in said
    assert "1 videos have frames without landmarks: 'FF-DF/000_003'" in said
    assert "1 videos have no landmarks and need detection: 'ffpp/Deepfakes/953_974'" in said
    assert next(v for v in layout("deepfakebench").videos(tmp_path) if v.video == "953_974").landmarks is None


@pytest.mark.parametrize(("value", "complaint"), [
    (np.zeros((68, 2)), r"float64 \(68, 2\)"),
    (np.zeros(162), r"\(162,\)"),
    (np.array([["x", "y"]] * 81), "not numbers"),
    (np.array([[None, 1]] * 81, dtype=object), "unreadable landmarks"),
])  # fmt: skip
def test_landmarks_of_the_wrong_form_are_refused_by_file(trees, tmp_path, value, complaint):
    trees.bench(tmp_path, "FF-DF", FF_DF)
    path = tmp_path / DF.replace("frames", "landmarks") / "953_974/000.npy"
    np.save(path, value, allow_pickle=True)
    for read in (lambda: layout("deepfakebench").videos(tmp_path), lambda: read_landmarks(path)):
        with pytest.raises(WorkbookError, match=rf"953_974/000\.npy: .*{complaint}"):
            read()


@pytest.mark.parametrize("content", [b"", b"junk", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'", b"PK\x03\x04"])
def test_files_that_are_no_landmarks_are_refused(tmp_path, content):
    path = tmp_path / "0.npy"
    path.write_bytes(content)
    with pytest.raises(WorkbookError, match="unreadable landmarks"):
        read_landmarks(path)


def test_landmarks_that_promise_terabytes_are_refused_without_reading(tmp_path):
    path = tmp_path / "0.npy"
    header = np.lib.format.header_data_from_array_1_0(np.zeros((81, 2))) | {"shape": (10**12, 2)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(WorkbookError, match="unreadable landmarks"):
        read_landmarks(path)


def test_landmarks_are_float32_and_finite(tmp_path):
    points = np.arange(162).reshape(81, 2)
    np.save(tmp_path / "good.npy", points)
    assert read_landmarks(tmp_path / "good.npy").dtype == np.float32
    assert (read_landmarks(tmp_path / "good.npy") == points).all()
    np.save(tmp_path / "bad.npy", np.where(points == 5, np.nan, points))
    with pytest.raises(WorkbookError, match="not finite"):
        read_landmarks(tmp_path / "bad.npy")
    with pytest.raises(WorkbookError, match="landmarks missing"):
        read_landmarks(tmp_path / "none.npy")


def test_a_root_without_jsons_is_refused(trees, tmp_path):
    trees.touch(tmp_path, f"{FF}/000/0.png")
    with pytest.raises(WorkbookError, match="no <dataset>.json here"):
        layout("deepfakebench").videos(tmp_path)


@pytest.mark.parametrize(
    "content", ["[]", '{"FF-DF": []}', '{"FF-DF": {"FF-DF": 3}}', '{"FF-DF": {"FF-DF": {"test": []}}}']
)
def test_json_of_another_shape_is_refused(tmp_path, content):
    (tmp_path / "FF-DF.json").write_text(content)
    with pytest.raises(WorkbookError, match=r"FF-DF\.json"):
        layout("deepfakebench").videos(tmp_path)
