"""What the command line says of runs: which are there, what came of a training or a scoring, and what to do next."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import pandas as pd
from rich.table import Table

from dfrepro import places
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json
from dfrepro.jobs import ready
from dfrepro.params import Params
from dfrepro.report.compare import bracketed, of_runs


def chosen(p: Params, patterns: Sequence[str]) -> list[str]:
    """The declared runs that match a name or a shell-like pattern, in the order asked for.

    Raises WorkbookError for one that matches nothing.
    """
    found: list[str] = []
    for pattern in patterns:
        matching = [name for name in p.runs if fnmatchcase(name, pattern)]
        if not matching and not set(pattern) & set("*?["):
            p.run(pattern)  # says which name is near
        if not matching:
            raise WorkbookError(
                f"no run is called {pattern!r}", where="params.yaml", remedy="`dfrepro runs` lists them"
            )
        found += matching
    return list(dict.fromkeys(found))


def trained(p: Params, run: str, seed: int) -> str:
    """What came of a training: loss, validation AUC, where it is, and what to do next."""
    folder = places.run_folder(p, run, seed)
    history = pd.read_csv(folder / "history.csv")
    first, last = history.iloc[0], history.iloc[-1]
    said = f"{run}, seed {seed}: {len(history)} epochs, loss {first['loss']:.3f} → {last['loss']:.3f}"
    if "validation" in history:
        known = history[history["validation"].notna()]
        best = known.loc[known["validation"].idxmax()] if len(known) else None
        if best is not None:
            said += f", validation AUC {known['validation'].iloc[-1]:.3f}"
            said += f" (best {best['validation']:.3f} after epoch {int(best['epoch'])})"
    return f"{said}\nin {shown(folder)}\nnext: python -m dfrepro evaluate {run} --seed {seed}"


def scored(p: Params, run: str, seed: int) -> str:
    """What came of a scoring: AUC over videos on each test set with its interval, where it is, and what to do next."""
    table = of_runs(p, [ready.there(p, run, seed)]).table
    width = max((len(test) for test in table["test"]), default=0)
    lines = [f"  {row.test:<{width}}  {bracketed('{:.3f}', row.auc, row.low, row.high)}" for row in table.itertuples()]
    head = f"{run}, seed {seed}: AUC over videos [95 % over people], {_data(p)} data"
    other = next((name for name in p.runs if name != run and ready.state(p, name, seed) == "scored"), "")
    step = f"compare {other} {run}" if other else f"card {run}"
    return "\n".join(
        [head, *lines, f"in {shown(places.scores_folder(p, run, seed))}", f"next: python -m dfrepro {step}"]
    )


def listing(p: Params, names: Sequence[str]) -> Table:
    """A row a run: how many seeds are trained, scored or stale, and the AUC on its own set, mean over seeds."""
    table = Table("run", "trained", "scored", "AUC, own set", "state", box=None, pad_edge=False, header_style="dim")
    for name in names:
        states = [ready.state(p, name, seed) for seed in p.seeds]
        count = {state: states.count(state) for state in ("not trained", "stale", "trained", "scored")}
        there, of = count["trained"] + count["scored"], len(states)
        if count["stale"]:
            state, colour = "stale: declared otherwise since", "yellow"
        elif there < of:
            state, colour = "not trained" if not there else "some seeds not trained", "dim"
        else:
            state, colour = ("scored", "green") if count["scored"] == of else ("not scored", "yellow")
        colour = colour if p.in_grid(name) else "dim"
        state += "" if p.in_grid(name) or there else " (full grid)"
        table.add_row(name, f"{there}/{of}", f"{count['scored']}/{of}", _own_auc(p, name), f"[{colour}]{state}[/]")
    return table


def _own_auc(p: Params, run: str) -> str:
    """From results/<scale>/metrics: "0.912", or nothing."""
    values = []
    for seed in p.seeds:
        path = places.results_folder(p) / "metrics" / f"{run}-{seed}.json"
        if ready.state(p, run, seed) == "scored" and path.is_file():
            values.append(read_json(path).get(p.run(run).data.dataset, {}).get("video_auc"))
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else ""


def _data(p: Params) -> str:
    return "stand-in" if set(p.roots.values()) <= {"standin", "absent"} else "your"


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
