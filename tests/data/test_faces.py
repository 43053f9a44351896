"""Extraction end to end: right faces, nothing lost without a reason, killed runs go on, workers change nothing."""

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from dfrepro.data import faces as faces_module
from dfrepro.data.contact import contact_sheet
from dfrepro.data.crop import crop, crop_box, to_source
from dfrepro.data.faces import extract, extract_layout, run_tasks
from dfrepro.data.manifest import FaceStore
from dfrepro.data.shards import Recipe, Shard, shard_path
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT

from .conftest import flat, moving_face, scene, write_video

REAL = Path(os.environ.get("DFREPRO_REAL", ROOT.parent / "shared" / "real"))
SETTINGS = {"n_frames": 4, "size": 48, "margin": 0.25, "progress": False}


def digest(store):
    return {path.name: path.read_bytes() for path in sorted(store.path.iterdir())}


def problems(store, name):
    return [entry for entry in store.report["videos"] if entry["key"][2] == name]


def test_a_video_becomes_crops_with_landmarks_where_its_face_is(tmp_path, video, face_file):
    clip = video("004", face_file, label=1, manipulation="Deepfakes", identities=("004", "982"), split="train")
    store = extract([clip], tmp_path / "store", **SETTINGS)
    table = store.manifest
    assert table["frame"].to_list() == [1, 4, 7, 10]
    assert store.faces.shape == (4, 48, 48, 3)
    assert (table["label"] == 1).all()
    assert (table["split"] == "train").all()
    assert (table["predictor"] == "68+13").all()
    assert (table["source_width"] == 480).all()
    assert (table["source_height"] == 320).all()
    for face, frame, box, points in zip(store.faces, table["frame"], table["box"], store.landmarks(), strict=True):
        centre = np.array([150 + 180 * frame / 11, 150])
        assert np.linalg.norm((box[:2] + box[2:]) / 2 - centre) < 30
        assert np.allclose(crop_box(to_source(points.astype(float), box, 48), 0.25), box, atol=1)
        assert np.abs(face.astype(int) - crop(moving_face(12)[frame], box, 48)).mean() < 8  # H.264 is all that differs
    assert store.report == {
        "counts": {"videos": 1, "extracted": 1, "partial": 0, "skipped": 0, "faces": 4},
        "videos": [],
    }
    assert store.meta == {"version": 1, "size": 48, "margin": 0.25, "n_frames": 4, "predictors": ["68+13"]}
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_masks_are_cut_with_the_boxes_of_their_frames(tmp_path, video, face_file):
    masks = []
    for i in range(12):
        mask = np.zeros((320, 480, 3), np.uint8)
        cv2.circle(mask, (round(150 + 180 * i / 11), 150), 30, (255, 255, 255), -1)
        masks.append(mask)
    clip = video("v", face_file, mask=write_video(tmp_path / "mask.mp4", masks))
    short = video("short", face_file, mask=write_video(tmp_path / "short.mp4", masks[:11]))
    absent = video("absent", face_file, mask=tmp_path / "absent.mp4")
    store = extract([clip, short, absent], tmp_path / "store", **SETTINGS)
    table = store.manifest.set_index(["video", "frame"])
    for frame in (1, 4, 7, 10):
        place = table.index.get_loc(("v", frame))
        expected = crop(masks[frame], np.asarray(table["box"].iloc[place]), 48)[..., 0]
        assert np.abs(store.mask(place).astype(int) - expected).mean() < 4
    assert table.loc["absent", "mask"].to_list() == [-1] * 4
    assert (table.loc["short", "mask"] >= 0).to_list() == [True, True, True, True]
    assert "does not exist" in problems(store, "absent")[0]["reason"]
    assert store.report["counts"]["partial"] == 1


def folder(path, frames, stems):
    path.mkdir()
    for stem, frame in zip(stems, frames, strict=True):
        Image.fromarray(frame).save(path / f"{stem}.png")
    return path


