"""How many data workers the shared memory holds: a container's /dev/shm is 64 MB unless told.

Workers hand batches over in shared memory; where it is full, the kernel kills them. What is trained does not depend on
their number, so fewer of them are the remedy.
"""

import shutil
import sys
from pathlib import Path

SHARED = Path("/dev/shm")
WAITING = 3  # batches of a worker at a time: two made ahead, one in use
SPARE = 0.8  # of what is free: others share it too


def workers_that_fit(workers: int, batch_bytes: int) -> int:
    """At most `workers`, as many as shared memory holds with batches of so many bytes; 0: batches are made at home.

    Says so on standard error where it is fewer.
    """
    if not workers or not SHARED.is_dir():
        return workers
    free = shutil.disk_usage(SHARED).free
    fitting = min(workers, int(SPARE * free // (WAITING * max(batch_bytes, 1))))
    if fitting < workers:
        print(
            f"{SHARED}: {free >> 20} MB are free, too few for the batches of {workers} data workers: {fitting} are "
            "used, with the same results. Enlarge it (docker run --shm-size=8g)",
            file=sys.stderr,
        )
    return fitting
