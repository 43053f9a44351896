"""Every setting that the papers state, against what the code gives at paper scale.

`papers/<paper>/settings.yaml` is a list of entries:

    - {setting: learning rate, stated: "1e-4", section: "Sec. V-A.3", run: pim-ffpp, at: training.lr, value: 0.0001}
    - {setting: DFDC, stated: "4,000 videos", section: "Sec. V-A.1", deviation: D16}

`at` is a path into `Params.spec(run, 0)`; with `run.` before it, into the run's own entry (tests, conditions); with
`sizes.` before it, into scales/paper.yaml, where no run is needed; `dfrepro.module:NAME.attribute` is a value of the
code. `deviation` is the number of a row of the paper's DEVIATIONS.md; an entry may have both, and has to where `stated`
is a number and `value` is another. `quote` is the sentence's own words, looked for in the paper's text where that is
at hand.
"""

from importlib import import_module
from typing import Any

import pytest
import yaml

from dfrepro import params
from dfrepro.files import ROOT
from dfrepro.report.ledger import ORDER
from tests.papers.test_printed import TEXT_OF, TEXTS

PAPER_SCALE = params.load(scale="paper", grid="full")
FIELDS = {"setting", "stated", "section", "run", "at", "value", "deviation", "quote"}
LEAST, ALL = 10, 80  # settings of one paper, and of the five
FILES = {paper: ROOT / "papers" / paper / "settings.yaml" for paper in ORDER}
SETTINGS = {paper: yaml.safe_load(file.read_text(encoding="utf-8")) for paper, file in FILES.items() if file.exists()}
ENTRIES = [
    pytest.param(paper, entry, id=f"{paper}: {entry.get('setting', number)}, {entry.get('run', '')}")
    for paper, entries in SETTINGS.items()
    for number, entry in enumerate(entries)
]


def given(entry: dict[str, Any]) -> Any:
    """What the code has for the setting of `entry`."""
    path: str = entry["at"]
    if ":" in path:
        module, _, names = path.partition(":")
        value: Any = import_module(module)
    else:
        start, _, rest = path.partition(".")
        roots = {"sizes": lambda: PAPER_SCALE.sizes, "run": lambda: PAPER_SCALE.run(entry["run"])}
        value, names = (roots[start](), rest) if start in roots else (PAPER_SCALE.spec(entry["run"], 0), path)
    for name in names.split("."):
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    return value


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, list | tuple | range) else value


def number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def deviations(paper: str) -> set[str]:
    """The numbers of the rows of DEVIATIONS.md: a row's first cell, D7 or **D7**."""
    lines = (ROOT / "papers" / paper / "DEVIATIONS.md").read_text(encoding="utf-8").splitlines()
    return {line.split("|")[1].strip(" *") for line in lines if line.startswith("|") and line.count("|") > 2}


@pytest.mark.parametrize(("paper", "entry"), ENTRIES)
def test_a_stated_setting_is_what_the_code_gives_or_a_numbered_deviation(paper, entry):
    assert not set(entry) - FIELDS
    assert all(entry.get(field) for field in ("setting", "stated", "section"))
    assert "at" in entry or "deviation" in entry
    assert ("at" in entry) == ("value" in entry)
    if "deviation" in entry:
        assert entry["deviation"] in deviations(paper)
    if "at" in entry:
        assert plain(given(entry)) == entry["value"]
        stated = number(entry["stated"])
        assert stated is None or stated == number(entry["value"]) or "deviation" in entry


@pytest.mark.parametrize("paper", SETTINGS)
def test_quotes_are_the_papers_own_words(paper):
    quotes = [entry["quote"] for entry in SETTINGS[paper] if "quote" in entry]
    path = TEXTS / f"{TEXT_OF[paper]}.txt"
    if not quotes or not path.exists():
        pytest.skip("no quotes, or the papers' texts are not at hand: they are not part of the repository")
    text = " ".join(path.read_text(encoding="utf-8").split())
    assert not [quote for quote in quotes if quote not in text]


@pytest.mark.parametrize("paper", SETTINGS)
def test_a_paper_states_settings_enough_to_be_worth_a_list_and_each_once(paper):
    keys = [(entry["setting"], entry.get("run")) for entry in SETTINGS[paper]]
    assert len(keys) >= LEAST
    assert len(set(keys)) == len(keys)


@pytest.mark.skipif(len(SETTINGS) < len(ORDER), reason="not every paper has its settings.yaml")
def test_the_five_papers_settings_are_all_there():
    assert sum(len(entries) for entries in SETTINGS.values()) >= ALL
