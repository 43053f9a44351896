"""Model cards: one page a published run, every figure of it read from the run's own artifacts.

Published is every run of the present grid that has been trained and scored. `python -m dfrepro card` writes their pages
to results/<scale>/cards/, `python -m dfrepro card RUN` one of them. What a checkpoint says of itself (its meta.json)
counts, not what params.yaml says today; nothing on a card is typed by hand but the sentences around the numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import safe_open

from dfrepro import params, places
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.evaluate import metrics, scores
from dfrepro.files import atomic_file, read_json
from dfrepro.jobs.kinds import method_of
from dfrepro.params import STANDIN, Params
from dfrepro.report import ledger, operating
from dfrepro.report.claims import needed_runs
from dfrepro.report.contrast import level
from dfrepro.report.effects import Effect
from dfrepro.report.evidence import Evidence
from dfrepro.report.overview import PAPERS
from dfrepro.report.schema import Operand
from dfrepro.train import checkpoint
from dfrepro.train.draws import training_rows

CLEAN = "clean"
SHOWN = {"video_auc": "video AUC", "frame_auc": "frame AUC", "accuracy": "video accuracy at .5"}


def published(p: Params) -> list[str]:
    """The runs of the present grid that have been trained and scored with at least one of its seeds."""
    return [run for run in (*p.runs, *p.imports) if p.in_grid(run) and _seeds(p, run)]


def cards_folder(p: Params) -> Path:
    return places.results_folder(p) / "cards"


def write(p: Params, runs: Sequence[str]) -> list[Path]:
    """Write the cards of `runs`, by name; raises WorkbookError where one has not been trained and scored."""
    paths = []
    for run in runs:
        text = Card(p, run).text()
        with atomic_file(cards_folder(p) / f"{run}.md") as partial:
            partial.write_text(text, encoding="utf-8")
        paths.append(cards_folder(p) / f"{run}.md")
    return paths


def _seeds(p: Params, run: str) -> list[int]:
    done = (places.run_folder(p, run, s) / checkpoint.META for s in p.seeds)
    scored = (places.scores_folder(p, run, s) / "scores.parquet" for s in p.seeds)
    return [seed for seed, *files in zip(p.seeds, done, scored) if all(file.is_file() for file in files)]


@dataclass(frozen=True)
class Card:
    """The page of one run."""

    p: Params
    run: str

    @cached_property
    def seeds(self) -> list[int]:
        self.p.run(self.run)
        if not (seeds := _seeds(self.p, self.run)):
            raise WorkbookError(
                f"{self.run} has not been trained and scored", where=self.p.artifacts, remedy="Run `dvc repro`"
            )
        return seeds

    @cached_property
    def meta(self) -> dict[str, Any]:
        return checkpoint.load_meta(places.run_folder(self.p, self.run, self.seeds[0]))

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.meta["spec"]
        return spec

    @property
    def elsewhere(self) -> dict[str, Any] | None:
        """Of an imported run: its kind, file, sha256 and what its import found."""
        return self.meta.get("import")

    @cached_property
    def scores(self) -> pd.DataFrame:
        tables = [
            scores.read(places.scores_folder(self.p, self.run, seed)).assign(run=self.run, seed=seed)
            for seed in self.seeds
        ]
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def evidence(self) -> Evidence:
        return Evidence(None, self.scores)

    @cached_property
    def is_standin(self) -> bool:
        """Whether anything that it was trained or tested on was generated."""
        tested = {self.p.roots[self.p.datasets[name].root] for name in self.p.tests(self.run)}
        return STANDIN in tested | {self.spec["data"]["root"]}

    def text(self) -> str:
        """The whole card, Markdown."""
        parts = [
            f"# {self.run}", self._warning(),
            "## What it is", _table(self._identity()),
            *(["## What it was trained on", _table(self._training_data()), "## How", _table(self._settings())]
              if not self.elsewhere else ["## Where it comes from", _table(self._origin())]),
            "## What it scores", self._scores_note(), self._sets(), *self._conditions(),
            "## At a threshold", self._threshold_note(), self._points(),
            "## Where the workbook uses it", self._uses(),
            "## Limits", "\n".join(f"- {limit}" for limit in self._limits()),
            "## Again", self._again(),
        ]  # fmt: skip
        return "\n\n".join(parts) + "\n"

    def _warning(self) -> str:
        if self.is_standin:
            return (
                "> **Stand-in data.** This network was trained or tested on generated faces, not on photographs of "
                "people. Its figures compare methods with each other under that generator. It says nothing about a "
                "real video, and no figure below is a claim about the dataset whose name it carries."
            )
        return (
            "> **For research.** A score is no evidence about a single video. The figures hold for the sets they were "
            "measured on; other cameras, codecs and forgeries are other sets."
        )

    # --- what, on what, how -------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, object]:
        spec, network = self.spec, self.spec["backbone"]
        kind = (method_of(spec).__doc__ or "").split("\n")[0]
        weights = "from scratch" if not network["pretrained"] else f"pretrained ({network['pretrained']})"
        if self.elsewhere:
            weights = "trained elsewhere"
        return {
            "detector": f"`{spec['detector']['kind']}`: {kind}",
            "variant": spec["detector"]["variant"],
            "supervised by maps": spec["detector"]["maps"],
            "network": f"timm `{network['name']}` at {network['image_size']} px, {weights}",
            "numbers in the checkpoint": f"{self._numbers():,}",
            "library": f"dfrepro {self.meta['library']}, scale `{spec['scale']}`",
        }

    def _origin(self) -> dict[str, object]:
        assert self.elsewhere is not None
        found = self.elsewhere
        return {
            "kind": f"`{found['kind']}`: {found['what']}",
            "file": f"`{found['file']}`, sha256 `{found['sha256']}`",
            "found in it": "; ".join(found["notes"]),
            "unlike its authors": found["unlike"],
            "margin a side that it sees": self.spec["crop"],
            "counts as in-domain": f"`{self.spec['data']['dataset']}`",
        }

    def _numbers(self) -> int:
        with safe_open(places.run_folder(self.p, self.run, self.seeds[0]) / checkpoint.WEIGHTS, "pt") as file:
            return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping

    def _training_data(self) -> dict[str, object]:
        data = self.spec["data"]
        store = FaceStore.open(places.faces_folder(self.p, data["dataset"]))
        chosen = store.manifest.iloc[training_rows(self.spec, store)]
        videos = chosen.drop_duplicates(["dataset", "manipulation", "video"])
        counts = [f"{n} {name}" for name, n in videos["manipulation"].value_counts(sort=False).items()]
        made = {"dataset": "the set's own", "sbi": "self-blended from its reals", "fia-usa": "FIA-USA, from its reals"}
        return {
            "faces of": f"`{data['dataset']}`{' (stand-in)' if data['root'] == STANDIN else ''}",
            "fakes": made[data["fakes"]],
            "videos": ", ".join(counts),
            "faces": f"{len(chosen):,}, at most {self.spec['training']['frames']} a video",
        }

    def _settings(self) -> dict[str, object]:
        training, step = self.spec["training"], self.spec["step"]
        return {
            "step rule": _rule(step),
            "augmentation": "P1's six transforms" if self.spec["augment"] else "",
            "optimiser": f"{training['optimiser']}, rate {training['lr']:g}, weight decay {training['weight_decay']:g}",
            "schedule": f"{training['schedule']}, warm-up {training['warmup']:g} of the steps",
            "batch": training["batch"],
            "epochs": f"{training['epochs']} ({self.meta['training']['steps']:,} steps)",
            "weights kept": "the last" if training["select"] == "last" else "best on in-domain validation",
            "loss at the end": f"{self.meta['training']['loss']:.4f} (seed {self.seeds[0]})",
            "seeds": ", ".join(map(str, self.seeds)),
        }

    # --- figures ------------------------------------------------------------------------------------------------------

    def _scores_note(self) -> str:
        over = "people" if len(self.seeds) == 1 else "people and seeds"
        label = "stand-in" if self.is_standin else "the real sets"
        return (
            f"Measured on {label}, test splits, at most {self.p.sizes.evaluation.frames} frames a video, in brackets a "
            f"95 % interval over {over}. A video's score is the mean of its frames' margins. A set below "
            "another (`ffpp/Deepfakes`) is that manipulation and the set's reals."
        )

    def _sets(self) -> str:
        clean = self.scores[(self.scores.condition == CLEAN) & (self.scores.seed == self.seeds[0])]
        rows = []
        for name, part in clean.groupby("dataset", sort=True):
            fakes = sorted(part[part.label == 1].manipulation.unique())
            for place in [name, *(f"{name}/{fake}" for fake in fakes if len(fakes) > 1)]:
                inside = part[(part.label == 0) | (f"{name}/" + part.manipulation).str.startswith(place)]
                videos = inside.groupby("label")[["manipulation", "video"]].apply(lambda v: len(v.drop_duplicates()))
                shown = {title: _with_interval(self._effect(place, metric)) for metric, title in SHOWN.items()}
                rows.append(
                    {"set": f"`{place}`", "real + fake videos": f"{videos.get(0, 0)} + {videos.get(1, 0)}"} | shown
                )
        return _markdown(rows)

    def _effect(self, place: str, metric: str, condition: str = CLEAN) -> Effect | None:
        of = Operand(run=self.run, test=(place,), metric=metric, condition=(condition,))
        return level(of, self.evidence)

    def _conditions(self) -> Iterator[str]:
        """The in-domain video AUC under every condition, a corruption's levels side by side."""
        altered = self.scores[self.scores.condition != CLEAN]
        if altered.empty:
            return
        place = str(altered.dataset.iloc[0])
        rows: dict[str, dict[str, str]] = {}
        for condition in dict.fromkeys(altered.condition):
            name, _, level = condition.rpartition("-")
            row, column = (name, f"level {level}") if level.isdigit() else (condition, "at all")
            effect = self._effect(place, "video_auc", condition)
            rows.setdefault(row, {"condition": row})[column] = _with_half_width(effect)
        columns = ["condition", *sorted({column for row in rows.values() for column in row} - {"condition"})]
        yield f"Video AUC on `{place}` when the test pictures are altered, ± half the width of the interval:"
        yield _markdown([{column: row.get(column, "") for column in columns} for row in rows.values()])

    @cached_property
    def validation(self) -> dict[int, pd.DataFrame]:
        return operating.validation(self.p, self.run, self.seeds)

    def _threshold_note(self) -> str:
        at = [operating.threshold(table, share) for share in operating.SHARES for table in self.validation.values()]
        told = "; ".join(f"{each.passed} of {each.reals} at {each.share:.0%}" for each in at if each is not None)
        passed = f" (videos that pass, by seed: {told})" if told else ": there are none, score the run again"
        return (
            "Shares of videos called fake at the thresholds that let 1 % and 5 % of the validation reals of its own "
            f"set pass as fake{passed}. *TPR* is found where the test set itself sets the threshold, which nobody can "
            f"do in use. The calibration error is of P(fake), in {metrics.BINS} bins. In brackets 95 % intervals."
        )

    def _points(self) -> str:
        table = operating.points(self.scores, self.validation, operating.places_of(self.scores))
        return _markdown([{"set": f"`{place}`"} | row.to_dict() for place, row in table.iterrows()])

    # --- around them --------------------------------------------------------------------------------------------------

    def _uses(self) -> str:
        claims = places.results_folder(self.p) / "claims.json"
        verdicts = {c["id"]: c["verdict"] for c in read_json(claims)["claims"]} if claims.is_file() else {}
        read = [f"{name} ({verdicts.get(name, 'not judged')})" for name in needed_runs().get(self.run, [])]
        rows = {"claims that read it": ", ".join(read), "printed tables it stands in": "; ".join(self._tables())}
        return _table(rows) if any(rows.values()) else "No claim and no table reads it: it is part of another run."

    def _tables(self) -> Iterator[str]:
        """The printed tables that have a row for the run: "P1 · PIM Table I, Table II"."""
        for paper in ledger.ORDER:
            names = sorted(path.stem for path in (ledger.PAPERS / paper / "tables").glob("*.csv"))
            tables = [table for table in (ledger.table(paper, name) for name in names) if "run" in table]
            if found := [table.attrs["source"] for table in tables if self.run in set(table["run"])]:
                yield f"{PAPERS[paper]} {', '.join(found)}"

    def _limits(self) -> Iterator[str]:
        yield "It ranks faces that a detector found and a cropper cut as in training; it does not find faces itself."
        if len(self.seeds) == 1:
            yield "One seed: the intervals speak of this very network, not of the method."
        if not self.elsewhere and not self.spec["backbone"]["pretrained"]:
            yield "Trained from scratch; the papers begin from pretrained weights."
        for name, counts in self._lost():
            yield f"`{name}`: {counts['skipped']} of {counts['videos']} videos gave no face and are in no figure."
        if self.elsewhere:
            yield "What it was trained on, and by what its checkpoint was chosen, is not known here."
            return
        yield "No checkpoint was chosen on a test set, and no threshold but those of TPR; .5 is where training put it."

    def _lost(self) -> Iterator[tuple[str, dict[str, int]]]:
        for name in self.p.tests(self.run):
            counts = FaceStore.open(places.faces_folder(self.p, name)).report["counts"]
            if counts["skipped"]:
                yield name, counts

    def _again(self) -> str:
        seeds = " ".join(map(str, self.seeds))
        if self.elsewhere:
            seed, found = self.seeds[0], self.elsewhere
            lines = [f"python -m dfrepro import {self.run} {found['file']} --as {found['kind']}",
                     f"python -m dfrepro evaluate {self.run} --seed {seed}"]  # fmt: skip
            return "```sh\n" + "\n".join(lines) + "\n```"
        lines = [f"for seed in {seeds}; do", f"  python -m dfrepro train {self.run} --seed $seed",
                 f"  python -m dfrepro evaluate {self.run} --seed $seed", "done"]  # fmt: skip
        return "```sh\n" + "\n".join(lines) + "\n```"


