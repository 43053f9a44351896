"""DeepfakeBench's preprocessed form of any dataset (Yan et al., NeurIPS 2023): no detection needed.

    .../frames/<video>/*.png beside .../landmarks/<video>/*.npy, (81, 2) each, and .../masks/<video>/*.png
    <dataset>.json (see benchjson.py) in the root or in (preprocessing/)dataset_json/

Paths have slashes or backslashes. What leads them on another machine (`./datasets/`, `D:/data/`) is passed
over: a path is read from the first of its folders on that the root holds.
The official JSONs put videos in several splits: Celeb-DF's test videos in train and val too, DFDCP's test set as val,
all of DFD everywhere. A video that is anywhere in test is test here, and val wins over train; `check` counts the cases.
"""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from dfrepro.data.layouts.base import REAL, Video
from dfrepro.data.layouts.benchjson import AGAIN, MANIPULATIONS, SPLITS, Entry, entries, label_of, tables
from dfrepro.data.layouts.celebdf import identities as celeb_identities
from dfrepro.data.layouts.given_landmarks import check_landmarks
from dfrepro.data.layouts.labels import inside
from dfrepro.data.layouts.listing import file_names
from dfrepro.data.layouts.reader import Reader, Reading, some
from dfrepro.data.layouts.splits import carve_val
from dfrepro.errors import WorkbookError


class DeepfakeBench(Reader):
    name = "deepfakebench"
    source = "github.com/SCLBD/DeepfakeBench links the processed data and its JSONs"
    expects = "the datasets' folders with frames/ and landmarks/, and DeepfakeBench's <dataset>.json files"
    official_val = True  # a validation split is carved here, for the datasets whose JSON gives none

    def read(self, root: Path, compression: str) -> Reading:
        """Read all JSONs; without a compression (as `check` does), every variant of a video."""
        listing, videos = _Listing(), dict[tuple[str, ...], Video]()
        jsons = list(tables(root))
        if not jsons:
            raise WorkbookError("no <dataset>.json here", where=root, remedy=self._layout_remedy())
        for entry in (entry for table in jsons for entry in entries(table, listing)):
            if compression and entry.compression not in ("", compression):
                continue
            video = _video(root, entry, listing)
            if video:
                key = (*video.key, "" if compression else video.compression)
                videos[key] = _merged(videos.get(key, video), video, entry.where, listing)
        listing.videos = _with_val(list(videos.values()), listing)
        listing.report()
        return listing

    def counted(self, video: Video) -> list[str]:
        return [" ".join(filter(None, (f"{video.dataset}, {video.split}, {video.manipulation}", video.compression)))]


class _Listing(Reading):
    """A reading that gathers what would otherwise be one finding a video."""

    def __init__(self) -> None:
        super().__init__()
        self.absent, self.moved, self.partial = set[str](), set[str](), set[str]()

    def report(self) -> None:
        source = DeepfakeBench.source
        bare = {"/".join(video.key) for video in self.videos if video.landmarks is None}
        if self.absent:
            self.missing(f"{len(self.absent)} videos of the JSONs have no frames here: {some(self.absent)}", source)
        if bare:
            self.missing(f"{len(bare)} videos have no landmarks and need detection: {some(bare)}", source)
        if self.partial:
            self.missing(f"{len(self.partial)} videos have frames without landmarks: {some(self.partial)}", source)
        if self.moved:
            self.note(f"{len(self.moved)} videos are in several splits; test wins, then val: {some(self.moved)}")


def _video(root: Path, entry: Entry, listing: _Listing) -> Video | None:
    """Return the video if its folder of frames is there."""
    folder = _folder(root, entry.frames, entry.where)
    if folder is None:
        listing.absent.add(f"{entry.dataset}/{entry.video}")
        return None
    label = label_of(entry.label, entry.where)
    manipulation = "original" if label == REAL else MANIPULATIONS.get(entry.label, _method(entry))
    people = _identities(entry)
    landmarks, masks = _landmarks(folder, entry, listing), _folder(root, entry.masks, entry.where)
    where = (entry.split, people, entry.compression, folder, "frames", masks, landmarks)
    return Video(entry.field, manipulation, entry.video, label, *where)  # type: ignore[arg-type]


def _folder(root: Path, files: tuple[PurePosixPath, ...], where: str) -> Path | None:
    parents = {file.parent for file in files}
    if len(parents) > 1:
        raise WorkbookError(f"its files lie in {len(parents)} folders", where=where, remedy=AGAIN)
    for parent in parents:
        for start in range(len(parent.parts) - 1):  # a video's folder alone could be any dataset's
            tail = parent.parts[start:]
            if (root / tail[0]).is_dir() and (folder := inside(root, PurePosixPath(*tail), where)).is_dir():
                return folder
    return None


def _landmarks(folder: Path, entry: Entry, listing: _Listing) -> Path | None:
    """Return the folder of landmarks beside `frames`; the first file's shape is checked, extraction reads each."""
    if folder.parent.name != "frames":
        return None
    landmarks = folder.parent.with_name("landmarks") / folder.name
    if not landmarks.is_dir():
        return None
    names, wanted = set(file_names(landmarks)), sorted(f"{frame.stem}.npy" for frame in entry.frames)
    if wanted[0] in names:
        check_landmarks(landmarks / wanted[0])
    if not names.issuperset(wanted):
        listing.partial.add(f"{entry.dataset}/{entry.video}")
    return landmarks


def _method(entry: Entry) -> str:
    """Return the method of a label such as `simswap_Fake`; "fake" where the label only repeats the dataset."""
    method = entry.label.rpartition("_")[0]
    return "fake" if method in ("", entry.dataset) else method


def _identities(entry: Entry) -> tuple[str, ...]:
    dataset = entry.field
    if dataset == "ffpp":
        return tuple(entry.video.split("_"))
    if dataset == "dfd":
        return tuple(entry.video.split("__")[0].split("_"))
    if dataset in ("cdfv1", "cdfv2"):
        youtube = "YouTube-real" in entry.frames[0].parts
        return celeb_identities("YouTube-real" if youtube else "Celeb", entry.video)
    if dataset == "dfdcp":
        return (entry.video.split("_")[0],)
    return (entry.video,)


def _merged(one: Video, other: Video, where: str, listing: _Listing) -> Video:
    """Return the one entry for a video that several JSONs or splits name: test wins over val, val over train."""
    if one.path != other.path:
        what = f"duplicate video {'/'.join(one.key)!r}: {str(one.path)!r} and {str(other.path)!r}"
        raise WorkbookError(what, where=where, remedy="keep one of them")
    if one.split != other.split:
        listing.moved.add("/".join(one.key))
    return replace(one, split=max(one.split, other.split, key=SPLITS.index))


def _with_val(videos: list[Video], listing: _Listing) -> list[Video]:
    kept: list[Video] = []
    for dataset in sorted({video.dataset for video in videos}):
        part = [video for video in videos if video.dataset == dataset]
        splits = {video.split for video in part}
        if "train" in splits and "val" not in splits:
            part, left_out = carve_val(part)
            text = (
                f"{dataset}: no validation split left in its JSON: {sum(v.split == 'val' for v in part)} train videos"
            )
            listing.note(f"{text} of held-out identities become val, {len(left_out)} that mix them are left out")
        kept += part
    return kept
