"""What the study found, in plain sentences: docs/learned.md and the last cell of each notebook.

Every number and every sentence is chosen by the verdicts of claims.json, so that none of them can go stale; reasons are
those of dfrepro.report.gates and dfrepro.report.verdict. `python -m dfrepro readme` writes the page.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dfrepro.files import ROOT
from dfrepro.params import read_yaml
from dfrepro.report.claims import digits, here
from dfrepro.report.gains import gains
from dfrepro.report.plots import effect
from dfrepro.report.schema import NAMES
from dfrepro.report.verdict import ONE_SEED, VERDICTS, Verdict

Claim = Mapping[str, Any]
Found = Mapping[Verdict, Sequence[Claim]]  # a paper's claims by verdict
TITLES = {"pim": "PIM, DualFlat", **{paper: NAMES[paper] for paper in ("pel", "fia_usa", "focus", "fpg")}}
MOST = 2  # claims of one verdict that are told with their statement; the others with their numbers
MOST_MOVES = 3  # choices of a protocol that are told
SHOWN = 6  # titles of claims in a row
CAUSES = {  # a part of a reason (dfrepro.report.gates, .verdict), and what it means
    r"has not learned": "a network has not learned",
    r"ranks too little": "a baseline is close to chance",
    r"nothing can rise|has no AUC": "a baseline leaves no room for a gain",
    r", not at (least|most) ": "the module under test hardly acts",
    r"is not measured": "a number that a gate needs was not kept",
    r"control .*not run": "a control was not run",
    r"does not come out": "a positive control fails",
    r"the control does the same": "a control without the method's idea gains as much",
    ONE_SEED: "there is one seed only",
    r"seeds of the first look": "there are fewer seeds than the first look has",
    r"test sets are too small": "the test sets are too small for the printed effect",
    r"seeds would show": "more seeds would show the printed effect",
}
CARRIED = "did not carry over to stand-in videos and small networks"
SHORTER = (
    (r" its own set", ""), (r" on .*, (below|above) ([\d.]+): .*", r", \1 \2"), (r" on [^(]*\((\w+)\)", r" (\1)"),
)  # fmt: skip
PAGE = """# What we learned

From the study's claims.json{about}, by `python -m dfrepro readme`. Effects are positive as the paper claims, with
intervals; "former study": on other stand-in videos. The bench is stand-in videos and small networks: nothing
here speaks of a paper's own numbers.
[Every claim](claims.md) · [how a verdict comes about](verdicts.md)
"""


def sentences(paper: str, claims: Sequence[Claim]) -> list[str]:
    """Three to six sentences in Markdown on what the study found of `paper` (a key of dfrepro.report.schema.NAMES).

    claims: those of claims.json, of all papers or of this one. Where none is of the paper, one sentence says so.
    """
    own = [claim for claim in claims if claim["paper"] == paper]
    found: Found = {verdict: [claim for claim in own if claim["verdict"] == verdict] for verdict in VERDICTS}
    if not own:
        return [f"The study has no claim of {NAMES[paper]}."]
    opened = [*found["smaller than printed"], *found["inconclusive"]]
    told = [
        _counts(paper, found), _told("Confirmed", found["confirmed"]), _told("Refuted here", found["refuted"]),
        _open(opened), _silent(found), _meaning(NAMES[paper], found),
    ]  # fmt: skip
    return [sentence for sentence in told if sentence]


def page(written: Mapping[str, Any], levels: pd.DataFrame | None = None) -> str:
    """docs/learned.md from claims.json and, as notebook 09 writes it, one network's AUC under protocols."""
    about = written.get("about") or {}
    said = f" (scale {about['scale']}, {len(about['seeds'])} seeds)" if about.get("seeds") else ""
    lines = [PAGE.format(about=said)]
    for paper, title in TITLES.items():
        lines += [
            f"## [{title}](../papers/{paper}/README.md)",
            "",
            *(f"- {each}" for each in sentences(paper, written["claims"])),
            "",
        ]
    if levels is not None:
        told = [f"- {each}" for each in of_protocols(levels)]
        lines += ["## [The protocol](../notebooks/09_protocol.ipynb)", "", *told, ""]
    return "\n".join(lines)


