"""Where a pipeline run's time goes, from what the runner prints."""

import yaml

from bench.stages import core_seconds, kind, summary
from dfrepro.files import ROOT

PRINTED = """PATH=... python -m dfrepro repro
made standin in 10.0 s on 2 cores; 4 left
failed: faces@wdf: no face was found
made train@erm-df-0 in 30.0 s; 3 left
erm-nt, seed 0: 100%|###| 432/432 [00:20<00:00, 21step/s]made evaluate@erm-df-0 in 8.5 s; 2 left
made grid/dvc.yaml:train-pel@pel-self-0 in 1.5 s; 1 left
repro: 4 made, 2 were up to date
""".splitlines(keepends=True)


def test_core_seconds_are_added_up_by_kind_and_the_rest_of_the_cores_time_is_left():
    stages = list(core_seconds(PRINTED))
    assert stages == [
        ("standin", 20), ("train@erm-df-0", 30), ("evaluate@erm-df-0", 8.5), ("grid/dvc.yaml:train-pel@pel-self-0", 1.5)
    ]  # fmt: skip
    told = summary(stages, seconds=40.0, cores=2)
    assert told == {
        "data": 20, "training": 31.5, "other": 8.5, "left": 20, "wall": 40, "cores": 2, "share_outside": 0.3563
    }  # fmt: skip


def test_every_stage_of_the_pipeline_has_its_kind():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    of = {name: kind(name) for name in stages}
    assert {name for name in stages if of[name] == "training"} == {n for n in stages if n.startswith("train")}
    assert {name for name in stages if of[name] == "data"} == {"standin", "faces", "reconstruct", "pairs"}
    assert of["evaluate"] == of["08_claims"] == of["maps-pairs"] == "other"
