"""The committed study: the same pipeline on draws of the stand-in of its own, seed after seed, until all is decided.

Five seeds share a draw of the stand-in (`generator`). For each draw `make study` clones the repository into
build/study/<draw>, writes scale, grid, seeds and the draw's number into that clone and works there: what a newcomer's
`make repro` has made stays as it is. All clones share one DVC cache; all work is the runner's, on this machine or on a
Dask cluster. Seeds come in looks (dfrepro.report.looks): at each one the undecided claims are gone through, the
cheapest first (dfrepro.report.agenda), and a decided claim needs no more seeds. Killed and called again it goes on.

After every claim, or with `collect` at any time, what was found is copied to results/study/: evidence by draw,
claims.json, and provenance.json with what it took.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dfrepro import params, places
from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file, atomic_folder, read_json, write_json
from dfrepro.jobs.repair import LOCKS, parsed, repair
from dfrepro.report import calibration, judge
from dfrepro.report.agenda import GUESS, Item, agenda, mapping, scoring
from dfrepro.report.collect import add
from dfrepro.report.looks import LOOKS as LEVELS
from dfrepro.report.schema import load_claims
from dfrepro.report.verdict import DECIDED

CLONES, RESULTS = ROOT / "build" / "study", places.STUDY
SCALE, GRID = "study", "full"
SEEDS_A_DRAW = 5
PATIENCE = 10.0  # seconds
LOOKS = tuple(LEVELS)


def generator(seed: int) -> int:
    """The draw of the stand-in that a seed (1 and on) is trained and tested on: seeds 1 to 5 on draw 0, and so on."""
    return (seed - 1) // SEEDS_A_DRAW


def run(patterns: Sequence[str] = (), *, looks: Sequence[int], jobs: int = 0, dask: str | None = None) -> int:
    """Go through the looks, and at each through the claims that are undecided; returns 1 where a stage failed.

    patterns: of the claims' titles, such as "PEL *"; without one, all.
    """
    failed = 0
    for look in looks:
        seeds = range(1, look + 1)
        draws = sorted({generator(seed) for seed in seeds})
        for draw in draws:
            prepare(draw, [seed for seed in seeds if generator(seed) == draw])
        for item in left(patterns, look):
            found = kept()
            print(f"\n{item.claim.title}: {len(item.need.runs)} runs with seeds 1 to {look}", flush=True)
            for draw in draws:
                own = [seed for seed in seeds if generator(seed) == draw]
                stages = [stage for seed in own for stage in item.need.stages(seed) if stage not in found]
                if not stages:
                    continue
                failed |= _run([sys.executable, "-m", "dfrepro", "repro", *stages, *_workers(jobs, dask)], draw)
            collect()
            print(status(), flush=True)
    return int(bool(failed))


def left(patterns: Sequence[str] = (), look: int = LOOKS[0]) -> list[Item]:
    """The claims that are not decided yet, in the order in which they are run, with what they cost until this look."""
    p = params.load(scale=SCALE, grid=GRID)
    wanted = [c for c in load_claims() if not patterns or any(fnmatchcase(c.title, pattern) for pattern in patterns)]
    if not wanted:
        raise WorkbookError(f"no claim is called {patterns[0]!r}", where="study", remedy='They are called "PEL 1"')
    return agenda(wanted, p, decided=_decided(), seconds=_ahead(p, look))


def kept() -> set[str]:
    """The stages, as `Need.stages` names them, whose evidence is there; it may be another machine's, without artifacts.

    Where what they are trained on or how has changed since, take results/study/evidence away: nothing here can tell.
    """
    found = set[str]()
    for path in sorted(RESULTS.glob("evidence/*/measured.parquet")):
        rows = pd.read_parquet(path, columns=["run", "seed", "dataset"]).drop_duplicates()
        for run, seed, dataset in rows.itertuples(index=False):
            if dataset == "train":  # what a training tells of itself; a map has the name of a run and measures faces
                found.add(scoring(run, seed))
            elif run.startswith(places.MAPS):
                found.add(mapping(run.removeprefix(places.MAPS), seed))
    return found


def _ahead(p: params.Params, look: int) -> dict[str, float]:
    """What the seeds of each run take that a look still lacks: the median of its seeds that have been made, of a run
    that has none the median run's. (A process that was stopped for an hour took that hour.)
    """
    took, found = seconds().dropna(subset=["seed"]), kept()
    each = took.groupby(["run", "seed"])["seconds"].sum().groupby("run").median()
    known = each[each.index.isin(p.runs)]  # the others are starts and faces
    usual = known.median() if len(known) else GUESS
    scored = took[took["stage"].str.startswith("evaluate")]
    found |= {scoring(run, int(seed)) for run, seed in zip(scored["run"], scored["seed"])}
    lacking = {run: sum(scoring(run, seed) not in found for seed in range(1, look + 1)) for run in p.runs}
    return {run: lacking[run] * each.get(run, usual) for run in p.runs}


def status(asked: pd.DataFrame | None = None) -> str:
    """How far the study is, in one line: decided, what it took, and what the next look takes (`costs`)."""
    asked = costs() if asked is None else asked
    took, decided = seconds()["seconds"].sum() / 3600, len(_decided())
    each = f" ({took / decided:.1f} a decided claim)" if decided else ""
    said = f"{decided} claims decided, {len(asked)} left; {took:.1f} core-hours so far{each}"
    if asked.empty:
        return said
    look, ahead = asked["seeds"].iloc[0], asked["core-hours"].sum()
    return f"{said}; what is left until the look at {look} seeds: about {ahead:.0f} core-hours"


def costs() -> pd.DataFrame:
    """What deciding costs: a row an undecided claim, in the order in which they are run, at the nearest look that needs
    something made.

    Columns: claim, runs and maps that it needs, core-hours beyond the claims before it, and of all up to it, seeds.
    """
    for look in LOOKS:
        rest = left(look=look)
        if any(item.seconds for item in rest):
            break
    rows = [(item.claim.title, len(item.need.runs), len(item.need.maps), item.seconds / 3600) for item in rest]
    found = pd.DataFrame(rows, columns=["claim", "runs", "maps", "core-hours"])
    return found.assign(**{"until then": found["core-hours"].cumsum(), "seeds": look})


def _decided() -> set[str]:
    path = RESULTS / "claims.json"
    if not path.exists() or not (RESULTS / "provenance.json").exists():
        return set()
    judged = read_json(path)["claims"]
    return {claim["title"] for claim in judged if claim["verdict"] in DECIDED and not claim.get("former")}


def seconds() -> pd.DataFrame:
    """What each stage took, every time: draw, stage, seconds, run, seed; on a core that it may have had to share.

    Of a stage that was made on several machines, here as far as it was made here.
    """
    parts = [
        pd.read_csv(path).assign(draw=int(path.parents[2].name))
        for path in sorted(CLONES.glob(f"*/artifacts/{SCALE}/seconds.csv"))
    ]
    found = pd.concat([pd.DataFrame({"draw": [], "stage": [], "seconds": []}), *parts])
    if (elsewhere := RESULTS / "seconds.csv").exists():
        before = pd.read_csv(elsewhere)
        made = pd.MultiIndex.from_frame(found[["draw", "stage"]])
        found = pd.concat([before[~pd.MultiIndex.from_frame(before[["draw", "stage"]]).isin(made)], found])
    found = found.astype({"stage": "string"}).sort_values("draw", kind="stable")
    items = found["stage"].str.extract(r"@(?P<run>.+?)(?:-(?P<seed>\d+))?$")
    return found.assign(run=items["run"], seed=items["seed"].astype(float)).reset_index(drop=True)


def _workers(jobs: int, dask: str | None) -> list[str]:
    return ["--jobs", str(jobs), *(["--dask", dask] if dask else [])]


def _run(command: Sequence[str], draw: int) -> int:
    """The exit status of a command in a draw's clone. Ctrl-C reaches it too, and it is given the time to end in order;
    what reached this process alone (`kill`) is passed on."""
    process = subprocess.Popen(command, cwd=_clone(draw), env=_environment(draw))
    try:
        return process.wait()
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.terminate()
        process.wait()
        raise


def _clone(draw: int) -> Path:
    return CLONES / str(draw)


def prepare(draw: int, seeds: Sequence[int]) -> None:
    """Bring a draw's clone to this commit, with its words, and this repository's DVC cache.

    What was found there at another commit stays: whether it still holds is for DVC to see.
    """
    clone = _clone(draw)
    if not clone.exists():
        clone.parent.mkdir(parents=True, exist_ok=True)
        _git(ROOT, "clone", "--quiet", str(ROOT), str(clone))
    repair(clone)
    _git(clone, "fetch", "--quiet", "origin", _commit(ROOT))
    with _found_stays(clone, clone / "results" / SCALE):
        _git(clone, "checkout", "--quiet", "--force", "--detach", _commit(ROOT))
    (clone / ".dvc" / "config.local").write_text(f"[cache]\n    dir = {ROOT / '.dvc' / 'cache'}\n", encoding="utf-8")
    file, sizes = clone / "params.yaml", clone / "scales" / f"{SCALE}.yaml"
    words = {"scale": SCALE, "grid": GRID, "seeds": list(seeds)}
    file.write_text(with_words(file.read_text(encoding="utf-8"), words), encoding="utf-8")
    sizes.write_text(with_draw(sizes.read_text(encoding="utf-8"), draw), encoding="utf-8")


@contextmanager
def _found_stays(clone: Path, results: Path) -> Iterator[None]:
    """Results and what dvc.lock says of them, over a checkout that would refuse or take away what git knew of them.

    Killed half-way, the copy of the results is still there and the next call puts it back.
    """
    aside = clone / "build" / "results"
    locks = {name: _stages(clone / name) for name in LOCKS}
    if results.exists() and not aside.exists():
        with atomic_folder(aside) as copy:
            shutil.copytree(results, copy, dirs_exist_ok=True)
    yield
    if aside.exists():
        shutil.copytree(aside, results, dirs_exist_ok=True)
        shutil.rmtree(aside)
    for name, before in locks.items():
        now = _stages(clone / name)
        if before.keys() - now.keys():
            with atomic_file(clone / name) as partial:
                text = yaml.safe_dump({"schema": "2.0", "stages": before | now}, sort_keys=False)
                partial.write_text(text, encoding="utf-8")


def _stages(lock: Path) -> dict[str, Any]:
    return parsed(lock.read_text(encoding="utf-8"))["stages"] or {} if lock.exists() else {}


def with_words(text: str, words: dict[str, Any]) -> str:
    """The text of a params.yaml with other top-level words; comments and all else stay as they are."""
    for name, value in words.items():
        given = rf"(?m)^{name}:(?: [^#\n]*?(?=\s*(#|$))|(?:\n- .*)+)"  # on the line, or a list below it
        text, found = re.subn(given, f"{name}: {value}", text)
        if found != 1:
            raise WorkbookError(f"there are {found} lines that give {name}", where="params.yaml", remedy="Give one")
    return text


def with_draw(text: str, draw: int) -> str:
    """The text of a scale's file with another seed of the stand-in."""
    text, found = re.subn(r"(?m)^(standin: \{seed: )\d+", rf"\g<1>{draw}", text)
    if found != 1:
        raise WorkbookError("no line gives the stand-in's seed", where=f"scales/{SCALE}.yaml")
    return text


