"""What published notebooks show: pictures in all their colours, small enough for git."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from dfrepro import places
from dfrepro.jobs import commands, pipeline, runner


def png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="module")
def face():
    """A large picture with many colours and a transparent border, as a figure of faces has."""
    rng = np.random.default_rng(0)
    smooth = np.stack(np.meshgrid(np.linspace(0, 255, 900), np.linspace(255, 0, 600)), -1)
    colours = np.dstack([smooth, np.full((600, 900), 120.0)]) + rng.normal(0, 6, (600, 900, 3))
    pixels = np.dstack([colours.clip(0, 255), np.full((600, 900), 255.0)]).astype(np.uint8)
    pixels[:20] = 0
    return Image.fromarray(pixels, "RGBA")


def test_a_large_picture_becomes_a_jpeg_of_the_same_colours_on_white(face):
    data = {"image/png": png(face), "application/vnd.jupyter.widget-view+json": "dead without a kernel"}
    output = {"data": data, "metadata": {"image/png": {"alt": "a face"}}}
    pipeline._lighten(output, "00_data")
    assert data.keys() == {"image/jpeg"}
    assert output["metadata"] == {"image/jpeg": {"alt": "a face"}}
    shown = Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"])))
    pixels, right = np.asarray(shown, float), np.asarray(face.convert("RGB"), float)
    assert (pixels[:12] > 250).all()
    assert np.abs(pixels[40:] - right[40:]).mean() < 5
    assert len(np.unique(np.asarray(shown).reshape(-1, 3), axis=0)) > 10_000
    assert len(data["image/jpeg"]) < len(png(face)) / 2


def test_a_small_picture_stays_as_it_is(face):
    small = png(face.resize((60, 40)))
    data = {"image/png": small}
    pipeline._lighten({"data": data}, "00_data")
    assert data == {"image/png": small}


def test_a_progress_bar_is_not_published_and_a_sliders_picture_is():
    widget = "application/vnd.jupyter.widget-view+json"
    assert pipeline._bar({"data": {widget: {}, "text/plain": "saliency: 0%"}})
    assert not pipeline._bar({"data": {widget: {}, "image/png": "x"}})
    assert not pipeline._bar({"data": {"text/html": "x"}})
    assert not pipeline._bar({"output_type": "stream", "text": "x"})


def test_publishing_leaves_dvc_lock_naming_the_notebooks_as_they_are_now(monkeypatch):
    published, done = [], []
    monkeypatch.delenv("DFREPRO_SCALE", raising=False)  # of another scale than that of params.yaml nothing is recorded
    monkeypatch.setattr(pipeline, "publish", lambda p: published.append(p.scale))
    monkeypatch.setattr(runner, "run", lambda nodes, *_: done.extend(nodes) or runner.Report())
    commands.perform(["notebook", "--publish"])
    assert published
    assert sorted(done) == [f"code@{path.stem}" for path in sorted(places.NOTEBOOKS.glob("*.ipynb"))]
