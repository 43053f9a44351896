"""The explorer's page is whole, bounded and deaf to what names say; its dots have the faces and scores they claim."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import logit

from dfrepro.errors import WorkbookError
from dfrepro.figures import explorer
from dfrepro.nets.detector import Backbone, build_detector

PLACES = [f"{value}_{side}" for side in ("before", "after") for value in ("x", "y", "score")]
NASTY = "</script><script>alert('1')</script><!--"


def some_points(
    n: int = 12, *, side: int = 64, cams: bool = True, video: str = "001", seed: int = 0
) -> explorer.Points:
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(rng.random((n, len(PLACES))), columns=PLACES).assign(
        run=["erm-df" if i < n // 2 else "pim-df" for i in range(n)], dataset="ffpp", video=video, frame=range(n),
        manipulation=["original" if i % 2 else "Deepfakes" for i in range(n)], label=[1 - i % 2 for i in range(n)],
        face=range(n),
    )  # fmt: skip
    faces = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    maps = rng.integers(0, 256, (n, 2, explorer.GRID, explorer.GRID), dtype=np.uint8) if cams else None
    return explorer.Points(rows, faces, maps)


class Elements(HTMLParser):
    """What a browser would find in a page: its elements' ids, its scripts, its links to elsewhere."""

    def __init__(self, text: str):
        super().__init__()
        self.ids: list[str] = []
        self.scripts: list[str] = []
        self.links: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def content(text: str) -> dict:
    return json.loads(Elements(text).scripts[0])


def test_the_page_asks_for_nothing_from_elsewhere():
    elements = Elements(explorer.page(some_points(), title="t"))
    assert elements.links == []
    assert len(elements.scripts) == 2
    assert not re.search(r"https?://|import\(|fetch\(", elements.scripts[1])


def test_the_largest_page_that_a_notebook_makes_is_within_the_limit():
    few, more = (len(explorer.page(some_points(n), title="t").encode()) for n in (10, 110))
    a_dot = (more - few) / 100  # of noise, which is what a picture's codec is worst at
    assert few + 2 * explorer.MOST * a_dot < explorer.LIMIT


def test_a_page_beyond_the_limit_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(explorer, "LIMIT", 10_000)
    with pytest.raises(WorkbookError, match="Show fewer faces"):
        explorer.page(some_points(), title="t")


def test_a_name_cannot_end_the_script_that_it_stands_in():
    shown = some_points(video=NASTY)
    shown.rows["manipulation"] = shown.rows.manipulation.replace("Deepfakes", NASTY)
    text = explorer.page(shown, title=NASTY, caption=NASTY, runs={"erm-df": NASTY})
    assert len(Elements(text).scripts) == 2
    said = content(text)
    assert said["title"] == said["caption"] == said["runs"]["erm-df"] == said["rows"]["video"][0] == NASTY
    assert "innerHTML =" not in text  # nor does the page write a name as HTML


def test_both_views_share_one_table_one_filter_one_mark_and_one_pair_of_ranges():
    text = explorer.page(some_points(), title="t")
    document = json.dumps(content(text)["plot"]["docs"]["explorer"])
    named = {"points", "shown", "mark", "x", "y", "lasso-before", "lasso-after"}  # what the script asks for
    assert all(document.count(f'"name": "{name}"') == 1 for name in named)
    asked = re.findall(r'model\("([^"]+)"\)|\["points", "shown", "mark"\]\.map\((model)\)', text)
    assert {name for name, _ in asked} - {""} == {"x", "y"}
    assert ("", "model") in asked
    assert list(content(text)["plot"]["items"][0]["roots"].values()) == ["plot-before", "plot-after"]


def test_every_element_that_the_script_looks_for_is_there():
    elements = Elements(explorer.page(some_points(), title="t"))
    asked = set(re.findall(r'\$\("([^"]+)"\)|getElementById\("([^"]+)"\)', elements.scripts[1]))
    assert {name for pair in asked for name in pair if name} <= set(elements.ids)
    assert {"before", "after", "face", "chosen"} <= set(elements.ids)
    assert len(elements.ids) == len(set(elements.ids))


