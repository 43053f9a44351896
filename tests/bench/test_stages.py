"""Where a pipeline run's time goes, from what DVC prints."""

import os
import threading
import time

import pytest
import yaml

from bench.stages import durations, kind, summary, watch
from dfrepro.files import ROOT

PRINTED = (
    b"make\nRunning sta",
    b"ge 'standin':\n",
    b"10%\r20%\r",
    b"python -m dfrepro sweep\nRunning stage 'evaluate@a-0':\n",
)


def test_a_stage_lasts_until_the_next_begins():
    starts = [("set-up", 0.0), ("standin", 2.0), ("train@erm-df-0", 5.0), ("evaluate@erm-df-0", 9.0)]
    stages = durations(starts, 10.0)
    assert stages == [("set-up", 2), ("standin", 3), ("train@erm-df-0", 4), ("evaluate@erm-df-0", 1)]
    assert summary(stages) == {"set-up": 2, "data": 3, "training": 4, "other": 1, "share_outside": 0.3}


def test_of_a_sweep_what_was_not_training_is_not_counted_as_training():
    stages = durations([("set-up", 0.0), ("standin", 10.0), ("sweep", 30.0), ("08_claims", 90.0)], 100.0)
    told = summary(stages, trained=45.0)
    assert told == {"set-up": 10, "data": 20, "training": 45, "other": 25, "share_outside": 0.35}


def test_every_stage_of_the_pipeline_has_its_kind():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    of = {name: kind(name) for name in stages}
    assert {name for name in stages if of[name] == "training"} == {n for n in stages if n.startswith("train")}
    assert {name for name in stages if of[name] == "data"} == {"standin", "faces", "reconstruct", "pairs"}
    assert of["evaluate"] == of["08_claims"] == of["maps-pairs"] == "other"


def test_what_dvc_prints_passes_through_and_its_stages_are_timed():
    (source, feed), (drain, sink) = os.pipe(), os.pipe()

    def dvc():
        for part in PRINTED:
            os.write(feed, part)
            time.sleep(0.05)
        os.close(feed)

    printing = threading.Thread(target=dvc)
    printing.start()
    stages = watch(source, sink)
    printing.join()
    os.close(sink)
    with os.fdopen(drain, "rb") as passed:
        assert passed.read() == b"".join(PRINTED)
    assert [name for name, _ in stages] == ["set-up", "standin", "sweep", "evaluate@a-0"]
    assert stages[1][1] == pytest.approx(0.1, abs=0.08)
