"""Tests, notebooks under nbval included, run at smoke scale and never touch another scale's artifacts."""

import os
import signal

# a shell's background jobs and nohup ignore these, and what they start inherits that: tests send them for real
for ignored in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, signal.default_int_handler if ignored is signal.SIGINT else signal.SIG_DFL)

os.environ["DFREPRO_SCALE"] = "smoke"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "2")
