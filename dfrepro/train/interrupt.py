"""Ctrl-C in a training: the step that is under way ends, the state is saved, and only then the program stops."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SAID = b"\nstopping after this step; Ctrl-C once more stops at once\n"


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether the user has asked to stop (SIGINT); a second request raises at once.

    Outside the main thread, where Python has no say in signals, nobody can ask.
    """
    asked, owner = False, os.getpid()  # data workers inherit the handler, and stay until they are dismissed

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        if os.getpid() == owner:
            os.write(2, SAID)  # print is not safe in a handler

    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
