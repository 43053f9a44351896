"""PIM's motivation (SPEC P1, Tables I and II, Figure 1): from frame scores to the paper's tables and figures."""

from typing import TYPE_CHECKING

import pandas as pd

from dfrepro.evaluate import bootstrap, metrics
from dfrepro.report import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = {"DF": "Deepfakes", "FS": "FaceSwap", "F2F": "Face2Face", "NT": "NeuralTextures"}
GAP = 0.05  # P1-C1


def test_set(scores: pd.DataFrame, run: str, method: str, condition: str = "clean") -> pd.DataFrame:
    """Scores of one run on FF++'s reals and one method's fakes, all seeds, under one condition."""
    wanted = scores.manipulation.isin(["original", METHODS[method]]) & (scores.dataset == "ffpp")
    return scores[(scores.run == run) & wanted & (scores.condition == condition)]


def cross_manipulation(scores: pd.DataFrame, runs: dict[str, str]) -> pd.DataFrame:
    """Video AUC, trained on (rows) × tested on (columns), mean over seeds: Table I."""
    return pd.DataFrame(
        {test: {train: _mean_auc(test_set(scores, run, test)) for train, run in runs.items()} for test in runs}
    )


def printed_cross_manipulation(printed: pd.DataFrame) -> pd.DataFrame:
    return printed.set_index("train").loc[list(METHODS), list(METHODS)].astype(float)


def gaps(scores: pd.DataFrame, runs: dict[str, str], n_bootstrap: int) -> pd.DataFrame:
    """In-domain minus cross-manipulation video AUC for the 12 pairs, with an interval over videos and seeds (P1-C1)."""
    rows = []
    for train, run in runs.items():
        for test in runs:
            if test != train:
                both = scores[(scores.run == run) & (scores.condition == "clean") & (scores.dataset == "ffpp")]
                estimate = bootstrap.interval(
                    both, lambda part, a=train, b=test: _gap(part, a, b), n=n_bootstrap, seed=0
                )
                rows.append({"trained on": train, "tested on": test, "gap": plots.interval(*estimate),
                             f"at least {GAP:.2f}": estimate[1] >= GAP})  # fmt: skip
    return pd.DataFrame(rows)


def shift_harm(scores: pd.DataFrame, runs: dict[str, str], printed: pd.DataFrame) -> pd.DataFrame:
    """Video-level accuracy and log-loss before and after the statistic shift, the paper's beside ours: Table II."""
    rows = []
    for method, run in runs.items():
        for condition, name in (("clean", "before"), ("shifted", "after")):
            seeds = [part for _, part in test_set(scores, run, method, condition).groupby("seed")]
            videos = [metrics.video_scores(part) for part in seeds]
            paper = printed[(printed.dataset == method) & (printed.perturbation == name)].iloc[0]
            rows.append({
                "set": method, "perturbation": name, "Acc, paper": float(paper.Acc),
                "Acc, here": pd.Series([metrics.accuracy(v.label, v.score) for v in videos]).mean(),
                "log-loss, paper": float(paper.Logloss),
                "log-loss, here": pd.Series([metrics.log_loss(v.label, v.score) for v in videos]).mean(),
                "AUC, here": pd.Series([metrics.auc(v.label, v.score) for v in videos]).mean(),
            })  # fmt: skip
    return pd.DataFrame(rows).set_index(["set", "perturbation"])


def draw_shift_harm(table: pd.DataFrame, data_label: str) -> "Figure":
    """Draw Table II as lines from before to after, the paper's beside ours."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4))
    for axis, measure in zip(axes, ("Acc", "log-loss")):
        for source, style in (("paper", "--"), ("here", "-")):
            for method, colour in (("DF", plots.FAKE), ("F2F", plots.REAL)):
                values = table.loc[method][f"{measure}, {source}"]
                label = f"{method}, {'paper (FF++)' if source == 'paper' else f'here ({data_label})'}"
                axis.plot(
                    ["before", "after"], values.loc[["before", "after"]], style, c=colour, marker="o", label=label
                )
        axis.set(title={"Acc": "Accuracy", "log-loss": "Log-loss"}[measure], xlim=(-0.25, 1.25))
    axes[0].axhline(0.5, c="0.6", lw=1, ls=":")
    axes[1].legend(fontsize=9)
    return figure


def figure1(rows: pd.DataFrame, runs: dict[str, str]) -> "Figure":
    """Draw the embeddings: a column a manipulation, clean above and shifted below (Figure 1)."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(runs), figsize=(4.4 * len(runs), 8), sharex="col", sharey="col")
    for column, (method, run) in zip(axes.T, runs.items()):
        for axis, condition in zip(column, ("clean", "shifted")):
            part = rows[(rows.run == run) & (rows.condition == condition)]
            agreement = part.neighbour_agreement.iloc[0]
            name = "before the shift" if condition == "clean" else "after it"
            plots.embedding(axis, part, title=f"{method}, {name}: {agreement:.2f}", legend=axis is axes[0, 0])
    return figure


def _mean_auc(scores: pd.DataFrame) -> float:
    return float(scores.groupby("seed").apply(metrics.video_auc, include_groups=False).mean())


def _gap(scores: pd.DataFrame, train: str, test: str) -> float:
    def auc(method: str) -> float:
        return metrics.video_auc(scores[scores.manipulation.isin(["original", METHODS[method]])])

    return auc(train) - auc(test)
