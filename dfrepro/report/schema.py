"""The shape of papers/<paper>/*.yaml: what may stand there, and an error that names file, entry and key.

A claim is a list of *cells*. A cell compares two operands ("this run, on this test set, in this metric") and says what
the paper claims of their difference; the claim holds when its cells do. `claims.yaml` may write many cells as one:
`over` as a list compares with each of several, `each` with a list of test sets repeats the cell for each of them,
and `printed` then holds the printed effects in the same order, a row for every `over` and a column for every `each`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT

PAPERS = ROOT / "papers"
ORDER = ("fpg", "pim", "pel", "fia_usa", "focus")  # P0 to P4 of SPEC
Kind = Literal["difference", "equivalence", "ordering", "maximum", "exact", "informational"]
M = TypeVar("M", bound="Entry")


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Operand(Entry):
    """One number a seed: `run` measured in `metric` on `test` under `condition`.

    Lists of tests or conditions are averaged. A test may carry its own metric: "diff:frame_auc". A test "set/Method"
    is the set's originals and that manipulation alone. `change` gives the change from the clean test set, `relative`
    divided by the clean value. `scale` multiplies the number (a third of the baseline's training time).
    """

    run: str
    test: tuple[str, ...] = Field(min_length=1)
    metric: str = Field(min_length=1)
    condition: tuple[str, ...] = ("clean",)
    change: Literal["absolute", "relative"] | None = None
    scale: float = 1.0

    @field_validator("test", "condition", mode="before")
    @classmethod
    def one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def __str__(self) -> str:
        where = " + ".join(self.test)
        condition = "" if self.condition == ("clean",) else f" under {' + '.join(self.condition)}"
        return f"{self.run} on {where}{condition} ({self.metric})"


class Cell(Entry):
    """`of` against `over` (an operand or a constant): the smallest thing that a claim asserts."""

    name: str
    of: Operand
    over: Operand | float | None = None
    test: Literal["difference", "equivalence", "exact", "shown"] = "difference"
    direction: Literal["greater", "less"] = "greater"
    at_least: float = 0.0  # the difference has to exceed this
    margin: float | None = Field(default=None, gt=0)  # of equivalence
    printed: float | None = None  # the paper's `of` minus `over`, in the metric's unit with AUC and accuracy in [0, 1]

    @model_validator(mode="after")
    def is_complete(self) -> "Cell":
        if (self.test == "equivalence") != (self.margin is not None):
            raise ValueError("margin belongs to an equivalence cell, and such a cell needs one")
        if self.over is None and self.test != "shown":
            raise ValueError("over is missing; only a cell with `test: shown` may do without")
        return self


class Control(Entry):
    """A negative control: `of` does what the method does but for the ingredient that the claim credits.

    Its gain over the same baseline is shown beside the claim's, and the method's lead over it is estimated.
    """

    name: str
    of: Operand
    over: Operand
    method: Operand


class Claim(Entry):
    id: str = Field(pattern=r"^P[0-4]-C\d+$")
    source: str
    statement: str
    kind: Kind
    rule: Literal["all", "most"] = "all"
    testable: bool = True
    reason: str = ""  # why not testable
    note: str = ""
    cells: tuple[Cell, ...] = ()
    controls: tuple[Control, ...] = ()

    @model_validator(mode="after")
    def can_be_judged_or_says_why_not(self) -> "Claim":
        if not self.testable and not self.reason:
            raise ValueError("testable is false: `reason` must say why")
        if self.testable and not any(cell.test != "shown" for cell in self.cells):
            raise ValueError("cells has nothing to judge; give one, or testable: false with a reason")
        names = [cell.name for cell in self.cells]
        if len(set(names)) < len(names):
            raise ValueError(f"cells must have different names; twice: {next(n for n in names if names.count(n) > 1)}")
        return self

    @property
    def paper(self) -> str:
        return ORDER[int(self.id[1])]

    def runs(self) -> list[str]:
        operands = [op for cell in self.cells for op in (cell.of, cell.over)]
        operands += [op for control in self.controls for op in (control.of, control.over, control.method)]
        return sorted({op.run for op in operands if isinstance(op, Operand)})


def load_claims(root: Path = PAPERS) -> list[Claim]:
    """All claims of all papers, in the order P0-C1 to P4-C9.

    Raises `WorkbookError` naming file, claim and key where claims.yaml is not as this module says.
    """
    return [claim for paper in ORDER for claim in load_paper_claims(root / paper / "claims.yaml")]


def load_paper_claims(path: Path) -> list[Claim]:
    document = read_yaml(path)
    entries = document.get("claims") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise WorkbookError("has no list `claims`", where=path)
    defaults = document.get("defaults", {})
    claims = [_claim(entry, defaults, path) for entry in entries]
    seen = [claim.id for claim in claims]
    for identifier in seen:
        if seen.count(identifier) > 1:
            raise WorkbookError(f"claim {identifier} is given twice", where=path)
    return claims


def _claim(entry: dict[str, Any], defaults: dict[str, Any], path: Path) -> Claim:
    where = f"{path}: claim {entry.get('id', '(without id)')}"
    entry = dict(entry)
    shared = defaults | {key: entry.pop(key) for key in ("test", "metric", "condition", "change") if key in entry}
    try:
        entry["cells"] = [cell for group in entry.get("cells", ()) for cell in _expand(group, shared)]
        entry["controls"] = [_control(control, shared) for control in entry.get("controls", ())]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkbookError(f"cells or controls cannot be read: {error}", where=where) from error
    return validated(Claim, entry, where)


def _expand(group: dict[str, Any], shared: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells that one entry of `cells` stands for."""
    group = dict(group)
    kind, name, printed = group.pop("kind", "difference"), group.pop("name", ""), group.pop("printed", None)
    eachs, overs = group.pop("each", [None]), group.pop("over", None)
    many = overs if isinstance(overs, list) else [overs]
    own = shared | {key: group.pop(key) for key in ("test", "metric", "condition", "change") if key in group}
    of = group.pop("of")
    table = _printed(printed, len(many), len(eachs))
    for row, over in enumerate(many):
        for column, each in enumerate(eachs):
            here = own if each is None else own | {"test": each}
            left, right = _operand(of, here), _operand(over, here)
            title = name if len(many) == len(eachs) == 1 and name else _title(name, left, right, each)
            yield {"name": title, "test": kind, "of": left, "over": right, "printed": table[row][column]} | group


def _operand(value: Any, shared: dict[str, Any]) -> Any:
    if isinstance(value, str):
        return shared | {"run": value}
    return shared | value if isinstance(value, dict) else value


def _title(name: str, of: dict[str, Any], over: Any, each: str | None) -> str:
    against = f" over {over['run']}" if isinstance(over, dict) else "" if over is None else f" against {over:g}"
    return " ".join(
        part for part in (f"{name}:" if name else "", of["run"] + against, f"on {each}" if each else "") if part
    )


def _printed(printed: Any, rows: int, columns: int) -> list[list[float | None]]:
    if printed is None:
        return [[None] * columns for _ in range(rows)]
    flat = [
        value
        for item in (printed if isinstance(printed, list) else [printed])
        for value in (item if isinstance(item, list) else [item])
    ]
    if len(flat) != rows * columns:
        raise ValueError(f"printed has {len(flat)} values; {rows} × {columns} cells need {rows * columns}")
    return [flat[row * columns : (row + 1) * columns] for row in range(rows)]


def _control(control: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    own = shared | {key: value for key, value in control.items() if key in ("test", "metric", "condition", "change")}
    rest = {key: value for key, value in control.items() if key not in ("test", "metric", "condition", "change")}
    return rest | {key: _operand(rest[key], own) for key in ("of", "over", "method")}


def read_yaml(path: Path) -> Any:
    """The document in `path`, safe-loaded; `WorkbookError` with the line where it is no YAML or not there."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkbookError(
            "cannot be read", where=path, remedy="It is part of the repository: git checkout it"
        ) from error
    except yaml.YAMLError as error:
        raise WorkbookError(f"is not YAML: {' '.join(str(error).split())}", where=path) from error


def validated(model: type[M], value: Any, where: object) -> M:
    """`value` as `model`; the first fault becomes a `WorkbookError` that names its key."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise WorkbookError(f"{key + ': ' if key else ''}{first['msg']}", where=where) from error
