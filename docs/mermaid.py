"""Mermaid's plain flowcharts as SVG, so that the book draws them without JavaScript: `svg(source)`.

Read are `flowchart TD` or `LR`, `name[label]`, `name["label"]`, `a --> b` and `a -->|text| b`. Nodes lie in layers by
the longest path to them, in the order of what they follow; an edge over several layers passes between their nodes, and
one that closes a circle runs back. Colours are the page's.
"""

import html
import re
from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

NODE = re.compile(r"([\w-]+)(?:\[\"?([^\]\"]*)\"?\])?")
EDGE = re.compile(rf"^{NODE.pattern}\s*-->(?:\|([^|]*)\|)?\s*{NODE.pattern}$")
LETTER, HIGH, APART, GAP = 7.4, 34, 18, 34  # a letter's width, a box's height, between boxes, between layers; pixels


class Edge(NamedTuple):
    start: str
    end: str
    text: str


def parse(source: str) -> tuple[bool, dict[str, str], list[Edge]]:
    """Whether layers run from left to right, labels by name, and edges. Raises ValueError for any other line."""
    head, *lines = [line.strip() for line in source.strip().splitlines() if line.strip()]
    labels: dict[str, str] = {}
    edges = []
    for line in lines:
        if found := EDGE.match(line):
            start, first, text, end, second = found.groups()
            edges.append(Edge(start, end, text or ""))
            named = ((start, first), (end, second))
        elif found := NODE.fullmatch(line):
            named = ((found[1], found[2]),)
        else:
            raise ValueError(f"no flowchart's line: {line}")
        for name, label in named:
            labels[name] = label or labels.get(name, name)
    return head.endswith("LR"), labels, edges


def layers(names: list[str], edges: list[Edge]) -> tuple[dict[str, int], set[Edge]]:
    """The layer of each name, and the edges that run back."""
    after = defaultdict(list)
    for edge in edges:
        after[edge.start].append(edge)
    rank, back, open_ = dict.fromkeys(names, -1), set(), set()

    def visit(name: str, at: int) -> None:
        if rank[name] >= at:
            return
        rank[name] = at
        open_.add(name)
        for edge in after[name]:
            if edge.end in open_:
                back.add(edge)
            else:
                visit(edge.end, at + 1)
        open_.remove(name)

    ends = {edge.end for edge in edges}
    for name in [*(name for name in names if name not in ends), *names]:
        if rank[name] < 0:
            visit(name, 0)
    return rank, back


def rows(labels: dict[str, str], edges: list[Edge], rank: dict[str, int]) -> list[list[str]]:
    """The layers with their nodes in order; `a>b>2` is where the edge from a to b passes layer 2."""
    after: dict[str, list[str]] = defaultdict(list)
    table: list[list[str]] = [[] for _ in range(max(rank.values()) + 1)]
    for name in labels:
        table[rank[name]].append(name)
    for edge in edges:
        path = [edge.start, *passed(edge, rank), edge.end]
        for here, there in pairwise(path):
            after[there].append(here)
        for at, name in enumerate(path[1:-1], rank[edge.start] + 1):
            table[at].append(name)
    for above, row in pairwise(table):
        place = {name: number / max(len(above) - 1, 1) for number, name in enumerate(above)}
        row.sort(key=lambda name: sum(place[each] for each in after[name]) / max(len(after[name]), 1))
    return table


def passed(edge: Edge, rank: dict[str, int]) -> list[str]:
    return [f"{edge.start}>{edge.end}>{at}" for at in range(rank[edge.start] + 1, rank[edge.end])]


def svg(source: str) -> str:
    """The flowchart as an <svg> element that is as wide as it needs, at most as the page."""
    across, labels, edges = parse(source)
    rank, back = layers(list(labels), edges)
    forth = [edge for edge in edges if edge not in back]
    table = rows(labels, forth, rank)
    wide = {name: len(labels[name]) * LETTER + 20 if name in labels else 8.0 for row in table for name in row}
    at, start = {}, 0.0
    total = max(sum((HIGH if across else wide[name]) + APART for name in row) for row in table)
    for row in table:
        deep = max(wide[name] for name in row) if across else HIGH
        along = (total - sum((HIGH if across else wide[name]) + APART for name in row)) / 2
        for name in row:
            side = HIGH if across else wide[name]
            middle, depth = along + (side + APART) / 2, start + deep / 2
            at[name] = (depth, middle) if across else (middle, depth)
            along += side + APART
        start += deep + GAP
    width, height = (start - GAP, total) if across else (total, start - GAP)
    drawn = [_edge([each.start, *passed(each, rank), each.end], each.text, at, wide, labels, across) for each in forth]
    drawn += [_back(each, at, wide, width) for each in back]
    drawn += [_box(labels[name], *at[name], wide[name]) for name in labels]
    more = 30 if back else 0
    said = html.escape("; ".join(f"{labels[e.start]} to {labels[e.end]}" for e in edges), quote=True)
    head = f'<svg class="flow" role="img" aria-label="{said}" viewBox="-4 -4 {width + 8 + more:.0f} {height + 8:.0f}"'
    arrow = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    tip = f'<defs>{arrow}<path d="M0 0 8 4 0 8z" fill="currentColor"/></marker></defs>'
    return f'{head} width="{width + 8 + more:.0f}">{tip}{"".join(drawn)}</svg>'


def _box(label: str, x: float, y: float, wide: float) -> str:
    frame = f'<rect x="{x - wide / 2:.1f}" y="{y - HIGH / 2:.1f}" width="{wide:.1f}" height="{HIGH}" rx="5"/>'
    return f'{frame}<text x="{x:.1f}" y="{y + 4.5:.1f}">{html.escape(label)}</text>'


def _edge(path: list[str], text: str, at: dict, wide: dict, labels: dict, across: bool) -> str:
    """A curve through the middles of `path`, from the border of its first box to that of its last."""

    def border(name: str, sign: int) -> tuple[float, float]:
        x, y = at[name]
        if name not in labels:
            return x, y
        return (x + sign * wide[name] / 2, y) if across else (x, y + sign * HIGH / 2)

    pieces = []
    for here, there in pairwise(path):
        (x0, y0), (x1, y1) = border(here, 1), border(there, -1)
        bend = f"{(x0 + x1) / 2:.1f} {y0:.1f} {(x0 + x1) / 2:.1f} {y1:.1f}"
        if not across:
            bend = f"{x0:.1f} {(y0 + y1) / 2:.1f} {x1:.1f} {(y0 + y1) / 2:.1f}"
        pieces.append(f"M{x0:.1f} {y0:.1f}C{bend} {x1:.1f} {y1:.1f}")
    line = "".join(f'<path class="edge" d="{piece}"/>' for piece in pieces[:-1])
    line += f'<path class="edge" d="{pieces[-1]}" marker-end="url(#tip)"/>'
    (x0, y0), (x1, y1) = border(path[0], 1), border(path[1], -1)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return line + (f'<text class="on" x="{x:.1f}" y="{y + 4:.1f}">{html.escape(text)}</text>' if text else "")


def _back(edge: Edge, at: dict, wide: dict, width: float) -> str:
    """Around the right side, from box to box."""
    (x0, y0), (x1, y1) = at[edge.start], at[edge.end]
    a, b = x0 + wide[edge.start] / 2, x1 + wide[edge.end] / 2
    curve = f"M{a:.1f} {y0:.1f}C{width + 30:.1f} {y0:.1f} {width + 30:.1f} {y1:.1f} {b:.1f} {y1:.1f}"
    return f'<path class="edge" d="{curve}" marker-end="url(#tip)"/>'
