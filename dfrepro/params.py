"""params.yaml, grid/params.yaml and scales/<scale>.yaml, as frozen, validated objects.

`params.yaml` says *what* is run: scale, grid, seeds, where the data is, what families of runs have in common,
and the core runs by name; `grid/params.yaml` declares the rest of the grid. `scales/<scale>.yaml` says
*how big*: faces, networks, epochs. `load()` joins them; `Params.spec(run)` gives everything a training needs.

A mistake is one `WorkbookError` that names the key, the file and the remedy. Nothing here imports torch.
"""

import difflib
import os
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_core import to_jsonable_python as as_plain

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, read_json
from dfrepro.settings import START, Backbone, Count, Positive, Step, Training, Unit

Scale = Literal["smoke", "laptop", "study", "paper"]
Grid = Literal["core", "full"]
Kind = Literal["backbone", "pel", "fia_usa", "focus", "tokens", "focus_evaluation", "fpg", "foundation", "imported"]
M = TypeVar("M")
STANDIN = "standin"  # the word that stands for "the set that the workbook generates" where a folder is expected
FIXED = re.compile(
    r"(test_)?(vit|deit3?|beit|beitv2|eva|eva02|swin|swinv2|cait|mixer)_"
)  # networks of one size, in timm
IMPORTS = ROOT / "imports"  # folders of runs that were trained elsewhere
PARTS = ("step", "options", "evaluation")  # of a recipe, beside settings of the training
OWN = "manifest"  # the layout of one's own files: their set goes by the name that it is declared under
ABSENT = "absent"  # likewise for "there is no copy of it": a set that the stand-in lacks too


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False)


# --- scales/<scale>.yaml -------------------------------------------------------------------------------------------


class Standin(Model):
    """The generator's seed, and the sizes of the stand-in's trees: FF++ originals a split (even), videos and images a
    class, frames, pixels."""

    seed: Annotated[int, Field(ge=0)] = 0
    train: Count
    val: Count
    test: Count
    cross: Count
    wild: Count
    images: Count
    frames: Count
    cross_frames: Count
    size: Annotated[int, Field(ge=160)] = 224


class Faces(Model):
    """Extraction: how many frames of a video, how large a crop (pixels), how wide (margin a side, of the face)."""

    n_frames: Count
    size: Annotated[int, Field(ge=16, le=1024)]
    margin: Annotated[float, Field(ge=0, le=1)]
    predictor: str | None = None  # path of shape_predictor_81_face_landmarks.dat; None: 68 points, extended to 81


class Reconstruction(Model):
    """What FIA-USA's pseudo-fakes are reconstructed by: two small networks, `steps` of training on real faces, or the
    paper's own from local files. Relative paths are below the repository's root.
    """

    steps: Count = 600
    autoencoder: str | None = None  # folder of a KL autoencoder, as diffusers saves it
    restorer: str | None = None  # safetensors file of a GFPGAN-class restorer

    @model_validator(mode="after")
    def both_or_neither(self) -> "Reconstruction":
        if bool(self.autoencoder) != bool(self.restorer):
            raise ValueError("give autoencoder and restorer, or neither for the small networks")
        return self


class Evaluation(Model):
    """Scoring. `corrupted`: the share of the own test set's people who are seen under a run's `conditions`."""

    batch: Count = 256
    frames: Count = 32
    corrupted: Annotated[float, Field(gt=0, le=1)] = 1.0
    n_bootstrap: Count = 1000


class Start(Model):
    """A training whose network all runs of a seed begin from, as the papers' begin from ImageNet's weights: on
    self-blended reals, so that it has seen no fake of any set. `training`: exceptions from the scale's."""

    backbone: str  # a role; its own `pretrained` is left aside
    training: dict[str, Any] = {}


class ScaleParams(Model):
    """One file of scales/."""

    standin: Standin
    faces: Faces
    threads: Annotated[int, Field(ge=0)] = 0  # torch's, of a training, scoring or maps; 0: one a core
    crop: Unit  # margin a side that a network sees: training crops vary around it, testing takes it centred
    backbones: dict[str, Backbone]
    starts: dict[str, Start] = {}
    training: Training
    recipes: dict[
        str, dict[str, Any]
    ] = {}  # a paper's exceptions from `training`; under `step`, `options`, `evaluation` from steps, variants, scoring
    reconstruction: Reconstruction = Reconstruction()
    evaluation: Evaluation = Evaluation()


