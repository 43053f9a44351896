"""docs/paper-scale.md: its tables of work and disk follow from scales/paper.yaml, and every command is one there is."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dfrepro import params
from dfrepro.__main__ import parser
from dfrepro.files import ROOT
from dfrepro.jobs.kinds import method_of

PAGE = (ROOT / "docs" / "paper-scale.md").read_text(encoding="utf-8")
ORIGINALS = 720  # of FF++'s official training split
P = params.load(scale="paper")


def rows(title: str) -> list[list[str]]:
    """The cells of the table whose first column has this title."""
    (table,) = re.findall(rf"^\|{title}\|.*\n\|[-:|]+\|\n((?:\|.*\n)+)", PAGE, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def number(text: str) -> float:
    return float(text.replace(" ", ""))


@pytest.mark.parametrize("row", rows("set"), ids=lambda row: row[0])
def test_disk_follows_from_the_size_of_a_face(row):
    faces, videos = P.sizes.faces, int(number(row[1]))
    pixels = videos * faces.n_frames * faces.size**2
    fakes = {"FaceForensics++ c23 (and c40 as much again)": 4000, "DeepFakeDetection": 3068}.get(
        row[0], 0
    )  # with masks
    whole = 3 * pixels + pixels * fakes / videos
    value, unit = row[2].split()
    assert float(value) * {"GB": 1e9, "TB": 1e12}[unit] == pytest.approx(whole, rel=0.02)


def test_hours_of_extraction_are_the_measured_seconds_times_the_videos():
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    seconds = float(re.search(r"\*\*([\d.]+) s a video\*\*", page)[1])
    table = re.search(r"hours on one core\|\n\|[-:|]+\|\n((?:\|.*\n)+)", page)[1].splitlines()
    for _, videos, hours in ([cell.strip() for cell in line.strip("|").split("|")] for line in table):
        assert float(hours) == pytest.approx(int(videos) * seconds / 3600, abs=0.06)


def work(run: str) -> tuple[int, int, int]:
    """Images that a training sees, steps, and passes through the network a step, from the run's settings."""
    spec = P.spec(run, 0)
    training, step = spec["training"], spec["step"]
    frames = min(training["frames"], P.sizes.faces.n_frames)
    everything = ORIGINALS * frames * (1 + len(spec["data"]["manipulations"]))
    declared = training["images_per_epoch"]
    per_epoch = everything if declared == "all" else declared or 2 * ORIGINALS * frames
    steps = training["epochs"] * (per_epoch // training["batch"])
    passes = 1 + (step["alpha"] > 0) + (step["beta"] > 0)
    return training["epochs"] * per_epoch, steps, passes


def runs(cell: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", cell)


def test_every_core_run_is_in_the_table_once():
    named = [run for row in rows("runs") for run in runs(row[0])]
    assert sorted(named) == sorted(P.core)


@pytest.mark.parametrize("row", rows("runs"), ids=lambda row: runs(row[0])[0])
def test_work_follows_from_the_settings(row):
    for run in runs(row[0]):
        images, steps, passes = work(run)
        network = P.spec(run, 0)["backbone"]
        assert row[1] == f"{network['name'].split('.')[0]}, {network['image_size']} px"
        assert (number(row[2]) * 1e6, int(number(row[3])), int(row[4])) == (
            pytest.approx(images, rel=0.01),
            steps,
            passes,
        )
    hours = 3 * float(row[5]) * 1e9 * images * passes / 10e12 / 3600
    assert float(row[6]) == pytest.approx(hours, rel=0.06, abs=0.06)


@pytest.mark.long
@pytest.mark.parametrize("row", rows("runs"), ids=lambda row: runs(row[0])[0])
def test_flops_are_those_that_torch_counts(row):
    for run in runs(row[0]):
        spec = P.spec(run, 0)
        detector = method_of(spec).build(spec | {"backbone": spec["backbone"] | {"pretrained": False}}).eval()
        side = spec["backbone"]["image_size"]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            detector(torch.zeros(1, 3, side, side, dtype=torch.uint8))
        assert float(row[5]) == pytest.approx(counter.get_total_flops() / 1e9, rel=0.02), run


def test_every_command_of_ours_parses():
    commands = [line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]
    ours = [re.split(r"-m dfrepro ", line)[1] for line in commands if "-m dfrepro " in line]
    assert len(ours) >= 5
    for line in ours:
        words = re.sub(r"\s+#.*|\)? &$", "", line).replace("'", "").split()
        parser().parse_args(words)
