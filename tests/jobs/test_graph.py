"""DVC from inside: the releases with which the runner is known to do what `dvc repro` does."""

import dvc

from dfrepro.jobs.graph import VERSIONS


def test_the_release_of_dvc_is_one_that_the_runner_is_known_to_work_with():
    assert dvc.__version__.startswith(tuple(f"{version}." for version in VERSIONS)), (
        "dfrepro/jobs/graph.py uses a stage's changed, save, commit and dump_stages and the run cache's restore: "
        "run tests/jobs/test_runner.py with this release of DVC, then add it to VERSIONS"
    )
