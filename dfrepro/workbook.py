"""What notebooks call: a run by name, a dataset's faces, a paper's printed table, a figure's path.

    wb = workbook.open("01_motivation", scale)
    wb.run("erm-df").scores        # trained on the spot if it is not there yet, loaded in a second if it is

Paths come from the package, never from the working directory: papermill, JupyterLab and nbval start in different ones.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfrepro import params, pipeline
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file, read_json
from dfrepro.params import STANDIN, Params
from dfrepro.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dfrepro.data.manifest import FaceStore
    from dfrepro.runs.focus_maps import ForgeryMaps
    from dfrepro.train.models import Detector

MAP_RUN = "focus-map-"  # what maps are called among runs: "focus-map-attention"
MEASURED = ["dataset", "metric", "value", "run", "seed"]


@dataclass(frozen=True)
class TrainedRun:
    """One run with one seed: its checkpoint's folder and its scores' folder."""

    name: str
    seed: int
    folder: Path
    scored: Path
    timing: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return read_json(self.folder / "meta.json")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch: loss, learning rate, seconds."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a face and condition: run, seed, dataset, manipulation, video, frame, label, condition, score."""
        return pd.read_parquet(self.scored / "scores.parquet").assign(run=self.name, seed=self.seed)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """What is no function of the scores, one row a number: run, seed, dataset, metric, value."""
        measured = pd.read_csv(self.scored / "measured.csv", dtype={"dataset": str, "metric": str, "value": float})
        if self.timing.exists():
            seconds = read_json(self.timing)["train_seconds"]
            measured.loc[len(measured)] = ["train", "train_seconds", seconds]
        return measured.assign(run=self.name, seed=self.seed)

    def features(self, condition: str = "clean") -> tuple[pd.DataFrame, np.ndarray]:
        """The in-domain test faces under one condition, and their penultimate features (N, D) in the same order."""
        rows = pd.read_parquet(self.scored / "features.parquet")
        array = np.load(self.scored / "features.npy", mmap_mode="r", allow_pickle=False)
        chosen = (rows.condition == condition).to_numpy()
        return rows[chosen].reset_index(drop=True), array[chosen]

    @property
    def window(self) -> int:
        """Side in stored pixels of what the network sees of a face of its training set's store."""
        from dfrepro.runs.draws import window

        return window(self.meta["spec"], self.meta["faces"])

    def detector(self) -> "Detector":
        """The trained network, in evaluation mode on the CPU."""
        from dfrepro.train.run import load_detector

        return load_detector(self.folder)