def test_given_landmarks_need_no_detection_and_wrong_ones_are_reported(tmp_path, video, monkeypatch):
    monkeypatch.setattr(faces_module, "load_predictor", lambda *_: pytest.fail("detected"))
    frames = folder(tmp_path / "frames", flat(6, 64, 64), ["000", "009", "010", "011", "012", "013"])
    points = np.random.default_rng(0).uniform(20, 44, (81, 2))
    marks = tmp_path / "landmarks"
    marks.mkdir()
    np.save(marks / "000.npy", points)
    np.save(marks / "009.npy", points[:68])
    np.save(marks / "010.npy", np.array([object()] * 81), allow_pickle=True)
    np.save(marks / "011.npy", np.full((81, 2), np.nan))
    np.save(marks / "012.npy", points + 1e6)
    clip = video("v", frames, kind="frames", landmarks=marks, mask=folder(tmp_path / "m", flat(1, 64, 64, 1), ["000"]))
    store = extract([clip], tmp_path / "store", **{**SETTINGS, "n_frames": 8})
    assert store.manifest["predictor"].to_list() == ["given"]
    assert store.manifest["frame"].to_list() == [0]
    box = np.asarray(store.manifest["box"][0])
    assert np.allclose(to_source(store.landmarks()[0], box, 48), points, atol=1e-3)
    assert np.allclose(store.mask(0), 20, atol=1)
    reasons = {entry["reason"][:3]: entry["reason"] for entry in store.report["videos"] if ".npy" in entry["reason"]}
    words = {"009": "(68, 2)", "010": "not landmarks", "011": "finite", "012": "outside", "013": "no landmarks"}
    assert all(word in reasons[stem] for stem, word in words.items())
    assert len(reasons) == 5


@pytest.fixture
def bad_media(tmp_path, video, face_file):
    """Every kind of bad video beside a good one, and what the report must say of it."""
    good, empty = face_file.read_bytes(), tmp_path / "empty.mp4"
    empty.touch()
    (tmp_path / "cut.mp4").write_bytes(good[:3000])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "with space\nand line.mp4").write_bytes(good)
    write_video(tmp_path / "faceless.mp4", flat(6, 160, 160))
    write_video(tmp_path / "tiny.mp4", flat(3, 2, 2))
    write_video(tmp_path / "one.mp4", moving_face(1))
    write_video(tmp_path / "many.mp4", [scene([(120, 150, 1.0), (360, 150, 1.2)])] * 4)
    write_video(tmp_path / "blink.mp4", [*moving_face(2), scene([]), scene([]), *moving_face(2)])
    write_video(tmp_path / "turned.mp4", [np.ascontiguousarray(np.rot90(f)) for f in moving_face(4)], rotation=-90)
    (tmp_path / "folder").mkdir()
    Image.fromarray(moving_face(1)[0]).save(tmp_path / "picture.png")
    names = ["empty", "cut", "text", "loop", "absent", "with space\nand line", "faceless", "tiny", "one", "many"]
    videos = [video(name) for name in [*names, "blink", "turned"]]
    videos += [video("folder", tmp_path / "folder", kind="frames"), video("good", face_file)]
    videos += [video("picture", tmp_path / "picture.png", kind="image")]
    return videos


def test_no_bad_video_stops_the_run_or_vanishes(tmp_path, bad_media):
    store = extract(bad_media, tmp_path / "store", **SETTINGS)
    entries = {video.video: problems(store, video.video) for video in bad_media}
    status = {name: found[0]["status"] if found else "extracted" for name, found in entries.items()}
    skipped = {"empty", "cut", "text", "loop", "absent", "faceless", "tiny", "folder"}
    assert {name for name, word in status.items() if word == "skipped"} == skipped
    assert {name for name, word in status.items() if word == "partial"} == {"blink"}
    assert all(entry["reason"] and entry["remedy"] for found in entries.values() for entry in found)
    words = {
        "empty": "empty",
        "loop": "link",
        "absent": "exist",
        "faceless": "no face",
        "many": "2 faces",
        "one": "1 frames",
    }
    assert all(word in entries[name][0]["reason"] for name, word in words.items())
    assert store.report["counts"] == {"videos": 15, "extracted": 6, "partial": 1, "skipped": 8, "faces": len(store)}
    rows = store.manifest.groupby("video").size()
    assert rows.to_dict() == {
        "blink": 2,
        "good": 4,
        "many": 4,
        "one": 1,
        "picture": 1,
        "turned": 4,
        "with space\nand line": 4,
    }
    many = np.stack(store.manifest[store.manifest["video"] == "many"]["box"].to_list())
    assert (many[:, 0] > 240).all()  # the larger of the two
    assert store.manifest["source_width"][store.manifest["video"] == "turned"].to_list() == [480] * 4
    keys = list(zip(store.manifest["video"], store.manifest["frame"], strict=True))
    assert keys == sorted(keys)
    assert [e["key"] for e in store.report["videos"]] == sorted(e["key"] for e in store.report["videos"])


