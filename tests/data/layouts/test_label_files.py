"""Celeb-DF, DFDC and DFDCP: sets whose labels and splits are in a file beside the videos."""

import pytest

from dfrepro.data.layouts import layout
from dfrepro.data.layouts.splits import held_out
from dfrepro.errors import WorkbookError


def test_celebdf_test_list_makes_the_test_set(trees, tmp_path):
    trees.celebdf(tmp_path)
    test = {v.video for v in layout("cdfv2").videos(tmp_path) if v.split == "test"}
    assert test == {"id0_0000", "00007", "id0_id1_0000"}


@pytest.mark.parametrize("name", ["cdfv1", "cdfv2"])
def test_celebdf_identities_are_in_the_names(trees, tmp_path, name):
    trees.celebdf(tmp_path)
    people = {v.video: v.identities for v in layout(name).videos(tmp_path)}
    assert people["id0_id1_0000"] == ("id0", "id1")
    assert people["id0_0000"] == ("id0",)
    assert people["00007"] == ("youtube-00007",)
    assert {v.dataset for v in layout(name).videos(tmp_path)} == {name}


def test_celebdf_overlap_of_test_and_train_people_is_reported(trees, tmp_path):
    trees.celebdf(tmp_path)  # id1 is in a test fake and in a train real
    assert "1 of the 3 test identities are also in train" in trees.texts(layout("cdfv2").check(tmp_path))


def test_celebdf_is_read_from_the_videos_subfolders_of_sbi_too(trees, tmp_path):
    trees.touch(tmp_path, "Celeb-real/videos/id0_0000.mp4", "Youtube-real/videos/00007.mp4")
    (tmp_path / "List_of_testing_videos.txt").write_text("1 YouTube-real/00007.mp4\n")
    assert {v.video for v in layout("cdfv2").videos(tmp_path) if v.split == "test"} == {"00007"}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1 Celeb-synthesis/id0_id1_0000.mp4", "labels swapped: 1 means real, but this is in Celeb-synthesis"),
        ("0 Celeb-real/id1_0001.mp4", "labels swapped: 0 means fake"),
        ("2 Celeb-real/id1_0001.mp4", "is not `<0 or 1>"),
        ("Celeb-real/id1_0001.mp4", "is not|not a path"),
        ("1 Celeb-unreal/id1_0001.mp4", "is not `<0 or 1>"),
        ("1 ../secret/id1_0001.mp4", "leaves the dataset's folder"),
        ("1 /etc/id1_0001.mp4", "leaves the dataset's folder"),
        ("1 Celeb-real/id0_0000.mp4", "listed twice"),
    ],
)
def test_celebdf_list_is_refused_with_its_line(trees, tmp_path, line, complaint):
    trees.celebdf(tmp_path)
    table = tmp_path / "List_of_testing_videos.txt"
    table.write_text("1 Celeb-real/id0_0000.mp4\n\n" + line + "\n")
    with pytest.raises(WorkbookError, match=rf"List_of_testing_videos\.txt:3: .*({complaint})"):
        layout("cdfv2").videos(tmp_path)
    assert not layout("cdfv2").check(tmp_path).usable


def test_a_tab_after_the_digit_is_a_space(trees, tmp_path):
    trees.celebdf(tmp_path)
    table = tmp_path / "List_of_testing_videos.txt"
    before = layout("cdfv2").videos(tmp_path)
    table.write_text(table.read_text().replace(" ", "\t"))
    assert layout("cdfv2").videos(tmp_path) == before


def test_celebdfpp_has_a_manipulation_a_method_and_its_list_names_their_folders(trees, tmp_path):
    trees.celebdf(tmp_path)
    fakes = ["FaceSwap/SimSwap/id0_id1_0000", "FaceSwap/SimSwap/id0_id1_0001", "TalkingFace/FLOAT/id2_0003"]
    trees.touch(tmp_path, *(f"Celeb-synthesis/{name}.mp4" for name in fakes))
    lines = ["1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/FaceSwap/SimSwap/id0_id1_0000.mp4",
             "0 Celeb-synthesis/FaceReenact/LIA/id0_id1_0000.mp4"]  # fmt: skip
    (tmp_path / "List_of_testing_videos.txt").write_text("\n".join(lines))
    videos = layout("cdfpp").videos(tmp_path)
    assert {v.manipulation for v in videos} == {"original", "FaceSwap/SimSwap", "TalkingFace/FLOAT"}
    assert {v.video for v in videos if v.split == "test"} == {"id0_0000", "id0_id1_0000"}
    inventory = layout("cdfpp").check(tmp_path)
    assert inventory.usable
    assert ("test, FaceSwap/SimSwap", 1, 200) in {(c.what, c.found, c.official) for c in inventory.counts}
    assert "1 that List_of_testing_videos.txt names are not there: 'Celeb-synthesis/FaceReenact/LIA/id0_id1_0000'" in (
        trees.texts(inventory)
    )
    with pytest.raises(WorkbookError, match="is not `<0 or 1>"):  # v2 has no folders of methods
        layout("cdfv2").videos(tmp_path)


