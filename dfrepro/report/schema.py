"""The shape of papers/<paper>/*.yaml: what may stand there, and an error that names file, entry and key.

A claim is a list of *cells*. A cell compares two operands ("this run, on this test set, in this metric"). Those that
are neither `shown` nor `primary: false` form the primary contrast, the mean of their effects: it alone is judged, and
the cells are reported beside it (dfrepro.report.verdict). Its cells share a kind and a metric; exact ones may differ in
metric. `claims.yaml` may write many cells as one: `over` as a list compares with each of several, `each` with a list of
test sets repeats the cell for each of them, and `printed` then holds the printed effects in the same order, a row for
every `over` and a column for every `each`.

`gates`, `positive_control` and `controls` say when the comparison can answer the claim at all, and what else could
explain its outcome. What stands on a claim itself (`test`, `metric`, `condition`, `change`) is the default of its
operands; `kind`, `margin`, `at_least` and `direction` there are the default of its cells.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT

PAPERS = ROOT / "papers"
ORDER = ("fpg", "pim", "pel", "fia_usa", "focus")  # the papers of claims P0 to P4
NAMES = dict(zip(ORDER, ("FPG", "PIM", "PEL", "FIA-USA", "FoCus")))
Kind = Literal["difference", "equivalence", "noninferior", "exact"]
Scale = Literal["probit", "raw"]
STEPS_TO = "steps_to_"  # and a run: a metric, how soon that run's AUC is reached (dfrepro.report.curves.share_to)
FORMER = ("ordering", "maximum", "informational")  # kinds of claim that are differences
M = TypeVar("M", bound="Entry")


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Operand(Entry):
    """One number a seed: `run` measured in `metric` on `test` under `condition`.

    Lists of tests or conditions are averaged. A test may carry its own metric: "diff:frame_auc". A test "set/Method"
    is the set's originals and that manipulation alone. `change` gives the change from the clean test set, `relative`
    divided by the clean value. `scale` multiplies the number (a third of the baseline's training steps).
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

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric of each of `test`."""
        return tuple(test.partition(":")[2] or self.metric for test in self.test)

    def __str__(self) -> str:
        where = " + ".join(self.test)
        condition = "" if self.condition == ("clean",) else f" under {' + '.join(self.condition)}"
        return f"{self.run} on {where}{condition} ({self.metric})"


class Cell(Entry):
    """`of` against `over` (an operand or a constant): the smallest thing that a claim asserts."""

    name: str
    of: Operand
    over: Operand | float | None = None
    test: Literal["difference", "equivalence", "noninferior", "exact", "shown"] = "difference"
    primary: bool = True
    direction: Literal["greater", "less"] = "greater"
    at_least: float = 0.0  # the difference has to exceed this, in the metric's unit
    margin: float | None = Field(default=None, gt=0)  # of an equivalence or a non-inferiority, in the metric's unit
    printed: float | None = None  # the paper's `of` minus `over`, in the metric's unit with AUC and accuracy in [0, 1]
    printed_from: str = ""  # where `printed` comes from, if not from a cell of the paper's tables

    @model_validator(mode="after")
    def is_complete(self) -> "Cell":
        if (self.test in ("equivalence", "noninferior")) != (self.margin is not None):
            raise ValueError("margin belongs to an equivalence or non-inferiority, and such a cell needs one")
        if self.over is None and self.test != "shown":
            raise ValueError("over is missing; only a cell with `kind: shown` may do without")
        return self

    @property
    def sides(self) -> tuple[Operand, ...]:
        return tuple(side for side in (self.of, self.over) if isinstance(side, Operand))

    @property
    def may_learn_nothing(self) -> bool:
        """Whether that `of` learned nothing is an outcome of the cell: of "not below", and of how soon."""
        return self.test == "noninferior" or self.of.metric.startswith(STEPS_TO)


class Control(Entry):
    """A negative control: `of` does what the method does but for the ingredient that the claim credits.

    Its gain over the same baseline is reported beside the claim's, and so is the method's lead over it. A control that
    gains what the method gains takes a confirmation back. `direction: less` is of a number that the method lowers.
    """

    name: str
    of: Operand
    over: Operand
    method: Operand
    direction: Literal["greater", "less"] = "greater"


class PositiveControl(Entry):
    """A contrast in the same assay whose answer is known, and has to come out; or `none`: why there can be no such."""

    none: str = ""
    name: str = ""
    of: Operand | None = None
    over: Operand | float | None = None
    direction: Literal["greater", "less"] = "greater"
    at_least: float = 0.0

    @model_validator(mode="after")
    def is_a_contrast_or_says_why_not(self) -> "PositiveControl":
        if bool(self.none) == bool(self.name and self.of is not None and self.over is not None):
            raise ValueError("give either name, of and over, or `none` with the reason why there can be none")
        return self


class Band(Entry):
    """The baseline's AUC has to lie within these bounds for a difference to show; without `of`, each cell's `over`."""

    of: Operand | None = None
    within: tuple[float, float] = (0.60, 0.97)
    none: bool = False
    why: str = ""

    @model_validator(mode="after")
    def says_why_there_is_none(self) -> "Band":
        if self.none and not self.why:
            raise ValueError("band: none needs a `why`")
        return self


class Acts(Entry):
    """The module under test does something: the operand is at least (`direction: less`: at most) `at_least`."""

    of: Operand
    at_least: float
    direction: Literal["greater", "less"] = "greater"
    why: str


class Claim(Entry):
    id: str = Field(pattern=r"^P[0-4]-C\d+$")
    source: str
    statement: str
    kind: Kind = "difference"
    scale: Scale = "probit"  # of AUCs; every other metric is compared as it is
    testable: bool = True
    reason: str = ""  # why not testable
    note: str = ""
    cells: tuple[Cell, ...] = ()
    band: Band = Band()
    acts: tuple[Acts, ...] = ()
    positive_control: PositiveControl | None = None
    controls: tuple[Control, ...] = ()

    @model_validator(mode="after")
    def can_be_judged_or_says_why_not(self) -> "Claim":
        if not self.testable and not self.reason:
            raise ValueError("testable is false: `reason` must say why")
        if self.testable and not self.primary:
            raise ValueError("cells has nothing to judge; give one, or testable: false with a reason")
        names = [cell.name for cell in self.cells]
        if len(set(names)) < len(names):
            raise ValueError(f"cells must have different names; twice: {next(n for n in names if names.count(n) > 1)}")
        odd = [cell for cell in self.primary if _family(cell) != _family(self.primary[0])]
        if self.testable and odd:
            raise ValueError(f"cell {odd[0].name} has no mean with {self.primary[0].name}: set `primary: false` for it")
        return self

    @property
    def paper(self) -> str:
        return ORDER[int(self.id[1])]

    @property
    def title(self) -> str:
        """The paper's name and the claim's number: "PIM 4"."""
        return f"{NAMES[self.paper]} {self.id.partition('-C')[2]}"

    @property
    def judged(self) -> tuple[Cell, ...]:
        return tuple(cell for cell in self.cells if cell.test != "shown")

    @property
    def primary(self) -> tuple[Cell, ...]:
        """The cells whose mean effect is judged."""
        return tuple(cell for cell in self.judged if cell.primary)

    @property
    def on_probit(self) -> bool:
        """Whether the primary contrast is taken on the probit scale: its metrics are AUCs."""
        sides = [side for cell in self.primary for side in cell.sides]
        plain = all(side.scale == 1 and side.change is None for side in sides)
        return self.scale == "probit" and plain and all(is_auc(metric) for side in sides for metric in side.metrics)

    @property
    def ranks(self) -> bool:
        """Whether the primary contrast is one of AUCs: then a baseline at the ceiling leaves nothing to be seen."""
        return all(is_auc(metric) for cell in self.primary for side in cell.sides for metric in side.metrics)

    def operands(self, cells: Sequence[Cell]) -> Iterator[Operand]:
        """Everything that some `cells` of the claim, its gates or its controls read."""
        sides: list[Any] = [side for cell in cells for side in cell.sides]
        sides += [side for control in self.controls for side in (control.of, control.over, control.method)]
        sides += [self.band.of, *(gate.of for gate in self.acts)]
        if self.positive_control:
            sides += [self.positive_control.of, self.positive_control.over]
        return (side for side in sides if isinstance(side, Operand))

    def runs(self) -> list[str]:
        """Every run that it reads."""
        return sorted({operand.run for operand in self.operands(self.cells)})


def is_auc(metric: str) -> bool:
    return metric.endswith("auc") or "_auc_" in metric


def _family(cell: Cell) -> tuple[str, str]:
    """What cells have to share for their effects to have a mean: the kind of test, and AUC or the metric itself.

    Exact cells may differ in metric: all of them have to be zero.
    """
    if cell.test == "exact":
        return cell.test, ""
    metrics = {"auc" if is_auc(metric) else metric for metric in cell.of.metrics}
    return cell.test, " ".join(sorted(metrics))


def load_claims(root: Path = PAPERS) -> list[Claim]:
    """All claims of all papers, in the order of the papers.

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
    shared = defaults | _taken(entry, OF_OPERANDS)
    if entry.get("kind") in FORMER:
        entry["kind"] = "difference"
    try:
        of_cells = {"kind": entry.get("kind", "difference")} | _taken(entry, ("margin", "at_least", "direction"))
        entry["cells"] = [cell for group in entry.get("cells", ()) for cell in _expand(group, shared, of_cells)]
        entry["controls"] = [_contrast(control, shared) for control in entry.get("controls", ())]
        gates = [_gate(gate, shared) for gate in entry.pop("gates", ())]
        entry["acts"] = [gate["acts"] for gate in gates if "acts" in gate]
        for gate in gates:
            entry |= gate if "band" in gate else {}
        if "positive_control" in entry:
            entry["positive_control"] = _contrast(entry["positive_control"], shared)
        elif entry.get("testable", True):
            raise ValueError("positive_control is missing: a contrast, or `none` with the reason why there can be none")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WorkbookError(f"cells, gates or controls cannot be read: {error}", where=where) from error
    return validated(Claim, entry, where)


OF_OPERANDS = ("test", "metric", "condition", "change")


def _taken(entry: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Those of `keys` that `entry` has, taken out of it."""
    return {key: entry.pop(key) for key in keys if key in entry}


def _expand(group: dict[str, Any], shared: dict[str, Any], of_cells: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells that one entry of `cells` stands for."""
    group = dict(group)
    kind, name, printed = group.pop("kind", of_cells["kind"]), group.pop("name", ""), group.pop("printed", None)
    more = {key: value for key, value in of_cells.items() if key in _defaults_of(kind)}
    eachs, overs = group.pop("each", [None]), group.pop("over", None)
    many = overs if isinstance(overs, list) else [overs]
    own = shared | _taken(group, OF_OPERANDS)
    of = group.pop("of")
    table = _printed(printed, len(many), len(eachs))
    for row, over in enumerate(many):
        for column, each in enumerate(eachs):
            here = own if each is None else own | {"test": each}
            left, right = _operand(of, here), _operand(over, here)
            title = name if len(many) == len(eachs) == 1 and name else _title(name, left, right, each)
            base = {"name": title, "test": kind, "of": left, "over": right, "printed": table[row][column]}
            yield base | more | group


def _defaults_of(kind: str) -> tuple[str, ...]:
    """Which of a claim's defaults a cell of this kind takes."""
    own = {"difference": ("at_least",), "equivalence": ("margin",), "noninferior": ("margin",)}
    return ("direction", *own.get(kind, ()))


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


def _contrast(entry: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """A control with its operands whole."""
    entry = dict(entry)
    own = shared | _taken(entry, OF_OPERANDS)
    return entry | {key: _operand(entry[key], own) for key in ("of", "over", "method") if key in entry}


def _gate(entry: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """`band: {...}`, `band: none` with `why`, or `acts: {...}`, with operands whole."""
    entry = dict(entry)
    if entry.get("band") == "none":
        return {"band": {"none": True, "why": entry.get("why", "")}}
    name = next(iter(entry))
    if name not in ("band", "acts"):
        raise ValueError(f"there is no gate `{name}`")
    inside = entry[name]
    if name == "band" and "of" not in inside and (odd := set(inside) & set(OF_OPERANDS)):
        raise ValueError(f"band has {', '.join(sorted(odd))} and no `of`")
    return {name: _contrast(inside, shared)}


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
