"""Mutation testing: is wrong arithmetic noticed? `python -m tests.reliability.mutants --sample 300 --out FILE`.

A mutant is the code with one operator, comparison or number changed. It is run against its module's own unit tests,
in a fork that has the heavy libraries loaded and finds the mutant in the module's place; a failing test kills it, and
so does taking several times as long. What survives is either a test that is missing or a change that changes nothing.

Not mutated: messages, annotations, refusals (an `if` that does nothing but raise), which are no arithmetic.
"""

import argparse
import ast
import copy
import gc
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATISTICS = ("contrast", "effects", "gates", "people", "power", "verdict")
MODULES = (
    "dfrepro/methods/*/*.py", "dfrepro/forge/*.py", "dfrepro/evaluate/*.py", "dfrepro/train/steps.py",
    *(f"dfrepro/report/{name}.py" for name in STATISTICS),
)  # fmt: skip
HEAVY = (
    "torch", "timm", "cv2", "scipy.ndimage", "scipy.stats", "sklearn.metrics", "pandas", "pyarrow.parquet",
    "skimage.data",
    "lightning_fabric", "albumentations", "pydantic", "safetensors.torch", "av", "pytest", "pytest_timeout", "yaml",
)  # fmt: skip
SWAPS: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}  # fmt: skip
PATIENCE = 4.0  # times what the tests take on the code as it is, and
GRACE = 20.0  # seconds more


@dataclass(frozen=True)
class Mutant:
    """One change of one module: the `site`-th place that can be changed, in the order of the source."""

    module: str  # path from the repository's root
    site: int
    line: int
    change: str  # what stood there -> what stands there


def mutants_of(source: str, module: str = "") -> list[Mutant]:
    """Every mutant of a source, in the order of its lines."""
    return [
        Mutant(module, site, node.lineno, f"{before} -> {ast.unparse(node)}")
        for site, before, node in _changes(ast.parse(source))
    ]


def mutated(source: str, site: int) -> ast.Module:
    """The tree of a source in which the `site`-th place is changed."""
    tree = ast.parse(source)
    places = list(_places(tree))
    _change(*places[site])
    return ast.fix_missing_locations(tree)


def _changes(tree: ast.Module) -> Iterator[tuple[int, str, ast.expr]]:
    for site, (node, part) in enumerate(_places(tree)):
        before, after = ast.unparse(node), copy.deepcopy(node)
        _change(after, part)
        yield site, before, after


def _places(tree: ast.AST) -> Iterator[tuple[ast.expr, int]]:
    """Expressions that can be changed, each with which of its comparisons."""
    for node in _computing(tree):
        if isinstance(node, ast.BinOp) and type(node.op) in SWAPS and not (_is_text(node.left) or _is_text(node.right)):
            yield node, 0
        elif isinstance(node, ast.Compare):
            yield from ((node, part) for part, op in enumerate(node.ops) if type(op) in SWAPS)
        elif (isinstance(node, ast.Constant) and type(node.value) in (int, float)) or _is_minus(node):
            yield node, 0


def _change(node: ast.expr, part: int) -> None:
    if isinstance(node, ast.BinOp):
        node.op = SWAPS[type(node.op)]()
    elif isinstance(node, ast.Compare):
        node.ops[part] = SWAPS[type(node.ops[part])]()
    elif isinstance(node, ast.UnaryOp):
        node.op = ast.UAdd()
    elif isinstance(node, ast.Constant):
        node.value = node.value + 1 if isinstance(node.value, int) else node.value * 1.25 or 1.0


