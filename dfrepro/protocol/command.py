"""`python -m dfrepro protocol RUN`: one trained run on sets under protocols, as a table on the terminal and as files.

results/<scale>/protocol/<run>.csv   protocol, dataset, value, low, high
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from dfrepro import places
from dfrepro.files import atomic_file
from dfrepro.params import Params
from dfrepro.protocol import measure
from dfrepro.protocol.declared import OURS, chosen, load, named
from dfrepro.report import operating

ACROSS = 3  # sets in a table of eighty columns


def main(
    p: Params, run: str, *, datasets: Sequence[str] = (), names: Sequence[str] = (), near: float | None = None,
    console: Console | None = None,
) -> None:  # fmt: skip
    """Measure `run` on `datasets` (default: its test sets) under the protocols `names`, and print what was found.

    names: default, the named ones; "all", single choices too. near: also list, for each set, the protocols whose number
    is nearest to this one; then the default is all.
    """
    console = console or Console(highlight=False)
    every = load()
    wanted = list(names) or (["all"] if near is not None else named(every))
    protocols = every if wanted == ["all"] else chosen(every, wanted)
    measured = measure.measure(p, run, protocols, list(datasets) or p.tests(run))
    levels = measure.levels(measured)
    path = write(levels, places.results_folder(p) / "protocol" / f"{run}.csv")
    _print(console, measure.shown(levels), f"{run}, {p.scale} scale, [95 %] over people and seeds")
    for dataset in measured.datasets if near is not None else ():
        _print(console, nearest(levels, near or 0.0, dataset), f"nearest to {near:g} on {dataset}")
    if OURS in protocols:
        points = _points(p, run, measured)
        for start in range(0, len(points), ACROSS):
            part = points.iloc[start : start + ACROSS].T
            _print(console, part, "videos under our protocol, at thresholds of validation")
    for name, protocol in protocols.items():
        for part, what in protocol.departs.items():
            console.print(f"{name}: {part}: {what}", style="dim", markup=False)
    for dataset, (crowded, videos) in measured.several.items():
        console.print(f"{dataset}: {crowded} of {videos} videos show several people", style="dim", markup=False)
    if measured.is_one_seed and any(protocol.checkpoint != "last" for protocol in protocols.values()):
        console.print("checkpoint: one seed is there, so that none was chosen", style="dim", markup=False)
    console.print(f"{measured.scored} faces passed the network; the rest was known. {path}", markup=False)


def write(levels: pd.DataFrame, path: Path) -> Path:
    """`levels` as CSV, to four places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        levels.to_csv(partial, index=False, float_format="%.4f")
    return path


def nearest(levels: pd.DataFrame, value: float, dataset: str) -> pd.DataFrame:
    """`measure.nearest` for readers."""
    found = measure.nearest(levels, value, dataset)
    interval = [f"[{row.low:.3f}, {row.high:.3f}]" if np.isfinite(row.low) else "" for row in found.itertuples()]
    columns = {
        "value": found["value"].map("{:.4f}".format),
        "[95 %]": interval,
        "off": found["off"].map("{:+.4f}".format),
    }
    inside = np.where(found["inside"], "yes", "no")
    return pd.DataFrame(columns | {"printed inside": inside}).set_axis(found["protocol"]).rename_axis(None)


def _points(p: Params, run: str, measured: measure.Measured) -> pd.DataFrame:
    items = measured.items[measured.items["run"] == OURS].assign(run=run, condition=operating.CLEAN)
    return operating.points(
        items, operating.validation(p, run, items["seed"].unique()), operating.places_of(items)
    ).astype(str)


def _print(console: Console, table: pd.DataFrame, title: str) -> None:
    drawn = Table("", *map(str, table.columns), title=title, title_justify="left", box=None, pad_edge=False)
    for name, row in table.iterrows():
        drawn.add_row(str(name), *map(str, row))
    console.print(drawn)
    console.print()
