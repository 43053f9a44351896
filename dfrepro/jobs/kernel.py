"""The kernel of a notebook: the interpreter that runs this, whatever a site or a user calls python3."""

import os
import sys
import tempfile
from pathlib import Path

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

PYTHON3 = {"display_name": "Python 3", "language": "python", "name": "python3"}
# Where Jupyter, IPython and Matplotlib write below the home, by the variable that names another place
HOMES = {"JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython", "MPLCONFIGDIR": "matplotlib"}


class OwnKernel(AsyncKernelManager):
    """Starts ipykernel in this very interpreter; installed kernelspecs are not looked at."""

    @property
    def kernel_spec(self) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name=PYTHON3["display_name"], language=PYTHON3["language"])


def with_a_home() -> None:
    """Name a temporary place for what a kernel keeps, where there is no home or nothing can be written to it."""
    home = Path.home() if "HOME" in os.environ else None
    if home is not None and home.is_dir() and os.access(home, os.W_OK):
        return
    place = Path(tempfile.mkdtemp(prefix="dfrepro-home-"))
    for variable, folder in HOMES.items():
        (place / folder).mkdir()
        os.environ.setdefault(variable, str(place / folder))
