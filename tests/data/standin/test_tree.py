"""The trees: the same bytes whatever the workers, whole after a kill, and read by the official layouts' readers."""

import hashlib
import json
from itertools import combinations
from pathlib import Path

import pandas as pd
import pytest

from dfrepro.data.layouts import FAKE, REAL, layout
from dfrepro.data.standin import VERSION, StandinSpec, generate, trees
from dfrepro.errors import WorkbookError

SMALL = StandinSpec(train=2, val=0, test=2, cross=0, wild=0, images=1, frames=2, cross_frames=2)
ROOTS = {
    "ffpp": "FaceForensics++",
    "dfd": "FaceForensics++",
    "cdfv2": "Celeb-DF-v2",
    "dfdc": "DFDC",
    "dfdcp": "DFDCP",
    "wdf": "WildDeepfake",
    "diff": "DiFF",
}


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    generate(tmp_path / "one", SMALL, seed=5, workers=1, progress=False)
    generate(tmp_path / "two", SMALL, seed=5, workers=2, progress=False)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_another_seed_gives_other_videos(tmp_path: Path) -> None:
    spec = StandinSpec(train=2, val=0, test=0, cross=0, wild=0, images=0, frames=1)
    for seed in (1, 2):
        generate(tmp_path / str(seed), spec, seed=seed, workers=1, progress=False)
    one, two = digests(tmp_path / "1"), digests(tmp_path / "2")
    videos = [name for name in one if name.endswith(".mp4")]
    assert videos
    assert all(one[name] != two.get(name) for name in videos)


def test_a_killed_run_continues_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    generate(whole, SMALL, seed=5, workers=1, progress=False)
    encode, calls = trees.encode, []

    def dies(path: Path, *args, **options) -> None:
        calls.append(path)
        if len(calls) == len(list(whole.rglob("*.mp4"))):  # the last: units before it are done
            path.write_bytes(b"half a video")
            raise KeyboardInterrupt
        encode(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(trees, "encode", dies)
        with pytest.raises(KeyboardInterrupt):
            generate(killed, SMALL, seed=5, workers=1, progress=False)
    assert not (killed / "complete.json").exists()
    (killed / "FaceForensics++" / ".000-left-by-a-power-cut.mp4").write_bytes(b"half")
    part = next((whole.parent / "killed" / ".truth").glob("[!.]*.parquet"))
    for name, content in ((".half.parquet", part.read_bytes()[:100]), (".whole.parquet", part.read_bytes())):
        part.with_name(name).write_bytes(content)
    done = {path: path.stat().st_mtime_ns for path in killed.rglob("videos/[0-9]*.mp4")}
    assert done
    generate(killed, SMALL, seed=5, workers=1, progress=False)
    assert digests(killed) == digests(whole)
    assert all(path.stat().st_mtime_ns == time for path, time in done.items()), "finished videos are not made again"


def test_a_finished_tree_is_left_alone_and_another_order_is_refused(tiny_tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_tree.rglob("*")}
    order = json.loads((tiny_tree / "complete.json").read_text())
    assert order["version"] == VERSION
    generate(tiny_tree, StandinSpec(**order["spec"]), seed=order["seed"], progress=False)
    assert {path: path.stat().st_mtime_ns for path in tiny_tree.rglob("*")} == before
    with pytest.raises(WorkbookError, match="another stand-in"):
        generate(tiny_tree, StandinSpec(**order["spec"]), seed=order["seed"] + 1, progress=False)


@pytest.mark.parametrize("name", ROOTS)
def test_every_set_is_read_by_its_official_layout(tiny_tree: Path, name: str) -> None:
    videos = layout(name).videos(tiny_tree / ROOTS[name], "c23")
    truth = pd.read_parquet(tiny_tree / "truth.parquet")
    truth = truth[truth.dataset == name]
    labels = {
        (row.dataset, row.manipulation, row.video): FAKE if row.pipeline != "original" else REAL
        for row in truth.itertuples()
    }
    assert {video.key: video.label for video in videos} == labels
    assert set(labels.values()) == {REAL, FAKE}
    if name not in ("ffpp", "diff"):  # those have four fakes a real
        assert sum(labels.values()) * 2 == len(labels)
    trained_on = ["train", "val"] if name == "ffpp" else ["train"] if name == "wdf" else []
    assert {video.split for video in videos} == {*trained_on, "test"}


@pytest.mark.parametrize("compression", ["c23", "c40"])
def test_each_ffpp_pair_has_two_reals_and_eight_fakes_with_masks(tiny_tree: Path, compression: str) -> None:
    root = tiny_tree / "FaceForensics++"
    videos = layout("ffpp").videos(root, compression)
    for split in ("train", "val", "test"):
        ((one, other),) = json.loads((root / f"{split}.json").read_text())
        mine = [video for video in videos if video.split == split]
        assert {v.video for v in mine if v.label == REAL} == {one, other}
        assert sorted(v.video for v in mine if v.label == FAKE) == sorted([f"{one}_{other}", f"{other}_{one}"] * 4)
        assert all(v.mask is not None and v.mask.is_file() for v in mine if v.label == FAKE)


def test_splits_share_no_person(tiny_tree: Path) -> None:
    truth = pd.read_parquet(tiny_tree / "truth.parquet").set_index(["dataset", "manipulation", "video"])
    for name in ("ffpp", "wdf"):
        people: dict[str, set[str]] = {}
        for video in layout(name).videos(tiny_tree / ROOTS[name], "c23"):
            people.setdefault(video.split, set()).update(truth.loc[[video.key], "identities"].iloc[0])
        assert not any(people[one] & people[other] for one, other in combinations(people, 2))


@pytest.mark.parametrize("wrong", [{"train": 3}, {"cross": 2}, {"wild": 6}, {"frames": -1}, {"size": 64}])
def test_sizes_that_make_no_pairs_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(WorkbookError, match=next(iter(wrong))):
        StandinSpec(**wrong)
