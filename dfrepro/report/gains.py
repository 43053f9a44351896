"""Every gain in AUC that the papers print, as their claims state it: beside one network's spread over protocols."""

import pandas as pd

from dfrepro.report.schema import NAMES, Claim, is_auc, load_claims
from dfrepro.report.verdict import printed_effect


def gains() -> pd.DataFrame:
    """One row a claim whose paper prints a gain in AUC: paper, claim, gain, with what it asserts."""
    rows = [
        (NAMES[claim.paper], claim.title, effect, claim.statement)
        for claim in load_claims() if _is_gain(claim) and (effect := printed_effect(claim.primary)) is not None
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["paper", "claim", "gain", "statement"])


def _is_gain(claim: Claim) -> bool:
    """Whether all that a claim is judged by are differences of plain AUCs."""
    cells = claim.primary
    plain = all(side.change is None and side.scale == 1 for cell in cells for side in cell.sides)
    metrics = [metric for cell in cells for side in cell.sides for metric in side.metrics]
    return bool(cells) and plain and all(cell.test == "difference" for cell in cells) and all(map(is_auc, metrics))
