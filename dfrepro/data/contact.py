"""A contact sheet: stored faces with their landmarks, to look at before anything is trained on them."""

from pathlib import Path

import cv2
import numpy as np

from dfrepro.data.landmarks import FOREHEAD
from dfrepro.data.manifest import FaceStore
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_file

CYAN, YELLOW, WHITE = (0, 255, 255), (255, 220, 0), (255, 255, 255)
STRIP = 18  # pixels under a tile for its caption


def contact_sheet(store: FaceStore, path: Path | str, n: int = 64, *, columns: int = 8, tile: int = 160) -> Path:
    """Draw `n` faces spread evenly over `store` as one picture at `path` (.png or .jpg), tiles of `tile` pixels.

    The 68 landmarks are cyan, the forehead's arc yellow; the caption is manipulation, video and frame.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise WorkbookError(f"cannot draw a {path.suffix!r} file", where=path, remedy="Name it .png or .jpg")
    if not len(store):
        raise WorkbookError("a store without faces", where=store.path, remedy="Its report.json says why")
    rows = np.unique(np.linspace(0, len(store) - 1, min(n, len(store))).round().astype(int))
    tiles = [_tile(store, int(row), tile) for row in rows]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    lines = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    with atomic_file(path) as partial:
        picture = cv2.cvtColor(np.concatenate(lines), cv2.COLOR_RGB2BGR)
        partial.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())  # imwrite would not raise on a full disk
    return path


def _tile(store: FaceStore, row: int, tile: int) -> np.ndarray:
    """(tile + STRIP, tile, 3) uint8 RGB."""
    face = store.manifest.iloc[row]
    picture = cv2.resize(np.array(store.faces[row]), (tile, tile), interpolation=cv2.INTER_AREA)
    points = (np.asarray(face["landmarks"], float).reshape(-1, 2) + 0.5) * tile / store.size - 0.5
    for x, y in points[:68]:
        cv2.circle(picture, (round(x), round(y)), 1, CYAN, -1, cv2.LINE_AA)
    arc = points[list(FOREHEAD)].round().astype(np.int32)
    cv2.polylines(picture, [arc], False, YELLOW, 1, cv2.LINE_AA)
    caption = f"{face['manipulation'][:12]} {face['video'][-12:]} {face['frame']}"
    strip = np.zeros((STRIP, tile, 3), np.uint8)
    cv2.putText(strip, caption, (2, STRIP - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.33, WHITE, 1, cv2.LINE_AA)
    return np.concatenate([picture, strip])
