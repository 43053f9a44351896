"""What notebooks call: a run by name, a dataset's faces, a paper's printed table, a figure's path.

    wb = workbook.open("01_motivation", scale)
    wb.run("erm-df").scores        # trained on the spot if it is not there yet, loaded in a second if it is

Paths come from the package, never from the working directory: papermill, JupyterLab and nbval start in different ones.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file, read_json
from dfrepro.jobs import ready
from dfrepro.jobs.trained import TrainedRun
from dfrepro.params import ABSENT, STANDIN, Params
from dfrepro.report import judge, plots
from dfrepro.report.beside import beside
from dfrepro.report.tables import Table, comparison, comparisons, findings

if TYPE_CHECKING:
    from IPython.display import Markdown
    from matplotlib.figure import Figure

    from dfrepro.data.manifest import FaceStore
    from dfrepro.methods.focus.maps import ForgeryMaps
    from dfrepro.report.compare import Comparison
    from dfrepro.report.evidence import Evidence

Sources = Mapping[str, "Evidence"]  # of "study", "former" and "here"
MEASURED = ["dataset", "metric", "value", "run", "seed"]


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
        roots = set(self.params.roots.values()) - {ABSENT}
        return "stand-in" if roots == {STANDIN} else "real" if STANDIN not in roots else "stand-in and real"

    def store(self, dataset: str) -> "FaceStore":
        """The faces of a declared dataset, extracted (and the stand-in generated) if they are not there yet."""
        return ready.store(self.params, dataset)

    def standin(self) -> Path:
        """The folder of the stand-in's trees."""
        return ready.standin(self.params)

    def run(self, name: str, seed: int | None = None) -> TrainedRun | None:
        """A run by name (first seed unless told): trained and scored now if it is not there or was other than declared.

        None where the grid leaves it out.
        """
        return ready.run(self.params, name, self.seeds[0] if seed is None else seed)

    def maps(self, name: str, seed: int | None = None) -> "ForgeryMaps | None":
        """Maps of where fakes were forged (P4), made now if they are not there or their network was another.

        None where the grid leaves them out.
        """
        return ready.maps(self.params, name, self.seeds[0] if seed is None else seed)

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
        made = name.removeprefix(places.MAPS)
        of_maps = name != made and made in self.params.maps
        maps = self.maps(made, seed) if of_maps else None
        parts = [] if maps is None else [maps.measured.assign(run=name, seed=seed)]
        if name in self.params.runs or not of_maps:
            run = self.run(name, seed)
            parts += [] if run is None else [run.measured]
        return parts

    def embedding(self, name: str) -> pd.DataFrame:
        """A cached UMAP: one row a face and condition, with x and y."""
        return pd.read_parquet(ready.provided(self.params, self.params.artifacts / "embeddings" / f"{name}.parquet"))

    def controls(self) -> dict[str, Any]:
        """The short-cut controls of the stand-in, measured if they are not there yet."""
        return read_json(ready.provided(self.params, places.results_folder(self.params) / "controls.json"))

    def compare(self, runs: Iterable[str], seeds: Iterable[int] | None = None) -> "Comparison":
        """Runs by name next to each other, each made now if it is not there; the first is what the others are held to.

        Shown in a cell it is the leaderboard; `dfrepro.figures.compare` draws it. Raises WorkbookError for a run that
        the grid leaves out. seeds: default, all of params.yaml.
        """
        from dfrepro.report.compare import of_runs

        chosen = self.seeds if seeds is None else tuple(seeds)
        names = list(dict.fromkeys(runs))
        if outside := [name for name in names if not self.params.in_grid(name)]:
            raise WorkbookError(
                f"{outside[0]} is not in the core grid", where="compare",
                remedy=f"Set `grid: full` in params.yaml, then `python -m dfrepro repro {outside[0]}`",
            )  # fmt: skip
        trained = [run for name in names for seed in chosen if (run := self.run(name, seed)) is not None]
        return of_runs(self.params, trained)

    def evidence(self, runs: Iterable[str], maps: Iterable[str] = ()) -> Sources:
        """What tables and figures draw from: the committed study's evidence, the former study's, and this clone's.

        The former stands where the study has not come to something yet (dfrepro.report.beside).
        Of this clone all that is there of `runs` and of `maps` (`focus-map-<maps>`); runs are trained if they are not.
        """
        from dfrepro.report import collect

        runs, studies = list(runs), {"study": judge.study_evidence(), "former": judge.former_evidence()}
        told = collect.trainings(self.params, product(runs, self.seeds))
        own = pd.concat([self.measured(dict.fromkeys([*runs, *maps])), told])
        own = own.drop_duplicates(["run", "seed", "dataset", "metric"], ignore_index=True)
        here = collect.joined(self.params, own, self.scores(runs))
        return {name: each for name, each in studies.items() if each is not None} | {"here": here}

    def beside(self, paper: str, table: str, measured: Sources) -> pd.DataFrame:
        """A paper's table as tidy numbers of the paper, the study and this clone (dfrepro.report.beside)."""
        return beside(paper, table, measured)

    def table(self, paper: str, table: str, measured: Sources) -> Table:
        """A paper's table for readers: a line each for what it prints, what the study measured, what this clone did."""
        return self.shown(self.beside(paper, table, measured))

    def shown(self, cells: pd.DataFrame) -> Table:
        """What dfrepro.report.beside made, for readers; what nobody has measured is named below, with the reason."""
        from dfrepro.report.ledger import without

        at_hand = {d.layout for d in self.params.datasets.values() if self.params.roots[d.root] != ABSENT}
        about = cells.attrs
        absent = without(about["paper"], about["table"], at_hand) if "paper" in about else ()
        return comparison(cells, label=self.data_label, why=judge.progress(), absent=absent)

    def verdicts(self, claims: Iterable[str], measured: Sources) -> Table:
        """The comparisons of the named claims: the paper's effect, the study's and this clone's with 95 % intervals.

        Where the study has none the former study's stands. The verdict is the study's. Intervals are over
        seeds and people (dfrepro.report.verdict).
        """
        from dfrepro.report.claims import as_dict
        from dfrepro.report.schema import load_claims
        from dfrepro.report.verdict import judge as judged

        wanted = [claim for claim in load_claims() if claim.id in set(claims)]
        here, former = (
            [as_dict(judged(claim, measured[name])) for claim in wanted if name in measured]
            for name in ("here", "former")
        )
        return comparisons(here, self.study(), former, label=self.data_label, why=judge.progress())

    def study(self) -> list[dict[str, Any]]:
        """The committed study's verdicts, all claims (dfrepro.report.claims says their shape); none without a study."""
        return judge.verdicts(places.STUDY)

    def former(self) -> list[dict[str, Any]]:
        """The former study's verdicts, likewise."""
        return judge.verdicts(places.FORMER)

    def claims(self) -> list[dict[str, Any]]:
        """All claims judged on everything that is there of this scale, grid and seeds; trains nothing.

        Writes results/<scale>/claims.json, as `python -m dfrepro claims` does (dfrepro.report.claims says its shape).
        """
        judge.present(self.params)
        judged: list[dict[str, Any]] = read_json(places.results_folder(self.params) / "claims.json")["claims"]
        return judged

    def found(self, *claims: str) -> Table:
        """What the committed study found, whatever this clone has run: one row a claim of a paper, or a claim by id.

        Effects are in the metric's unit, AUC and accuracy in [0, 1], positive as the paper claims.
        """
        return findings(self._wanted(claims), judge.progress())

    def conclusion(self, *claims: str) -> "Markdown":
        """The same in a few plain sentences (dfrepro.report.learned)."""
        from IPython.display import Markdown

        from dfrepro.report.learned import sentences

        wanted = self._wanted(claims)
        papers = dict.fromkeys(claim["paper"] for claim in wanted)
        return Markdown("\n".join(f"- {each}" for paper in papers for each in sentences(paper, wanted)))

    def _wanted(self, claims: Iterable[str]) -> list[dict[str, Any]]:
        wanted = [claim for claim in self.study() if {claim["paper"], claim["id"]} & set(claims)]
        if not wanted:
            raise WorkbookError(f"no claim is called {' or '.join(claims)}", where="papers/*/claims.yaml")
        return wanted

    def show(self, figure: "Figure", name: str, alt: str) -> None:
        """Display a figure, with `alt` for who cannot see it, and save it as PNG among this notebook's figures."""
        import matplotlib.pyplot as plt
        from IPython.display import display

        path = self.params.artifacts / "figures" / self.name / f"{name}.png"
        with atomic_file(path) as partial:
            figure.savefig(partial)
        display(figure, metadata={"image/png": {"alt": alt}})
        plt.close(figure)  # else the notebook shows it once more


def open(name: str = "scratch", scale: str | None = None) -> Workbook:
    """Open the workbook for one notebook; yours may be called anything and be anywhere.

    `name` is the folder that its figures are saved to. `scale` is what papermill injects; None leaves it to
    DFREPRO_SCALE or params.yaml.
    """
    if not re.fullmatch(r"[\w-]+", name):
        raise WorkbookError(
            f"{name!r} is no name of a folder", where="workbook.open", remedy="Letters, digits, - and _"
        )
    plots.theme()
    return Workbook(name, params.load(scale=scale))