def of_protocols(levels: pd.DataFrame) -> list[str]:
    """What protocols alone do to one network, next to the gains that the papers print.

    levels: columns protocol, dataset and value, an AUC (dfrepro.protocol.measure), ours and all of protocols.yaml.
    """
    found = levels.dropna(subset="value").pivot(index="protocol", columns="dataset", values="value")
    ends = found.agg(["min", "max", "idxmin", "idxmax"]).T
    spread = (ends["max"] - ends["min"]).astype(float).sort_values()
    widest = ends.loc[spread.index[-1]]
    moves = (found - found.loc["ours"]).mean(axis=1)
    choices = read_yaml(ROOT / "protocols.yaml")["choices"]
    parts = {name: next(iter(changed)) for name, changed in choices.items() if name in moves.index}
    most = {part: max((moves[n] for n in parts if parts[n] == part), key=abs) for part in dict.fromkeys(parts.values())}
    ranked = sorted(most, key=lambda part: -abs(most[part]))[:MOST_MOVES]
    said = _and([f"{part} ({most[part]:+.3f})" for part in ranked])
    low, high = (f"{widest[end]:.3f} ({widest[f'idx{end}']})" for end in ("min", "max"))
    printed = gains()["gain"]
    below = (printed < spread.iloc[0]).sum()
    return [
        f"One network, same weights and stand-in videos, {len(found)} protocols: its AUC moves by "
        f"{spread.iloc[0]:.2f} to {spread.iloc[-1]:.2f}, on {spread.index[-1]} from {low} to {high}; most by {said}.",
        f"Of {len(printed)} printed gains in AUC (median {printed.median():+.3f}) {below} are below the smallest "
        "spread: two papers' numbers, each by its own protocol, give no gain.",
    ]


def line(paper: str, claims: Sequence[Claim]) -> str:
    """One sentence of README: the first claim that was decided, or what there is of most, with its numbers."""
    own = [claim for claim in claims if claim["paper"] == paper]
    for verdict in ("confirmed", "refuted", "smaller than printed"):
        for claim in own:
            if claim["verdict"] == verdict:
                said = re.split(r"[:;] ", claim["statement"].rstrip("."))[0]
                return f"**{NAMES[paper]}**: {verdict}, “{said}”{_numbers(claim)}."
    found: Found = {verdict: [claim for claim in own if claim["verdict"] == verdict] for verdict in VERDICTS}
    why = f"; {_because(closed, 1)[2:]}" if (closed := found["not decidable here"]) else ""
    near = next((claim for claim in found["inconclusive"] if here(claim)), None)
    example = f"; {near['title']} reads{_numbers(near)[1:]}" if near else ""
    return f"**{NAMES[paper]}**: nothing is decided yet: {_and(_counted(found))}{example}{why}."


def brief(claim: Claim) -> str:
    """A claim's reason in one clause: the first of its reasons without explanation, and how many more there are."""
    if claim["verdict"] == "not testable":
        return str(re.split(r"[;:.] ", claim["reason"])[0])
    if claim["missing"]:
        first, *more = dict.fromkeys(each for missing in claim["missing"] for each in missing.split(", "))
        return f"missing: {_short(first)}" + (f", {len(more)} more" if more else "")
    first, *more = re.sub(r" \((?!AUC|loss)[^()]* [^()]*\)", "", claim["reason"]).split("; ")
    return f"{_short(first)}; {len(more)} more" if more else _short(first)


def _short(reason: str) -> str:
    """Without the test sets, which stand in claims.yaml."""
    for pattern, said in SHORTER:
        reason = re.sub(pattern, said, reason)
    return reason


def _counts(paper: str, found: Found) -> str:
    number = sum(map(len, found.values()))
    said = _and(_counted(found))
    return f"Of {number} claims of {NAMES[paper]}: {said}." if number > 1 else f"One claim of {NAMES[paper]}: {said}."


def _counted(found: Found) -> list[str]:
    """['1 confirmed', '9 not run']"""
    return [f"{len(found[verdict])} {verdict}" for verdict in VERDICTS if found[verdict]]


def _told(word: str, claims: Sequence[Claim]) -> str:
    """The claims of a verdict with what was measured; the first in words."""
    if not claims:
        return ""
    said = [f"**{c['title']}**, “{c['statement'].rstrip('.')}”{_numbers(c)}" for c in claims[:MOST]]
    return f"{word}: {'; '.join(said + [_listed(claims[MOST:])] * (len(claims) > MOST))}."


