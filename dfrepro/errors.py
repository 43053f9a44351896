"""The one error a user of the workbook should ever have to read.

Every expected failure (a wrong parameter, a missing split file, an unreadable video) names the thing, the place
and the remedy. Anything else that escapes is a bug.
"""


class WorkbookError(Exception):
    """A failure that the user can mend.

    `what` names the thing that is wrong, `where` the file, key or video, `remedy` what to do about it.
    """

    def __init__(self, what: str, *, where: object = "", remedy: str = ""):
        self.what, self.where, self.remedy = what, str(where), remedy
        place = f"{self.where}: " if self.where else ""
        super().__init__(f"{place}{what}" + (f". {remedy}" if remedy else ""))

    def __reduce__(self):  # keyword-only arguments do not survive pickling between worker processes by themselves
        return (_rebuild, (self.what, self.where, self.remedy))


def _rebuild(what: str, where: str, remedy: str) -> "WorkbookError":
    return WorkbookError(what, where=where, remedy=remedy)


def plain(text: str) -> str:
    """`text` without control characters or lone surrogates: a hostile file name must not steer a terminal or a page."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
