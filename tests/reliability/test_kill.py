"""Killed at any moment, started again: what ends is what would have been, to the bit, and nothing half is ever whole.

SIGKILL hits a process and all it started, at moments drawn from a seed. The short form kills the commands that DVC's
stages call; the long form kills the runner, thirty times in a row.
"""

import random
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from dfrepro import params, places, workbook
from dfrepro.files import ROOT
from dfrepro.jobs import ready

SHORT_KILLS = 2  # of each command
MOST_TRIES = 10  # a command may end before its moment: the machine was busier when it was timed
LONG_KILLS = 30
# of every kind of stage at least one, down to two notebooks
TARGETS = (
    "00_data", "01_motivation", "evaluate-fiausa@fiausa-full-0", "evaluate-focus-eval@focus-eval-pixel-0",
    "evaluate-fpg@fpg-full-0",
)  # fmt: skip


@pytest.fixture(scope="module")
def killed(tiny, undisturbed, tmp_path_factory):
    """A project whose every command was killed before it was left in peace; how often; what was wrong after a kill."""
    project, rng = tiny.make(tmp_path_factory.mktemp("killed") / "project"), random.Random(0)
    whole = tiny.digests(undisturbed.project)
    hits, wrong = dict.fromkeys(tiny.STAGES, 0), []
    for name, words in tiny.STAGES.items():
        latest = undisturbed.seconds[name]
        for _ in range(MOST_TRIES):
            if hits[name] == SHORT_KILLS:
                break
            process = tiny.start(project, *words, cores=rng.choice((1, None)))
            try:
                process.wait(rng.uniform(0.3, 1) * latest)
                latest /= 2  # it was faster this time
            except subprocess.TimeoutExpired:
                tiny.kill(process)
                hits[name] += 1
            left = tiny.digests(project)
            wrong += [(path, *words) for path, digest in left.items() if whole.get(path) != digest]
        done = tiny.call(project, *words, cores=1)  # the undisturbed project had all cores
        assert done.returncode == 0, done.stderr[-3000:]
    return project, hits, wrong


def test_kills_hit_running_commands(killed, tiny):
    assert killed[1] == dict.fromkeys(tiny.STAGES, SHORT_KILLS)


def test_nothing_that_a_kill_leaves_under_its_final_name_is_half_written(killed):
    assert killed[2] == []


def test_killed_commands_end_in_the_same_bytes_with_another_number_of_workers(killed, tiny, undisturbed):
    assert tiny.digests(killed[0]) == tiny.digests(undisturbed.project)
    made = {path.split("/")[2] for path in tiny.digests(killed[0]) if path.startswith("artifacts")}
    assert made == {"standin", "faces", "runs", "scores", "notebooks", "figures", "curves.csv"}
    assert "results/smoke/metrics/erm-df-0.json" in tiny.digests(killed[0])


class Repro:
    """The runner on the targets, after `python -m dfrepro repair` as in `make repro`, and the stages that it makes."""

    def __init__(self, tiny, clone: Path, cores: int | None = None):
        repaired = tiny.call(clone, "repair")
        assert repaired.returncode == 0, repaired.stderr
        self.repaired = repaired.stdout.splitlines()
        self.process = tiny.start(
            clone, "repro", *TARGETS, cores=cores, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.began, self.made, self.lines = time.monotonic(), [], []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.match(r"made (\S+) in", line):
                self.made.append((time.monotonic() - self.began, found[1]))

    def wait(self) -> str:
        """Let it end; return what it printed."""
        self.process.wait()
        self.reader.join()
        return "".join(self.lines)

    def wait_for(self, count: int) -> None:
        """Wait until so many stages have been made, or the end."""
        while self.process.poll() is None and len(self.made) < count:
            time.sleep(0.05)


def clone_of_the_last_commit(to: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(to)], check=True)
    file = to / "params.yaml"
    file.write_text(re.sub(r"(?m)^scale: \w+", "scale: smoke", file.read_text()))
    return to


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_the_runner_killed_thirty_times_in_a_row_ends_in_the_same_bytes(tiny, tmp_path, noted):
    calm = Repro(tiny, clone_of_the_last_commit(tmp_path / "calm"))
    printed = calm.wait()
    assert calm.process.returncode == 0, printed[-3000:]
    seconds = time.monotonic() - calm.began
    first, mean = calm.made[0][0], (seconds - calm.made[0][0]) / len(calm.made)

    clone, rng = clone_of_the_last_commit(tmp_path / "killed"), random.Random(0)
    undone, kills, repaired, hit = {name for _, name in calm.made}, 0, [], []
    for ahead in range(LONG_KILLS, 0, -1):
        repro = Repro(tiny, clone, cores=1)
        repaired += repro.repaired
        count = rng.randint(0, len(undone) // ahead)  # so many that something is left for each kill
        repro.wait_for(count)
        try:
            repro.process.wait(rng.uniform(0, mean if count else first + mean))
        except subprocess.TimeoutExpired:
            tiny.kill(repro.process)
            kills += 1
            hit.append(repro.made[-1][1] if repro.made else "")
        undone -= {name for _, name in repro.made}
    last = Repro(tiny, clone, cores=1)
    printed = last.wait()
    assert last.process.returncode == 0, printed[-3000:]
    repaired += last.repaired
    noted(
        kills={"survived": kills, "of": LONG_KILLS, "in": hit, "repaired": repaired, "seconds of a calm run": seconds}
    )
    assert kills >= 0.9 * LONG_KILLS
    assert tiny.digests(clone) == tiny.digests(tmp_path / "calm")
    assert "made " not in Repro(tiny, clone).wait().replace("0 made", "")
    assert "Running stage" not in tiny.call(clone, "dvc", "repro", *TARGETS).stdout


def test_a_run_that_is_killed_while_it_trains_anew_keeps_no_scores_of_before(tmp_path, monkeypatch):
    monkeypatch.setattr(params.Params, "artifacts", tmp_path)
    book = workbook.open("00_data", "smoke")
    scored = places.scores_folder(book.params, "erm-df", 0)
    scored.mkdir(parents=True)

    def killed(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ready, "provided", killed)
    with pytest.raises(KeyboardInterrupt):
        book.run("erm-df")
    assert not scored.exists()
