"""Twenty files of one's own: three commands check, extract, score and tabulate them."""

import csv

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dfrepro import params, places
from dfrepro.__main__ import main
from dfrepro.data.manifest import FaceStore
from dfrepro.methods.pim import run as backbone
from dfrepro.train import checkpoint

from ..data.conftest import scene, write_video

pytestmark = pytest.mark.usefixtures("one_thread")


def film(fake: bool, number: int, frames: int) -> list[np.ndarray]:
    pictures = [scene([(150 + 10 * number + 4 * i, 150, 1.0)]) for i in range(frames)]
    return [cv2.GaussianBlur(picture, (9, 9), 3) if fake else picture for picture in pictures]


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """Twelve videos and eight pictures, half of them blurred, and the table that says so."""
    folder = tmp_path_factory.mktemp("mine")
    rows = []
    for number in range(20):
        fake, is_video = number % 2 == 1, number < 12
        path = folder / f"{number:02d}.{'mp4' if is_video else 'png'}"
        if is_video:
            write_video(path, film(fake, number, 4))
        else:
            Image.fromarray(film(fake, number, 1)[0]).save(path)
        split = "val" if number in (0, 1) else "test"
        rows.append([path.name, "fake" if fake else "real", split, "blur" if fake else "", f"p{number // 2}", "", ""])
    with open(folder / "list.csv", "w", newline="") as file:
        header = ["path", "label", "split", "manipulation", "identity", "source", "mask"]
        csv.writer(file).writerows([header, *rows])
    return folder / "list.csv"


@pytest.fixture
def p(mine, tmp_path, monkeypatch):
    declared = params.load(scale="smoke")
    entry = params.Dataset(layout="manifest", root="mine")
    p = declared.model_copy(update={"roots": {"mine": str(mine)}, "datasets": {"mine": entry}})
    monkeypatch.setattr(params.Params, "artifacts", property(lambda self: tmp_path / "artifacts"))
    monkeypatch.setattr(places, "results_folder", lambda p: tmp_path / "results")
    monkeypatch.setattr(params, "load", lambda **words: p)
    folder = places.run_folder(p, "erm-ffpp", 0)
    folder.mkdir(parents=True)
    spec = declared.spec("erm-ffpp", 0)
    checkpoint.save(folder, backbone.build(spec).eval(), {"spec": spec, "faces": {}})
    return p


def test_a_table_of_twenty_files_is_checked_extracted_scored_and_tabulated(p, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["check"]) == 0
    said = capsys.readouterr().out
    assert "usable" in said
    assert "test, fake" in said
    assert main(["faces", "--dataset", "mine"]) == 0
    store = FaceStore.open(places.faces_folder(p, "mine"))
    assert set(store.manifest["dataset"]) == {"mine"}
    assert store.report["counts"]["videos"] == 20
    assert store.report["counts"]["skipped"] == 0
    assert main(["protocol", "erm-ffpp", "--on", "mine", "--under", "ours", "sbi", "deepfakebench"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("ours", "sbi", "deepfakebench", "mine"))
    table = pd.read_csv(places.results_folder(p) / "protocol" / "erm-ffpp.csv")
    assert set(table["protocol"]) == {"ours", "sbi", "deepfakebench"}
    assert table["value"].between(0, 1).all()


def test_a_printed_number_is_asked_for(p, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["faces", "--dataset", "mine"]) == 0
    assert main(["protocol", "erm-ffpp", "--on", "mine", "--near", ".9382"]) == 0
    said = capsys.readouterr().out
    assert "nearest to 0.9382 on mine" in said
    assert "printed inside" in said
