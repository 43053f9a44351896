"""Tables as notebooks show them: one number format, a dash for no value, verdicts in colour, and notes below.

A paper's table has a line a source: what is printed, what the committed study measured, what this clone measured. Rows
and columns that nobody has measured are named below it with the reason, and never stand there as empty cells.
"""

import html
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dfrepro.report.beside import PAPER, SOURCES
from dfrepro.report.learned import brief
from dfrepro.report.overview import COLOURS
from dfrepro.report.plots import NAMES, effect
from dfrepro.report.verdict import VERDICTS

DASH = "–"
UNJUDGED = VERDICTS[-2:]  # not testable, not run
NOTHING: Mapping[str, Any] = {"effect": None, "interval": None, "verdict": ""}
Claims = Sequence[Mapping[str, Any]]
NOT_RUN = VERDICTS[-1]
WORDS = {"auc": "AUC", "eer": "EER", "ffpp": "FF++", "cdf": "CDF", "dfd": "DFD", "dfdc": "DFDC", "dfdcp": "DFDCP",
         "wdf": "WDF", "ffiw": "FFIW", "diff": "DiFF", "fs": "FS", "fe": "FE", "pim": "PIM", "rgb": "RGB",
         "alpha": "α", "beta": "β", "plus": "+"}  # fmt: skip
INTERVAL = re.compile(r"(.+?) (\[.+\])")
NUMBER = re.compile(r"[-+−–]?[\d.,]*( \[.*\])?%?")
SHORT, LONG = 12, 60  # characters: up to these a cell is one line, and a few lines of a narrow column


@dataclass(frozen=True)
class Table:
    """A table for readers. Floats are shown with three decimals unless they come as text.

    `merged`: how many of the first columns span the rows in which they say the same.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    caption: str = ""
    merged: int = 0

    @property
    def text(self) -> pd.DataFrame:
        """All cells as they are shown."""
        return pd.DataFrame({str(name): [shown(value) for value in self.frame[name]] for name in self.frame})

    def __repr__(self) -> str:
        lines = [self.caption, self.text.to_string(index=False) if len(self.frame) else "", *self.notes]
        return "\n".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        below = "".join(f'<p style="max-width:60em"><small>{html.escape(note)}</small></p>' for note in self.notes)
        if not len(self.frame):
            return f"<div>{below}</div>"
        caption = f"<p><b>{html.escape(self.caption)}</b></p>" if self.caption else ""
        head = "".join(f'<th style="text-align:left">{html.escape(name)}</th>' for name in self.text)
        body = "\n".join(self._rows())
        return (
            f'<div style="overflow-x:auto">{caption}<table class="dataframe">\n<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody></table>{below}</div>"
        )

    def _rows(self) -> list[str]:
        text = self.text
        keys = [tuple(row) for row in text.iloc[:, : self.merged].itertuples(index=False)]
        lines = []
        for i, row in enumerate(text.itertuples(index=False)):
            first = i == 0 or keys[i] != keys[i - 1] or not self.merged
            span = next((n for n, key in enumerate(keys[i:]) if key != keys[i]), len(keys) - i) if self.merged else 1
            cells = [_cell(value, span) for value in row[: self.merged] if first]
            quiet = self.merged < len(row) and row[self.merged] == PAPER
            cells += [_cell(value, quiet=quiet) for value in row[self.merged :]]
            lines.append(f"<tr>{''.join(cells)}</tr>")
        return lines


def shown(value: Any) -> str:
    """A cell's text: floats with three decimals, a dash for what has no value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value or DASH
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or DASH
    if value is None or pd.isna(value):
        return DASH
    return f"{value:z.3f}" if isinstance(value, float) else str(value)


