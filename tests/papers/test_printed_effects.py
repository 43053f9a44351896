"""What claims.yaml says that a paper prints is what its tables print."""

from dfrepro.report import ledger
from dfrepro.report.schema import load_claims

PRINTED = [(claim, cell) for claim in load_claims() for cell in claim.cells if cell.printed is not None]
DERIVED = [(claim, cell) for claim, cell in PRINTED if cell.printed_from in ("", "average")]


def test_every_printed_effect_follows_from_the_tables_or_says_where_it_comes_from():
    found = {f"{claim.title}, {cell.name}": (cell.printed, ledger.printed(claim, cell)) for claim, cell in DERIVED}
    odd = {name: pair for name, pair in found.items() if pair[1] is None or abs(pair[0] - pair[1]) > 5e-5 + 1e-9}
    assert not odd
    assert len(found) > 150


def test_what_cannot_be_derived_is_the_exception():
    assert len(PRINTED) - len(DERIVED) < len(PRINTED) / 5
