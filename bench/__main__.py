"""Run every benchmark, print its ratios beside their targets and floors, and write results/bench.json.

A ratio compares two things measured in turn in this very run; seconds are shown, never judged.
"""

import importlib
import platform
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from dfrepro.files import ROOT, write_json

SHOWN = ("benchmark", "name", "ratio", "target")
NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main(names: list[str]) -> int:
    rows = []
    for name in names or NAMES:
        for row in importlib.import_module(f"bench.{name}").bench():
            rows.append({"benchmark": name, **row})
            print(f"{name}: {row['name']}: {row['ratio']:.3g}", flush=True)
    table = Table("benchmark", "what", "ratio", "target", "measured beside it", title=machine())
    for row in rows:
        rest = "; ".join(f"{key}: {value}" for key, value in row.items() if key not in SHOWN)
        table.add_row(row["benchmark"], row["name"], f"{row['ratio']:.3g}", str(row["target"]), rest)
    Console(width=170).print(table)
    if not names:
        write_json(ROOT / "results" / "bench.json", {"machine": machine(), "rows": rows})
    return 0


def machine() -> str:
    return f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
