"""The explorer: an embedding before and after the statistic shift, dot by dot, as one page that needs no kernel.

Two linked views of the same faces. A dot under the pointer shows its face, its video, its score and where the network
looks, and is marked in both views; several can be chosen with a line drawn around them. The page (`explorer.html`)
holds everything it needs, BokehJS too, and asks for nothing from the network.
"""

import base64
import gzip
import html
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from dfrepro.data.dataset import centre
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file
from dfrepro.report import plots

if TYPE_CHECKING:
    from IPython.display import HTML

    from dfrepro.jobs.trained import TrainedRun
    from dfrepro.workbook import Workbook

LIMIT = 15_000_000  # bytes of a page
MOST = 1200  # dots of one network: more of them only hide each other
SIDE = 64  # pixels of a face on the page
GRID = 8  # side of a saliency map on the page: about what the networks' last maps have
BATCH = 64  # faces that pass a network with gradients at a time
SIDES = {"clean": "before", "shifted": "after"}
FACE = ["dataset", "manipulation", "video", "frame"]
TEMPLATE = Path(__file__).with_suffix(".html")
# the height follows the page's layout: side by side on a screen, one below the other on a phone
FRAME = """<div><iframe title="Explorer" style="width:100%;height:max(720px,calc(1560px - 100vw));border:0" \
srcdoc="{page}"></iframe>
<p>Hover or tap a dot, draw a line around several. P(fake) is what the network gives for "fake", uncalibrated; above .5
it says fake. <a href="explorer/{name}.html">The explorer on a page of its own</a></p>
<details><summary>As a picture, where scripts are not run</summary><img style="max-width:100%" alt="{alt}" \
src="data:image/jpeg;base64,{still}"></details></div>"""
STILL = "Dots of the same faces before and after the shift, fakes and reals; below, the faces whose scores moved most"


@dataclass(frozen=True)
class Points:
    """What the explorer shows.

    `rows`: one row a network and face: run, dataset, manipulation, video, frame, label, face (a row of `faces`), and
    x, y and score, P(fake), as `x_before`, `x_after` and so on. `faces` (F, S, S, 3) uint8. `cams` (N, 2, GRID, GRID)
    uint8 in the order of `rows`, before and after, on one scale a network; None where there are no maps.
    """

    rows: pd.DataFrame
    faces: np.ndarray
    cams: np.ndarray | None


def points(wb: "Workbook", embedded: pd.DataFrame, *, cams: bool = True) -> Points:
    """The dots of a cached embedding (`Workbook.embedding`) with their faces, scores and saliency maps."""
    parts, pictures, maps = [], [], []
    for name, dots in embedded.groupby("run", sort=False):
        run = wb.run(str(name))
        if run is None:
            continue
        rows = paired(dots, run.scores)
        rows = rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(int)]
        stored = run.meta["spec"]["data"]["dataset"]
        faces = centre(wb.store(stored).faces[rows["row"]], run.window)
        parts.append(rows.assign(run=name, store=stored))
        pictures.append(faces)
        if cams:
            maps.append(saliency(run, faces))
    rows = pd.concat(parts, ignore_index=True)
    face, _ = pd.factorize(pd.MultiIndex.from_frame(rows[["store", "row"]]))  # a real face is a dot of each network
    _, first = np.unique(face, return_index=True)
    return Points(
        rows.drop(columns=["store", "row"]).assign(face=face),
        np.concatenate(pictures)[first],
        np.concatenate(maps) if cams else None,
    )