def test_celebdf_without_its_list_is_refused(trees, tmp_path):
    trees.celebdf(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").unlink()
    with pytest.raises(WorkbookError, match="list of test videos is missing.*celeb-deepfakeforensics"):
        layout("cdfv2").videos(tmp_path)


def test_celebdf_list_line_without_a_file_is_reported(trees, tmp_path):
    trees.celebdf(tmp_path)
    (tmp_path / "Celeb-real/id0_0000.mp4").unlink()
    assert "missing: 1 that List_of_testing_videos.txt names are not there: 'Celeb-real/id0_0000'" in trees.texts(
        layout("cdfv2").check(tmp_path)
    )


def test_celebdf_counts_stand_beside_the_official_ones(trees, tmp_path):
    trees.celebdf(tmp_path)
    counts = {count.what: (count.found, count.official) for count in layout("cdfv2").check(tmp_path).counts}
    assert counts["Celeb-synthesis"] == (2, 5639)
    assert counts["YouTube-real"] == (2, 300)
    assert sum(official for what, (_, official) in counts.items() if what.startswith("test")) == 518


@pytest.mark.parametrize("folder", ["test", "test/videos", "videos"])
def test_dfdc_test_set_is_read_from_every_known_copy(trees, tmp_path, folder):
    trees.dfdc_test(tmp_path, folder="videos" if folder == "videos" else "test")
    if folder == "test/videos":
        (tmp_path / "test/videos").mkdir()
        for name in ("aaa.mp4", "bbb.mp4"):
            (tmp_path / "test" / name).rename(tmp_path / "test/videos" / name)
    videos = layout("dfdc").videos(tmp_path)
    assert [(v.video, v.label, v.split, v.manipulation) for v in videos] == [
        ("bbb", 1, "test", "fake"),
        ("aaa", 0, "test", "original"),
    ]


@pytest.mark.parametrize(
    ("rows", "line", "complaint"),
    [
        ("aaa.mp4,0\nbbb.mp4,2\n", 3, "unknown label"),
        ("aaa.mp4,0\nbbb.mp4\n", 3, "unknown label"),
        ("aaa.mp4,0\n\naaa.mp4,1\n", 4, "listed twice"),
        ("../aaa.mp4,0\n", 2, "leaves the dataset's folder"),
        ("C:\\aaa.mp4,0\n", 2, "leaves the dataset's folder"),
        ("x/aaa.mp4,0\n", 2, "not a file name"),
    ],
)
def test_dfdc_csv_is_refused_with_its_line(trees, tmp_path, rows, line, complaint):
    trees.dfdc_test(tmp_path, rows)
    with pytest.raises(WorkbookError, match=rf"labels\.csv:{line}: .*{complaint}"):
        layout("dfdc").videos(tmp_path)


def test_dfdc_csv_without_a_header_is_refused(trees, tmp_path):
    trees.dfdc_test(tmp_path)
    (tmp_path / "test/labels.csv").write_text("aaa.mp4,0\n")
    with pytest.raises(WorkbookError, match=r"labels\.csv:1: the first line must be"):
        layout("dfdc").videos(tmp_path)


def test_dfdc_rows_without_files_and_files_without_rows_are_reported(trees, tmp_path):
    trees.dfdc_test(tmp_path, "aaa.mp4,0\nccc.mp4,1\n")
    assert [video.video for video in layout("dfdc").videos(tmp_path)] == ["aaa"]
    said = trees.texts(layout("dfdc").check(tmp_path))
    assert "1 rows without a file: 'ccc'" in said
    assert "files without a row: 'bbb'" in said


def test_dfdc_train_takes_its_identity_from_the_original_and_gets_a_disjoint_val(trees, tmp_path):
    trees.dfdc_train(tmp_path)
    videos = layout("dfdc").videos(tmp_path)
    assert len(videos) == 120
    by_video = {video.video: video for video in videos}
    for name, video in by_video.items():
        assert video.identities == (name.replace("f", "r"),)
        assert (
            video.split
            == by_video[name.replace("f", "r")].split
            == ("val" if held_out(video.identities[0]) else "train")
        )
    assert 0 < sum(video.split == "val" for video in videos) < 40


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"a.mp4": {"label": "real"}}, r"entry 'a\.mp4'.*unknown label"),
        ({"a.mp4": {"label": "REAL", "original": "b.mp4"}}, r"entry 'a\.mp4'.*labels swapped\? REAL with an original"),
        ({"a.mp4": {"label": "FAKE", "original": None}}, r"entry 'a\.mp4'.*labels swapped\? FAKE without"),
        (
            {"a.mp4": {"label": "FAKE", "original": "b.mp4"}, "b.mp4": {"label": "FAKE", "original": "c.mp4"}},
            r"entry 'a'.*its original 'b' is labelled FAKE",
        ),
        ({"../a.mp4": {"label": "REAL"}}, "leaves the dataset's folder"),
        ({"a.mp4": {"label": "FAKE", "original": "/etc/b.mp4"}}, "leaves the dataset's folder"),
        (["a.mp4"], "not a table"),
    ],
)
def test_dfdc_metadata_is_refused_with_its_entry(trees, tmp_path, entries, complaint):
    part = tmp_path / "train/dfdc_train_part_0"
    trees.touch(part, "a.mp4", "b.mp4")
    trees.dump(part / "metadata.json", entries)
    with pytest.raises(WorkbookError, match=r"metadata\.json: .*" + complaint):
        layout("dfdc").videos(tmp_path)


