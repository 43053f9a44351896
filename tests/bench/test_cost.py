"""Hours of a paper-scale run follow from images, measured speed and measured costs."""

import pytest

from bench.cost import factors, hours, images, rule_of, table
from bench.measure import RESULTS
from dfrepro import params
from dfrepro.files import read_json

P = params.load(scale="paper", grid="full")
ROLES = dict.fromkeys(P.run(run).detector.backbone for run in P.runs)
COSTS = {
    "erm": 1.0,
    "pim": 1.4,
    "sam": 2.0,
    "mix": 2.7,
    "pel": 2.6,
    "fia_usa": 1.2,
    "fpg": 2.0,
    "focus": 2.5,
    "focus_evaluation": 1.1,
}


def test_a_run_of_pim_takes_its_images_times_its_cost_over_the_speed():
    assert images(P, "pim-ffpp") == 100 * 5 * 720 * 8  # epochs, reals and four kinds of fakes, videos, frames
    assert hours(P, "pim-ffpp", {"main": 320.0}, COSTS) == pytest.approx(2_880_000 * 1.4 / 320 / 3600)
    assert hours(P, "erm-ffpp-2x", {"main": 320.0}, COSTS) == pytest.approx(2 * 2_880_000 / 320 / 3600)


def test_a_step_is_priced_by_its_rule():
    assert [rule_of(P, run) for run in ("erm-ffpp", "pim-ffpp", "sam-ffpp", "dual-ffpp-s10-m05")] == list(COSTS)[:4]


def test_twice_the_speed_is_half_the_hours_of_everything():
    slow, fast = (table(P, dict.fromkeys(ROLES, speed), COSTS) for speed in (100.0, 200.0))
    last = [float(text.split("|**all**|")[1].split("|")[3]) for text in (slow, fast)]
    assert last[0] == pytest.approx(2 * last[1], rel=0.01)


@pytest.mark.skipif(not RESULTS.exists(), reason="`make bench` has not been run")
def test_the_costs_are_those_that_were_measured():
    measured = factors(read_json(RESULTS))
    assert measured.keys() == COSTS.keys()
    assert 1 == measured["erm"] < measured["pim"] < measured["sam"] < measured["mix"] < 4