# --- params.yaml ---------------------------------------------------------------------------------------------------


class Dataset(Model):
    """A set of faces: which layout reads it, below which root, in which compression (DF40: of which domain).

    `reals`: the set whose test reals are scored with its fakes, in place of its own: DF40 comes without.
    """

    layout: str
    root: str
    compression: str = "c23"
    reals: str = ""


class Data(Model):
    """What a run trains on. `fakes` are the set's own, or pseudo-fakes made from its reals."""

    dataset: str = "ffpp-c23"
    manipulations: tuple[str, ...] = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    fakes: Literal["dataset", "sbi", "fia-usa"] = "dataset"
    forge: dict[str, Any] = {}  # options of FIA-USA's pseudo-fakes (dfrepro.methods.fia_usa.pseudo_fakes.FiaUsa)


class DetectorParams(Model):
    """`variant`: one of the method's, by name. `options`: exceptions from it, and from those that the recipe makes.
    `maps`: what supervises a `focus_evaluation`, a name under `maps`."""

    kind: Kind = "backbone"
    backbone: str = "main"  # a role that scales/<scale>.yaml gives a network
    variant: str = ""
    options: dict[str, Any] = {}
    maps: str = ""


class Maps(Model):
    """Maps of where a face was forged (P4): their kind, the run whose network makes them where one does, how Eq. 4 is
    read where that is FoCus' (`dfrepro.methods`' FocusConfig.car_map), and the control that gives every fake the map of
    another. Kind "true" is the set's own masks: the positive control."""

    kind: Literal["focus", "pixel", "pixel01", "ssim", "attention", "gradcam", "scorecam", "true"]
    run: str = ""
    reading: Literal["", "positive", "label", "pooled", "pooled_all"] = ""
    shuffled: bool = False


class Run(Model):
    """One entry of `runs`: training data × detector × step rule. `load` has merged it into its family's entry."""

    family: str = ""  # a name under `families`
    data: Data = Data()
    detector: DetectorParams = DetectorParams()
    step: Step = Step()
    augment: bool = False
    epochs_factor: Positive = 1.0  # the control "as many passes as the method pays for"
    tests: tuple[str, ...] = ("ffpp-c23", "dfd", "cdfv2", "dfdc", "dfdcp", "wdf")
    conditions: tuple[str, ...] = ()  # corruptions of the in-domain test set: "blur-3", or "blur" for all five levels
    recipe: str = ""  # a name under `recipes` of scales/<scale>.yaml
    training: dict[str, Any] = {}  # this run's exceptions from the scale's `training` and its recipe


class Import(Model):
    """A run that was trained elsewhere (`dfrepro.jobs.imports`): its folder, what is declared of it, and its `spec`."""

    folder: Path
    run: Run
    spec: dict[str, Any]