def _computing(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node` that compute: not messages, annotations, refusals or docstrings."""
    yield node
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr) and not _refuses(child):
                yield from _computing(child)


def _refuses(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and all(isinstance(line, ast.Raise) for line in node.body) and not node.orelse


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _is_minus(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant)
    )


# --- which tests are a module's own ---------------------------------------------------------------------------------


def modules() -> list[str]:
    found = [path for pattern in MODULES for path in sorted(ROOT.glob(pattern)) if path.name != "__init__.py"]
    return [str(path.relative_to(ROOT)) for path in found]


def tests_of(module: str) -> list[str]:
    """The test file of the module's name; else those beside it that name the module; else that of its first word, or
    all of them."""
    path = Path(module)
    folder = ROOT / "tests" / path.parent.relative_to("dfrepro")
    files = sorted(folder.glob("test_*.py"))
    exact = [file for file in files if file.stem == f"test_{path.stem}"]
    dotted = re.compile(rf"{path.parent.name}(\.| import .*\b){path.stem}\b")
    naming = [file for file in files if dotted.search(file.read_text())]
    alike = [file for file in files if path.stem.startswith(file.stem.removeprefix("test_"))]
    if path.parent.name == "report":  # claims are judged in these, whatever part does it
        alike = [folder / "test_verdict.py", folder / "test_judge.py"]
    return [str(file.relative_to(ROOT)) for file in exact or naming or alike or files]


# --- running them ---------------------------------------------------------------------------------------------------


class Impostor(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a mutant where its module is asked for."""

    def __init__(self, module: str, tree: ast.Module):
        self.name, self.path, self.tree = module.removesuffix(".py").replace("/", "."), ROOT / module, tree

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self, origin=str(self.path)) if name == self.name else None

    def exec_module(self, module) -> None:
        module.__file__ = str(self.path)
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)


def verdict(mutant: Mutant | None, tests: Sequence[str], seconds: float) -> tuple[str, float]:
    """Run `tests` on a mutant (None: on the code as it is) in a fork.

    Returns "killed", "survived", or "slow" where it did not end in `seconds`; and how many seconds it took.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(mutant, tests)
    while time.monotonic() - began < seconds:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            survived = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
            return "survived" if survived else "killed", time.monotonic() - began
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "slow", time.monotonic() - began


def _run(mutant: Mutant | None, tests: Sequence[str]) -> None:
    """In the fork: pytest on the mutant; never returns."""
    code = 3
    try:
        os.setpgid(0, 0)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        if mutant is not None:
            tree = mutated((ROOT / mutant.module).read_text(), mutant.site)
            sys.meta_path.insert(0, Impostor(mutant.module, tree))
        import pytest

        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:nbval", "-m", "not long", *tests]))
    finally:
        os._exit(code)


def run(chosen: Sequence[Mutant], out: Path | None = None, show: bool = True) -> list[tuple[Mutant, str]]:
    """The verdict on each of `chosen`. With `out`, JSON lines: a run that was cut off goes on where it was."""
    for name in HEAVY:
        importlib.import_module(name)
    gc.freeze()  # the forks share what is loaded
    known = {}
    if out is not None and out.exists():
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        known = {(line["module"], line["site"], line["change"]): line["verdict"] for line in lines}
    calm: dict[str, float] = {}
    results = []
    for number, mutant in enumerate(chosen, start=1):
        key = (mutant.module, mutant.site, mutant.change)
        if key not in known:
            known[key] = _judged(mutant, calm)
            if out is not None:
                with out.open("a") as file:
                    file.write(json.dumps({**asdict(mutant), "verdict": known[key]}) + "\n")
        results.append((mutant, known[key]))
        if show:
            print(f"{number}/{len(chosen)} {known[key]:8} {mutant.module}:{mutant.line} {mutant.change}", flush=True)
    return results


def _judged(mutant: Mutant, calm: dict[str, float]) -> str:
    tests = tests_of(mutant.module)
    name = " ".join(tests)
    if name not in calm:
        result, calm[name] = verdict(None, tests, 600)
        if result != "survived":
            raise SystemExit(f"{name} fails on the code as it is")
    return verdict(mutant, tests, PATIENCE * calm[name] + GRACE)[0]


def sample(n: int, seed: int, only: str = "") -> list[Mutant]:
    """`n` mutants drawn without replacement from all of them. In the order drawn: a run cut short is a sample too."""
    every = [
        mutant for module in modules() if only in module for mutant in mutants_of((ROOT / module).read_text(), module)
    ]
    chosen = random.Random(seed).sample(range(len(every)), min(n, len(every)))
    return [every[index] for index in chosen]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--sample", type=int, default=300)
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", default="", help="modules whose path holds this")
    words.add_argument("--out", type=Path)
    args = words.parse_args()
    results = run(sample(args.sample, args.seed, args.only), args.out)
    survivors = [mutant for mutant, how in results if how == "survived"]
    print(f"{len(results) - len(survivors)} of {len(results)} killed; survivors:")
    for mutant in survivors:
        print(f"  {mutant.module}:{mutant.line}  {mutant.change}")


if __name__ == "__main__":
    main()
