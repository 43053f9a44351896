"""The command line: `python -m dfrepro COMMAND`. DVC's stages call the same commands that a person does.

Every import of something heavy is inside the command that needs it: a stage that has nothing to do costs a blink.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap

from dfrepro import __version__
from dfrepro.errors import WorkbookError

GROUPS = {  # of `--help`
    "Your runs": ("runs", "train", "evaluate", "compare", "protocol", "score", "import", "card"),
    "The papers": ("repro", "claims", "study", "rehearse"),
    "Your data": ("check", "faces"),
}


def check(args: argparse.Namespace) -> int:
    from dfrepro import params
    from dfrepro.data.check import run_check
    from dfrepro.params import STANDIN

    p = params.load()
    there = [name for name in p.datasets if p.has(name)]
    made = [name for name in there if p.roots[p.datasets[name].root] == STANDIN]
    own = {name: (p.datasets[name].layout, p.root(name)) for name in there if name not in made}
    generated = {name: p.root(name) for name in made if p.datasets[name].layout in params.STANDIN_TREES}
    return run_check(own, standin=generated, absent=[name for name in p.datasets if name not in there])


def runs(args: argparse.Namespace) -> None:
    from rich.console import Console

    from dfrepro import params
    from dfrepro.report import told

    p = params.load()
    every = (*p.runs, *p.imports)
    names = told.chosen(p, args.runs) if args.runs else [name for name in every if args.all or p.in_grid(name)]
    console = Console()
    console.print(told.listing(p, names))
    hidden = 0 if args.runs else len(every) - len(names)
    more = f"{hidden} more runs in the full grid: `python -m dfrepro runs --all`. " if hidden else ""
    seeds = ", ".join(map(str, p.seeds))
    console.print(
        f"Scale {p.scale}, seeds {seeds}. {more}`dvc status` says what changed code asks for.",
        style="dim",
        highlight=False,
    )


def compare(args: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    from dfrepro import params
    from dfrepro.jobs import ready
    from dfrepro.report import told
    from dfrepro.report.compare import of_runs, tell

    p = params.load()
    names = told.chosen(p, args.runs)
    if len(names) < 2:
        raise WorkbookError("it takes two runs", where="compare", remedy="`python -m dfrepro runs` lists them")
    found = of_runs(p, [ready.there(p, name, seed) for name in names for seed in args.seeds or p.seeds])
    board = found.leaderboard()
    table = Table("test set", *board.index, box=None, pad_edge=False, header_style="bold")
    for test in board.columns:
        table.add_row(test, *board[test])
    console = Console()
    console.print(table)
    console.print(f"AUC over videos; below it the difference to {names[0]}, paired; 95 % intervals.", style="dim")
    for sentence in tell(found):
        console.print(sentence, highlight=False)
    if args.no_figures:
        return
    from matplotlib import use

    use("agg")
    from dfrepro.figures import compare as figures
    from dfrepro.files import atomic_file
    from dfrepro.report import plots

    plots.theme()
    with atomic_file(args.out / "leaderboard.csv") as partial:
        found.table.to_csv(partial, index=False)
    figures.save(figures.every(found), args.out)
    console.print(f"leaderboard.csv, ROC, scores, manipulations and curves: {args.out}", style="dim", highlight=False)


def train(args: argparse.Namespace) -> None:
    _stage(args, "trained")


def evaluate(args: argparse.Namespace) -> None:
    _stage(args, "scored")


def _stage(args: argparse.Namespace, what: str) -> None:
    """A stage's command by hand, and what came of it."""
    from dfrepro import params
    from dfrepro.jobs import ready
    from dfrepro.jobs.commands import first
    from dfrepro.report import curves, told

    p = params.load()
    if args.run in p.imports:  # of no stage of dvc.yaml: what it reads is provided here
        ready.faces_for(p, args.run)
    args.stage(p, args)
    curves.gather(p)
    print(getattr(told, what)(p, args.run, first(p, args)))


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


