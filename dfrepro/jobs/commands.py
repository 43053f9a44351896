"""The commands that stages of dvc.yaml run: `python -m dfrepro COMMAND`. A person may call them too.

`perform` does the words of one in this process, which is how the runner's workers and notebooks do a stage without
starting Python and importing torch for each.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfrepro.errors import WorkbookError

if TYPE_CHECKING:
    from dfrepro.params import Params

# what a command does, given the module dfrepro.jobs.pipeline: imported then, so that `--help` imports next to nothing
Stage = Callable[[Any, "Params", argparse.Namespace], None]


def perform(words: Sequence[str], p: "Params | None" = None) -> None:
    """Do one command, such as ["train", "erm-df", "--seed", "0"], at the scale of `p` (None: of params.yaml)."""
    parser = argparse.ArgumentParser(prog="python -m dfrepro")
    add_to(parser.add_subparsers(required=True))
    args = parser.parse_args(words)
    args.stage(p or _declared(), args)


def _declared() -> "Params":
    from dfrepro import params

    return params.load()


def add_to(commands: Any) -> None:
    """Add every stage's command to a parser's subcommands."""

    def command(name: str, stage: Stage, help: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help)

        def done(p: "Params", args: argparse.Namespace) -> None:
            from dfrepro.jobs import pipeline

            stage(pipeline, p, args)

        sub.set_defaults(stage=done, function=lambda args: done(_declared(), args))
        return sub

    def of_run(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("run", help="a name under `runs` in params.yaml; `python -m dfrepro runs` lists them")
        sub.add_argument("--seed", type=int, help="default: the first of params.yaml")

    command("standin", lambda do, p, _: do.standin(p), "generate the stand-in datasets (params.yaml: scale)")
    sub = command("faces", _faces, "find, follow and crop the faces of a dataset's videos")
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
    command("controls", lambda do, p, _: do.controls(p), "measure the stand-in's short-cut controls")
    sub = command(
        "reconstruct",
        lambda do, p, args: do.reconstruct(p, args.dataset),
        "pass a dataset's training reals through an autoencoder and a super-resolver (FIA-USA)",
    )
    sub.add_argument("--dataset", required=True, help="a name under `datasets` in params.yaml")
    sub = command(
        "pairs",
        lambda do, p, args: do.pairs(p, args.dataset),
        "cut the real face behind every fake out of the originals' videos (FoCus)",
    )
    sub.add_argument("--dataset", required=True, help="a name under `datasets` in params.yaml")
    of_run(command("train", lambda do, p, args: do.train(p, args.run, first(p, args)), "train a run with one seed"))
    sub = command(
        "start",
        lambda do, p, args: do.start(p, args.name, args.seed),
        "train what the runs of one seed begin from",
    )
    sub.add_argument("name", help="a name under `starts` in scales/<scale>.yaml")
    sub.add_argument("--seed", type=int, required=True)
    sub = command("maps", _maps, "make maps of where fakes were forged, and score them against the true masks (FoCus)")
    sub.add_argument("name", help="a name under `maps` in params.yaml")
    sub.add_argument("--seed", type=int, required=True)
    of_run(
        command(
            "evaluate",
            lambda do, p, args: do.evaluate(p, args.run, first(p, args)),
            "score all its test sets with a trained run",
        )
    )
    command("grid", lambda do, p, _: do.grid(p), "note which grid has been run, for the notebooks' stages")
    sub = command("embed", lambda do, p, args: do.embed(p, args.name), "fit and cache a UMAP embedding")
    sub.add_argument("name")
    sub = command(
        "code",
        lambda do, p, args: do.code(p, args.name),
        "write a notebook's code cells to a file, so that saving its outputs runs nothing else",
    )
    sub.add_argument("name")
    sub = command("notebook", _notebook, "execute a notebook with papermill")
    sub.add_argument("name", nargs="?", help="such as 01_motivation")
    sub.add_argument("--run", help="the run that 09_protocol is about, an imported one too; into build/notebooks")
    sub.add_argument("--publish", action="store_true", help="copy the executed outputs into notebooks/")


def first(p: "Params", args: argparse.Namespace) -> int:
    """The seed that is asked for, or the first."""
    return p.seeds[0] if args.seed is None else int(args.seed)


def _faces(pipeline: Any, p: "Params", args: argparse.Namespace) -> None:
    if args.dataset:
        pipeline.faces(p, args.dataset)
        return
    if not (args.layout and args.root and args.out):
        raise WorkbookError("faces needs --layout, --root and --out, or one declared --dataset", where="command line")
    pipeline.faces_of_folder(
        args.layout, args.root, args.out, compression=args.compression, n_frames=args.frames, size=args.size,
        margin=args.margin, predictor=args.predictor, workers=args.workers, dask=args.dask, limit=args.limit,
    )  # fmt: skip


def _maps(pipeline: Any, p: "Params", args: argparse.Namespace) -> None:
    if args.name not in p.maps:
        raise WorkbookError(f"no maps {args.name!r}", where="params.yaml", remedy=f"Known: {', '.join(p.maps)}")
    pipeline.maps(p, args.name, args.seed)


def _notebook(pipeline: Any, p: "Params", args: argparse.Namespace) -> None:
    if args.publish:
        pipeline.publish(p)
        _record_published(p)
    elif args.name:
        done = pipeline.notebook(p, args.name, args.run)
        if args.run:
            print(done)
    else:
        raise WorkbookError("notebook needs a name or --publish", where="command line")


def _record_published(p: "Params") -> None:
    """dvc.lock names the notebooks as they are now; that their code is the same is known in a moment."""
    from dfrepro import params
    from dfrepro.jobs import runner
    from dfrepro.jobs.graph import Pipeline

    if p.scale == params.declared_scale():
        with Pipeline(whole=False) as graph:
            runner.run(
                graph.chosen(["code"], ()), graph, runner.in_this_process, partial(perform, p=p)
            ).raise_failures()
