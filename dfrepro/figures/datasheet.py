"""The data's own figures: what the sets hold, what they look like, what short cuts could tell, how hard they are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dfrepro.report import judge, plots
from dfrepro.report.beside import FORMER, HERE, SOURCES, STUDY, levels
from dfrepro.report.calibration import CLEAN, cells
from dfrepro.report.evidence import Evidence

if TYPE_CHECKING:
    from pathlib import Path

    from IPython.display import Markdown
    from matplotlib.figure import Figure

    from dfrepro.data.manifest import FaceStore

BAND_CONTROL = (0.40, 0.62)
TESTS = {title: name for name, title in plots.SETS.items()}
COLUMNS = ["original", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]


def overview(stores: dict[str, "FaceStore"]) -> pd.DataFrame:
    """One row a set: videos by class and split, faces, frames without a face, videos skipped."""
    rows = {}
    for name, store in stores.items():
        videos = store.manifest.drop_duplicates(["dataset", "manipulation", "video"])
        counts = store.report["counts"]
        rows[name] = {
            "real videos": int((videos.label == 0).sum()),
            "fake videos": int((videos.label == 1).sum()),
            "train / val / test": " / ".join(str(int((videos.split == s).sum())) for s in ("train", "val", "test")),
            "faces": len(store),
            "partial videos": counts["partial"],
            "skipped videos": counts["skipped"],
        }
    return pd.DataFrame(rows).T.rename_axis("set").reset_index()


def shared_identities(store: "FaceStore") -> dict[str, list[str]]:
    """Identities that stand in two splits: 'train and test' -> names. Empty when the splits are clean."""
    by_split = {s: set(part.identities.explode()) for s, part in store.manifest.groupby("split")}
    pairs = [("train", "val"), ("train", "test"), ("val", "test")]
    shared = {f"{a} and {b}": sorted(by_split.get(a, set()) & by_split.get(b, set())) for a, b in pairs}
    return {name: names for name, names in shared.items() if names}


def draw_sets(stores: dict[str, "FaceStore"], *, columns: int = 12) -> "Figure":
    """Draw one row of real and one of fake faces per set, each from another video."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(stores), 1, figsize=(11, 2.05 * len(stores)))
    for axis, (name, store) in zip(np.atleast_1d(axes), stores.items()):
        chosen = [i for label in (0, 1) for i in _one_a_video(store, store.manifest.label == label, columns)]
        title = plots.SETS.get(store.manifest.dataset.iloc[0], name)
        plots.faces(axis, store.faces[chosen], columns=columns, title=f"{title}: real above, fake below")
    return figure


