"""Readers of the official dataset layouts, one file a family: `layout("ffpp").videos(root)`."""

from importlib import import_module

from dfrepro.data.layouts.base import FAKE, REAL, Count, Finding, Inventory, Layout, Video
from dfrepro.errors import WorkbookError

_CLASSES = {  # name -> module:class, imported when asked for
    "ffpp": "ffpp:FaceForensics",
    "dfd": "ffpp:DeepFakeDetection",
    "cdfv1": "celebdf:CelebDFv1",
    "cdfv2": "celebdf:CelebDFv2",
    "cdfpp": "celebdf:CelebDFPP",
    "dfdc": "dfdc:DFDC",
    "dfdcp": "dfdcp:DFDCPreview",
    "wdf": "wilddeepfake:WildDeepfake",
    "ffiw": "ffiw:FFIW",
    "df40": "df40:DF40",
    "diff": "diff:DiFF",
    "deepfakebench": "deepfakebench:DeepfakeBench",
    "manifest": "manifest:Manifest",
}
LAYOUTS = tuple(_CLASSES)

__all__ = ["FAKE", "LAYOUTS", "REAL", "Count", "Finding", "Inventory", "Layout", "Video", "layout"]


def layout(name: str) -> Layout:
    """Return the reader of the layout `name`, one of `LAYOUTS`. Raises `WorkbookError` for any other name."""
    if name not in _CLASSES:
        raise WorkbookError(f"unknown layout {name!r}", remedy=f"known layouts: {', '.join(LAYOUTS)}")
    module, _, cls = _CLASSES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), cls)()