def paired(dots: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """One row a face of one network's dots, both conditions side by side: x_before, x_after, y_..., score_...

    A dot's score is P(fake)."""
    seen = scores[[*FACE, "condition"]].assign(score=expit(scores["margin"]))
    dots = dots.merge(seen, on=[*FACE, "condition"], validate="one_to_one")
    wide = dots.pivot(index=[*FACE, "label", "row"], columns="condition", values=["x", "y", "score"])
    wide.columns = pd.Index([f"{value}_{SIDES[condition]}" for value, condition in wide.columns])
    return wide.dropna().reset_index()


def saliency(run: "TrainedRun", faces: np.ndarray) -> np.ndarray:
    """Grad-CAM for 'fake' of faces (N, s, s, 3) as the network sees them, before and after the shift.

    (N, 2, GRID, GRID) uint8; 255 is what half a percent of all values of this network exceed.
    """
    import torch
    from torch.nn import functional
    from tqdm.auto import tqdm

    from dfrepro.evaluate.probe import StatisticShift, under
    from dfrepro.figures import faces as study
    from dfrepro.nets import cam

    device = "cuda" if torch.cuda.is_available() else "cpu"
    detector, sides, batches = run.detector().to(device), [], study.to_tensor(faces).split(BATCH)
    for side, probe in zip(SIDES.values(), (None, StatisticShift())):
        bar = tqdm(batches, desc=f"saliency {side}", unit="batch", leave=False, delay=1)
        with under(probe, detector):
            parts = [cam.grad_cam(detector, part.to(device), positions=GRID - 1).cpu() for part in bar]
        sides.append(functional.interpolate(torch.cat(parts)[:, None], (GRID, GRID), mode="bilinear")[:, 0])
    maps = torch.stack(sides, 1).numpy()
    top = float(np.quantile(maps, 0.995)) or 1.0
    return np.rint(255 * np.clip(maps / top, 0, 1)).astype(np.uint8)


def page(shown: Points, *, title: str, caption: str = "", runs: Mapping[str, str] | None = None) -> str:
    """The page as text. `runs` names the networks for people.

    Raises WorkbookError where it would exceed LIMIT, or where a table, its faces and its maps do not fit together.
    """
    rows, cams = shown.rows, shown.cams
    if len(rows) == 0 or rows.face.max() >= len(shown.faces) or (cams is not None and len(cams) != len(rows)):
        raise WorkbookError(
            f"{len(rows)} dots, {len(shown.faces)} faces and {0 if cams is None else len(cams)} maps do not belong "
            "together", where="explorer",
        )  # fmt: skip
    fakes = [name for name in rows.manipulation.unique() if (rows.label[rows.manipulation == name] == 1).any()]
    content = {
        "title": title,
        "caption": caption,
        "runs": dict(runs or {}),
        "names": plots.LABELS,
        "sets": plots.SETS,
        "colours": dict.fromkeys(rows.manipulation.unique(), plots.REAL)
        | {name: plots.PALETTE[i % len(plots.PALETTE)] for i, name in enumerate(fakes)},
        "scale": [plots.REAL, "#c9c9c4", plots.FAKE],
        "rows": {name: rows[name].tolist() for name in ["run", *FACE, "label", "face"]}
        | {name: np.round(rows[name].astype(float), 5).tolist() for name in ("score_before", "score_after")},
        "faces": [_webp(face) for face in shown.faces],
        "maps": None if cams is None else _maps(cams),
        "plot": _plot(rows),
        "library": _library(),
    }
    # inside a script element nothing but "<" can end it
    text = TEMPLATE.read_text(encoding="utf-8").replace("PAYLOAD", json.dumps(content).replace("<", "\\u003c"), 1)
    if len(text.encode()) > LIMIT:
        raise WorkbookError(
            f"the page has {len(text.encode()) / 1e6:.0f} MB, more than {LIMIT / 1e6:.0f}", where="explorer",
            remedy="Show fewer faces",
        )  # fmt: skip
    return text


def show(wb: "Workbook", shown: Points, runs: Mapping[str, str]) -> "HTML":
    """Write the page to artifacts/<scale>/explorer/<notebook>.html, and show it in a frame of its own.

    Not among the figures: they are plots to DVC, which takes pictures and tables alone.
    """
    from IPython.display import HTML

    count = f"{shown.rows.face.nunique()} test faces of {wb.data_label} data"
    text = page(shown, title="The same faces before and after the statistic shift", caption=count, runs=runs)
    with atomic_file(wb.params.artifacts / "explorer" / f"{wb.name}.html") as partial:
        partial.write_text(text, encoding="utf-8")
    return HTML(FRAME.format(page=html.escape(text), name=wb.name, still=still(shown), alt=STILL))


def still(shown: Points, faces: int = 12) -> str:
    """The first network's dots before and after, and the faces whose scores moved most: a JPEG, base64."""
    from matplotlib.figure import Figure

    rows = shown.rows[shown.rows.run == shown.rows.run.iloc[0]]
    figure = Figure(figsize=(8, 5.4), layout="constrained", dpi=90)
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(3, 1))[:, 0]
    for axis, side in zip(above.subplots(1, 2, sharex=True, sharey=True), SIDES.values()):
        dots = rows.rename(columns={f"x_{side}": "x", f"y_{side}": "y"})
        plots.embedding(axis, dots, title=f"{side} the shift", legend=side == "before")
    moved = (rows.score_after - rows.score_before).abs().nlargest(faces).index
    for axis, row in zip(below.subplots(1, faces, squeeze=False)[0], moved):
        axis.imshow(shown.faces[rows.face[row]])
        axis.set_title(f"{rows.score_before[row]:.2f} → {rows.score_after[row]:.2f}", fontsize=7, loc="center")
    for axis in below.axes:
        axis.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", pil_kwargs={"quality": 85})
    return base64.b64encode(buffer.getvalue()).decode()