def score(args: argparse.Namespace) -> int:
    from dfrepro import params
    from dfrepro.score import score as run

    return run(params.load(), args.path, args.run, seed=args.seed, out=args.out, frames=args.frames, faces=args.faces)


def import_(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.jobs.imports import Source, import_run

    words = {key: getattr(args, key) for key in Source.__dataclass_fields__ if getattr(args, key, None) is not None}
    if args.classes:
        words["classes"] = tuple(args.classes.split(","))
    for note in import_run(params.load(), args.name, args.file, Source(**words), overwrite=args.overwrite):
        print(note)
    print(f"in imports/{args.name}\nnext: python -m dfrepro evaluate {args.name}")


def protocol(args: argparse.Namespace) -> None:
    from dfrepro import params
    from dfrepro.protocol.command import main

    main(params.load(), args.run, datasets=args.on or (), names=args.under or (), near=args.near)


def repair(args: argparse.Namespace) -> None:
    from dfrepro.jobs.repair import repair

    for sentence in repair(cache=args.cache):
        print(sentence)


def study(args: argparse.Namespace) -> int:
    from dfrepro.report import study

    if args.collect:
        study.collect()
    elif not args.status:
        return study.run(args.claims, looks=[n for n in study.LOOKS if n <= args.seeds], jobs=args.jobs, dask=args.dask)
    asked = study.costs()
    print(asked.round(2).to_string(index=False), end="\n\n")
    print(study.status(asked))
    return 0


def repro(args: argparse.Namespace) -> None:
    from dfrepro import params, places
    from dfrepro.jobs import runner
    from dfrepro.jobs.commands import perform
    from dfrepro.report import curves

    p = params.load()
    if p.scale != params.declared_scale():
        where = "environment: DFREPRO_SCALE"
        raise WorkbookError(f"DVC's stages are of params.yaml's scale, not {p.scale}", where=where, remedy="Unset it")
    if p.scale == "study" and "DFREPRO_STUDY" not in os.environ:
        remedy = "`make study` works in a clone of its own"
        raise WorkbookError("scale `study` would overwrite results/study", where="params.yaml", remedy=remedy)
    files = ("dvc.yaml", "grid/dvc.yaml") if p.grid == "full" else ("dvc.yaml",)
    if p.grid == "full":  # what it makes is DVC's to push and to keep
        places.GRID_LOCK.with_name(".dvcignore").unlink(missing_ok=True)
    jobs = args.jobs or (0 if p.sizes.threads else 1)  # threads 0: one run takes the whole machine
    report = runner.Report()
    try:
        runner.repro(perform, args.stages, files=files, jobs=jobs, dask=args.dask, report=report)
    finally:
        if "DFREPRO_STUDY" in os.environ:
            _note_seconds(p.artifacts / "seconds.csv", report.made)
    curves.gather(p)
    print(f"repro: {report}")
    report.raise_failures()


def _note_seconds(path: Path, made: Mapping[str, float]) -> None:
    """What stages took, for the study's account: a line for every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        file.write(
            "".join(["stage,seconds\n" if new else "", *(f"{n.rpartition(':')[2]},{s:.1f}\n" for n, s in made.items())])
        )


def rehearse(args: argparse.Namespace) -> int:
    from dfrepro.jobs import rehearse

    rows = rehearse.rehearse(args.runs or ["*"], args.out)
    rows.to_csv(args.out / "runs.csv", index=False)
    print(rehearse.summary(rows).round(1).to_string(index=False))
    for run in rows[~rows.passed].itertuples():
        print(f"{run.run}: {run.why}", file=sys.stderr)
    return int(not rows.passed.all())


def parser() -> argparse.ArgumentParser:
    from dfrepro.jobs import commands as stages

    top = argparse.ArgumentParser(
        prog="dfrepro", description="Five papers on face-forgery detection, replicated.", allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter, usage="python -m dfrepro COMMAND ...",
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"dfrepro {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS)

    def command(function: Callable, help: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__.rstrip("_"), help=help, description=help)
        sub.set_defaults(function=function)
        return sub

    def workers_of(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--jobs", type=int, default=0, help="how many at once; 0: one a core")
        sub.add_argument("--dask", metavar="ADDRESS", help="run on a Dask cluster whose workers share this folder")

    def on_workers(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "stages", nargs="*", metavar="STAGE", help="only these and what they need: train@*, pim-*, erm-df"
        )
        workers_of(sub)

    on_workers(command(repro, "do what is out of date, side by side, and record it in dvc.lock as `dvc repro` would"))
    sub = command(runs, "list the runs: which are declared, trained, stale, scored")
    sub.add_argument("runs", nargs="*", metavar="RUN", help="only these: a name, or a pattern such as 'pim-*'")
    sub.add_argument("--all", action="store_true", help="the full grid's too")
    sub = command(compare, "compare runs on their test sets: AUC with intervals, and figures")
    sub.add_argument("runs", nargs="+", metavar="RUN", help="names or patterns; the first is what others are held to")
    sub.add_argument("--seeds", type=int, nargs="+", help="default: those of params.yaml")
    sub.add_argument("--out", type=Path, default=Path("build/compare"), help="folder (default build/compare)")
    sub.add_argument("--no-figures", action="store_true", help="the table alone")
    command(check, "say what is there below each declared root, what is missing, and what to do")
    sub = command(score, "score your own video, picture or folder with a trained run: table, JSON, CSV and a page")
    sub.add_argument("path", type=Path, help="a video, a picture, a tar of frames, or a folder of them")
    sub.add_argument("--run", required=True, help="a trained run's name")
    sub.add_argument("--seed", type=int, help="default: the lowest that is trained")
    sub.add_argument(
        "--out", type=Path, help="folder for page.html, scores.json and two CSVs (default: below build/score)"
    )
    sub.add_argument("--frames", type=int, default=32, help="frames a video, equally spaced (default 32)")
    sub.add_argument("--faces", choices=["highest", "mean"], default="highest", help="an input's score, of its faces'")
    sub = command(import_, "make a run of someone else's checkpoint: evaluate, score, cards and notebooks take it")
    _add_import(sub)
    sub = command(
        protocol, "measure a trained run under protocols.yaml's protocols, without training: AUC and intervals"
    )
    sub.add_argument("run", help="a trained run's name")
    sub.add_argument("--on", nargs="+", metavar="SET", help="names under `datasets`; default: the run's test sets")
    sub.add_argument("--under", nargs="+", metavar="NAME", help="names in protocols.yaml, or all; default: the named")
    sub.add_argument("--near", type=float, metavar="AUC", help="a printed number: list the protocols nearest to it")
    sub = command(claims, "judge the papers' claims on what is there; writes results/<scale>/claims.json")
    sub.add_argument("--study", action="store_true", help="on the committed study's evidence, in results/study")
    sub = command(card, "write the model card of a run, or of all that have been trained; results/<scale>/cards/")
    sub.add_argument("run", nargs="?", help="a name under `runs` in params.yaml")
    sub = command(study, "run the committed study until its claims are decided; results/study/ (hours; it goes on)")
    sub.add_argument("claims", nargs="*", metavar="CLAIM", help='only these, such as "PEL *"; default: all')
    workers_of(sub)
    sub.add_argument("--seeds", type=int, default=40, help="stop at this look: 5, 10, 20 or 40 seeds (default 40)")
    sub.add_argument("--collect", action="store_true", help="only copy and judge what has been found so far")
    sub.add_argument(
        "--status", action="store_true", help="only say what is decided, what is left and what it will cost"
    )
    sub = command(rehearse, "one step of every run at the papers' own sizes, on the CPU, with random weights")
    sub.add_argument("runs", nargs="*", metavar="PATTERN", help="only these runs, such as 'pel-*'")
    sub.add_argument("--out", type=Path, default=Path("build/rehearsal"), help="default: build/rehearsal")
    sub = command(repair, "repair what a kill left of DVC's own files (make repro does so first)")
    sub.add_argument("--cache", action="store_true", help="also read DVC's whole cache and remove what is damaged")
    command(dag, "draw the pipeline in docs/pipeline.md: each kind of stage once")
    command(readme, "bring README's table of verdicts and its pictures into step with what was found")
    stages.add_to(commands)
    for function in (train, evaluate):
        commands.choices[function.__name__].set_defaults(function=function)
    top.epilog = _overview({action.dest: action.help or "" for action in commands._choices_actions})
    return top


def _overview(helps: Mapping[str, str]) -> str:
    """The commands in groups, what people use first, at 80 columns."""
    named = {name for group in GROUPS.values() for name in group}
    groups = GROUPS | {"What dvc.yaml and upkeep call": tuple(name for name in helps if name not in named)}
    lines = []
    for title, names in groups.items():
        lines.append(f"{title}:")
        for name in names:
            if name in helps:
                lines += wrap(helps[name], 79, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14)
    return "\n".join([*lines, "", "python -m dfrepro COMMAND --help says more of each."])


def _add_import(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("name", help="what the run is to be called")
    sub.add_argument("file", type=Path, help="safetensors, a torch file of tensors, or a Python file with `predict`")
    sub.add_argument("--as", dest="kind", required=True, metavar="KIND", help="docs/checkpoints.md lists the kinds")
    sub.add_argument("--backbone", help="timm's name of the network, where the kind does not say")
    sub.add_argument("--image-size", type=int, help="side of the network's input in pixels")
    sub.add_argument("--crop", type=float, help="margin a side that the network sees, as a share of the face box")
    sub.add_argument("--mean", type=float, nargs=3, help="of pictures in [0, 1]; default, the kind's or timm's")
    sub.add_argument("--std", type=float, nargs=3)
    sub.add_argument(
        "--classes", help="what the outputs stand for: real,fake (default); fake,real; or fake, a sigmoid's"
    )
    sub.add_argument("--head", help="the classifier's name in the file, where several would do")
    sub.add_argument("--key", help="where the network is in a file that holds several")
    sub.add_argument("--drop", help="regular expression of tensors that may be left out")
    sub.add_argument(
        "--trained-on", help="a name under `datasets`: its test set counts as in-domain (default ffpp-c23)"
    )
    sub.add_argument("--python", help="the interpreter for a Python file's own environment (it needs numpy)")
    sub.add_argument("--timeout", type=float, help="seconds for a Python file to answer a batch (default 300)")
    sub.add_argument("--overwrite", action="store_true", help="replace an import of that name")


def main(argv: Sequence[str] | None = None) -> int:
    from dfrepro.terminal import nobody_reads, print_anything, told_to_stop

    print_anything()
    args = parser().parse_args(argv)
    with told_to_stop() as status:
        try:
            _refuse_unwritable_name()
            status_of_command = args.function(args) or 0
            sys.stdout.flush()
            return status_of_command
        except KeyboardInterrupt as stopped:
            saved = f"{stopped}; " if str(stopped) else ""
            print(f"dfrepro {args.command}: stopped; {saved}run the same command to go on", file=sys.stderr)
            return status()
        except WorkbookError as error:
            return _print_error(args.command, error)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and nobody_reads():
                return 128 + 13  # of SIGPIPE, as the shell counts
            from dfrepro.files import refusal

            if (known := refusal(error, error.filename or "")) is None:
                raise
            return _print_error(args.command, known)


def _refuse_unwritable_name() -> None:
    """Where the code page (LC_ALL=C) cannot say this folder's name, no JSON, notebook or lock could hold a path."""
    from dfrepro.files import ROOT

    try:
        str(ROOT).encode()
    except UnicodeEncodeError as error:
        raise WorkbookError(
            "this code page cannot write the folder's name", where=ROOT, remedy="Set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
        ) from error


def _print_error(command: str, error: WorkbookError) -> int:
    print(f"dfrepro {command}: {str(error).removeprefix(f'{command}: ')}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