def draw_manipulations(store: "FaceStore", *, videos: int = 4) -> "Figure":
    """Draw targets as rows; original, four forgeries and their masks' outlines as columns."""
    import matplotlib.pyplot as plt

    m = store.manifest
    names = m[(m.manipulation == "Deepfakes") & (m.split == "test")].video.unique()[:videos]
    figure, axes = plt.subplots(len(names), len(COLUMNS), figsize=(10.5, 2.15 * len(names)), squeeze=False)
    for line, name in zip(axes, names):
        for axis, manipulation in zip(line, COLUMNS):
            video = name.split("_")[0] if manipulation == "original" else name
            rows = m[(m.manipulation == manipulation) & (m.video == video)].sort_values("frame")
            axis.set_axis_off()
            if len(rows):
                _draw_face(axis, store, int(rows.index[len(rows) // 2]))
            if name == names[0]:
                axis.set_title(plots.LABELS[manipulation], loc="center")
    return figure


def draw_landmark_error(store: "FaceStore", standin: "Path") -> "Figure":
    """Draw the distribution of the predictor's error against the stand-in's true landmarks, reals and fakes apart."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    errors = landmark_error(store, standin)
    figure, axis = plt.subplots(figsize=(6.5, 3.2))
    if errors.empty:
        axis.set_title("these faces are not the stand-in's: no true landmarks")
        return figure
    palette = {"real": plots.REAL, "fake": plots.FAKE}
    kind = np.where(errors.label == 1, "fake", "real")
    sns.histplot(
        x=100 * errors.error, hue=kind, palette=palette, stat="density", common_norm=False, element="step", ax=axis
    )
    axis.axvline(100 * errors.error.median(), c="0.3", lw=1, ls=":")
    axis.set(xlabel="mean error of the 68 points, % of the eyes' outer distance", yticks=[], ylabel="")
    axis.set_title(f"Landmark error: median {100 * errors.error.median():.1f} %")
    return figure


def landmark_error(store: "FaceStore", standin: "Path") -> pd.DataFrame:
    """One row a face that has a truth: label and mean 68-point error over the eyes' outer distance."""
    keys = ["dataset", "manipulation", "video", "frame"]
    truth = pd.read_parquet(standin / "truth.parquet", columns=[*keys, "landmarks"])
    m = store.manifest.reset_index(names="row").merge(truth, on=keys, suffixes=("", "_true"))
    if m.empty:
        return pd.DataFrame({"label": [], "error": []})
    found = np.stack(m.landmarks.to_list()).reshape(len(m), -1, 2)[:, :68]
    box = np.stack(m.box.to_list())
    scale = (box[:, 2] - box[:, 0]) / store.size
    found = found * scale[:, None, None] + box[:, None, :2]  # crop pixels -> source pixels
    true = np.stack(m.landmarks_true.to_list()).reshape(len(m), -1, 2)[:, :68]
    eyes = np.linalg.norm(true[:, 36] - true[:, 45], axis=1)
    return pd.DataFrame({"label": m.label, "error": np.linalg.norm(found - true, axis=2).mean(1) / eyes})


def draw_controls(controls: dict[str, Any]) -> "Figure":
    """Draw the video AUC of each short cut against the band that the datasheet allows."""
    import matplotlib.pyplot as plt

    aucs = pd.Series(controls.get("video_auc", {}), dtype=float)
    outside = [name for name, auc in aucs.items() if not BAND_CONTROL[0] <= auc <= BAND_CONTROL[1]]
    figure, axis = plt.subplots(figsize=(6.5, 0.6 * max(1, len(aucs)) + 1.2))
    axis.axvspan(*BAND_CONTROL, color="#e9f1ec", lw=0)
    axis.axvline(0.5, c="0.5", lw=1, ls=":")
    axis.scatter(aucs, aucs.index, c=plots.FAKE, zorder=3)
    for name, auc in aucs.items():
        axis.annotate(f"{auc:.2f}", (auc, name), textcoords="offset points", xytext=(8, -4), fontsize=9)
    axis.set(
        xlim=(0.3, 1),
        xlabel="in-domain video AUC, cross-validated by identity",
        title=f"Beyond the allowed band: {', '.join(map(str, outside))}" if outside else "No short cut tells the fakes",
    )
    axis.margins(y=0.3)
    return figure


def calibration(run: str, sets: Sequence[str], measured: Mapping[str, Evidence]) -> pd.DataFrame:
    """Video AUC of a run on each set (dfrepro.report.beside.levels); `measured`: the evidence of each source."""
    columns = {plots.SETS[name]: {"metric": "video_auc", "test": name} for name in sets}
    return levels({run: run}, columns, measured, key="network", title="Video AUC of the baseline")


def studied(run: str, sets: Sequence[str]) -> pd.DataFrame:
    """The same of what is committed alone: the study, and the former study where that has no number yet."""
    both = {STUDY: judge.study_evidence(), FORMER: judge.former_evidence()}
    return calibration(run, sets, {source: evidence for source, evidence in both.items() if evidence is not None})


def conclusion(found: pd.DataFrame) -> "Markdown":
    """What `calibration` of the run on its own set, which is first, and on others says of the sets, in sentences."""
    from IPython.display import Markdown

    (run,), bands = found.attrs["rows"], _bands(found)
    best = found.sort_values("seeds").drop_duplicates("column", keep="last").set_index("column")
    if best.empty:
        return Markdown("Neither study has measured the baseline.")
    said = {
        name: f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}] on {name}" for name, one in best.iterrows()
    }  # fmt: skip
    own, others = found.attrs["columns"][0], best.drop(index=found.attrs["columns"][0], errors="ignore")
    lines = [f"On its own set the baseline `{run}` ranks videos with an AUC of {said[own]}."] if own in said else []
    if len(others):
        low, high = others["value"].idxmin(), others["value"].idxmax()
        lines.append(f"On sets that it has not seen it falls, to between {said[low]} and {said[high]}.")
    outside = [said[name] for name in bands.index.intersection(best.index)
               if not bands.low[name] <= best.value[name] <= bands.high[name]]  # fmt: skip
    lines.append(
        f"Against ourselves: outside the band that it was set to lies {'; '.join(outside)}." if outside
        else "Each lies in the band that it was set to, so that there is room above and below for an effect."
    )  # fmt: skip
    return Markdown("\n".join(f"- {line}" for line in lines))


def _bands(found: pd.DataFrame) -> pd.DataFrame:
    """The band, `low` and `high`, that each set of `calibration` was set to, by the set's name; where there is one."""
    every, (run,) = cells(), found.attrs["rows"]
    own = every[(every.run == run) & (every.manipulation == "") & (every.condition == CLEAN)].set_index("test")
    known = {name: own.loc[TESTS[name], ["low", "high"]] for name in found.attrs["columns"] if TESTS[name] in own.index}
    return pd.DataFrame.from_dict(known, orient="index", columns=["low", "high"])


def draw_calibration(found: pd.DataFrame, label: str) -> "Figure":
    """Draw the baseline's AUC on each set with its interval, and the band that it was set to, where there is one."""
    import matplotlib.pyplot as plt

    sets, bands = found.attrs["columns"], _bands(found)
    figure, axis = plt.subplots(figsize=(7, 3.8))
    for place, name in enumerate(sets):
        if name in bands.index:
            axis.fill_between([place - 0.35, place + 0.35], bands.low[name], bands.high[name], color="#e4ece6", lw=0)
        for one in found[found.column == name].itertuples():
            shift = 0.1 if one.source == HERE else -0.1
            seeds = one.each if one.seeds > 1 else ()
            plots.dots(axis, place + shift, one.source, one.value, (one.low, one.high), seeds, upright=True)
    axis.axhline(0.5, c="0.5", lw=1, ls=":")
    axis.set(xticks=range(len(sets)), xticklabels=sets, ylabel="video AUC", ylim=(0.4, 1.02))
    axis.set_title("The baseline on every set; the band is what it was set to")
    shown = [source for source in SOURCES if (found.source == source).any()]
    figure.legend(handles=plots.sources(label, *shown), loc="outside lower center", ncols=2)
    return figure


def _draw_face(axis: Any, store: "FaceStore", row: int) -> None:
    axis.imshow(store.faces[row], interpolation="lanczos")
    mask = store.mask(row)
    if mask is not None and mask.max() > 127:
        axis.contour(mask, levels=[127], colors="white", linewidths=0.8)


def _one_a_video(store: "FaceStore", chosen: pd.Series, n: int) -> list[int]:
    rows = store.manifest[chosen].drop_duplicates(["manipulation", "video"])
    return list(rows.index[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int)]) if len(rows) else []
