"""What holds for all layouts: the registry, the validation split, and the printed check."""

import hashlib
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from dfrepro.data.check import report, run_check
from dfrepro.data.layouts import LAYOUTS, Video, layout
from dfrepro.data.layouts.splits import carve_val, held_out, overlap
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT


def video(name: str, *people: str, split: str = "train") -> Video:
    return Video("set", "fake", name, 1, split, people, "", Path(name))


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_what_it_expects_of_an_empty_folder(tmp_path, name):
    assert layout(name).name == name
    inventory = layout(name).check(tmp_path)
    assert not inventory.usable
    assert inventory.findings[0].level == "error"
    assert inventory.findings[0].remedy
    with pytest.raises(WorkbookError):
        layout(name).videos(tmp_path)
    with pytest.raises(WorkbookError, match="does not exist"):
        layout(name).videos(tmp_path / "nowhere")


def test_an_unknown_layout_names_the_known_ones():
    with pytest.raises(WorkbookError, match=r"unknown layout 'ff\+\+'.*ffpp, dfd"):
        layout("ff++")


def test_held_out_identities_are_a_tenth_and_the_same_everywhere():
    held = {identity for identity in map(str, range(10_000)) if held_out(identity)}
    assert 900 < len(held) < 1100
    first = {identity: hashlib.sha256(identity.encode()).digest()[0] for identity in map(str, range(10_000))}
    assert held >= {identity for identity, byte in first.items() if byte < 25}  # 25.6 = a tenth of 256
    assert not held & {identity for identity, byte in first.items() if byte > 25}


def test_carved_validation_shares_no_identity_with_training():
    people = [f"id{i}" for i in range(40)]
    videos = [video(f"{a}_{b}", a, b) for a in people for b in people if a < b]
    videos.append(video("test", "id0", split="test"))
    kept, left_out = carve_val(videos)
    assert not overlap(kept, "train", "val")
    assert overlap(videos) == {("set", "id0")}
    assert len(kept) + len(left_out) == len(videos)
    assert any(v.split == "val" for v in kept)
    assert all(len({held_out(person) for person in v.identities}) == 2 for v in left_out)
    assert [v.split for v in kept if v.video == "test"] == ["test"]


def test_check_exits_with_1_if_any_root_cannot_be_used(trees, tmp_path):
    trees.ffpp(tmp_path / "good")
    quiet = Console(file=io.StringIO())
    assert run_check({"good": ("ffpp", tmp_path / "good")}, quiet) == 0
    assert run_check({"good": ("ffpp", tmp_path / "good"), "bad": ("wdf", tmp_path / "none")}, quiet) == 1
    assert run_check({}, quiet) == 0


def test_check_reports_each_root_under_its_name(trees, tmp_path):
    trees.ffpp(tmp_path)
    ((name, inventory),) = report({"mine": ("ffpp", tmp_path)})
    assert name == "mine"
    assert inventory.usable
    assert inventory.root == tmp_path


def test_check_prints_names_as_text_and_not_as_markup_or_escapes(trees, tmp_path):
    trees.ffpp(tmp_path)
    trees.touch(tmp_path, "original_sequences/youtube/c23/videos/[bold]\x1b[2Jx.mp4")
    out = io.StringIO()
    run_check({"[red]mine": ("ffpp", tmp_path)}, Console(file=out, width=200, force_terminal=False))
    assert "[bold]" in out.getvalue()
    assert "[red]mine" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_check_of_thousands_of_videos_takes_seconds(trees, tmp_path):
    trees.touch(tmp_path, *(f"Celeb-synthesis/id{i % 59}_id{i % 58}_{i:04d}.mp4" for i in range(6000)))
    (tmp_path / "List_of_testing_videos.txt").write_text("0 Celeb-synthesis/id0_id0_0000.mp4\n")
    start = time.perf_counter()
    assert layout("cdfv2").check(tmp_path).usable
    assert time.perf_counter() - start < 5


def test_layouts_import_nothing_heavy():
    code = "import sys, dfrepro.data.layouts as l; [l.layout(n) for n in l.LAYOUTS]; "
    code += "print(sorted({'torch', 'cv2', 'dlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
