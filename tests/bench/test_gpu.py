"""The script for one GPU, on a CPU and with networks as small as there are: it measures every row that it promises."""

import math

import pytest

import bench.device
from bench import gpu, settings
from dfrepro.nets.detector import Backbone

SMALL = gpu.Sizes(
    main=(Backbone("test_convnext", 32), 4),
    pairs=(Backbone("test_efficientnet", 32), 4),
    pel=(Backbone("test_efficientnet", 64), 2),
    focus=(Backbone("vit_conv_stem", 32), 2),
    steps=3,
)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr(bench.device, "PRODUCT", 64)
    monkeypatch.setattr(settings.shutil, "which", lambda _: None)  # compiling takes a minute


def test_every_row_is_measured_in_time():
    rows = gpu.measured(SMALL)
    names = [row.name.partition(",")[0] for row in rows]
    assert names == [
        "Step of ERM", "Step of PIM", "Step of SAM", "Step of PEL", "Step of FoCus", "Step on self-blended pairs",
        names[6], "Setting bf16-mixed", "Setting channels_last",
    ]  # fmt: skip
    assert names[6].startswith("Making self-blended pairs of 32 px on ")
    assert all(math.isfinite(row.value) and row.value > 0 for row in rows)


def test_no_part_begins_after_the_time_is_up(capsys):
    assert gpu.measured(SMALL, budget=-1.0) == []
    said = capsys.readouterr().out
    assert "no time for Step of ERM" in said
    assert "no time for settings" in said
