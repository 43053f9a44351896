"""The command line: `python -m dfrepro COMMAND`. DVC's stages call the same commands that a person does.

Every import of something heavy is inside the command that needs it: a stage that has nothing to do costs a blink.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dfrepro.errors import WorkbookError


def standin(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.standin(params.load())


def faces(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    if args.dataset:
        pipeline.faces(params.load(), args.dataset)
        return
    if not (args.layout and args.root and args.out):
        raise WorkbookError("faces needs --layout, --root and --out, or one declared --dataset", where="command line")
    pipeline.faces_of_folder(
        args.layout, args.root, args.out, compression=args.compression, n_frames=args.frames, size=args.size,
        margin=args.margin, predictor=args.predictor, workers=args.workers, dask=args.dask, limit=args.limit,
    )  # fmt: skip


def check(args: argparse.Namespace) -> int:
    from dfrepro import params
    from dfrepro.data.check import run_check

    p = params.load()
    return run_check({name: (declared.layout, p.root(name)) for name, declared in p.datasets.items()})


def calibrate(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.report import calibration
    from dfrepro.report.calibrate import measure

    p = params.load(scale=args.scale)
    for generator in args.generators:
        for seed in args.seeds:
            calibration.keep(measure(p, generator, seed, args.runs), p.scale, generator, seed)
    print(calibration.markdown(calibration.report(calibration.kept())))


def controls(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.controls(params.load())


def reconstruct(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.reconstruct(params.load(), args.dataset)


def pairs(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.pairs(params.load(), args.dataset)


def maps(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    p = params.load()
    if args.name not in p.maps:
        raise WorkbookError(f"no maps {args.name!r}", where="params.yaml", remedy=f"Known: {', '.join(p.maps)}")
    pipeline.maps(p, args.name, args.seed)


def train(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.train(params.load(), args.run, args.seed)


def evaluate(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.evaluate(params.load(), args.run, args.seed)


def grid(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.grid(params.load())


def claims(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.report import judge
    from dfrepro.report.claims import print_table

    print_table(judge.study() if args.study else judge.present(params.load()))


def dag(args: argparse.Namespace) -> None:
    from dfrepro.jobs import dag

    print(dag.write())


def readme(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.report import readme

    readme.write()
    print("drawn anew:", ", ".join(readme.draw(params.load().artifacts / "figures")) or "nothing, no figures are there")


def card(args: argparse.Namespace) -> None:
    from dfrepro.report import card

    card.main(args.run)


def embed(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.embed(params.load(), args.name)


def code(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    pipeline.code(params.load(), args.name)


def notebook(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs import pipeline

    if args.publish:
        pipeline.publish(params.load())
    elif args.all:
        from dfrepro.jobs.sweep import notebooks

        print(f"notebook: {notebooks(jobs=args.jobs)} stages run, the others were up to date")
    elif args.name:
        pipeline.notebook(params.load(), args.name)
    else:
        raise WorkbookError("notebook needs a name, --all or --publish", where="command line")


def score(args: argparse.Namespace) -> int:
    from dfrepro import params
    from dfrepro.score import score as run

    return run(params.load(), args.path, args.run, seed=args.seed, out=args.out, frames=args.frames)


def mend(args: argparse.Namespace) -> None:
    from dfrepro.jobs.mend import mend

    for sentence in mend(cache=args.cache):
        print(sentence)


def study(args: argparse.Namespace) -> int:
    from dfrepro.jobs import study

    words = {"scale": args.scale, "grid": args.grid, "seeds": args.seeds}
    if args.collect:
        study.collect(words)
        return 0
    return study.run(words, args.runs, jobs=args.jobs)


def sweep(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs.sweep import sweep

    made = sweep(params.load(), args.runs or ["*"], jobs=args.jobs)
    print(f"sweep: {made} made, the others were there")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="dfrepro", description="Five papers on face-forgery detection, replicated.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(function: Callable, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__, help=help, description=help)
        sub.set_defaults(function=function)
        return sub

    command(standin, "generate the stand-in datasets (params.yaml: scale)")
    sub = command(faces, "find, follow and crop the faces of a dataset's videos")
    sub.add_argument("--dataset", help="a name under `datasets` in params.yaml")
    sub.add_argument("--layout", help="the official layout to read: ffpp, dfd, cdfv2, dfdc, dfdcp, wdf, ...")
    sub.add_argument("--root", type=Path, help="the folder of your copy")
    sub.add_argument("--out", type=Path, help="where to write faces.npy, manifest.parquet and report.json")
    sub.add_argument("--compression", default="c23", help="raw, c23 or c40, where the layout has them")
    sub.add_argument("--frames", type=int, default=32, help="frames a video, equally spaced (default 32)")
    sub.add_argument("--size", type=int, default=256, help="side of a stored crop in pixels (default 256)")
    sub.add_argument("--margin", type=float, default=0.25, help="margin a side, as a share of the face box")
    sub.add_argument("--predictor", type=Path, help="shape_predictor_81_face_landmarks.dat, if you have it")
    sub.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    sub.add_argument("--dask", help="address of a Dask scheduler to run on instead")
    sub.add_argument("--limit", type=int, help="read the first so many videos only")
    command(check, "say what is there below each declared root, what is missing, and what to do")
    command(controls, "measure the stand-in's short-cut controls")
    sub = command(calibrate, "measure the papers' baselines on the stand-in, and compare with docs/standin.md's bands")
    sub.add_argument("runs", nargs="*", metavar="RUN", help="only the cells of these runs; default: all")
    sub.add_argument("--scale", default="study")
    sub.add_argument("--generators", type=int, nargs="+", default=[0], help="seeds of the stand-in")
    sub.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of the trainings")
    sub = command(reconstruct, "pass a dataset's training reals through an autoencoder and a super-resolver (FIA-USA)")
    sub.add_argument("--dataset", required=True, help="a name under `datasets` in params.yaml")
    sub = command(pairs, "cut the real face behind every fake out of the originals' videos (FoCus)")
    sub.add_argument("--dataset", required=True, help="a name under `datasets` in params.yaml")
    sub = command(maps, "make maps of where fakes were forged, and score them against the true masks (FoCus)")
    sub.add_argument("name", help="a name under `maps` in params.yaml")
    sub.add_argument("--seed", type=int, required=True)
    for function, help in ((train, "train one run with one seed"), (evaluate, "score every test set with a run")):
        sub = command(function, help)
        sub.add_argument("run", help="a name under `runs` in params.yaml")
        sub.add_argument("--seed", type=int, required=True)
    command(grid, "note which grid has been run, for the notebooks' stages")
    command(dag, "draw the pipeline on one page, docs/figures/pipeline.svg: each kind of stage once")
    command(readme, "bring README's table of verdicts and its pictures into step with what was found")
    sub = command(claims, "judge the papers' claims on what is there; writes results/<scale>/claims.json")
    sub.add_argument("--study", action="store_true", help="on the committed study's evidence, in results/study")
    sub = command(card, "write the model card of a run, or of all that have been trained; results/<scale>/cards/")
    sub.add_argument("run", nargs="?", help="a name under `runs` in params.yaml")
    sub = command(embed, "fit and cache a UMAP embedding")
    sub.add_argument("name")
    sub = command(code, "write a notebook's code cells to a file, so that saving its outputs retrains nothing")
    sub.add_argument("name")
    sub = command(notebook, "execute a notebook with papermill")
    sub.add_argument("name", nargs="?", help="such as 01_motivation")
    sub.add_argument("--all", action="store_true", help="all that have changed, several at a time, and tell DVC")
    sub.add_argument("--jobs", type=int, default=0, help="with --all, processes; 0: one a core")
    sub.add_argument("--publish", action="store_true", help="copy the executed outputs into notebooks/")
    sub = command(score, "score your own video, picture or folder with a trained run: table, JSON, CSV and a page")
    sub.add_argument("path", type=Path, help="a video, a picture, a tar of frames, or a folder of them")
    sub.add_argument("--run", required=True, help="a trained run's name")
    sub.add_argument("--seed", type=int, help="default: the lowest that is trained")
    sub.add_argument(
        "--out", type=Path, help="folder for page.html, scores.json and two CSVs (default: below build/score)"
    )
    sub.add_argument("--frames", type=int, default=32, help="frames a video, equally spaced (default 32)")
    sub = command(mend, "put right what a kill left of DVC's own files (make repro does so first)")
    sub.add_argument("--cache", action="store_true", help="also read DVC's whole cache and remove what is damaged")
    sub = command(study, "run the committed study: the pipeline with other words, in a clone; results/study/")
    sub.add_argument("--scale", default="laptop")
    sub.add_argument("--grid", default="full", choices=["core", "full"])
    sub.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    sub.add_argument("--runs", nargs="+", default=["*"], metavar="PATTERN", help="only these; the notebooks wait")
    sub.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    sub.add_argument("--collect", action="store_true", help="only copy what has been found so far")
    sub = command(sweep, "train and score every run of the grid that is not there yet, several at a time")
    sub.add_argument("runs", nargs="*", metavar="PATTERN", help="only these, such as 'dual-sbi-*'")
    sub.add_argument("--jobs", type=int, default=0, help="processes; 0: one a core")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        return args.function(args) or 0
    except WorkbookError as error:
        return _told(args.command, error)
    except OSError as error:
        from dfrepro.files import refusal

        if (known := refusal(error, error.filename or "")) is None:
            raise
        return _told(args.command, known)


def _told(command: str, error: WorkbookError) -> int:
    print(f"dfrepro {command}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
