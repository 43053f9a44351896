"""The pipeline on one page: `dvc dag` draws every run, 46,000 columns wide; this draws each kind of stage once.

`python -m dfrepro dag` writes docs/figures/pipeline.svg from DVC's own graph and the comments in dvc.yaml. What nothing
tells about the order of things is left out: the stages that copy a notebook's code, and the one that notes the grid.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from html import escape
from pathlib import Path
from typing import NamedTuple

from scipy.optimize import isotonic_regression

from dfrepro.files import ROOT, atomic_file

BOX, GAP = (154, 32), (46, 18)  # pixels: a stage's box, and what lies between two
KINDS = {"train": "train", "evaluate": "score", "maps": "train", "embed": "score"}  # before the first hyphen; else data
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #222 } .n { fill: #777 }
rect { fill: #eef3ee; stroke: #9bb39b } path { fill: none; stroke: #bbb; stroke-width: 1.2 }
.train { fill: #fdf0e8; stroke: #d9a07a } .score { fill: #eaf1f8; stroke: #8fb0cf }
.notebook { fill: #fff; stroke: #444 }
@media (prefers-color-scheme: dark) {
text { fill: #eee } .n { fill: #aaa } path { stroke: #666 }
rect { fill: #2a352a } .train { fill: #44301f } .score { fill: #1f3040 } .notebook { fill: #222; stroke: #ccc }
}
""".strip()


class Stage(NamedTuple):
    """What dvc.yaml calls a stage: its comment there, how many runs it makes, and the stages that need it."""

    note: str
    runs: int
    leads_to: frozenset[str]


def stages(root: Path = ROOT) -> dict[str, Stage]:
    """The stages of dvc.yaml in its order, with no way drawn that a longer one implies."""
    from dvc.repo import Repo

    with Repo(str(root)) as repo:  # the rest of the grid, in a dvc.yaml of its own, is the same again
        graph = repo.index.graph
        kind = {stage: stage.name.partition("@")[0] for stage in graph if stage.path_in_repo == "dvc.yaml"}
        count = Counter(name for name in kind.values() if name != "grid" and not name.startswith("code-"))
        needs = {(kind[stage], kind[needed]) for stage, needed in graph.edges if {stage, needed} <= kind.keys()}
    reached = {name: {stage for stage, needed in needs if needed == name and stage in count} - {name} for name in count}
    declared = re.findall(r"^  ([\w-]+):(?: # (.*))?$", (root / "dvc.yaml").read_text(encoding="utf-8"), re.MULTILINE)
    return {
        name: Stage(
            note,
            count[name],
            frozenset(reached[name] - set().union(*(_beyond(step, reached) for step in reached[name]))),
        )
        for name, note in declared
        if name in count
    }


def svg(found: Mapping[str, Stage]) -> str:
    """A drawing in columns, from what needs nothing to the notebooks. Light or dark as the reader's screen is."""
    place = {
        name: (x * (BOX[0] + GAP[0]) + GAP[0] / 2, y) for x, column in enumerate(_columns(found)) for name, y in column
    }
    width = max(x for x, _ in place.values()) + BOX[0] + GAP[0] / 2
    height = max(y for _, y in place.values()) + BOX[1] + GAP[1] / 2
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img">',
        "<title>The stages of dvc.yaml, and what each leads to</title>",
        f"<style>{STYLE}</style>",
    ]
    for name, stage in found.items():
        for then in sorted(stage.leads_to):
            (x0, y0), (x1, y1) = place[name], place[then]
            x0, y0, y1 = x0 + BOX[0], y0 + BOX[1] / 2, y1 + BOX[1] / 2
            a = x1 - GAP[0] if _notebook(then) else x0  # the turn, in the gap before notebooks or behind the stage
            b = a + GAP[0]
            lines.append(f'<path d="M{x0:g} {y0:g}H{a:g}C{b:g} {y0:g} {a:g} {y1:g} {b:g} {y1:g}H{x1:g}"/>')
    for name, (x, y) in place.items():
        stage = found[name]
        many = f' <tspan class="n">×{stage.runs}</tspan>' if stage.runs > 1 else ""
        kind = "notebook" if _notebook(name) else KINDS.get(name.partition("-")[0], "data")
        lines.append(
            f'<g><title>{escape(stage.note)}</title><rect class="{kind}" x="{x:g}" y="{y:g}" width="{BOX[0]}" '
            f'height="{BOX[1]}" rx="5"/><text x="{x + 9:g}" y="{y + BOX[1] / 2 + 4:g}">{name}{many}</text></g>'
        )
    return "\n".join([*lines, "</svg>", ""])


def write(root: Path = ROOT) -> Path:
    """Bring docs/figures/pipeline.svg into step with dvc.yaml."""
    path = root / "docs" / "figures" / "pipeline.svg"
    with atomic_file(path) as partial:
        partial.write_text(svg(stages(root)), encoding="utf-8")
    return path


def _columns(found: Mapping[str, Stage]) -> Iterator[list[tuple[str, float]]]:
    """The stages column by column, each as early as it can run and in the row of the notebooks that rest on it.

    A notebook has as many rows as a column has stages that lead to it alone; the last, which rests on all scores, one.
    """
    leads = {name: stage.leads_to for name, stage in found.items()}
    depth = dict.fromkeys(found, 0)
    for _ in found:
        depth |= {then: max(depth[then], depth[name] + 1) for name in found for then in leads[name]}
    *notebooks, last = [name for name in found if _notebook(name)]
    depth |= dict.fromkeys([*notebooks, last], max(depth.values()))
    rest = {name: [other for other in notebooks if other in _beyond(name, leads)] for name in found}
    rows = Counter[str]()
    for (notebook, _), many in Counter((rest[name][0], depth[name]) for name in found if len(rest[name]) == 1).items():
        rows[notebook] = max(rows[notebook], many)
    row, height = {last: float(sum(max(rows[name], 1) for name in notebooks))}, 0
    for name in notebooks:
        row[name] = height + (max(rows[name], 1) - 1) / 2
        height += max(rows[name], 1)
    for name in found.keys() - row.keys():
        row[name] = sum(row[other] for other in rest[name]) / len(rest[name]) if rest[name] else row[last]
    for x in range(max(depth.values()) + 1):
        column = sorted((name for name in found if depth[name] == x), key=lambda name: row[name])
        apart = isotonic_regression([row[name] - y for y, name in enumerate(column)]).x + range(len(column))
        yield [(name, float(y) * (BOX[1] + GAP[1]) + GAP[1] / 2) for name, y in zip(column, apart, strict=True)]


def _beyond(name: str, leads: Mapping[str, Set[str]]) -> set[str]:
    return set().union(*({then} | _beyond(then, leads) for then in leads[name]))


def _notebook(name: str) -> bool:
    return name[0].isdigit()