def _listed(claims: Sequence[Claim]) -> str:
    return "; ".join(f"{claim['title']}{_numbers(claim)}" for claim in claims)


def _numbers(claim: Claim) -> str:
    """': +0.012 [-0.030, +0.050] (printed +0.020)', as far as there are such numbers."""
    printed = effect(claim["printed_effect"], None, digits(claim))
    said = [f"printed {printed}"] * bool(printed) + ["former study"] * bool(claim.get("former"))
    shown = here(claim) + (f" ({'; '.join(said)})" if said and here(claim) else "")
    return f": {shown}" if shown else ""


def _open(claims: Sequence[Claim]) -> str:
    """Neither confirmed nor refuted, and what the study could have seen."""
    if not claims:
        return ""
    smaller = [claim for claim in claims if claim["verdict"] == "smaller than printed"]
    rest = [claim for claim in claims if claim["verdict"] != "smaller than printed"]
    parts = []
    if smaller:
        parts.append(_told("Smaller than printed, and not told from nothing", smaller))
    if rest:
        parts.append(f"Inconclusive: {_listed(rest)}{_because(rest)}.")
        chances = [c["power"]["confirms"] for c in rest if c["power"]["confirms"] is not None]
        if chances:
            span = " to ".join(dict.fromkeys(f"{100 * value:.0f}" for value in (min(chances), max(chances))))
            parts.append(f"Were the printed effects true here, the study would confirm each with a chance of {span} %.")
    return " ".join(parts)


def _silent(found: Found) -> str:
    """What this bench or this study cannot say, and why."""
    parts = []
    if closed := found["not decidable here"]:
        shown = next((c for c in closed if here(c) and c["printed_effect"] is not None), None)
        example = f"; {shown['title']} would read{_numbers(shown)[1:]}" if shown else ""
        parts.append(f"Not decidable here, {_titles(closed)}{_because(closed)}{example}.")
    if absent := found["not run"]:
        parts.append(f"Not run: {_titles(absent)}.")
    if beyond := found["not testable"]:
        parts.append(f"Not testable: {_titles(beyond)}.")
    return " ".join(parts)


def _titles(claims: Sequence[Claim]) -> str:
    """The titles of one paper's claims, its name once: "PIM 9, 10 and 20"; of many, the first and their number."""
    numbers = [claim["title"].rpartition(" ")[2] for claim in claims[1:]]
    if len(claims) > SHOWN:
        return f"{claims[0]['title']} and {len(numbers)} more"
    return _and([claims[0]["title"], *numbers])


def _because(claims: Sequence[Claim], most: int | None = None) -> str:
    """': in 3 a control was not run, in 2 a network has not learned', the most frequent first; of one, no number."""
    why = Counter(cause for c in claims for pattern, cause in CAUSES.items() if re.search(pattern, c["reason"]))
    said = [f"in {n} {cause}" if len(claims) > 1 else cause for cause, n in why.most_common(most)]
    return ": " + ", ".join(said) if said else ""


def _meaning(paper: str, found: Found) -> str:
    """What that does and does not say about the paper, by what was decided."""
    confirmed, refuted = bool(found["confirmed"]), bool(found["refuted"])
    if confirmed and refuted:
        said = f"What held, holds beyond the paper's data too, in a size of its own; what was refuted {CARRIED}"
    elif confirmed:
        said = "What held, holds on other videos and networks than the paper's; how large it is there, this cannot say"
    elif refuted:
        said = f"What was refuted {CARRIED}; on the paper's own data it may hold"
    elif found["smaller than printed"] or found["inconclusive"]:
        said = f"None of that is for or against {paper}: seeds and people alone change this much"
    elif len(found["not run"]) + len(found["not testable"]) == sum(map(len, found.values())):
        said = f"So far the study says nothing for or against {paper}"
    else:
        said = f"That speaks of this bench, and neither for nor against {paper}"
    every = [claim for claims in found.values() for claim in claims]
    odd = [f"{c['title']}, {c['printed_holds']}" for c in every if len(set(c["printed_holds"].split(" of "))) > 1]
    own = f". In the paper's own tables not every comparison of a claim holds: {_and(odd)}" if odd else ""
    return f"{said}{own}."


def _and(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + (" and " if words[:-1] else "") + words[-1] if words else ""
