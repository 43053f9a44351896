"""Measure, print the table, and write results/bench.json and docs/tables/performance.csv: `python -m bench [name ...]`.

Each figure is a ratio of two things measured in turn in this very run; seconds are told beside it. With names, only
those benchmarks are measured and the others' last figures stay. `--page` writes the table and measures nothing.
"""

import argparse
import importlib
import sys
import time

from rich.console import Console
from rich.table import Table

from bench import page
from bench.measure import Row, machine, write

NAMES = (
    "faces", "forge", "loop", "validation", "steps", "settings", "pel", "fia_usa", "focus", "fpg", "evaluate",
    "pipeline", "memory", "device",
)  # fmt: skip
ASKED_FOR = ("gpu",)  # measured by name alone


def main(names: list[str]) -> None:
    table = Table("benchmark", "what", "measured", "asked", "beside", "detail", title=machine())
    for name in names or NAMES:
        started = time.perf_counter()
        rows: list[Row] = importlib.import_module(f"bench.{name}").bench()
        if rows:
            write(name, rows)
        print(f"{name}: {len(rows)} figures in {time.perf_counter() - started:.0f} s", flush=True)
        for row in rows:
            colour = {True: "green", False: "red", None: ""}[row.met]
            told = page.number(row.value, row.unit)
            shown = f"[{colour}]{told}[/]" if colour else told
            table.add_row(name, row.name, shown, page.asked(row.asked, row.less, row.unit), row.floor, row.detail)
    Console(width=190).print(table)
    page.write()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of {', '.join(NAMES)} (default: all), or gpu")
    parser.add_argument("--page", action="store_true", help="write docs/tables/performance.csv from results/bench.json")
    given = parser.parse_args()
    if unknown := set(given.names) - {*NAMES, *ASKED_FOR}:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    sys.exit(page.write() if given.page else main(given.names))
