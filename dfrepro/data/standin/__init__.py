"""The stand-in: procedural face videos and forgeries of them, in the official layouts of the real datasets.

`generate` writes it. The real datasets are behind licence forms; the stand-in lets every experiment of the workbook run
from a fresh clone, through the same readers, face detector and cropper. docs/standin.md is its datasheet.
"""

from dfrepro.data.standin.generate import generate
from dfrepro.data.standin.spec import LAPTOP, SMOKE, VERSION, StandinSpec

__all__ = ["LAPTOP", "SMOKE", "VERSION", "StandinSpec", "generate"]