def test_dfdc_entry_given_twice_is_refused(trees, tmp_path):
    part = tmp_path / "train/dfdc_train_part_0"
    trees.touch(part, "a.mp4")
    (part / "metadata.json").write_text('{"a.mp4": {"label": "REAL"}, "a.mp4": {"label": "FAKE"}}')
    with pytest.raises(WorkbookError, match=r"metadata\.json: the entry 'a\.mp4' is there twice"):
        layout("dfdc").videos(tmp_path)


def test_dfdc_part_without_metadata_is_reported_and_the_others_are_read(trees, tmp_path):
    trees.dfdc_train(tmp_path)
    (tmp_path / "train/dfdc_train_part_1/metadata.json").unlink()
    assert len(layout("dfdc").videos(tmp_path)) == 60
    assert "dfdc_train_part_1 has no metadata.json: its 60 videos" in trees.texts(layout("dfdc").check(tmp_path))


def test_dfdc_video_in_train_and_test_is_refused(trees, tmp_path):
    trees.dfdc_test(tmp_path)
    trees.touch(tmp_path / "train/dfdc_train_part_0", "aaa.mp4")
    trees.dump(tmp_path / "train/dfdc_train_part_0/metadata.json", {"aaa.mp4": {"label": "REAL"}})
    with pytest.raises(WorkbookError, match="duplicate video 'dfdc/original/aaa', in t.* and in t"):
        layout("dfdc").videos(tmp_path)


@pytest.mark.parametrize(
    "place", ["dfdc_train_part_0", "dfdc_train_part_00", "train_sample_videos", ".", "train/dfdc_train_part_7"]
)
def test_dfdc_parts_are_read_wherever_copies_have_them(trees, tmp_path, place):
    trees.touch(tmp_path / place, "aaa.mp4", "bbb.mp4")
    entries = {"aaa.mp4": {"label": "REAL", "split": "train"}, "bbb.mp4": {"label": "FAKE", "original": "aaa.mp4"}}
    trees.dump(tmp_path / place / "metadata.json", entries)
    assert [(v.video, v.label) for v in layout("dfdc").videos(tmp_path)] == [("bbb", 1), ("aaa", 0)]
    assert layout("dfdc").check(tmp_path).usable


def test_dfdc_videos_without_labels_are_a_finding(trees, tmp_path):
    trees.dfdc_train(tmp_path)
    trees.touch(tmp_path / "test_videos", "zzz.mp4")
    assert "nothing is read of 1 folders with videos or pictures: 'test_videos'" in trees.texts(
        layout("dfdc").check(tmp_path)
    )


def test_dfdc_without_any_label_file_is_refused(trees, tmp_path):
    trees.touch(tmp_path, "videos/aaa.mp4")
    with pytest.raises(WorkbookError, match="no label file here"):
        layout("dfdc").videos(tmp_path)