class Params(Model):
    scale: Scale
    grid: Grid
    seeds: tuple[Annotated[int, Field(ge=0)], ...]
    roots: dict[str, str]
    datasets: dict[str, Dataset]
    families: dict[str, Run] = {}  # what runs have in common
    runs: dict[str, Run]
    maps: dict[str, Maps] = {}
    imports: dict[str, Import] = {}  # not in params.yaml: what imports/ holds
    core: frozenset[str]  # not in params.yaml: the runs that stand there, and not in grid/params.yaml
    core_maps: frozenset[str]  # likewise
    sizes: ScaleParams  # not in params.yaml: the scale's file

    @field_validator("seeds")
    @classmethod
    def seeds_are_given_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if not seeds or len(set(seeds)) != len(seeds):
            raise ValueError("seeds must be a list of at least one number, each given once")
        return seeds

    @model_validator(mode="after")
    def names_are_declared(self) -> "Params":
        for name, dataset in self.datasets.items():
            _declared(dataset.root, self.roots, f"datasets.{name}.root", "roots")
            if dataset.reals:
                _declared(dataset.reals, self.datasets, f"datasets.{name}.reals", "datasets")
        for name, run in self.runs.items():
            _declared(run.data.dataset, self.datasets, f"runs.{name}.data.dataset", "datasets")
            for test in run.tests:
                _declared(test, self.datasets, f"runs.{name}.tests", "datasets")
            _declared(run.detector.backbone, self.sizes.backbones, f"runs.{name}.detector.backbone", "backbones")
            if run.recipe:
                _declared(run.recipe, self.sizes.recipes, f"runs.{name}.recipe", "recipes")
            validated(Training, self._training(run), f"runs.{name}.training")
            validated(Step, self._step(run), f"runs.{name}.step")
            validated(Evaluation, self._evaluation(run), f"recipes.{run.recipe}.evaluation")
            if run.detector.maps:
                _declared(run.detector.maps, self.maps, f"runs.{name}.detector.maps", "maps")
        for role, network in self.sizes.backbones.items():
            if network.start:
                _declared(network.start, self.sizes.starts, f"backbones.{role}.pretrained", "starts")
        for name, start in self.sizes.starts.items():
            _declared(start.backbone, self.sizes.backbones, f"starts.{name}.backbone", "backbones")
            validated(Training, as_plain(self.sizes.training) | start.training, f"starts.{name}.training")
        for name, maps in self.maps.items():
            if maps.run:
                _declared(maps.run, self.runs, f"maps.{name}.run", "runs")
        return self

    def _training(self, run: Run) -> dict[str, Any]:
        recipe = {key: value for key, value in self._recipe(run).items() if key not in PARTS}
        return as_plain(self.sizes.training) | recipe | run.training

    def _step(self, run: Run) -> dict[str, Any]:
        return as_plain(run.step) | self._recipe(run).get("step", {})

    def _evaluation(self, run: Run) -> dict[str, Any]:
        return self.sizes.evaluation.model_dump() | self._recipe(run).get("evaluation", {})

    def _detector(self, run: Run) -> dict[str, Any]:
        """The detector's entry; where it is a variant, with the recipe's options under its own."""
        recipe = self._recipe(run).get("options", {}) if run.detector.variant else {}
        return run.detector.model_dump(mode="json") | {"options": recipe | run.detector.options}

    def _recipe(self, run: Run) -> dict[str, Any]:
        return self.sizes.recipes[run.recipe] if run.recipe else {}

    @cached_property
    def artifacts(self) -> Path:
        """Where everything of this scale is written: scales never overwrite each other."""
        return ROOT / "artifacts" / self.scale

    @cached_property
    def results(self) -> Path:
        """Where the numbers of this scale are written that git keeps."""
        return ROOT / "results" / self.scale

    def run(self, name: str) -> Run:
        """A run's declaration: of params.yaml and its grid, or an imported one's."""
        known = self.runs | {other: each.run for other, each in self.imports.items()}
        _declared(name, known, "run", "runs", where="params.yaml")
        return known[name]

    @property
    def trained_on(self) -> dict[str, str]:
        """The set that each run trains on, by its layout's name, as scores have it: "ffpp", or "ffpp/Deepfakes"."""
        return {name: self._own_set(self.run(name)) for name in (*self.runs, *self.imports)}

    def _own_set(self, run: Run) -> str:
        layout, fakes = self.scored_as(run.data.dataset), run.data.manipulations
        return f"{layout}/{fakes[0]}" if layout == "ffpp" and len(fakes) == 1 else layout

    def scored_as(self, dataset: str) -> str:
        """What scores call a declared dataset: its layout's name, of one's own files the dataset's."""
        layout = self.datasets[dataset].layout
        return dataset if layout == OWN else layout

    def in_grid(self, name: str) -> bool:
        """Whether a run is made. Raises `WorkbookError` for one that is not declared."""
        self.run(name)
        return self.grid == "full" or name in self.core or name in self.imports

    def maps_in_grid(self, name: str) -> bool:
        """Whether these maps are made: they are in the grid, and the network that makes them is."""
        maps = self.maps[name]
        return (self.grid == "full" or name in self.core_maps) and (not maps.run or self.in_grid(maps.run))

    def maps_dataset(self, name: str) -> str:
        """The dataset whose fakes these maps are of: that of the runs that train on them, or of their network."""
        run = self.maps[name].run
        users = [user for user, each in self.runs.items() if each.detector.maps == name]
        datasets = sorted({self.runs[user].data.dataset for user in [*users, *([run] if run else [])]})
        if len(datasets) != 1:
            said = "no run uses them" if not datasets else f"runs on {', '.join(datasets)} use them"
            raise WorkbookError(said, where=f"maps.{name}", remedy="Declare maps of their own for each dataset")
        return datasets[0]

    def has(self, dataset: str) -> bool:
        """Whether there is a copy of a declared dataset, or a stand-in for it."""
        _declared(dataset, self.datasets, "dataset", "datasets", where="params.yaml")
        return self.roots[self.datasets[dataset].root] != ABSENT

    def tests(self, run: str) -> tuple[str, ...]:
        """The run's test sets of which there is a copy."""
        return tuple(test for test in self.run(run).tests if self.has(test))

    def training(self, name: str) -> Training:
        run = self.run(name)
        training = Training(**self._training(run))
        return replace(training, epochs=max(1, round(training.epochs * run.epochs_factor)))

    def evaluation(self, name: str) -> Evaluation:
        return Evaluation(**self._evaluation(self.run(name)))

    def root(self, dataset: str) -> Path:
        """The folder that holds a declared dataset: the user's copy, or the stand-in's tree of the same layout."""
        _declared(dataset, self.datasets, "dataset", "datasets", where="params.yaml")
        declared = self.datasets[dataset]
        root = self.roots[declared.root]
        if not self.has(dataset) or (root == STANDIN and declared.layout not in STANDIN_TREES):
            raise WorkbookError(
                f"there is no copy of {dataset}, and the stand-in has no such set",
                where=f"params.yaml: roots.{declared.root}",
                remedy="Give the folder of your licensed copy",
            )
        if root == STANDIN:
            return self.artifacts / "standin" / STANDIN_TREES[declared.layout]
        return Path(os.path.expandvars(root)).expanduser()

    def spec(self, name: str, seed: int) -> dict[str, Any]:
        """Everything that decides the weights of one run and seed, as plain data for checkpoints and comparisons."""
        if name in self.imports:
            return self.imports[name].spec
        run = self.run(name)
        network = self.sizes.backbones[run.detector.backbone]
        return {
            "run": name,
            "seed": seed,
            "scale": self.scale,
            "data": run.data.model_dump(mode="json") | {"root": self.roots[self.datasets[run.data.dataset].root]},
            "detector": self._detector(run),
            "backbone": as_plain(network),
            "step": self._step(run),
            "augment": run.augment,
            "crop": self.sizes.crop,
            "maps": self.maps[run.detector.maps].model_dump(mode="json") if run.detector.maps else None,
            "training": as_plain(self.training(name)),
        } | ({"start": self.start_spec(network.start, seed)} if network.start else {})

    def start_spec(self, name: str, seed: int) -> dict[str, Any]:
        """The same of a start: a plain network on self-blended reals of FF++ c23."""
        _declared(name, self.sizes.starts, "start", "starts", where=f"scales/{self.scale}.yaml")
        start = self.sizes.starts[name]
        data = Data(fakes="sbi")
        return {
            "run": f"{START}{name}",
            "seed": seed,
            "scale": self.scale,
            "data": data.model_dump(mode="json") | {"root": self.roots[self.datasets[data.dataset].root]},
            "detector": DetectorParams(backbone=start.backbone).model_dump(mode="json"),
            "backbone": as_plain(self.sizes.backbones[start.backbone]) | {"pretrained": False},
            "step": as_plain(Step()),
            "augment": False,
            "crop": self.sizes.crop,
            "maps": None,
            "training": as_plain(Training(**as_plain(self.sizes.training) | start.training)),
        }


