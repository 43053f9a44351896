"""Tests, notebooks under nbval included, run at smoke scale and never touch another scale's artifacts."""

import os

os.environ["DFREPRO_SCALE"] = "smoke"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "2")