def test_a_file_name_that_is_no_text_is_spelt_out_in_the_manifest(tmp_path, video, face_file):
    name = os.fsdecode(b"a\xff")
    store = extract([video(name, face_file, identities=(name,))], tmp_path / "store", **SETTINGS)
    assert set(store.manifest["video"]) == {"a\\udcff"}
    assert store.manifest["identities"][0].tolist() == ["a\\udcff"]


def test_any_number_of_workers_and_a_dask_cluster_give_the_same_bytes(tmp_path, bad_media):  # two pools to start
    from distributed import LocalCluster

    one = digest(extract(bad_media, tmp_path / "one", **SETTINGS))
    assert digest(extract(bad_media[::-1], tmp_path / "two", workers=2, **SETTINGS)) == one
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        store = extract(bad_media, tmp_path / "dask", dask=cluster.scheduler_address, **SETTINGS)
    assert digest(store) == one


SCRIPT = """
import sys
from pathlib import Path
from dfrepro.data.faces import extract
from dfrepro.data.layouts.base import Video
file, out = map(Path, sys.argv[1:])
videos = [Video("ffpp", "original", f"{i:03d}", 0, "test", (), "c23", file) for i in range(6)]
extract(videos, out, n_frames=4, size=48, margin=0.25, progress=False)
"""


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (0, 2))])
def test_a_killed_run_goes_on_and_ends_bit_identical(tmp_path, video, face_file, seed):
    videos = [video(f"{i:03d}", face_file, identities=()) for i in range(6)]
    undisturbed = digest(extract(videos, tmp_path / "undisturbed", **SETTINGS))
    out, resume = tmp_path / "store", tmp_path / ".store.resume"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(face_file), str(out)], cwd=ROOT)
    while process.poll() is None and len(list(resume.glob("face-*.npz"))) < 1 + 2 * seed:
        time.sleep(0.005)
    time.sleep(float(np.random.default_rng(seed).uniform(0, 0.05)))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = {path.name: path.stat().st_mtime_ns for path in resume.glob("face-*.npz")}
    assert done
    calls = []
    original = faces_module.write_clip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces_module, "write_clip", lambda *task: (calls.append(task), original(*task)))
        assert digest(extract(videos, out, **SETTINGS)) == undisturbed
    assert len(calls) == 6 - len(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "undisturbed"]


def test_a_damaged_shard_is_read_again_and_a_leftover_removed(tmp_path, video, face_file):
    clip = video("v", face_file)
    whole = digest(extract([clip], tmp_path / "whole", **SETTINGS))
    resume = tmp_path / "resume"
    resume.mkdir()
    shard = shard_path(resume, clip, Recipe(4, 48, 0.25))
    for content in (b"", b"PK\x03\x04 half a shard"):
        resume.mkdir(exist_ok=True)
        shard.write_bytes(content)
        (tmp_path / ".store-ab12_cd8").mkdir(exist_ok=True)
        (tmp_path / ".store-2-ab12_cd8").mkdir(exist_ok=True)  # another store's
        assert digest(extract([clip], tmp_path / "store", resume=resume, **SETTINGS)) == whole
        assert not (tmp_path / ".store-ab12_cd8").exists()
        assert (tmp_path / ".store-2-ab12_cd8").exists()


def test_a_changed_file_or_setting_is_another_shard_and_a_changed_label_is_not(tmp_path, video):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"one")
    clip, recipe = video("v", path), Recipe(4, 48, 0.25)
    name = shard_path(tmp_path, clip, recipe)
    assert shard_path(tmp_path, video("v", path, label=1, split="train"), recipe) == name
    changed = [
        shard_path(tmp_path, clip, Recipe(*settings)) for settings in ((5, 48, 0.25), (4, 49, 0.25), (4, 48, 0.3))
    ]
    path.write_bytes(b"other")
    changed += [shard_path(tmp_path, clip, recipe), shard_path(tmp_path, video("w", path), recipe)]
    assert len({name, *changed}) == 6