@pytest.mark.parametrize("sbi", [False, True])
def test_dfdcp_follows_dataset_json(trees, tmp_path, sbi):
    trees.dfdcp(tmp_path)
    if sbi:  # SBI's instructions put everything below <method>/videos
        for folder in ("method_A", "method_B", "original_videos"):
            (tmp_path / folder).rename(tmp_path / "moved")
            (tmp_path / folder).mkdir()
            (tmp_path / "moved").rename(tmp_path / folder / "videos")
    videos = {v.key[1:]: v for v in layout("dfdcp").videos(tmp_path)}
    assert set(videos) == {
        ("original", "643049/643049_a"),
        ("original", "1224068/1224068_a"),
        ("method_A", "1224068/1224068_A/1224068_A_0"),
        ("method_B", "643049/643049_B/643049_B_0"),
    }
    fake = videos["method_A", "1224068/1224068_A/1224068_A_0"]
    assert fake.path.is_file()
    assert fake.split == "test"
    assert fake.identities == ("1224068", "643050")


@pytest.mark.parametrize(
    ("path", "entry", "complaint"),
    [
        ("method_A/x/a.mp4", {"label": "real", "set": "train"}, "labels swapped"),
        ("original_videos/x/a.mp4", {"label": "fake", "set": "train"}, "labels swapped"),
        ("method_A/x/a.mp4", {"label": "FAKE", "set": "train"}, "unknown label"),
        ("method_A/x/a.mp4", {"label": "fake", "set": "dev"}, "unknown set"),
        ("method_A/x/a.mp4", "fake", "unknown label"),
        ("method_C/x/a.mp4", {"label": "fake", "set": "train"}, "not in one of"),
        ("method_A/../../a.mp4", {"label": "fake", "set": "train"}, "leaves the dataset's folder"),
        ("/etc/passwd", {"label": "fake", "set": "train"}, "leaves the dataset's folder"),
        ("..\\method_A\\a.mp4", {"label": "fake", "set": "train"}, "leaves the dataset's folder"),
        ("method_A/x/a\0.mp4", {"label": "fake", "set": "train"}, "not a path"),
    ],
)
def test_dfdcp_entry_is_refused_by_name(trees, tmp_path, path, entry, complaint):
    trees.dfdcp(tmp_path, {path: entry})
    with pytest.raises(WorkbookError, match=rf"dataset\.json: entry .*{complaint}"):
        layout("dfdcp").videos(tmp_path)


def test_dfdcp_link_out_of_the_root_is_refused(trees, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    trees.dfdcp(root)
    trees.touch(outside, "1/a.mp4")
    (root / "method_A/9").symlink_to(outside / "1")
    trees.dump(root / "dataset.json", {"method_A/9/a.mp4": {"label": "fake", "set": "test"}})
    with pytest.raises(WorkbookError, match="leaves the dataset's folder through a symbolic link"):
        layout("dfdcp").videos(root)


def test_dfdcp_files_and_entries_that_lack_each_other_are_reported(trees, tmp_path):
    trees.dfdcp(tmp_path)
    (tmp_path / "method_B/643049/643049_B/643049_B_0.mp4").unlink()
    trees.touch(tmp_path, "method_A/new/new.mp4")
    said = trees.texts(layout("dfdcp").check(tmp_path))
    assert "1 entries of dataset.json without a file: 'method_B/643049" in said
    assert "1 files without an entry in dataset.json: 'method_A/new/new.mp4'" in said


@pytest.mark.parametrize("name", ["a b", "naïve 顔", "line\nbreak", "-rf", "a.b", "'quote\"", "[bold]x"])
def test_odd_names_are_read_and_reported(trees, tmp_path, name):
    trees.touch(tmp_path, f"Celeb-real/{name}.mp4")
    (tmp_path / "List_of_testing_videos.txt").write_text("1 YouTube-real/00000.mp4\n")
    (video,) = layout("cdfv2").videos(tmp_path)
    assert video.video == name
    assert video.path.is_file()
    assert layout("cdfv2").check(tmp_path).usable


def test_label_file_that_is_no_text_is_refused(trees, tmp_path):
    trees.celebdf(tmp_path)
    (tmp_path / "List_of_testing_videos.txt").write_bytes(b"1 Celeb-real/\xff\xfe.mp4\n")
    with pytest.raises(WorkbookError, match="not UTF-8"):
        layout("cdfv2").videos(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_understood(trees, tmp_path):
    trees.celebdf(tmp_path)
    table = tmp_path / "List_of_testing_videos.txt"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_text().replace("\n", "\r\n").encode())
    assert sum(v.split == "test" for v in layout("cdfv2").videos(tmp_path)) == 3
