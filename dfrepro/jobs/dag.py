"""The pipeline on one page: `dvc dag` draws every run; this draws each kind of stage once, as Mermaid text.

`python -m dfrepro dag` writes the drawing into docs/pipeline.md, where GitHub shows it. Left out are the stages that
copy a notebook's code, the one that notes the grid, and every arrow that a longer way implies.
"""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT, atomic_file

BLOCK = re.compile(r"(?<=^```mermaid\n).*?(?=^```$)", re.M | re.S)
LEFT_OUT = re.compile(r"(grid|code)$")


def all_stages(root: Path = ROOT) -> str:
    """DVC's own drawing as Mermaid text, a node a stage; those of grid/dvc.yaml have its path in the name."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--mermaid"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise WorkbookError(f"DVC draws nothing: {done.stderr.strip()}", where=root)
    return done.stdout


def by_kind(drawing: str) -> str:
    """The drawing with one node a kind of stage (what stands before "@"), and how many of each there are.

    Stages of other files than dvc.yaml, such as grid/dvc.yaml's, are left out.
    """
    kinds = {node: name.partition("@")[0] for node, name in re.findall(r'(node\d+)\["([^"]+)"\]', drawing)}
    kinds = {node: kind for node, kind in kinds.items() if ":" not in kind and not LEFT_OUT.match(kind)}
    count = Counter(kinds.values())
    leads: dict[str, set[str]] = {kind: set() for kind in count}
    for node, then in re.findall(r"(node\d+)-->(node\d+)", drawing):
        if node in kinds and then in kinds and kinds[node] != kinds[then]:
            leads[kinds[node]].add(kinds[then])
    direct = {kind: then - set().union(*(_beyond(other, leads) for other in then)) for kind, then in leads.items()}
    joined = set(direct) & {kind for kind, then in direct.items() if then} | set().union(*direct.values())
    nodes = [f'  {kind}["{kind} ×{n}"]' if n > 1 else f"  {kind}" for kind, n in sorted(count.items())]
    nodes = [node for node in nodes if "[" in node or node.strip() not in joined]  # an arrow names the others
    arrows = [f"  {kind} --> {other}" for kind, then in sorted(direct.items()) for other in sorted(then)]
    return "\n".join(["flowchart LR", *nodes, *arrows, ""])


def write(root: Path = ROOT) -> Path:
    """Bring the drawing in docs/pipeline.md into step with dvc.yaml."""
    page = root / "docs" / "pipeline.md"
    text = BLOCK.sub(lambda _: by_kind(all_stages(root)), page.read_text(encoding="utf-8"), count=1)
    with atomic_file(page) as partial:
        partial.write_text(text, encoding="utf-8")
    return page


def _beyond(kind: str, leads: Mapping[str, set[str]]) -> set[str]:
    """All kinds that rest on one, however far."""
    return set().union(*({then} | _beyond(then, leads) for then in leads[kind]))
