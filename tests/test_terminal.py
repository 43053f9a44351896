"""Consoles of other code pages, Ctrl-C, SIGTERM and a closed terminal: a word, a status, and a state that goes on."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dfrepro.files import ROOT

SCRIPT = """
import sys, time
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from dfrepro import __main__ as entrance
from dfrepro.train.interrupt import interruptible
state = Path(sys.argv[1])

def step(args):
    state.write_text("begun")
    time.sleep(60)

def training(args):
    with interruptible() as asked:
        state.write_text("begun")
        while not asked():
            time.sleep(0.02)
            print("step", file=sys.stderr, flush=True)  # as a progress bar does, to a terminal that may be gone
        state.write_text("saved")
        raise KeyboardInterrupt("erm-df is saved at step 3 of 9")

works = {"faces": step, "train": training}
namespace = Namespace(command=sys.argv[2], function=works[sys.argv[2]])
entrance.parser = lambda: SimpleNamespace(parse_args=lambda argv: namespace)
sys.exit(entrance.main())
"""


def command(state: Path, word: str) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(state), word]


def wait_for(state: Path, text: str) -> None:
    limit = time.monotonic() + 60
    while not (state.exists() and state.read_text() == text):
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize("word", ["faces", "train"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_that_is_told_to_stop_says_how_to_go_on(tmp_path, word, number, status):
    state = tmp_path / "state"
    process = subprocess.Popen(command(state, word), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait_for(state, "begun")
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert f"dfrepro {word}: stopped; " in said
    assert "run the same command to go on" in said
    assert "Traceback" not in said
    if word == "train":
        assert state.read_text() == "saved"
        assert "saved at step 3 of 9" in said


def test_a_training_whose_terminal_is_closed_saves_its_state(tmp_path):
    state = tmp_path / "state"
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, command(state, "train"))
    wait_for(state, "begun")
    os.close(terminal)  # as when a window is closed: SIGHUP, and nobody reads any more
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    assert state.read_text() == "saved"


def test_nohup_is_left_alone(tmp_path):
    state = tmp_path / "state"
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    process = subprocess.Popen(command(state, "faces"), cwd=ROOT, stderr=subprocess.DEVNULL, preexec_fn=ignore)
    wait_for(state, "begun")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143


@pytest.mark.parametrize("words", [["check"], ["--help"], ["score", "→.mp4", "--run", "é日本"]])
@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": "/dev/null/home"},
    ],
    ids=["cp1252", "ascii", "no home"],
)
def test_a_console_of_another_code_page_stops_no_command(words, settings):
    done = subprocess.run(
        [sys.executable, "-m", "dfrepro", *words], cwd=ROOT, env=os.environ | settings, capture_output=True
    )
    said = done.stdout + done.stderr
    assert b"Traceback" not in said, said[-2000:]
    assert b"UnicodeEncodeError" not in said
    assert done.returncode in {"check": (0, 1), "--help": (0,), "score": (2,)}[words[0]]
    assert said


@pytest.mark.parametrize("lines", [1, 100_000])  # told when the command ends, and while it still prints
def test_a_reader_that_has_read_enough_ends_a_command_without_a_word(tmp_path, lines):
    code = SCRIPT.replace("time.sleep(60)", f"time.sleep(0.5); print('line\\n' * {lines})")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "state"), "faces"], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdout.close()  # as `head` does
    assert process.stderr.read() == ""
    assert process.wait(60) == 128 + signal.SIGPIPE
