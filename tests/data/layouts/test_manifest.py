"""One's own files by a table, in the spellings that spreadsheets and programs give it; and what is refused."""

import pandas as pd
import pytest

from dfrepro.data.layouts import layout
from dfrepro.errors import WorkbookError

LINES = ["path,label,split,manipulation,identity,source,mask", "a.mp4,real,test,,ann,,",
         "b.mp4,fake,test,swap,bob,ann,masks/b.mp4", "pictures/c.JPG,1,train,,,,", "clip,0,val,,,,"]  # fmt: skip


@pytest.fixture
def files(trees, tmp_path):
    trees.touch(tmp_path, "a.mp4", "b.mp4", "masks/b.mp4", "pictures/c.JPG", "clip/0.png")
    return tmp_path


def write(folder, *lines: str, name: str = "mine.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def read(path):
    return {video.video: video for video in layout("manifest").videos(path)}


def test_a_table_says_all_that_a_layout_does(files):
    videos = read(write(files, *LINES))
    assert {name: (v.label, v.split, v.kind, v.manipulation) for name, v in videos.items()} == {
        "a.mp4": (0, "test", "video", "original"), "b.mp4": (1, "test", "video", "swap"),
        "pictures/c.JPG": (1, "train", "image", "fake"), "clip": (0, "val", "frames", "original"),
    }  # fmt: skip
    assert {video.dataset for video in videos.values()} == {"mine"}
    assert videos["b.mp4"].identities == ("bob", "ann")
    assert videos["b.mp4"].mask == files / "masks/b.mp4"
    assert videos["a.mp4"].mask is None
    inventory = layout("manifest").check(files / "mine.csv")
    assert inventory.usable
    assert not inventory.findings


def test_the_folder_of_one_table_is_a_root_too_and_absolute_paths_are_read_from_anywhere(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("elsewhere")
    write(folder, "path,label,split", f"{files}/a.mp4,0,test", name="manifest.csv")
    (video,) = layout("manifest").videos(folder)
    assert video.path == files / "a.mp4"
    assert video.dataset == folder.name
    write(folder, "path,label,split", name="other.csv")
    with pytest.raises(WorkbookError, match="2 tables here"):
        layout("manifest").videos(folder)


def test_spreadsheets_semicolons_tabs_and_marks_are_read(files):
    for delimiter in ";\t":
        text = "\ufeff" + "\r\n".join(line.replace(",", delimiter) for line in ["Path,Label,Split", "a.mp4,Real,Test"])
        (files / "mine.csv").write_bytes(text.encode())
        assert list(read(files / "mine.csv")) == ["a.mp4"]


@pytest.mark.parametrize("label", [[0, 1], [0.0, 1.0], [False, True], ["real", "fake"]])
def test_parquet_is_read_whatever_type_its_labels_have(files, label):
    table = {"path": ["a.mp4", "b.mp4"], "label": label, "split": "test", "source": [None, "ann"]}
    pd.DataFrame(table).to_parquet(files / "mine.parquet")
    assert {name: (v.label, v.identities) for name, v in read(files / "mine.parquet").items()} == {
        "a.mp4": (0, ()), "b.mp4": (1, ("ann",)),
    }  # fmt: skip


@pytest.mark.parametrize(("lines", "complaint"), [
    (["path,label,split", "a.mp4,maybe,test"], r"mine\.csv:2: label is 'maybe'"),
    (["path,label,split", "", "a.mp4,0,dev"], r"mine\.csv:3: split is 'dev'"),
    (["path,label,split", ",0,test"], r"mine\.csv:2: not a path"),
    (["path,label,split", "a.mp4,0,test", "a.mp4,0,train"], "duplicate video"),
    (["path,lable,split", "a.mp4,0,test"], "lacks the column 'label'; is it 'lable'"),
    (["a.mp4,0,test"], "lacks the column 'path'"), ([""], "lacks the column 'path'"),
    (["path,label,split", "gone.mp4,0,test"], "no manifest videos here"),
])  # fmt: skip
def test_a_table_that_contradicts_itself_is_refused_with_its_line(files, lines, complaint):
    with pytest.raises(WorkbookError, match=complaint):
        read(write(files, *lines))
    assert not layout("manifest").check(files / "mine.csv").usable


def test_files_and_masks_that_are_not_there_and_columns_that_are_not_read_are_reported(trees, files):
    path = write(
        files, "path,label,split,mask,colour", "a.mp4,0,test,,", "gone.mp4,1,test,,", "b.mp4,1,test,no.mp4,red"
    )
    said = trees.texts(layout("manifest").check(path))
    assert "1 that mine.csv names as path are not there: 'gone.mp4'" in said
    assert "1 that mine.csv names as mask are not there: 'no.mp4'" in said
    assert "not read: 'colour'" in said
    assert set(read(path)) == {"a.mp4", "b.mp4"}


def test_people_in_train_and_in_test_are_reported(trees, files):
    path = write(files, "path,label,split,identity", "a.mp4,0,train,ann", "b.mp4,1,test,ann")
    assert "1 of the 1 test identities are also in train" in trees.texts(layout("manifest").check(path))