def test_every_data_set_and_manipulation_can_be_filtered_and_has_a_colour():
    shown = some_points()
    shown.rows.loc[:3, "dataset"] = "cdfv2"
    text = explorer.page(shown, title="t")
    said = content(text)
    assert set(said["rows"]["dataset"]) == {"ffpp", "cdfv2"}
    assert set(said["colours"]) == {"original", "Deepfakes"}
    assert said["colours"]["original"] != said["colours"]["Deepfakes"]
    for column in ("dataset", "manipulation"):
        assert re.search(rf'sieve\("[^"]+", "{column}"', text)


def test_without_saliency_maps_the_page_has_everything_else():
    said = content(explorer.page(some_points(cams=False), title="t"))
    assert said["maps"] is None
    assert len(said["faces"]) == len(said["rows"]["face"]) == 12


def test_pictures_and_maps_come_back_as_they_were_given():
    shown = some_points(side=80)
    shown.faces[:] = np.linspace(0, 255, 80, dtype=np.uint8)[:, None, None]  # smooth: a codec keeps it
    said = content(explorer.page(shown, title="t"))
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(said["faces"][0]))))
    assert picture.shape == (explorer.SIDE, explorer.SIDE, 3)
    assert abs(picture[:, 0, 0].astype(float) - np.linspace(0, 255, explorer.SIDE)).max() < 12
    maps = np.frombuffer(base64.b64decode(said["maps"]["values"]), np.uint8).reshape(shown.cams.shape)
    np.testing.assert_array_equal(maps, shown.cams)


def test_parts_that_do_not_belong_together_are_an_error():
    shown = some_points()
    for spoilt in (
        explorer.Points(shown.rows, shown.faces[:3], shown.cams),
        explorer.Points(shown.rows, shown.faces, shown.cams[:3]),
        explorer.Points(shown.rows[:0], shown.faces, None),
    ):
        with pytest.raises(WorkbookError, match="do not belong together"):
            explorer.page(spoilt, title="t")


# --- from artifacts to dots ----------------------------------------------------------------------------------------