# --- parts of the page ---------------------------------------------------------------------------------------------


def _plot(rows: pd.DataFrame) -> dict[str, Any]:
    """Bokeh's part: two figures on one table of points, one filter, one pair of ranges and one mark."""
    from bokeh import models
    from bokeh.document import Document
    from bokeh.plotting import figure

    places = [f"{axis}_{side}" for side in SIDES.values() for axis in "xy"]
    data: dict[str, Any] = {name: rows[name].to_numpy(np.float32) for name in places}
    source = models.ColumnDataSource(
        data | {f"colour_{side}": ["#888"] * len(rows) for side in SIDES.values()}, name="points"
    )
    source.selected.js_on_change("indices", models.CustomJS(code="window.explorer.select(cb_obj.indices)"))
    view = models.CDSView(filter=models.IndexFilter(indices=list(range(len(rows))), name="shown"))
    mark = models.ColumnDataSource({name: [] for name in places}, name="mark")
    x, y = (models.Range1d(start=0, end=1, name=axis) for axis in "xy")
    hover = models.CustomJS(code="window.explorer.hover(cb_data.index.indices)")
    document = Document()
    for side in SIDES.values():
        plot = figure(
            x_range=x, y_range=y, tools=[], name=side, sizing_mode="stretch_both", min_border=0,
            background_fill_color=None, border_fill_color=None, outline_line_color=None, toolbar_location="below",
        )  # fmt: skip
        plot.axis.visible = plot.grid.visible = False
        dots = plot.scatter(
            f"x_{side}", f"y_{side}", source=source, view=view, size=8, color=f"colour_{side}", alpha=0.75,
            line_color="white", line_width=0.4, nonselection_alpha=0.12,
        )  # fmt: skip
        for width, colour in ((5, "white"), (2.5, "#111")):  # seen on any ground
            plot.scatter(
                f"x_{side}", f"y_{side}", source=mark, size=19, fill_alpha=0, line_color=colour, line_width=width
            )
        lasso = models.LassoSelectTool(renderers=[dots], name=f"lasso-{side}", continuous=False)
        plot.add_tools(
            lasso, models.PanTool(), models.WheelZoomTool(), models.ResetTool(), models.TapTool(renderers=[dots]),
            models.HoverTool(tooltips=None, renderers=[dots], callback=hover, visible=False),
        )  # fmt: skip
        plot.toolbar.active_drag, plot.toolbar.active_scroll, plot.toolbar.logo = lasso, None, None
        document.add_root(plot)
    roots = {root.id: f"plot-{root.name}" for root in document.roots}
    item = {"docid": "explorer", "roots": roots, "root_ids": list(roots)}
    return {"docs": {"explorer": document.to_json(deferred=False)}, "items": [item]}


def _webp(face: np.ndarray) -> str:
    """A face (S, S, 3) uint8 as a small picture, base64: 64 pixels a side take about half a kilobyte."""
    from PIL import Image

    picture, buffer = Image.fromarray(face), io.BytesIO()
    if face.shape[0] > SIDE:
        picture = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(buffer, "WEBP", quality=60)
    return base64.b64encode(buffer.getvalue()).decode()


def _maps(cams: np.ndarray) -> dict[str, Any]:
    from bokeh.palettes import Inferno256

    return {"side": cams.shape[-1], "palette": Inferno256, "values": base64.b64encode(cams.tobytes()).decode()}


@cache
def _library() -> str:
    """BokehJS as installed, packed, base64."""
    from bokeh.resources import Resources

    script = "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)
    return base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