# the folder of each layout's tree below the stand-in's
STANDIN_TREES = {
    "ffpp": "FaceForensics++",
    "dfd": "FaceForensics++",
    "cdfv2": "Celeb-DF-v2",
    "dfdc": "DFDC",
    "dfdcp": "DFDCP",
    "wdf": "WildDeepfake",
    "diff": "DiFF",
}


def declared_scale() -> str:
    """The scale that params.yaml names, whatever the environment says: that of DVC's stages."""
    return str(read_yaml(ROOT / "params.yaml").get("scale"))


def load(path: Path | None = None, *, scale: str | None = None, **overrides: Any) -> Params:
    """Read params.yaml and its scale's file.

    `scale` wins over the environment variable DFREPRO_SCALE, which wins over the file; `overrides` replace other
    top-level keys. Raises WorkbookError naming the key, the file and the remedy.
    """
    path = path or ROOT / "params.yaml"
    raw = read_yaml(path) | overrides
    networks = _add_own(raw, path.name)
    raw |= {"core": list(raw.get("runs") or ()), "core_maps": list(raw.get("maps") or ())}
    _add_grid(raw, path.parent / "grid" / "params.yaml")
    raw["imports"] = _imports(IMPORTS, raw.get("runs") or {})
    if isinstance(raw.get("runs"), dict):
        families = raw.get("families") or {}
        raw["runs"] = {name: _in_family(name, run, families) for name, run in raw["runs"].items()}
    raw["scale"] = scale or os.environ.get("DFREPRO_SCALE") or raw.get("scale")
    if raw["scale"] not in get_args(Scale):
        names = ", ".join(get_args(Scale))
        raise WorkbookError(f"scale is {raw['scale']!r}; must be one of {names}", where=path.name)
    if "sizes" in raw:
        raise WorkbookError("sizes is not a parameter", where=path.name, remedy="Sizes live in scales/<scale>.yaml")
    sizes_path = path.parent / "scales" / f"{raw['scale']}.yaml"
    declared = read_yaml(sizes_path)
    for section, entries in networks.items():
        if twice := sorted(set(entries) & set(declared.get(section) or {})):
            raise WorkbookError(
                f"own.runs.{twice[0]} is called as one of {section}", where=path.name, remedy="Rename it"
            )
        declared[section] = {**(declared.get(section) or {}), **entries}
    sizes = validated(ScaleParams, declared, f"scales/{sizes_path.name}")
    return validated(Params, raw | {"sizes": sizes}, path.name)