def _cell(text: str, span: int = 1, quiet: bool = False) -> str:
    """A number and its interval are two lines, the second small; a verdict has its colour; no text is a thread."""
    lines = text.split("\n")
    inner = "<br>".join(map(_line, lines))
    if text in COLOURS:
        inner = f'<b style="color:{COLOURS[text]}">{inner}</b>'  # type: ignore[index]
    numbers, rows = all(map(NUMBER.fullmatch, lines)), f' rowspan="{span}"' if span > 1 else ""
    style = f"text-align:{'right' if numbers else 'left'};vertical-align:top" + ";color:gray" * quiet
    if not any(map(INTERVAL.fullmatch, lines)):
        narrow = max(map(len, lines)) <= SHORT or text in COLOURS
        style += ";white-space:nowrap" if narrow else f";min-width:{8 if len(text) <= LONG else 16}em"
    return f'<td{rows} style="{style}">{inner}</td>'


def _line(text: str) -> str:
    parts = INTERVAL.fullmatch(text)
    return f"{html.escape(parts[1])}<br><small>{parts[2]}</small>" if parts else html.escape(text)


# --- claims ---------------------------------------------------------------------------------------------------------


def findings(verdicts: Claims, why: str, source: str = "study") -> Table:
    """What the study, or another `source`, says of claims: a row each that was judged; the others in notes."""
    rows = [
        {"claim": v["title"], "statement": v["statement"], "paper": effect(v["printed_effect"], None),
         f"{source} [95 %]": effect(v["effect"], v["interval"]),
         "seeds": f"{len(v['seeds']) or ''}" + (", former study" if v.get("former") else ""),
         "verdict": v["verdict"], "why": brief(v)}
        for v in verdicts if v["verdict"] not in UNJUDGED
    ]  # fmt: skip
    notes = [f"No stand-in can test {v['title']}: {brief(v)}." for v in verdicts if v["verdict"] == "not testable"]
    if waiting := [v["title"] for v in verdicts if v["verdict"] == NOT_RUN]:
        notes.insert(0, f"Not judged yet: {', '.join(waiting)}. {why}")
    return Table(pd.DataFrame(rows), tuple(notes))


def comparisons(
    here: Claims, study: Claims, former: Claims = (), *, label: str, why: str
) -> Table:  # fmt: skip
    """The cells of claims as this clone has them, beside the study's, or the former study's where it has none.

    Those that nobody has measured are in a note.
    """
    of_study, of_former = (
        {(claim["id"], cell["name"]): cell for claim in claims for cell in claim["cells"]}
        for claims in ([c for c in study if not c.get("former")], [*former, *(c for c in study if c.get("former"))])
    )
    decided = {claim["title"] for claim in study if claim["verdict"] != NOT_RUN}
    rows, waiting = [], Counter[str]()
    for claim in here:
        for cell in claim["cells"]:
            key = claim["id"], cell["name"]
            found = of_study.get(key, NOTHING)
            before = of_former.get(key, NOTHING) if found["effect"] is None else NOTHING
            if cell["effect"] is found["effect"] is before["effect"] is None:
                waiting[claim["title"]] += 1
                continue
            says = (before if found["effect"] is None else found)["verdict"] if claim["title"] in decided else ""
            rows.append({
                "claim": claim["title"], "comparison": cell["name"], "paper": effect(cell["printed"], None),
                "study [95 %]": effect(found["effect"], found["interval"]),
                "former study [95 %]": effect(before["effect"], before["interval"]),
                "this clone [95 %]": effect(cell["effect"], cell["interval"]),
                "study says": "" if says == NOT_RUN else says,
            })  # fmt: skip
    notes = []
    if open_ := [claim["title"] for claim in here if claim["title"] not in decided]:
        notes.append(f"The study has not judged yet: {', '.join(open_)}. {why}")
    if waiting:
        counted = ", ".join(f"{number} of {title}" for title, number in waiting.items())
        notes.append(f"Comparisons that nobody has measured yet: {counted}.")
    frame = pd.DataFrame(rows)
    caption = f"Effects, positive as the paper claims; ours on {label} videos"
    return Table(frame[[name for name in frame if frame[name].any()]], tuple(notes), caption, merged=1)


# --- a paper's table beside ours ------------------------------------------------------------------------------------


