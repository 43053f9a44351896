"""What a command has to do with its terminal: any code page, Ctrl-C, and a terminal that is closed."""

import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

LIKE_CTRL_C = ("SIGTERM", "SIGHUP")  # a cluster's end of time, a closed terminal


def print_anything() -> None:
    """On a console of another code page (cp1252) what it lacks is shown by number, and stops nothing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def told_to_stop() -> Iterator[Callable[[], int]]:
    """Make SIGTERM and SIGHUP what Ctrl-C is: a training saves its state, everything else stops where it may.

    Yields a function that gives the exit status: 128 and the signal's number. What is ignored (nohup) stays ignored.
    """
    told, owner = [signal.SIGINT], os.getpid()
    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker inherits the handler and shall die as it always did
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        told[0] = signal.Signals(number)
        if told[0].name == "SIGHUP":
            _let_go(terminals)
        ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(ctrl_c):
            raise KeyboardInterrupt
        ctrl_c(signal.SIGINT, frame)

    numbers = [getattr(signal, name) for name in LIKE_CTRL_C if hasattr(signal, name)]
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield lambda: 128 + told[0]
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def nobody_reads() -> bool:
    """Whether the reader of standard output has gone (`| head`); what is still to be said then goes nowhere."""
    output, asked = sys.stdout.fileno(), select.poll()
    asked.register(output, 0)  # errors are told unasked
    if gone := any(told & select.POLLERR for _, told in asked.poll(0)):
        _let_go([output])
    return gone


def _let_go(terminals: list[int]) -> None:
    """Words to a closed terminal are errors, and an error in a progress bar would stop the saving: they go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in terminals:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