def _add_own(raw: dict[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Add the runs and sets of `own` to all others. Returns the networks and recipes that its runs give in full, by
    the run's name, under "backbones" and "recipes": a scale's file has to say nothing of them."""
    own = raw.pop("own", None) or {}
    if unknown := sorted(set(own) - {"runs", "datasets"}):
        raise WorkbookError(f"own.{unknown[0]} is not a parameter", where=where, remedy="It holds runs and datasets")
    given: dict[str, dict[str, Any]] = {"backbones": {}, "recipes": {}}
    for section in ("runs", "datasets"):
        if twice := sorted(set(own.get(section) or {}) & set(raw.get(section) or {})):
            raise WorkbookError(f"own.{section}.{twice[0]} is declared already", where=where, remedy="Rename yours")
    for name, entry in (own.get("runs") or {}).items():
        run = dict(entry or {})
        detector = dict(run.get("detector") or {})
        if isinstance(detector.get("backbone"), dict):
            given["backbones"][name] = _sized(detector["backbone"])
            run["detector"] = detector | {"backbone": name}
        if isinstance(run.get("recipe"), dict):
            given["recipes"][name], run["recipe"] = run["recipe"], name
        raw["runs"] = {**(raw.get("runs") or {}), name: run}
    for name, entry in (own.get("datasets") or {}).items():
        root = (entry or {}).get("root")
        if root not in raw["roots"]:  # a folder
            raw["roots"] = {**raw["roots"], name: root}
            root = name
        raw["datasets"] = {**raw["datasets"], name: {"compression": "", **entry, "root": root}}
    return given


def _sized(network: dict[str, Any]) -> dict[str, Any]:
    """A network with its input's side among the arguments, where its family fixes it as it is built."""
    kwargs = network.get("kwargs") or {}
    if FIXED.match(str(network.get("name"))) and "image_size" in network:
        kwargs = {"img_size": network["image_size"], **kwargs}
    return {**network, "kwargs": kwargs}


def _add_grid(raw: dict[str, Any], path: Path) -> None:
    """Add the runs and maps of grid/params.yaml, where there is one."""
    if not path.exists():
        return
    for section, entries in read_yaml(path).items():
        if section not in ("runs", "maps"):
            known = "runs and maps"
            raise WorkbookError(f"{section} is not a parameter", where="grid/params.yaml", remedy=f"It holds {known}")
        ours = raw.get(section) or {}
        if twice := sorted(set(ours) & set(entries)):
            raise WorkbookError(f"{section}.{twice[0]} is declared twice", where="grid/params.yaml", remedy="Keep one")
        raw[section] = {**ours, **entries}


def _imports(folder: Path, runs: Any) -> dict[str, Any]:
    """What the folders of imported runs say of them, by name."""
    found = {}
    for path in sorted(folder.glob("[!.]*/meta.json")):
        name = path.parent.name
        if name in runs:
            raise WorkbookError(f"runs.{name} is imported too", where=path.parent, remedy="Rename one of the two")
        try:
            meta = read_json(path)
            found[name] = {"folder": path.parent, "run": meta["run"], "spec": meta["spec"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            remedy = "Remove the folder and import it again"
            raise WorkbookError(f"no import ({error!r})", where=path.parent, remedy=remedy) from None
    return found


def _in_family(name: str, run: Any, families: dict[str, Any]) -> Any:
    """A run's entry, merged into its family's where it names one."""
    family = run.get("family") if isinstance(run, dict) else None
    if not family:
        return run
    if family not in families:
        message = f"runs.{name}.family names {family!r}, which is not declared under families"
        raise WorkbookError(message, where="params.yaml", remedy=_suggestion(family, list(families)))
    return _merged(families[family], run)


def _merged(base: Any, over: Any) -> Any:
    """`over` replaces `base`, but mappings are merged key by key."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: _merged(base.get(key), value) for key, value in over.items()}


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WorkbookError("there is no such file", where=path, remedy="Restore it with `git checkout`") from None
    except yaml.YAMLError as error:
        raise WorkbookError(f"not valid YAML: {error}", where=path, remedy="Mend the line it names") from None
    if not isinstance(content, dict):
        raise WorkbookError("must be a mapping of parameters", where=path)
    return content


def validated(model: type[M], raw: dict[str, Any], where: str) -> M:
    try:
        return TypeAdapter(model).validate_python(raw)
    except ValidationError as error:
        raise _as_workbook_error(error, model, where) from None


def _as_workbook_error(error: ValidationError, model: type, where: str) -> WorkbookError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = list(_fields_at(model, first["loc"][:-1]))
        return WorkbookError(
            f"{key} is not a parameter{more}", where=where, remedy=_suggestion(first["loc"][-1], known)
        )
    if first["type"] == "missing":
        return WorkbookError(f"{key} is missing{more}", where=where, remedy="Add it")
    if first["type"] == "value_error" and isinstance(first.get("ctx", {}).get("error"), ValueError):
        place = f"{key}: " if key else ""
        return WorkbookError(f"{place}{first['ctx']['error']}{more}", where=where)
    message = first["msg"][0].lower() + first["msg"][1:]
    return WorkbookError(f"{key} is {first['input']!r}; {message}{more}", where=where, remedy="Correct the value")


def _fields_at(model: type, loc: tuple[Any, ...]) -> list[str]:
    """The field names of the model that a validation error's location points into."""
    current: Any = model
    for part in loc:
        fields = getattr(current, "__pydantic_fields__", None)
        if fields is None:  # inside a mapping: `part` was one of its keys
            continue
        current = _model_of(fields[part].annotation) if part in fields else current
    return list(getattr(current, "__pydantic_fields__", {}))


def _model_of(annotation: Any) -> Any:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if hasattr(candidate, "__pydantic_fields__"):
            return candidate
    return annotation


def _declared(name: str, known: Any, key: str, kind: str, where: str = "") -> None:
    if name not in known:
        message = f"{key} names {name!r}, which is not declared under {kind}"
        if where:
            raise WorkbookError(message, where=where, remedy=_suggestion(name, list(known)))
        raise ValueError(f"{message}. {_suggestion(name, list(known))}")


def _suggestion(name: Any, known: list[str]) -> str:
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}"
