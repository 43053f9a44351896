"""dfrepro: five papers on face-forgery detection, replicated in one workbook."""

__version__ = "0.1.0"
