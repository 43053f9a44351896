"""protocols.yaml as frozen, validated objects: everything that a measurement chooses, with our choice as default.

frames, spread   at most so many frames a video: equally spaced over those stored, or the first
detector         what found the faces; only dlib is here, and what is another's is under `departs`
face             tracked: the one that extraction follows, whom a fake's mask covers where there is one, else the
                 largest and longest in view | longest: that one, whatever a mask says
                 of each frame, largest | confident: with the detector's highest score | all: with the highest score of
                 the faces at least half as large as the largest (SBI's code)
                 highest | mean: every person is scored as a video, which has the highest of them, or their mean
crop             landmarks: square round the 68 points; oval: rectangle round all 81, stretched to a square, as face
                 boxes are; aligned: eyes, nose and mouth brought to fixed places, scale 1.3 (DeepfakeBench). `margin`
                 a side, a share of the face; none: that of the run's training
resize           to the network's input: its own (antialiased bilinear), or OpenCV's area, linear, cubic, nearest
stored           the side at which crops are kept before, as a share of the network's input; 0: as they are cut
compression      of the crops: jpeg-QUALITY or h264-CRF
average          what is averaged over frames: margins (logits), or probabilities
aggregate        frames to a video: mean, median, max; frame: not at all
key              what a video is: dataset, manipulation and name; folder: its name alone (DeepfakeBench merges by it)
tests            the official test videos, or all of a set
checkpoint       a training keeps one state (scales/*.yaml: `select`), so the choice is among its seeds, not its epochs:
                 last: all of them; validation, test: the best by AUC on it, for all. With one seed nothing is chosen
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dfrepro.errors import WorkbookError
from dfrepro.evaluate.metrics import METRICS
from dfrepro.files import ROOT
from dfrepro.params import Count, Model, Unit, read_yaml, validated

FILE = ROOT / "protocols.yaml"
OURS = "ours"
WIDEST = 0.75  # margin a side; more is not cut
Level = Literal["frame", "video"]


class Crop(Model):
    rule: Literal["landmarks", "oval", "aligned"] = "landmarks"
    margin: Annotated[float, Field(ge=0, le=WIDEST)] | None = None


class Protocol(Model):
    """One way to measure. The module explains the fields."""

    source: str = ""
    frames: Count = 32
    spread: Literal["equal", "first"] = "equal"
    detector: Literal["dlib"] = "dlib"
    face: Literal["tracked", "longest", "largest", "confident", "all", "highest", "mean"] = "tracked"
    crop: Crop = Crop()
    resize: Literal["network", "area", "linear", "cubic", "nearest"] = "network"
    stored: Unit = 0.0
    compression: Annotated[str, Field(pattern=r"^(|jpeg-([1-9]\d?|100)|h264-([0-4]?\d|5[01]))$")] = ""
    average: Literal["margin", "probability"] = "margin"
    aggregate: Literal["mean", "median", "max", "frame"] = "mean"
    metric: str = "auc"
    key: Literal["video", "folder"] = "video"
    tests: Literal["test", "all"] = "test"
    checkpoint: Literal["last", "validation", "test"] = "last"
    departs: dict[str, str] = Field(default_factory=dict)

    @field_validator("metric")
    @classmethod
    def metric_is_known(cls, name: str) -> str:
        if name not in METRICS:
            raise ValueError(f"no metric {name!r}; one of {', '.join(METRICS)}")
        return name

    @field_validator("departs")
    @classmethod
    def departures_are_from_fields(cls, departs: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(departs.keys() - set(cls.model_fields)):
            raise ValueError(f"{unknown[0]} is no part of a protocol; one of {', '.join(cls.model_fields)}")
        return departs

    @model_validator(mode="after")
    def people_are_of_one_video(self) -> "Protocol":
        if self.of_people and self.key == "folder":
            raise ValueError(f"face {self.face} needs key video: folder merges the people of several")
        return self

    @property
    def of_people(self) -> bool:
        """Whether each person is scored apart."""
        return self.face in ("highest", "mean")

    @property
    def level(self) -> Level:
        """What the metric is over."""
        return "frame" if self.aggregate == "frame" else "video"

    def differences(self, other: "Protocol") -> dict[str, tuple[Any, Any]]:
        """The fields that decide a number and are not the same: name -> (here, there)."""
        names = [name for name in type(self).model_fields if name not in ("source", "departs")]
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class Protocols(Model):
    protocols: dict[str, Protocol]
    choices: dict[str, dict[str, Any]] = Field(default_factory=dict)


def load(path: Path = FILE) -> dict[str, Protocol]:
    """Every protocol by its name, ours first, then the named ones and the single choices from ours.

    Raises WorkbookError naming the entry, the field and what it may be.
    """
    where = path.name
    declared = validated(Protocols, read_yaml(path), where)
    if OURS not in declared.protocols:
        raise WorkbookError(f"lacks the protocol {OURS!r}", where=where, remedy="Choices are made from it")
    if twice := sorted(declared.protocols.keys() & declared.choices.keys()):
        raise WorkbookError(f"{twice[0]!r} is a protocol and a choice", where=where, remedy="Rename one")
    ours = declared.protocols[OURS]
    base = ours.model_dump(exclude={"source", "departs"})
    made = {name: validated(Protocol, base | over, f"{where}: {name}") for name, over in declared.choices.items()}
    return {OURS: ours, **declared.protocols, **made}


def named(protocols: dict[str, Protocol], path: Path = FILE) -> list[str]:
    """Of `load`'s, the names that are no single choices."""
    return [name for name in protocols if name in read_yaml(path)["protocols"]]


def chosen(protocols: dict[str, Protocol], names: list[str]) -> dict[str, Protocol]:
    """Those of `names`; raises WorkbookError for one that is not declared."""
    for name in names:
        if name not in protocols:
            remedy = f"Known: {', '.join(protocols)}"
            raise WorkbookError(f"no protocol {name!r}", where=FILE.name, remedy=remedy)
    return {name: protocols[name] for name in names}