def embedded(run: str, shift: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Dots of one network and its scores: four faces of the store below, in different orders."""
    key = {
        "dataset": "ffpp",
        "manipulation": "original",
        "video": ["a", "a", "b", "b"],
        "frame": [0, 1, 0, 1],
        "label": 0,
    }
    dots = [
        pd.DataFrame({**key, "row": [3, 5, 7, 9], "x": np.arange(4.0) + shift, "y": 0.0}).assign(
            run=run, condition=name
        )[:: -1 if name == "shifted" else 1]
        for name in ("clean", "shifted")
    ]
    scores = [
        pd.DataFrame({**key, "margin": logit(np.arange(1, 5) / 10 + shifted), "condition": name})
        for name, shifted in (("shifted", 0.5), ("clean", 0), ("blur-3", 0))
    ]
    return pd.concat(dots, ignore_index=True), pd.concat(scores, ignore_index=True)


@pytest.fixture
def workbook():
    pixels = np.repeat(np.arange(12, dtype=np.uint8)[:, None], 40 * 40 * 3, 1).reshape(12, 40, 40, 3)
    detector = build_detector(Backbone("test_convnext", 32), seed=0).eval()
    runs = {
        name: SimpleNamespace(
            scores=embedded(name, 0)[1], meta={"spec": {"data": {"dataset": "ffpp-c23"}}}, window=32,
            detector=lambda: detector,
        )
        for name in ("erm-df", "pim-df")
    }  # fmt: skip
    return SimpleNamespace(run=lambda name: runs.get(name), store=lambda name: SimpleNamespace(faces=pixels))


def test_a_dot_has_the_face_and_the_scores_of_its_own_key_on_either_side(workbook):
    dots = pd.concat([embedded(name, shift)[0] for name, shift in (("erm-df", 0), ("pim-df", 10), ("not-run", 0))])
    shown = explorer.points(workbook, dots)
    rows = shown.rows
    assert rows.run.tolist() == ["erm-df"] * 4 + ["pim-df"] * 4
    assert (rows.x_before == rows.x_after).all()  # the shifted dots came in another order
    np.testing.assert_allclose(rows.score_after - rows.score_before, 0.5)
    stored = {("a", 0): 3, ("a", 1): 5, ("b", 0): 7, ("b", 1): 9}
    for row in rows.itertuples():
        assert (shown.faces[row.face] == stored[row.video, row.frame]).all()
    assert shown.faces.shape == (4, 32, 32, 3)  # a face of both networks is one picture
    assert shown.cams.shape == (8, 2, explorer.GRID, explorer.GRID)


def test_a_score_that_two_rows_claim_is_an_error():
    dots, scores = embedded("erm-df", 0)
    with pytest.raises(pd.errors.MergeError):
        explorer.paired(dots, pd.concat([scores, scores]))


def test_the_second_map_of_a_face_is_of_the_shifted_network_and_the_network_is_left_as_it_was():
    detector = build_detector(Backbone("test_resnet", 64), seed=0).eval()
    faces = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    maps = explorer.saliency(SimpleNamespace(detector=lambda: detector), faces)
    assert maps.shape == (3, 2, explorer.GRID, explorer.GRID)
    assert maps.dtype == np.uint8
    assert maps.max() == 255
    assert (maps[:, 0] != maps[:, 1]).any()
    assert not any(module._forward_hooks for module in detector.modules())
    with torch.no_grad():
        assert torch.isfinite(detector(torch.zeros(1, 3, 64, 64)).logits).all()


def test_the_notebooks_frame_holds_the_page_and_the_page_is_a_file_too(tmp_path):
    wb = SimpleNamespace(name="01_motivation", data_label="stand-in", params=SimpleNamespace(artifacts=tmp_path))
    frame = explorer.show(wb, some_points(), {"erm-df": "ERM"}).data
    written = (tmp_path / "explorer" / "01_motivation.html").read_text()
    inside = []

    class Frame(HTMLParser):
        def handle_starttag(self, tag, attrs):
            inside.extend(value for name, value in attrs if name == "srcdoc")

    Frame().feed(frame)
    assert inside == [written]
    assert "stand-in" in content(written)["caption"]


# --- what the script does, run by Node where there is one -----------------------------------------------------------

HEAD = """
const made = () => ({ append() {}, replaceChildren() {}, setAttribute() {}, children: [], style: {}, textContent: "" });
const listed = [made(), made()];
globalThis.window = globalThis;
globalThis.document = {
  getElementById: id => id === "payload" ? { textContent: PAYLOAD } : id === "chosen" ? { children: listed } : made(),
  createElement: made, querySelector: made, head: made(),
};
globalThis.matchMedia = () => ({ matches: false });
"""
SETUP = """
filter = {}; mark = {}; ranges = { x: { setv() {} }, y: { setv() {} } };
const places = ["x_before", "y_before", "x_after", "y_after"].map(name => [name, Array(N).fill(0)]);
source = { data: Object.fromEntries(places), selected: { indices: [] }, change: { emit() {} } };
show = i => { state.last = i; };
"""


def played(steps: str) -> object:
    """What `steps` give in the page's script, whose table holds a face of each network in turn."""
    shown = some_points()
    shown.rows["face"] = list(range(6)) * 2
    shown.rows["score_before"] = [0.9, 0.9] * 6  # fakes at even rows: reals are judged wrong before
    shown.rows["score_after"] = [0.1, 0.1] * 6
    text = explorer.page(shown, title="t")
    payload = content(text) | {"library": "", "plot": None, "maps": None}
    script = Elements(text).scripts[1].replace('"use strict";', "").replace("window.explorer.ready = start();", "")
    program = HEAD.replace("PAYLOAD", json.dumps(json.dumps(payload))) + script + SETUP
    program += f"console.log(JSON.stringify({steps}))"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    return json.loads(done.stdout)


with_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")


@with_node
def test_only_faces_that_were_judged_wrong_are_shown_where_that_is_asked():
    assert played('(state.wrong = "before", shown())') == [1, 3, 5]
    assert played('(state.wrong = "after", shown())') == [0, 2, 4]
    assert played("shown()") == [0, 1, 2, 3, 4, 5]


@with_node
def test_what_was_chosen_stays_chosen_when_the_network_changes():
    assert played('(source.selected.indices = [1, 2, 4], switchTo("pim-df"), source.selected.indices)') == [7, 8, 10]


def test_a_reader_whose_scripts_are_not_run_sees_a_picture():
    picture = Image.open(io.BytesIO(base64.b64decode(explorer.still(some_points()))))
    assert picture.format == "JPEG"
    assert picture.width > 600
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 100