def _rule(step: dict[str, Any]) -> str:
    """The step rule in words, from its weights (dfrepro.train.steps)."""
    alpha, beta = step["alpha"], step["beta"]
    weights = f"α = {alpha:g}, β = {beta:g}"
    names = {(0, 0): "ERM", (1, 0): f"PIM, r = {step['r']:g}", (0, 1): f"SAM, r′ = {step['r_prime']:g}"}
    name = names.get((alpha, beta), f"DualFlat, r = {step['r']:g}, r′ = {step['r_prime']:g}")
    odd = "" if step["direction"] == "gradient" or not alpha else f", {step['direction']} direction"
    return f"{name} ({weights}){odd}"


def _with_interval(effect: Effect | None) -> str:
    if effect is None or not isfinite(effect.mean):
        return "undefined"
    interval = effect.interval()
    return f"{effect.mean:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _with_half_width(effect: Effect | None) -> str:
    if effect is None or not isfinite(effect.mean):
        return "undefined"
    interval = effect.interval()
    return f"{effect.mean:.3f}" + (f" ± {(interval[1] - interval[0]) / 2:.3f}" if interval else "")


def _table(rows: Mapping[str, object]) -> str:
    """Two columns, without the rows that have nothing to say."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items() if value != "")])


def _markdown(rows: Sequence[dict[str, Any]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def main(run: str | None) -> None:
    """What `python -m dfrepro card [RUN]` does."""
    p = params.load()
    runs = [run] if run else published(p)
    if not runs:
        raise WorkbookError("no run has been trained and scored", where=p.artifacts, remedy="Run `dvc repro`")
    for path in write(p, runs):
        print(path)