def test_other_files_in_the_resume_folder_are_left_alone(tmp_path, video, face_file):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.npz").write_bytes(b"years of work")
    extract([video("v", face_file)], tmp_path / "store", resume=tmp_path / "mine", **SETTINGS)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.npz"]


def _kills(victim, task, recipe):
    if task[0].video == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    Shard().save(task[1], recipe.size)


def test_a_video_that_kills_its_process_is_reported_and_the_others_are_read(tmp_path, video, face_file):
    tasks = [(video(name, face_file), tmp_path / f"{name}.npz") for name in ("a", "b", "c")]
    run_tasks(partial(_kills, "b"), tasks, Recipe(4, 48, 0.25), 2, None, lambda: None)
    shards = {clip.video: Shard.load(path) for clip, path in tasks}
    assert "kills the process" in shards["b"].problems[0].reason
    assert not shards["a"].problems
    assert not shards["c"].problems


def test_memory_does_not_grow_with_the_number_of_videos(tmp_path, video, face_file):
    def peak(n):
        videos = [video(f"{i:03d}", face_file) for i in range(n)]
        tracemalloc.start()
        extract(videos, tmp_path / f"store{n}", **{**SETTINGS, "size": 256, "n_frames": 2})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(1)
    few, many = peak(3), peak(6)
    assert many - few < 2 * 256 * 256 * 3  # three more videos hold three times this


def test_two_videos_of_one_key_and_settings_out_of_range_are_refused(tmp_path, video, face_file):
    with pytest.raises(WorkbookError, match="two videos of one key"):
        extract([video("v", face_file), video("v", face_file, label=1)], tmp_path / "store", **SETTINGS)
    for wrong in ({"n_frames": 0}, {"size": 1}, {"margin": -0.1}, {"workers": 0}):
        with pytest.raises(WorkbookError, match=next(iter(wrong))):
            extract([video("v", face_file)], tmp_path / "store", **{**SETTINGS, **wrong})
    with pytest.raises(WorkbookError, match="no such predictor"):
        extract([video("v", face_file)], tmp_path / "store", predictor=tmp_path / "absent.dat", **SETTINGS)


def test_a_contact_sheet_shows_as_many_faces_as_asked(tmp_path, video, face_file):
    store = extract([video("v", face_file)], tmp_path / "store", **SETTINGS)
    sheet = cv2.imread(str(contact_sheet(store, tmp_path / "sheet.png", 3, columns=2, tile=64)))
    assert sheet.shape == (2 * 82, 2 * 64, 3)
    assert sheet[:64, :64].any()
    assert not sheet[82:, 64:].any()
    empty = FaceStore.write(tmp_path / "empty", [], 48)
    with pytest.raises(WorkbookError, match="without faces"):
        contact_sheet(empty, tmp_path / "sheet.png")


@pytest.mark.skipif(not (REAL / "FaceForensics++").is_dir(), reason="the real videos are not here")
def test_the_four_real_videos_give_every_face_asked_for(tmp_path):
    store = extract_layout("ffpp", REAL / "FaceForensics++", tmp_path / "store", n_frames=8, size=96, progress=False)
    counts = store.report["counts"]
    assert (counts["videos"], counts["extracted"], counts["faces"]) == (4, 4, 32)
    assert sorted(store.manifest.groupby("manipulation").size().to_dict().values()) == [8, 8, 16]


@pytest.mark.skipif(not (REAL / "portraits").is_dir(), reason="the real portraits are not here")
def test_real_portraits_give_one_face_each(tmp_path, video):
    paths = sorted(path for path in (REAL / "portraits").iterdir() if path.suffix in (".jpg", ".png"))
    store = extract([video(p.stem, p, kind="image") for p in paths], tmp_path / "store", **SETTINGS)
    assert store.manifest["video"].to_list() == [path.stem for path in paths]
    assert [entry["key"][2] for entry in store.report["videos"]] == ["two_people"]
