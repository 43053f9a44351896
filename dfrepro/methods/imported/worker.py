"""The other process of `dfrepro.methods.imported.python`: loads a file and answers each batch with its `predict`.

    python worker.py FILE DESCRIPTOR

It needs the standard library and numpy, for it may run in another environment than the workbook. A batch arrives as
the bytes of a .npy file, (B, H, W, 3) uint8; the answer is "ok" or "no" and then an array's bytes, or what went wrong.
What the file prints goes to the error stream.
"""

import importlib.util
import io
import os
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np


def answer(predict, message: bytes) -> bytes:
    try:
        found = predict(np.load(io.BytesIO(message), allow_pickle=False))
        found = found.detach().cpu().numpy() if hasattr(found, "detach") else found  # a tensor, without torch here
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(found, dtype=np.float64), allow_pickle=False)
        return b"ok" + buffer.getvalue()
    except Exception:
        return b"no" + traceback.format_exc().encode()


def load(path: Path):
    sys.dont_write_bytecode = True  # Python would take it for that of a file that is edited within its second
    sys.path.insert(0, str(path.parent))  # it may import its neighbours
    spec = importlib.util.spec_from_file_location("imported_detector", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.predict


def main(path: Path, descriptor: int) -> None:
    os.dup2(2, 1)
    with Connection(descriptor) as connection:
        try:
            predict = load(path)
        except BaseException:
            connection.send_bytes(b"no" + traceback.format_exc().encode())
            return
        connection.send_bytes(b"ok")
        while True:
            try:
                message = connection.recv_bytes()
            except (EOFError, OSError):
                return
            connection.send_bytes(answer(predict, message))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
