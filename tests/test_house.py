"""The house: arrows between the library's files point down, and nothing goes in a circle.

Standard library only: `python tests/test_house.py` draws the graph of rooms as Mermaid text.
"""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = (  # from the ground up: a room may import those before it
    "errors", "terminal",
    "files", "settings", "params", "places", "data", "forge", "nets", "evaluate", "train", "methods", "jobs", "report",
    "protocol",
    "workbook", "figures", "score", "__main__",
)  # fmt: skip
PAPERS = ("fpg", "pim", "pel", "fia_usa", "focus")
NOTEBOOKS = {"fpg": ["07_fpg"], "pim": ["01_motivation", "02_pim", "03_dualflat"], "pel": ["04_pel"],
             "fia_usa": ["05_fia_usa"], "focus": ["06_focus"]}  # fmt: skip


@cache
def modules() -> dict[str, Path]:
    """Every module of the library by its dotted name."""
    paths = (ROOT / "dfrepro").rglob("*.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


@cache
def imports(module: str) -> frozenset[str]:
    """The library's modules that `module` imports anywhere: at its head, in a function, for types, or by name."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules() else node.module for name in names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("dfrepro."):
            found.add(node.value)  # what `import_module` looks up
    return frozenset(found & modules().keys() - {module, "dfrepro"})


def room(module: str) -> str:
    return module.split(".")[1]


def package(module: str) -> str:
    """The folder or file that a module belongs to: a paper's folder is a package of its own."""
    parts = module.split(".")
    return ".".join(parts[:3] if parts[1] in ("methods", "figures") else parts[:2])


def arrows(of) -> dict[str, set[str]]:
    """Who imports whom, between the values of `of`."""
    graph: dict[str, set[str]] = {of(module): set() for module in modules() if module != "dfrepro"}
    for module in modules():
        if module != "dfrepro":
            graph[of(module)] |= {of(other) for other in imports(module)} - {of(module)}
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes that are left when all that import nothing but what is gone are taken away, again and again."""
    left = dict(graph)
    while gone := [node for node, others in left.items() if not others & left.keys()]:
        left = {node: others for node, others in left.items() if node not in gone}
    return sorted(left)


def upward() -> list[tuple[str, str]]:
    floor = {name: level for level, name in enumerate(FLOORS)}
    return [
        (module, other)
        for module in sorted(modules().keys() - {"dfrepro"})
        for other in sorted(imports(module))
        if floor[room(other)] > floor[room(module)]
    ]


def test_every_room_has_a_floor():
    assert {room(module) for module in modules() if module != "dfrepro"} == set(FLOORS)


def test_no_circle_between_files():
    looked_up = {("dfrepro.train.draws", "dfrepro.methods.fia_usa.pseudo_fakes")}
    graph = {a: {b for b in imports(a) if (a, b) not in looked_up} for a in modules()}
    assert circle(graph) == []


def test_no_circle_between_packages():
    graph = arrows(package)
    graph["dfrepro.train"].discard("dfrepro.methods.fia_usa")  # looked up by name, see `upward`
    assert circle(graph) == []


def test_at_most_two_arrows_point_up():
    assert upward() == [("dfrepro.train.draws", "dfrepro.methods.fia_usa.pseudo_fakes")]


def test_a_circle_is_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]


def test_a_paper_has_four_places():
    for paper in PAPERS:
        places = {f"dfrepro/methods/{paper}", f"dfrepro/figures/{paper}", f"papers/{paper}"}
        assert all((ROOT / place).is_dir() for place in places), paper
        assert all((ROOT / "notebooks" / f"{name}.ipynb").is_file() for name in NOTEBOOKS[paper]), paper


def test_a_methods_folder_is_known_by_its_paper_and_by_what_runs_it():
    """Whoever changes a paper's method finds all who use it in that paper's places, in jobs and in score."""
    for paper in PAPERS:
        users = {
            module for module in modules() for other in imports(module) if package(other) == f"dfrepro.methods.{paper}"
        }
        others = {m for m in users if paper not in m.split(".") and room(m) not in ("jobs", "score")}
        assert others <= {"dfrepro.train.draws", "dfrepro.workbook"}, (paper, others)


def test_no_file_cites_what_is_not_in_the_repository():
    """`git grep` for the name of a document that its readers do not have."""
    found = subprocess.run(["git", "grep", "-n", "SP" + "EC"], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout == ""  # without git too


if __name__ == "__main__":
    print("graph BT")
    for importing, imported in sorted(arrows(room).items()):
        for other in sorted(imported):
            print(f"  {other} --> {importing}")
