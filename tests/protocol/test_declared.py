"""protocols.yaml: what it says, and how a mistake in it is told."""

import pytest
import yaml

from dfrepro.errors import WorkbookError
from dfrepro.protocol.declared import OURS, Protocol, chosen, load, named

ALL = load()


def test_ours_comes_first_and_every_choice_differs_from_it_in_what_it_says():
    assert next(iter(ALL)) == OURS
    choices = [name for name in ALL if name not in named(ALL)]
    assert len(choices) >= 12
    assert all(ALL[name].differences(ALL[OURS]) for name in choices)
    assert set(ALL["one frame"].differences(ALL[OURS])) == {"frames"}


def test_the_named_ones_are_those_of_sbi_deepfakebench_and_the_papers_with_their_sources():
    assert {"ours", "sbi", "deepfakebench", "fpg", "pim", "pel", "fia_usa", "focus"} <= set(named(ALL))
    assert all(ALL[name].source for name in named(ALL))


@pytest.mark.parametrize(("entry", "complaint"), [
    ({"framse": 3}, r"protocols\.ours\.framse is not a parameter.*Did you mean 'frames'"),
    ({"crop": {"rule": "square"}}, r"crop\.rule is 'square'"), ({"crop": {"margin": 2}}, r"crop\.margin is 2"),
    ({"compression": "jpeg-0"}, "compression is 'jpeg-0'"), ({"metric": "roc"}, "no metric 'roc'"),
    ({"departs": {"faces": "x"}}, "faces is no part of a protocol"), ({"frames": 0}, "frames is 0"),
])  # fmt: skip
def test_a_mistake_is_named_with_its_place(tmp_path, entry, complaint):
    path = tmp_path / "protocols.yaml"
    path.write_text(yaml.safe_dump({"protocols": {"ours": entry}}))
    with pytest.raises(WorkbookError, match=rf"protocols\.yaml: .*{complaint}"):
        load(path)


def test_a_mistake_in_a_choice_a_file_without_ours_and_an_unknown_name_are_told(tmp_path):
    path = tmp_path / "protocols.yaml"
    path.write_text("protocols: {ours: {}}\nchoices: {tight: {crop: {rule: tight}}}")
    with pytest.raises(WorkbookError, match=r"protocols\.yaml: tight: crop\.rule is 'tight'"):
        load(path)
    path.write_text("protocols: {theirs: {}}")
    with pytest.raises(WorkbookError, match="lacks the protocol 'ours'"):
        load(path)
    with pytest.raises(WorkbookError, match="no protocol 'theirs'"):
        chosen(ALL, ["theirs"])


@pytest.mark.parametrize("how", ["", "jpeg-1", "jpeg-100", "h264-0", "h264-51"])
def test_compressions_within_their_ranges_are_taken(how):
    assert Protocol(compression=how).compression == how
