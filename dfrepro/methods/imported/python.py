"""A detector that is a Python file: `predict(crops)`, (B, H, W, 3) uint8 RGB -> (B,) P(fake), in a process of its own.

For whatever no other kind of import takes. The file's environment may be another one (`python`, an interpreter with
numpy). It runs with the rights of whoever runs the workbook: a process of its own is no sandbox.
"""

import hashlib
import io
import subprocess
import sys
import weakref
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfrepro.errors import WorkbookError, plain
from dfrepro.nets.detector import Output

CLIP = 1e-6  # P(fake) is kept between this and 1 minus this: margins stay within ±13.8
TIMEOUT = 300.0  # seconds for loading, and for each batch
WORKER = Path(__file__).with_name("worker.py")


class PythonDetector(nn.Module):
    """`predict` of a file as a detector: logits (0, logit(P)), P kept within [`CLIP`, 1 − `CLIP`]; features are those.

    image_size: the side of the crops that it is given, in pixels. sha256: of the file as it was imported; another one
    is refused. The process starts with the first batch and ends with the detector. There are no maps, and no gradient.
    """

    def __init__(self, file: str, sha256: str, image_size: int, timeout: float = TIMEOUT, python: str = ""):
        super().__init__()
        self.file, self.sha256, self.image_size = Path(file), sha256, image_size
        self.timeout, self.python = timeout, python or sys.executable
        self.nothing = nn.Parameter(torch.zeros(0), requires_grad=False)  # where a detector is, is asked of parameters
        self._process: _Process | None = None

    @torch.no_grad()
    def forward(self, images: Tensor) -> Output:
        """Of faces (B, 3, S, S) in [0, 255]."""
        margins = torch.logit(torch.from_numpy(self.predict(self.crops(images))), eps=CLIP).float()
        logits = torch.stack([torch.zeros_like(margins), margins], dim=1)
        return Output(logits, margins[:, None], margins[:, None, None, None])

    def crops(self, images: Tensor) -> np.ndarray:
        """(B, image_size, image_size, 3) uint8, resized as every detector here resizes."""
        x = images.detach().cpu().float()
        size = (self.image_size, self.image_size)
        if x.shape[-2:] != size:
            x = functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        return np.ascontiguousarray(x.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())

    def predict(self, crops: np.ndarray) -> np.ndarray:
        """P(fake) (B,) float64. Raises `WorkbookError` for a crash, a timeout, a wrong shape or no probabilities."""
        if self._process is None:
            if not self.file.is_file() or _sha256(self.file) != self.sha256:
                where, remedy = self.file, "Import it again"
                raise WorkbookError("the file is not the one that was imported", where=where, remedy=remedy)
            self._process = _Process(self.file, self.python, self.timeout)
        found = self._process.ask(crops)
        wrong = ""
        if found.shape != (len(crops),):
            wrong = f"predict returned shape {found.shape} for {len(crops)} crops"
        elif not np.isfinite(found).all():
            wrong = f"predict returned {(~np.isfinite(found)).sum()} values that are not finite"
        elif found.min(initial=0) < 0 or found.max(initial=1) > 1:
            wrong = f"predict returned {found.min():.3g} to {found.max():.3g}"
        if wrong:
            raise WorkbookError(wrong, where=self.file, remedy="It must return P(fake), one number in [0, 1] a crop")
        return found


class _Process:
    """One process that has loaded the file, and the pipe to it."""

    def __init__(self, file: Path, python: str, timeout: float):
        self.file, self.timeout = file, timeout
        self.ours, theirs = Pipe()
        self.errors: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self.process = subprocess.Popen(
                [python, str(WORKER), str(file), str(theirs.fileno())], cwd=file.parent, stdin=subprocess.DEVNULL,
                stdout=self.errors, stderr=self.errors, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        except OSError as error:
            raise WorkbookError(
                f"{python} does not start ({error})", where=file, remedy="Name another --python"
            ) from error
        finally:
            theirs.close()
        weakref.finalize(self, _end, self.process, self.ours, self.errors)
        self._answer("loading it")

    def ask(self, crops: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        np.save(buffer, crops, allow_pickle=False)
        with suppress(OSError):  # a process that is gone: what it said is read below
            self.ours.send_bytes(buffer.getvalue())
        found: np.ndarray = np.load(io.BytesIO(self._answer("predict")), allow_pickle=False)
        return found

    def _answer(self, doing: str) -> bytes:
        try:
            if not self.ours.poll(self.timeout):
                self.process.kill()
                remedy = "Give it longer with --timeout, or smaller batches"
                raise WorkbookError(f"{doing} took longer than {self.timeout:g} s", where=self.file, remedy=remedy)
            message = self.ours.recv_bytes()
        except (EOFError, OSError):
            code = self.process.wait()
            raise self._failed(f"its process ended with {code} while {doing}", self._said()) from None
        if message[:2] != b"ok":
            raise self._failed(f"{doing} failed", message[2:].decode(errors="replace"))
        return message[2:]

    def _said(self) -> str:
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def _failed(self, what: str, said: str) -> WorkbookError:
        last = plain(next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing"))
        return WorkbookError(
            f"{what}: {last[:200]}", where=self.file, remedy="Call its predict by hand, and correct it"
        )


def _end(process: "subprocess.Popen[Any]", ours: Connection, errors: IO[bytes]) -> None:
    ours.close()
    process.kill()
    process.wait()
    errors.close()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
