"""`python -m dfrepro check`: what each declared dataset root holds, what is missing, and what to do about it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dfrepro.data.layouts import Inventory, layout
from dfrepro.errors import plain

COLOURS = {"error": "bold red", "missing": "yellow", "note": "dim"}


def report(roots: Mapping[str, tuple[str, Path]]) -> list[tuple[str, Inventory]]:
    """Return (name, inventory) of each declared root, in the order declared; `roots` maps name -> (layout, folder)."""
    return [(name, layout(kind).check(Path(root))) for name, (kind, root) in roots.items()]


def run_check(
    roots: Mapping[str, tuple[str, Path]], console: Console | None = None, *,
    standin: Mapping[str, Path] | None = None, absent: Sequence[str] = (),
) -> int:  # fmt: skip
    """Print the inventories; return the exit status: 0 if every root is usable, 1 otherwise.

    standin: the sets whose stand-in is used, with its folder; absent: those of which there is no copy and no stand-in.
    Neither is held to the official numbers of videos.
    """
    console = console or Console()
    inventories = report(roots)
    if standin:
        console.print(_of_standin(standin))
    if absent:
        console.print(Text(f"Absent, so no run is tested on them: {', '.join(absent)}. See docs/datasets.md.\n", "dim"))
    if not inventories and not standin:
        console.print("No dataset roots are declared; the stand-in needs none. See docs/datasets.md.")
    for name, inventory in inventories:
        console.print(_page(name, inventory))
    return 0 if all(inventory.usable for _, inventory in inventories) else 1


def _of_standin(standin: Mapping[str, Path]) -> Text:
    there = [name for name, folder in standin.items() if folder.is_dir()]
    said = f"Stand-in, made by the workbook and smaller than the set whose layout it has: {', '.join(standin)}.\n"
    if len(there) < len(standin):
        waiting = (
            "It is not generated yet" if not there else f"Not yet generated: {', '.join(set(standin) - set(there))}"
        )
        said += f"{waiting}; `make repro` does it first. Nothing is to be downloaded.\n"
    return Text(said + "Your own copy of a set: its folder under `roots` in params.yaml (docs/datasets.md).\n")


def _page(name: str, inventory: Inventory) -> Group:
    verdict = Text("usable", "green") if inventory.usable else Text("not usable", "bold red")
    title = Text.assemble((name, "bold"), f" ({inventory.layout}) at {plain(str(inventory.root))}: ", verdict)
    parts: list[Text | Table | Padding] = [title]
    if inventory.counts:
        parts.append(Padding(_counts(inventory), (0, 0, 0, 2)))
    for finding in inventory.findings:
        remedy = f" → {plain(finding.remedy)}" if finding.remedy else ""
        text = Text.assemble((finding.level, COLOURS[finding.level]), f": {plain(finding.text)}", (remedy, "italic"))
        parts.append(Padding(text, (0, 0, 0, 2)))
    return Group(*parts, Text(""))


def _counts(inventory: Inventory) -> Table:
    table = Table("what", "found", "official", box=None, pad_edge=False, header_style="dim")
    for count in inventory.counts:
        official = "" if count.official is None else f"{count.official:,}"
        short = count.official is not None and count.found < count.official
        table.add_row(Text(plain(count.what)), Text(f"{count.found:,}", "yellow" if short else ""), official)
    for column in table.columns[1:]:
        column.justify = "right"
    return table
