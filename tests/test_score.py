"""Anyone's videos and pictures scored by a trained run: right numbers, a page that stands alone, no file that stops it.

The networks are untrained smoke networks in real checkpoints: what a score is worth is not this module's matter.
"""

import csv
import hashlib
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console

from dfrepro import params, places
from dfrepro.__main__ import main
from dfrepro.data.clip import read_clip
from dfrepro.data.dataset import centre
from dfrepro.data.layouts.base import Video
from dfrepro.data.shards import Recipe
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import scores
from dfrepro.files import ROOT
from dfrepro.jobs.kinds import method_of
from dfrepro.jobs.train import load_detector
from dfrepro.methods.pel.detector import PEL
from dfrepro.methods.pel.frequency import Statistics
from dfrepro.methods.pel.residuals import StreamView
from dfrepro.nets.cam import grad_cam
from dfrepro.params import Kind
from dfrepro.score import WARNING_REAL, WARNING_SMOKE, WARNING_STANDIN, pictures, score
from dfrepro.score.page import timeline
from dfrepro.score.results import Frame, Note, Result
from dfrepro.score.saliency import saliency
from dfrepro.train import checkpoint

from .data.conftest import PORTRAIT, flat, moving_face, scene, side_by_side, write_video
from .data.test_media import bomb