def collect() -> list[dict[str, Any]]:
    """Copy what the clones have found so far to results/study/ and judge the claims on all of it; returns the verdicts.

    Evidence by draw; the stand-in's calibration; what each stage took; provenance: seeds and commits by draw,
    core-hours, seeds by claim. What was found on other machines and is no longer there but in results/study stays.
    """
    before = read_json(RESULTS / "provenance.json")["draws"] if (RESULTS / "provenance.json").exists() else {}
    draws = dict(before)
    for clone in sorted(CLONES.glob("[0-9]*"), key=lambda path: int(path.name)):
        done = subprocess.run(
            [sys.executable, "-m", "dfrepro", "claims"], cwd=clone, env=_environment(int(clone.name)), check=False,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise WorkbookError("its claims cannot be judged", where=clone, remedy="Read the message above")
        evidence = clone / "results" / SCALE / "evidence"  # git has all draws, in folders below
        if (evidence / "items.parquet").exists():
            add(evidence, RESULTS / "evidence" / f"draw-{clone.name}")
            said = yaml.safe_load((clone / "params.yaml").read_text(encoding="utf-8"))
            sizes = params.load(scale=SCALE, grid=GRID, seeds=said["seeds"])
            calibration.add(calibration.measured(sizes, clone / "artifacts" / SCALE), RESULTS / "calibration.csv")
            known = before.get(clone.name, {"seeds": [], "commits": []})
            draws[clone.name] = {
                "seeds": sorted({*known["seeds"], *said["seeds"]}),
                "commits": list(dict.fromkeys([*known["commits"], _commit(clone)])),
            }
    if not draws:
        raise WorkbookError("nothing has been found yet", where=CLONES, remedy="`make study` runs it")
    took = seconds()
    with atomic_file(RESULTS / "seconds.csv") as partial:
        took[["draw", "stage", "seconds"]].to_csv(partial, index=False, float_format="%.1f")
    about: dict[str, Any] = {
        "scale": SCALE,
        "grid": GRID,
        "seeds": sorted(s for draw in draws.values() for s in draw["seeds"]),
    }
    verdicts = judge.study(about | {"data": "standin"})
    provenance = {
        **about, "draws": draws, "core_hours": round(took["seconds"].sum() / 3600, 2),
        "seeds_by_claim": {v["title"]: len(v["seeds"]) for v in verdicts if v["seeds"]},
        "ended": f"{datetime.now(UTC):%Y-%m-%d}",
    }  # fmt: skip
    write_json(RESULTS / "provenance.json", provenance)
    return verdicts


def _commit(repository: Path) -> str:
    return _git(repository, "rev-parse", "HEAD")


def _git(where: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WorkbookError(f"git {words[0]} failed: {done.stderr.strip()}", where=where)
    return done.stdout.strip()


def _environment(draw: int) -> dict[str, str]:
    """This process' environment, with the clone's own code in front."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return os.environ | {"PYTHONPATH": str(_clone(draw)), "PATH": path, "DFREPRO_STUDY": "1"}