@dataclass(frozen=True)
class Workbook:
    """One notebook's view of the artifacts of one scale. Made by `open`."""

    name: str
    params: Params

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.params.seeds

    @property
    def data_label(self) -> str:
        """What every caption says of its data: 'stand-in', or 'real' once every root is a licensed copy's."""
        roots = set(self.params.roots.values())
        return "stand-in" if roots == {STANDIN} else "real" if STANDIN not in roots else "stand-in and real"

    def store(self, dataset: str) -> "FaceStore":
        """The faces of a declared dataset, extracted (and the stand-in generated) if they are not there yet."""
        from dfrepro.data.manifest import FaceStore

        folder = pipeline.faces_folder(self.params, dataset)
        if not folder.exists():
            self.standin()
            pipeline.faces(self.params, dataset)
        return FaceStore.open(folder)

    def standin(self) -> Path:
        """The folder of the stand-in's trees."""
        folder = self.params.artifacts / "standin"
        if not (folder / "complete.json").exists():
            pipeline.standin(self.params)
        return folder

    def run(self, name: str, seed: int | None = None) -> TrainedRun | None:
        """A run by name (first seed unless told): trained and scored now if it is not there or was other than declared.

        None where the grid leaves it out.
        """
        p = self.params
        seed = self.seeds[0] if seed is None else seed
        if not p.in_grid(name):
            return None
        folder, scored = pipeline.run_folder(p, name, seed), pipeline.scores_folder(p, name, seed)
        if not _says(folder, {"spec": p.spec(name, seed)}):
            self._inputs_ready(name, seed)
            shutil.rmtree(scored, ignore_errors=True)  # before: killed in between, new weights would keep old scores
            pipeline.train(p, name, seed)
        if not scored.exists():
            for dataset in p.run(name).tests:
                self.store(dataset)
            pipeline.evaluate(p, name, seed)
        return TrainedRun(name, seed, folder, scored, pipeline.timing_file(p, name, seed))

    def _inputs_ready(self, name: str, seed: int) -> None:
        """What a run trains on, made now where it is not there yet."""
        data = self.params.run(name).data
        self.store(data.dataset)
        made = pipeline.reconstructions_folder(self.params, data.dataset)
        if data.fakes == "fia-usa" and not made.exists():
            pipeline.reconstruct(self.params, data.dataset)
        if maps := self.params.run(name).detector.maps:
            self.maps(maps, seed)

    def maps(self, name: str, seed: int | None = None) -> "ForgeryMaps | None":
        """Maps of where fakes were forged (P4), made now if they are not there or their network was another.

        None where the grid leaves them out.
        """
        from dfrepro.runs.focus_maps import ForgeryMaps

        p = self.params
        seed = self.seeds[0] if seed is None else seed
        if not p.maps_in_grid(name):
            return None
        folder, dataset = pipeline.maps_folder(p, name, seed), p.maps_dataset(name)
        if not _says(folder, pipeline.maps_meta(p, name, seed)):
            self._maps_ready(name, seed, dataset)
            pipeline.maps(p, name, seed)
        return ForgeryMaps.open(folder)

    def _maps_ready(self, name: str, seed: int, dataset: str) -> None:
        """What maps are made from: a trained network, or the real face behind each fake."""
        self.store(dataset)
        if run := self.params.maps[name].run:
            self.run(run, seed)
        elif not pipeline.pairs_folder(self.params, dataset).exists():
            self.standin()
            pipeline.pairs(self.params, dataset)

    def named(self, *beginnings: str) -> list[str]:
        """The declared runs whose names begin so, in the order of params.yaml."""
        return [run for run in self.params.runs if run.startswith(beginnings)]

    def scores(self, runs: Iterable[str]) -> pd.DataFrame:
        """The scores of several runs over all seeds; runs that the grid leaves out are not in it."""
        trained = [self.run(name, seed) for name in runs for seed in self.seeds]
        return pd.concat([run.scores for run in trained if run is not None], ignore_index=True)

    def measured(self, runs: Iterable[str]) -> pd.DataFrame:
        """The numbers of several runs over all seeds that no table of scores holds (`TrainedRun.measured`).

        What was measured on maps (P4) goes by the name `focus-map-<maps>`, which may be a run's own.
        """
        parts = [part for name in runs for seed in self.seeds for part in self._measured(name, seed)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=MEASURED)

    def _measured(self, name: str, seed: int) -> list[pd.DataFrame]:
        made = name.removeprefix(MAP_RUN)
        of_maps = name != made and made in self.params.maps
        maps = self.maps(made, seed) if of_maps else None
        parts = [] if maps is None else [maps.measured.assign(run=name, seed=seed)]
        if name in self.params.runs or not of_maps:
            run = self.run(name, seed)
            parts += [] if run is None else [run.measured]
        return parts

    def embedding(self, name: str) -> pd.DataFrame:
        """A cached UMAP: one row a face and condition, with x and y."""
        path = self.params.artifacts / "embeddings" / f"{name}.parquet"
        if not path.exists():
            from dfrepro.explain import figures

            for run in figures.RUNS[name]:
                self.scores([run])
            pipeline.embed(self.params, name)
        return pd.read_parquet(path)

    def controls(self) -> dict[str, Any]:
        """The short-cut controls of the stand-in, measured if they are not there yet."""
        path = pipeline.results_folder(self.params) / "controls.json"
        if not path.exists():
            self.store("ffpp-c23")
            pipeline.controls(self.params)
        return read_json(path)

    def beside(
        self, paper: str, table: str, scores: pd.DataFrame, measured: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """A table as the paper prints it, with what was measured here beside every column that can be measured."""
        from dfrepro.report import ledger
        from dfrepro.report.evidence import Evidence

        return ledger.beside(paper, table, Evidence(measured, scores), label=self.data_label)

    def verdicts(
        self, claims: Iterable[str], scores: pd.DataFrame, measured: pd.DataFrame | None = None
    ) -> pd.DataFrame:
        """One row a cell of the named claims: the paper's effect, ours with a 95 % interval, and the verdict.

        Intervals are over videos and, where there is more than one, over seeds (dfrepro.report.verdict).
        """
        from dfrepro.report.claims import as_dict
        from dfrepro.report.evidence import Evidence
        from dfrepro.report.schema import load_claims
        from dfrepro.report.verdict import judge

        p = self.params
        evidence = Evidence(measured, scores, trained_on=p.trained_on)
        wanted = set(claims)
        judged = [as_dict(judge(claim, evidence)) for claim in load_claims() if claim.id in wanted]
        rows = [
            {"claim": claim["id"], "cell": cell["name"], "printed": cell["printed"],
             f"here ({self.data_label})": plots.effect(cell["effect"], cell["interval"]), "verdict": cell["verdict"]}
            for claim in judged for cell in claim["cells"]
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def claims(self) -> list[dict[str, Any]]:
        """All claims judged on everything that is there of this scale, grid and seeds; trains nothing.

        Writes results/<scale>/claims.json, as `python -m dfrepro claims` does (dfrepro.report.claims says its shape).
        """
        pipeline.claims(self.params, table=False)
        judged: list[dict[str, Any]] = read_json(pipeline.results_folder(self.params) / "claims.json")["claims"]
        return judged

    def save(self, figure: "Figure", name: str) -> Path:
        """Save a figure as PNG among this notebook's, whole or not at all."""
        path = self.params.artifacts / "figures" / self.name / f"{name}.png"
        with atomic_file(path) as partial:
            figure.savefig(partial)
        return path


def open(name: str, scale: str | None = None) -> Workbook:
    """Open the workbook for one notebook.

    `scale` is what papermill injects; None leaves it to DFREPRO_SCALE or params.yaml.
    """
    if not (pipeline.NOTEBOOKS / f"{name}.ipynb").exists():
        raise WorkbookError(f"there is no notebook {name!r}", where="notebooks")
    plots.theme()
    return Workbook(name, params.load(scale=scale))


def _says(folder: Path, meta: dict[str, Any]) -> bool:
    """Whether the artifact in `folder` was made from what `meta` says."""
    try:
        said = read_json(folder / "meta.json")
        return all(said[key] == value for key, value in meta.items())
    except (OSError, ValueError, KeyError):
        return False