REAL = Path(os.environ.get("DFREPRO_REAL", ROOT.parent / "shared" / "real"))
CUT = {"version": 1, "size": 40, "margin": 0.25, "n_frames": 4, "predictors": ["68+13"]}
SIDE = 32  # of 40 pixels with margin .25, what the network sees with .1
KINDS = {
    "backbone": "pim-ffpp", "pel": "pel-full", "fia_usa": "fiausa-full", "focus": "focus-map-focus",
    "tokens": "focus-map-vit", "focus_evaluation": "focus-eval-focus", "fpg": "fpg-full",
    "foundation": "foundation-norms",
}  # fmt: skip
HOSTILE = "<img src=x onerror=alert(1)>\n\x1b[31m'\"&[red]{{7*7}}.png"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def p(tmp_path_factory):
    """Parameters whose artifacts are a folder of this module, where `erm-df` is trained with seeds 1 and 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params.Params, "artifacts", tmp_path_factory.mktemp("artifacts"))
        p = params.load()
        for seed in (2, 1):
            plant(p, "erm-df", seed)
        yield p


def plant(p, run, seed=0, cut=CUT, **changes) -> Path:
    """The checkpoint of an untrained network under a run's name."""
    spec = p.spec(run, seed) | changes
    folder = places.run_folder(p, run, seed)
    folder.mkdir(parents=True, exist_ok=True)
    detector = method_of(spec).build(spec)
    if isinstance(detector, PEL):  # which training measures
        detector.standardise(Statistics(torch.zeros(192), torch.ones(192)))
    checkpoint.save(folder, detector, {"spec": spec, "faces": cut})
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A video of 12 frames: one moving face, none in the frames 6 to 8."""
    frames = moving_face(12)
    frames[6:9] = flat(3, 320, 480)
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


def picture(path: Path, pixels: np.ndarray = PORTRAIT) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def run_on(p, path, out, run="erm-df", **options):
    """Score `path`; returns status, the terminal's text, scores.json and the page."""
    console = Console(file=io.StringIO(), width=100)
    status = score(p, path, run, out=out, console=console, **options)
    found = json.loads((out / "scores.json").read_text())
    return status, console.file.getvalue(), found, (out / "page.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


# --- the right numbers ----------------------------------------------------------------------------------------------


def test_a_face_is_cut_and_scored_as_the_runs_test_faces_are(p, clip, tmp_path):
    status, _, found, _ = run_on(p, clip, tmp_path / "out", frames=6)
    video = Video("x", "y", "z", 0, "test", (), "", clip)
    faces = read_clip(video, Recipe(6, CUT["size"], CUT["margin"])).faces
    crops = centre(np.stack([face.pixels for face in faces.values()]), SIDE)
    detector = load_detector(places.run_folder(p, "erm-df", 1))
    with torch.no_grad():
        expected = detector(torch.from_numpy(crops.copy()).permute(0, 3, 1, 2)).margins.double()
    (given,) = found["inputs"]
    assert status == 0
    assert [frame["frame"] for frame in given["frames"]] == [1, 3, 5, 9, 11]
    assert np.allclose([frame["margin"] for frame in given["frames"]], expected, atol=1e-5)
    assert np.allclose([frame["score"] for frame in given["frames"]], expected.sigmoid(), atol=1e-6)
    assert given["margin"] == pytest.approx(expected.mean().item(), abs=1e-5)
    assert given["score"] == pytest.approx(expected.mean().sigmoid().item(), abs=1e-6)
    for frame in given["frames"]:
        x0, y0, x1, y1 = frame["box"]
        stored = faces[frame["frame"]].box
        assert np.allclose([(x0 + x1) / 2, (y0 + y1) / 2], (stored[:2] + stored[2:]) / 2, atol=0.1)
        assert (x1 - x0) / (stored[2] - stored[0]) == pytest.approx(SIDE / CUT["size"], abs=0.01)


def test_the_files_agree_and_a_second_time_they_are_the_same_to_the_byte(p, clip, tmp_path):
    _, said, found, page = run_on(p, clip, tmp_path / "out", frames=6)
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    run_on(p, clip, tmp_path / "out", frames=6)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
    assert set(first) == {"page.html", "scores.json", "videos.csv", "frames.csv"}
    (given,) = found["inputs"]
    (video,) = csv.DictReader(io.StringIO(first["videos.csv"].decode()))
    frames = list(csv.DictReader(io.StringIO(first["frames.csv"].decode())))
    assert float(video["score"]) == pytest.approx(given["score"], rel=1e-5)
    assert float(video["highest"]) == pytest.approx(max(f["score"] for f in given["frames"]), rel=1e-5)
    assert [int(row["frame"]) for row in frames] == [f["frame"] for f in given["frames"]]
    assert [float(row["x1"]) for row in frames] == [f["box"][2] for f in given["frames"]]
    assert f"{given['score']:.3f}" in said
    assert f"{given['score']:.3f}" in Tags(page).text


def test_it_says_which_checkpoint_gave_the_scores(p, clip, tmp_path):
    about = run_on(p, clip, tmp_path / "out", frames=2)[2]["about"]
    weights = (places.run_folder(p, "erm-df", 1) / "model.safetensors").read_bytes()
    assert about["checkpoint"] == hashlib.sha256(weights).hexdigest()
    assert (about["run"], about["seed"], about["scale"]) == ("erm-df", 1, "smoke")
    assert about["faces"]["size"] == 40
    assert about["faces"]["seen"] == SIDE
    assert about["library"]["scored"] == about["library"]["trained"]


# --- every kind of run ----------------------------------------------------------------------------------------------


def test_every_kind_of_detector_is_tried_here():
    assert set(KINDS) | {"imported"} == set(get_args(Kind))  # that one in tests/jobs/test_imports.py


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_run_scores_a_picture_and_shows_where_it_looks(p, kind, tmp_path):
    folder = plant(p, KINDS[kind])
    status, _, found, page = run_on(p, picture(tmp_path / "a.png"), tmp_path / "out", run=KINDS[kind], seed=0)
    assert status == 0
    assert found["about"]["kind"] == kind
    assert 0 < found["inputs"][0]["score"] < 1
    images = torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    maps = saliency(load_detector(folder), images)
    assert len(maps) == (2 if kind == "pel" else 1)
    for title, values in maps.items():
        assert values.shape == (3, SIDE, SIDE)
        assert values.min() >= 0
        assert title in Tags(page).text
    assert any(values.max() > 0 for values in maps.values())


def test_maps_are_read_where_each_method_has_them(p):
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    of = {kind: load_detector(plant(p, KINDS[kind])) for kind in ("pel", "focus", "focus_evaluation")}
    streams = saliency(of["pel"], images)
    freq = grad_cam(StreamView(of["pel"], "freq"), images, positions=7)
    assert torch.equal(streams["Grad-CAM, frequency stream"], freq)
    (inner,) = saliency(of["focus_evaluation"], images).values()
    assert torch.equal(inner, grad_cam(of["focus_evaluation"].detector, images, positions=7))
    (own,) = saliency(of["focus"], images).values()
    fused = of["focus"].car_maps(images, class_1=True).fused.clamp_min(0)
    assert own.mean() == pytest.approx(fused.mean().item(), rel=0.05)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(p, clip, tmp_path_factory):
    """A folder with everything that goes wrong beside two faces, and what scoring it gave."""
    top = tmp_path_factory.mktemp("mixed")
    picture(top / "Obraz ö 顔 1.png")
    picture(top / HOSTILE)
    (top / "below").mkdir()
    picture(top / "below" / "=SUM(A1).png")
    picture(top / "no face.png", flat(1, 200, 200)[0])
    (top / "truncated.mp4").write_bytes(clip.read_bytes()[:3000])
    whole = io.BytesIO()
    Image.fromarray(PORTRAIT).save(whole, "JPEG")
    (top / "truncated.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (top / "rubbish.jpg").write_text("hello" * 100)
    (top / "empty.mp4").touch()
    (top / "bomb.png").write_bytes(bomb(100_000))
    os.mkfifo(top / "pipe.mp4")
    (top / "loop.mp4").symlink_to(top / "loop.mp4")
    (top / "circle").symlink_to(top, target_is_directory=True)
    (top / "notes.txt").write_text("not ours")
    (top / ".hidden.png").write_text("not ours")
    os.symlink(top / "no face.png", os.fsencode(top) + b"/latin \xe9.png")
    return run_on(p, top, tmp_path_factory.mktemp("out") / "out")


def failures(found):
    return {given["name"]: given["notes"] for given in found["inputs"] if given["score"] is None}


def test_what_cannot_be_scored_is_named_with_reason_and_remedy_and_the_rest_goes_on(mixed):
    status, said, found, page = mixed
    why = {name: "; ".join(note["reason"] for note in notes) for name, notes in failures(found).items()}
    expected = {
        "no face.png": "no face found", "truncated.mp4": "not a video", "truncated.jpg": "truncated",
        "rubbish.jpg": "not a video", "empty.mp4": "empty", "bomb.png": "pixels", "pipe.mp4": "regular file",
        "loop.mp4": "link", "circle": "link to a folder", "latin \\udce9.png": "no face found",
    }  # fmt: skip
    assert set(why) == set(expected)
    assert {name: part for name, part in expected.items() if part not in why[name]} == {}
    assert all(note["remedy"] for notes in failures(found).values() for note in notes)
    assert status == 3
    assert "3 of 13 scored" in said
    assert failures(found)["no face.png"][0]["remedy"].startswith("Give one in which the face is larger")
    text = Tags(page).text
    for name, notes in failures(found).items():
        assert name in said
        assert name in text
        assert notes[0]["remedy"] in text
    assert "2 files that are neither" in text  # the text file and the hidden one


def test_names_are_escaped_in_terminal_page_and_tables(mixed, p, tmp_path):
    _, said, found, page = mixed
    shown = HOSTILE.replace("\n", "\\n").replace("\x1b", "\\x1b")
    assert shown in [given["name"] for given in found["inputs"]]
    assert not any(not (char.isprintable() or char == "\n") for char in said)
    assert "[red]" in said
    parsed = Tags(page)
    assert shown in parsed.text
    folder = tmp_path / "harmless"
    folder.mkdir()
    picture(folder / "a.png")
    picture(folder / "b.png")
    harmless = {tag for tag, _ in Tags(run_on(p, folder, tmp_path / "out")[3]).tags}
    assert {tag for tag, _ in parsed.tags} <= harmless | {"br", "wbr"}
    assert not any(key.startswith("on") for _, attrs in parsed.tags for key in attrs)


def test_no_name_is_a_formula_in_a_spreadsheet(p, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("=HYPERLINK(1).png", "@x.png", 'a,"b".png'):
        picture(folder / name, flat(1, 64, 64)[0])
    score(p, folder, "erm-df", out=tmp_path / "out", console=Console(file=io.StringIO()))
    with open(tmp_path / "out" / "videos.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["input"] for row in rows] == ["./=HYPERLINK(1).png", "./@x.png", 'a,"b".png']


def test_the_page_needs_nothing_from_outside_and_runs_nothing(mixed):
    page = mixed[3]
    tags = Tags(page).tags
    assert not {"script", "link", "iframe", "object", "form", "base"} & {tag for tag, _ in tags}
    addresses = [value for _, attrs in tags for key, value in attrs.items() if key in ("src", "href", "srcset", "data")]
    assert addresses
    assert all(value.startswith(("data:image/webp;base64,", "#input-")) for value in addresses)
    assert "url(" not in page
    assert "@import" not in page
    policy = [attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    targets = {attrs["id"] for _, attrs in tags if "id" in attrs}
    assert {value[1:] for value in addresses if value.startswith("#")} == targets
    assert "prefers-color-scheme: dark" in page


def test_two_hundred_pictures_are_two_hundred_inputs_on_a_page_of_a_few_megabytes(p, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(200):
        picture(folder / f"{i}.png", PORTRAIT[20 : 190 + i % 5, 60:240])
    status, said, found, page = run_on(p, folder, tmp_path / "out")
    assert status == 0
    assert [given["name"] for given in found["inputs"]] == [f"{i}.png" for i in range(200)]
    assert "200 of 200 scored" in said
    assert len(page) < 8 * 2**20
    assert sum(tag == "section" for tag, _ in Tags(page).tags) == 200


def test_only_the_highest_scores_have_pictures_where_there_are_more_than_a_page_holds(p, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "SHOTS", 2)
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(4):
        picture(folder / f"{i}.png", np.clip(PORTRAIT.astype(int) + 8 * i, 0, 255).astype(np.uint8))
    _, _, found, page = run_on(p, folder, tmp_path / "out")
    highest = sorted(found["inputs"], key=lambda given: -given["score"])[:2]
    shown = {attrs["id"] for tag, attrs in Tags(page).tags if tag == "section"}
    assert shown == {f"input-{given['number']}" for given in highest}
    assert "2 highest scores" in Tags(page).text


def test_a_truncated_video_is_scored_as_far_as_it_goes_and_says_so(p, tmp_path):
    content = write_video(tmp_path / "v.mkv", moving_face(40), container="matroska").read_bytes()
    (tmp_path / "v.mkv").write_bytes(content[: 2 * len(content) // 3])
    status, said, found, page = run_on(p, tmp_path / "v.mkv", tmp_path / "out", frames=4)
    assert status == 0
    assert found["inputs"][0]["frames"]
    assert "ends early" in said
    assert "ends early" in Tags(page).text


def test_everyone_in_view_is_scored_and_the_highest_or_the_mean_is_the_inputs_score(p, tmp_path):
    two = picture(tmp_path / "two.png", scene([(120, 150, 1.0), (340, 150, 1.2)]))
    status, said, found, page = run_on(p, two, tmp_path / "out")
    assert status == 0
    (given,) = found["inputs"]
    assert [frame["face"] for frame in given["frames"]] == [1, 2]
    assert given["frames"][0]["box"][0] > 220 > given["frames"][1]["box"][2]  # the larger one is face 1
    margins = [person["margin"] for person in given["people"]]
    assert margins == [frame["margin"] for frame in given["frames"]]
    assert len(set(margins)) == 2
    assert given["margin"] == max(margins)
    shown = ", ".join(f"{person['score']:.3f}" for person in given["people"])
    assert f"2 faces: {shown}" in said
    text = Tags(page).text
    assert all(f"{person['face']}: {person['score']:.3f}" in text for person in given["people"])
    assert all(f"face {number}, frame 0" in text for number in (1, 2))
    assert sum(tag == "i" and "top" in attrs.get("style", "") for tag, attrs in Tags(page).tags) == 2
    mean = run_on(p, two, tmp_path / "mean", faces="mean")[2]["inputs"][0]
    assert mean["margin"] == pytest.approx(np.mean(margins))
    assert mean["people"] == given["people"]


def test_two_people_in_a_video_have_a_mean_each_and_the_timeline_is_the_leading_ones(p, tmp_path):
    frames = [scene([(120 + 5 * i, 150, 1.0), (370, 150, 1.2)]) for i in range(6)]
    clip = write_video(tmp_path / "two.mp4", frames)
    _, _, found, page = run_on(p, clip, tmp_path / "out", frames=6)
    (given,) = found["inputs"]
    for person in given["people"]:
        own = [frame["margin"] for frame in given["frames"] if frame["face"] == person["face"]]
        assert len(own) == person["frames"] == 6
        assert person["margin"] == pytest.approx(np.mean(own))
    assert given["margin"] == max(person["margin"] for person in given["people"])
    classes = [attrs.get("class") for tag, attrs in Tags(page).tags if tag == "path"]
    assert sum(name.startswith("dot") for name in classes) == 6
    with open(tmp_path / "out" / "videos.csv", newline="", encoding="utf-8") as file:
        assert next(csv.DictReader(file))["faces"] == "2"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real videos and portraits are not here")
def test_two_real_people_are_scored_and_shown_each_and_the_videos_score_is_theirs(p, tmp_path):
    videos = REAL / "FaceForensics++" / "original_sequences" / "youtube" / "c23" / "videos"
    clip = side_by_side(tmp_path / "two.mp4", (videos / "004.mp4", 480), (videos / "634.mp4", 360))
    _, said, found, page = run_on(p, clip, tmp_path / "out", frames=6)
    (given,) = found["inputs"]
    assert [(person["face"], person["frames"]) for person in given["people"]] == [(1, 6), (2, 6)]
    boxes = [[frame["box"] for frame in given["frames"] if frame["face"] == face] for face in (1, 2)]
    left, right = sorted(boxes, key=lambda box: box[0][0])
    assert all(box[2] < 853 for box in left)  # of 720p at a height of 480
    assert all(box[0] > 853 for box in right)
    margins = [person["margin"] for person in given["people"]]
    assert given["margin"] == max(margins)
    assert f"2 faces: {', '.join(format(person['score'], '.3f') for person in given['people'])}" in said
    assert all(f"{person['face']}: {person['score']:.3f}" in Tags(page).text for person in given["people"])
    mean = run_on(p, clip, tmp_path / "mean", frames=6, faces="mean")[2]["inputs"][0]
    assert mean["margin"] == pytest.approx(np.mean(margins))


def test_of_faces_seen_in_one_frame_alone_nothing_is_scored(p, tmp_path):
    frames = [scene([(150, 150, 1.2)] + [(380, 150, 1.0)] * (i == 2)) for i in range(6)]
    found = run_on(p, write_video(tmp_path / "v.mp4", frames), tmp_path / "out", frames=6)[2]
    assert len(found["inputs"][0]["people"]) == 1


# --- what stops the command -----------------------------------------------------------------------------------------


def test_the_exit_status_tells_all_none_and_mistakes_apart(p, clip, tmp_path, capsys):
    faceless = picture(tmp_path / "grey.png", flat(1, 64, 64)[0])
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").touch()
    out = ["--out", str(tmp_path / "out"), "--frames", "2"]
    assert main(["score", str(clip), "--run", "erm-df", *out]) == 0
    assert main(["score", str(faceless), "--run", "erm-df", *out]) == 1
    assert main(["score", str(tmp_path / "absent.mp4"), "--run", "erm-df", *out]) == 2
    assert main(["score", str(tmp_path / "empty"), "--run", "erm-df", *out]) == 2
    assert main(["score", str(tmp_path / "texts"), "--run", "erm-df", *out]) == 2
    assert main(["score", str(clip), "--run", "erm-df", *out[:2], "--frames", "0"]) == 2
    said = capsys.readouterr().err
    assert "there is no such file" in said
    assert "no video and no picture in this folder" in said
    assert "1 other files" in said
    assert "n_frames is 0" in said


def test_a_run_that_is_not_trained_is_answered_with_those_that_are(p, clip, tmp_path):
    with pytest.raises(WorkbookError, match=r"Trained: .*erm-df.*train erm-fs --seed 0"):
        score(p, clip, "erm-fs", out=tmp_path / "out")
    with pytest.raises(WorkbookError, match="Trained: ") as raised:
        score(p, clip, "../erm-df", out=tmp_path / "out")
    assert "--seed" not in str(raised.value)
    with pytest.raises(WorkbookError, match="Trained with: 1, 2"):
        score(p, clip, "erm-df", seed=7, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_where_nothing_is_trained_it_says_how(clip, tmp_path, monkeypatch):
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    with pytest.raises(WorkbookError, match="make repro"):
        score(params.load(), clip, "erm-df", out=tmp_path / "out")


def test_a_folder_with_other_files_is_never_replaced(p, clip, tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(WorkbookError, match="--out"):
        score(p, clip, "erm-df", out=tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years"


def test_a_failure_on_the_way_leaves_the_earlier_result_and_no_litter(p, clip, tmp_path, monkeypatch):
    run_on(p, clip, tmp_path / "out", frames=2)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr("dfrepro.score.page.TEMPLATE", tmp_path / "absent.html")
    with pytest.raises(FileNotFoundError):
        score(p, clip, "erm-df", out=tmp_path / "out", frames=3)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert os.listdir(tmp_path) == ["out"]


# --- what is said ---------------------------------------------------------------------------------------------------


def test_the_warning_stands_in_terminal_and_page_and_knows_what_the_run_was_trained_on(p, tmp_path):
    face = picture(tmp_path / "a.png")
    _, said, _, page = run_on(p, face, tmp_path / "out")
    assert WARNING_STANDIN[:60] in said.replace("\n", " ")
    assert WARNING_STANDIN in Tags(page).text
    assert WARNING_SMOKE in Tags(page).text
    spec = p.spec("pim-df", 0)
    plant(p, "pim-df", data=spec["data"] | {"root": "/data/FaceForensics++"}, scale="paper")
    _, said, found, page = run_on(p, face, tmp_path / "out", run="pim-df")
    assert found["about"]["warnings"] == [WARNING_REAL]
    assert "/data" not in said + page + json.dumps(found["about"])


def test_faces_cut_by_other_landmarks_than_the_runs_are_said_to_be(p, tmp_path):
    plant(p, "pim-f2f", cut=CUT | {"predictors": ["81"]})
    found = run_on(p, picture(tmp_path / "a.png"), tmp_path / "out", run="pim-f2f")[2]
    assert any("landmarks 68+13" in warning and "81" in warning for warning in found["about"]["warnings"])


def test_a_timeline_has_a_dot_a_frame_and_a_mark_where_there_is_no_face(p, clip, tmp_path):
    _, _, found, page = run_on(p, clip, tmp_path / "out", frames=12)
    frames = found["inputs"][0]["frames"]
    assert [frame["frame"] for frame in frames] == [0, 1, 2, 3, 4, 5, 9, 10, 11]
    classes = [attrs.get("class") for tag, attrs in Tags(page).tags if tag == "path"]
    assert sum(name.startswith("dot") for name in classes) == 9
    assert classes.count("dot shown") == 4
    assert classes.count("gap") == 3
    dots = Frame(0, 50.0, 1.0, (0,) * 4), Frame(3, -50.0, 0.0, (0,) * 4)
    made = timeline(
        Result(1, "a", "a", "video", 0.0, 0.5, dots, (Note("x", "y", (1,)),)),
        4,
    )
    assert made is not None
    assert [dot[:2] for dot in made.dots] == [(125, 0), (875, 100)]
    assert made.gaps == (375,)
    assert made.mean == 50


def test_the_most_suspicious_frames_are_shown_highest_first_with_the_box_of_what_was_seen(p, clip, tmp_path):
    _, _, found, page = run_on(p, clip, tmp_path / "out", frames=12)
    frames = sorted(found["inputs"][0]["frames"], key=lambda frame: -frame["score"])[:4]
    tags = Tags(page)
    shown = re.findall(r"frame (\d+): (\d\.\d{3})\s", tags.text)
    assert shown[-4:] == [(str(frame["frame"]), f"{frame['score']:.3f}") for frame in frames]
    boxes = [
        {key: float(value) for key, value in re.findall(r"(\w+): ([-\d.]+)%", attrs["style"])}
        for tag, attrs in tags.tags
        if tag == "i" and "top" in attrs.get("style", "")
    ]
    for frame, box in zip(frames, boxes, strict=True):
        x0, y0, x1, _ = frame["box"]
        assert box == pytest.approx(
            {"left": x0 / 4.8, "top": y0 / 3.2, "width": (x1 - x0) / 4.8, "height": (x1 - x0) / 3.2}, abs=0.05
        )


def test_saliency_glows_where_the_map_is_and_leaves_the_face_elsewhere():
    face = np.full((SIDE, SIDE, 3), 100, np.uint8)
    share = np.zeros((SIDE, SIDE), np.float32)
    share[:, : SIDE // 2] = 1
    shown = pictures._glowing(face, share)
    side = pictures.FACE
    assert (shown[:, -side // 4 :] == 100).all()
    assert (shown[:, : side // 4] != 100).any(axis=2).all()


# --- the real thing -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the real videos and portraits are not here")
def test_the_real_videos_and_portraits_are_all_scored(p, tmp_path):
    status, _, found, _ = run_on(p, REAL, tmp_path / "out", frames=4)
    assert status == 0
    assert len(found["inputs"]) == 9
    assert sum(len(given["frames"]) for given in found["inputs"]) >= 4 * 4 + 5
    people = {Path(given["path"]).name: len(given["people"]) for given in found["inputs"]}
    assert people["two_people.jpg"] == 2


def test_a_run_with_scores_of_validation_says_who_is_above_the_threshold(p, clip, tmp_path):
    _, said, found, _ = run_on(p, clip, tmp_path / "before", frames=4)
    assert found["about"]["threshold"] is None
    assert "validation reals" not in said
    folder = places.scores_folder(p, "erm-df", 1)
    folder.mkdir(parents=True)
    margin = found["inputs"][0]["margin"]
    for reals, above in (([margin - 2, margin - 1], 1), ([margin - 2, margin + 1], 0)):
        rows = [("ffpp", "original", f"{i}", 0, 0, value, "", "", "clean") for i, value in enumerate(reals)]
        names = ["dataset", "manipulation", "video", "frame", "label", "margin", "identity", "source", "condition"]
        pd.DataFrame(rows, columns=names).to_parquet(folder / scores.VALIDATION)
        _, said, found, page = run_on(p, clip, tmp_path / f"{above}", frames=4)
        assert found["about"]["threshold"]["above"] == above
        told = "the threshold that lets 1% of validation reals pass as fake (P(fake) above"
        assert told in " ".join(said.split())
        assert told in " ".join(page.split())
        assert f"{above} of 1 are called fake" in " ".join(page.split())