def comparison(cells: pd.DataFrame, *, label: str, why: str, absent: Collection[str] = ()) -> Table:
    """A paper's table (`dfrepro.report.beside`) as a line a source, with what nobody has measured in notes.

    `label`: what our data are ("stand-in"). `why`: why a run is not there; `absent`: the columns whose test sets are
    not at hand.
    """
    about, measured = cells.attrs, cells[cells["source"] != PAPER]
    columns = [name for name in about["columns"] if name in set(measured["column"])] or about["columns"]
    ours = set(measured["row"])
    order = {source: number for number, source in enumerate(SOURCES)}
    lines: list[dict[str, str]] = []
    groups = cells.assign(order=cells["source"].map(order), later=~cells["row"].isin(ours))
    for (later, _, _), part in groups.groupby(["later", "row", "order"]):
        if later and part["run"].iloc[0] and ours:
            continue  # ours, and not measured yet: in the note
        values = part.set_index("column")
        lines.append(
            {titled(key): str(part[key].iloc[0]) for key in about["keys"]}
            | {"source": _source(part)}
            | {titled(name): _value(values, name, about) for name in columns}
        )
    title = ": ".join(filter(None, (about.get("source", ""), about["title"])))
    title += ", in percent" if columns and set(columns) <= set(about["percent"]) else ""
    title += f" (ours on {label} videos)" if ours else ""
    frame = pd.DataFrame(lines)
    return Table(frame, _notes(cells, columns, ours, why, absent), title, len(about["keys"]))


def titled(name: str) -> str:
    """A column of the CSVs as people write it: cdf_v2 is CDF v2."""
    return " ".join(WORDS.get(word, word) for word in name.split("_"))


def _source(part: pd.DataFrame) -> str:
    source, seeds = part["source"].iloc[0], sorted(set(part["seeds"]))
    if source == PAPER:
        return PAPER
    many = f"{seeds[0]}–{seeds[-1]} seeds" if len(seeds) > 1 else f"{seeds[0]} seed" + ("s" if seeds[0] > 1 else "")
    return f"{NAMES[source]}, {many}"


def _value(values: pd.DataFrame, name: str, about: dict[str, Any]) -> str:
    if name not in values.index:
        return ""
    one, percent = values.loc[name], name in about["percent"]
    if one["source"] == PAPER:
        return f"{one['value']:.2f}" if percent else f"{one['value']:.4f}".rstrip("0").ljust(4, "0")
    digits = 1 if percent else 3
    interval = f" [{one['low']:z.{digits}f}, {one['high']:z.{digits}f}]" if pd.notna(one["low"]) else ""
    return f"{one['value']:z.{digits}f}{interval}"


def _named(keys: Mapping[str, Any]) -> str:
    """A row by its keys; a number by itself says nothing."""
    parts = {titled(key): str(value) for key, value in keys.items() if str(value)}
    return ", ".join(f"{key} {value}" if NUMBER.fullmatch(value) else value for key, value in parts.items())


def _notes(
    cells: pd.DataFrame, columns: Sequence[str], ours: set[int], why: str, absent: Collection[str]
) -> tuple[str, ...]:
    about, notes = cells.attrs, []
    if "paper" not in about:
        waiting = [name for name in about["rows"] if name not in set(cells[about["keys"][0]])]
        return (f"Not measured yet: {'; '.join(waiting)}. {why}",) if waiting else ()
    where = f"papers/{about['paper']}/tables/{about['table']}.csv"
    own = cells[(cells["run"] != "") & ~cells["row"].isin(ours)].drop_duplicates("row")
    if len(own) and ours:
        names = "; ".join(_named(row) for row in own[about["keys"]].to_dict("records"))
        notes.append(f"Not measured yet: {names}. {why} Their printed values are in {where}.")
    elif len(own):
        notes.append(f"Nothing of this table is measured yet. {why}")
    left = [name for name in about["columns"] if name not in columns]
    if lacking := [titled(name) for name in left if name in absent]:
        notes.append(f"Left out: {', '.join(lacking)}. They need sets that are licensed; the stand-in has none.")
    if others := [titled(name) for name in left if name not in absent]:
        notes.append(f"Printed only, in {where}: {', '.join(others)}.")
    return tuple(notes)
