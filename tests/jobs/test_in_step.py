"""Both dvc.yaml are in step with the parameters and with each other; without data, and for the whole grid."""

import re
import subprocess
from fnmatch import fnmatch
from functools import cache

import yaml

from dfrepro import params
from dfrepro.files import ROOT

STAGES = {folder: yaml.safe_load((ROOT / folder / "dvc.yaml").read_text())["stages"] for folder in ("", "grid")}
EVERY = [(f"{folder}/{name}", stage) for folder, stages in STAGES.items() for name, stage in stages.items()]
TRAIN = [(name, stage) for name, stage in EVERY if name.split("/")[1].startswith("train")]
P = params.load(scale="laptop", grid="full")


@cache
def read(file: str) -> dict:
    return yaml.safe_load((ROOT / file).read_text())


def outputs() -> set[str]:
    outs = [next(iter(out)) if isinstance(out, dict) else out for _, stage in EVERY for out in stage.get("outs", ())]
    return {re.sub(r"\$\{item\.\w+\}", "*", out) for out in outs}


def test_every_artifact_that_a_stage_reads_is_made_by_a_stage_and_every_file_of_code_is_there():
    made = outputs()
    for name, stage in EVERY:
        for dep in stage.get("deps", ()):
            if dep.startswith(("artifacts", "results/${")):
                wanted = re.sub(r"\$\{item\.\w+\}", "*", dep).split("/")
                pairs = [
                    zip(wanted, out.split("/")) for out in made
                ]  # a folder of outputs, an output, or what is in one
                assert any(all(fnmatch(a, b) or fnmatch(b, a) for a, b in pair) for pair in pairs), (name, dep)
            elif "$" not in dep:
                assert (ROOT / dep).exists(), (name, dep)


def test_every_parameter_that_a_stage_declares_is_there():
    """Without data: what a stage of the core or of the grid tells DVC to compare is in the file that it names."""
    for scale in ("smoke", "laptop", "study", "paper"):
        for name, stage in EVERY:
            for file, key in declared(stage):
                there = read(file.replace("${scale}", scale))
                for item in stage.get("matrix", {}).get("run", [""]):
                    value = there
                    for part in key.replace("${item.run}", item).split("."):
                        if "$" in part or (part in ("recipes", "reconstruction") and part not in value):
                            break
                        assert part in value, (name, file, key, item, scale)
                        value = value[part]


def declared(stage) -> list[tuple[str, str]]:
    found = []
    for each in stage.get("params", ()):
        pairs = each.items() if isinstance(each, dict) else [("params.yaml", [each])]
        found += [(file, key) for file, keys in pairs for key in keys]
    return found


def test_a_training_lists_its_runs_networks_and_recipe_and_no_others():
    for name, stage in TRAIN:
        keys = {key for file, key in declared(stage) if file.startswith("scales")}
        runs = [P.run(run) for run in stage["matrix"]["run"]]
        networks = {f"backbones.{run.detector.backbone}" for run in runs}
        recipes = {f"recipes.{run.recipe}" for run in runs if run.recipe}
        listed = {key for key in keys if key.startswith(("backbones", "recipes"))}
        assert listed == networks | recipes, name


def test_what_a_kill_leaves_next_to_scores_is_no_part_of_a_dependency():
    asked = [f"artifacts/laptop/scores/erm-df/{name}" for name in (".0-ab12_cd8", "0", "0/scores.parquet")]
    done = subprocess.run(["dvc", "check-ignore", *asked], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == asked[:1]
