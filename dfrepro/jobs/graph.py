"""The graph of stages, which exists once: in DVC. What each stage needs, whether it is out of date, and its record.

This is the one module that uses DVC from inside. `Repo`, its `index.graph` and `lock` are public; a stage's `changed`,
`save`, `commit`, `remove_outs` and `dump_stages`, a dependency's `get_hash`, the run cache's `restore` and the reading
of .dvcignore are not: `VERSIONS` names the releases with which they are known to do what `dvc repro` does, and
tests/jobs/test_graph.py compares the two.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfrepro.errors import WorkbookError
from dfrepro.files import ROOT

if TYPE_CHECKING:
    from dvc.stage import Stage

VERSIONS = ("3.67",)  # of DVC
TRIES = 100  # for its lock, three seconds each


@dataclass(frozen=True)
class Node:
    """A stage: what it is called ("train@erm-df-0"), the file that declares it, what it runs, makes and needs.

    after: stages that it does not need, but waits for where they are run as well.
    """

    name: str
    file: str
    command: str = ""
    outs: tuple[Path, ...] = ()
    needs: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()

    @property
    def awaits(self) -> frozenset[str]:
        return self.needs | self.after

    def matches(self, pattern: str) -> bool:
        """Whether a shell-like pattern is this stage's name, or its run's: "train@*", "pim-*", "erm-df"."""
        kind, _, item = self.name.rpartition(":")[2].partition("@")
        run, _, seed = item.rpartition("-")
        names = [self.name, kind, f"{kind}@{item}", item, *([run] if seed.isdigit() else [])]
        return any(fnmatchcase(name, pattern) for name in names if name)


class Pipeline:
    """An open DVC repository. A context manager; `root` is the folder that holds .dvc.

    whole: with grid/dvc.yaml, which grid/.dvcignore hides from `dvc` commands: what `dvc status` lists is the core.
    """

    def __init__(self, root: Path = ROOT, *, whole: bool = True):
        from dvc.exceptions import DvcException
        from dvc.repo import Repo

        self.root = root
        try:
            with chdir(root):
                self._repo = Repo(str(root))
                if whole:
                    _show_grid(self._repo)
                graph = self._repo.index.graph
        except (DvcException, OSError) as error:  # such as a home whose configuration cannot be read
            raise WorkbookError(
                f"DVC cannot read it: {error.__cause__ or error}", where=root, remedy="`dvc status` says more"
            ) from error
        logging.getLogger("dvc").setLevel(logging.ERROR)  # else it speaks of every write of dvc.lock
        self._stages: dict[str, Stage] = {_name(stage): stage for stage in graph}
        self._begun: dict[str, list[Any]] = {}  # of a stage that is to be made: its dependencies' hashes
        of_lock: dict[str, set[str]] = {}  # the stages that a record holds
        for name, stage in self._stages.items():
            of_lock.setdefault(str(Path(stage.path_in_repo).with_suffix(".lock")), set()).add(name)
        self.nodes = {name: self._node(stage, graph, of_lock) for name, stage in self._stages.items()}

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *_: object) -> None:
        self._repo.close()

    def _node(self, stage: "Stage", graph: Any, of_lock: Mapping[str, Collection[str]]) -> Node:
        needs = frozenset(_name(needed) for needed in graph.successors(stage))
        after = frozenset(name for dep in stage.deps for name in of_lock.get(str(dep), ()))  # of another dvc.yaml
        outs = tuple(Path(out.fs_path) for out in stage.outs)
        return Node(_name(stage), str(stage.path_in_repo), stage.cmd or "", outs, needs, after)

    def chosen(self, patterns: Sequence[str], files: Collection[str]) -> dict[str, Node]:
        """The stages that match a pattern, and all that they need; without patterns, the stages that `files` declare.

        Raises `WorkbookError` for a pattern that matches nothing, naming the nearest stages.
        """
        for pattern in patterns:
            if not any(node.matches(pattern) for node in self.nodes.values()):
                near = get_close_matches(pattern, [part for name in self.nodes for part in name.split("@")], n=3)
                remedy = f"Near to it: {', '.join(near)}" if near else "`dvc stage list` names all"
                raise WorkbookError(f"no stage and no run is called {pattern!r}", where="dvc.yaml", remedy=remedy)
        nodes = self.nodes.values()
        wanted = [n.name for n in nodes if (any(map(n.matches, patterns)) if patterns else n.file in files)]
        return self.upstream(wanted)

    def making(self, path: Path) -> str | None:
        """The name of the stage whose output is `path` or holds it."""
        return next((n.name for n in self.nodes.values() if any(path.is_relative_to(out) for out in n.outs)), None)

    def upstream(self, names: Iterable[str]) -> dict[str, Node]:
        """These stages and all that they need, however far."""
        found: dict[str, Node] = {}
        ahead = list(names)
        while ahead:
            name = ahead.pop()
            if name not in found:
                found[name] = self.nodes[name]
                ahead += found[name].needs
        return found

    def is_current(self, name: str) -> bool:
        """Whether nothing is to be done for a stage: unchanged, or what it makes is in DVC's cache and is put back.

        Where something is to be done, what the stage made before is removed first, as `dvc repro` does.
        """
        from dvc.stage.cache import RunCacheNotFoundError

        stage = self._stages[name]
        with self._busy():
            if not stage.changed():
                return True
            stage.remove_outs()
            try:
                self._repo.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                self._begun[name] = [_hash(dep) for dep in stage.deps]
                return False
        return not self.record([name])

    def record(self, names: Sequence[str]) -> dict[str, str]:
        """Take what stages have made into DVC's cache and write their lines of dvc.lock, as `dvc repro` does.

        dvc.lock grows with the stages and is written as a whole: once for all of `names`. Returns the stages that made
        not all that they declare, and why.
        """
        from dvc.exceptions import DvcException

        lacking: dict[str, str] = {}
        stages: list[Stage] = []
        with self._busy():
            for name in names:
                stage = self._stages[name]
                try:
                    if other := self._changed_since_begun(name):
                        lacking[name] = f"{other} was changed while it was made"
                        continue
                    stage.save(run_cache=all(out.use_cache or out.is_metric or out.is_plot for out in stage.outs))
                    stage.commit()
                    stages.append(stage)
                except DvcException as error:
                    lacking[name] = str(error)
            for file in dict.fromkeys(stage.path for stage in stages):
                group = [stage for stage in stages if stage.path == file]
                group[0].dvcfile.dump_stages(group, update_pipeline=False)
        return lacking

    def _changed_since_begun(self, name: str) -> str:
        """The first dependency of a stage that is another than when it was found out of date; "" when none is."""
        deps = self._stages[name].deps
        before = self._begun.get(name, [None] * len(deps))
        return next((str(dep) for dep, was in zip(deps, before) if was is not None and was != _hash(dep)), "")

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """DVC's own lock, waited for; its errors as ours. DVC resolves paths against the current folder."""
        from dvc.exceptions import DvcException
        from dvc.lock import LockError

        try:
            with chdir(self.root), ExitStack() as held:
                for left in range(TRIES, -1, -1):
                    try:
                        held.enter_context(self._repo.lock)
                        break
                    except LockError:  # `dvc status` in another window takes seconds; DVC itself waits for three
                        if not left:
                            raise
                yield
        except DvcException as error:
            raise WorkbookError(
                f"DVC did not take it: {error}", where=self.root, remedy="If another DVC command runs here, wait for it"
            ) from error


def _show_grid(repo: Any) -> None:
    """Let this process read what grid/.dvcignore hides."""
    from dvc.ignore import DvcIgnoreFilter

    class AllButTheGrids(DvcIgnoreFilter):
        def _update_trie(self, dirname: str, trie: Any) -> None:
            if Path(dirname) != Path(self.root_dir, "grid"):
                super()._update_trie(dirname, trie)

    repo.__dict__["dvcignore"] = AllButTheGrids(repo.fs, repo.root_dir)  # a cached property


def _hash(dep: Any) -> Any:
    """A dependency's hash, by DVC; None for one that is not there."""
    from dvc.exceptions import DvcException

    try:
        return dep.get_hash() if dep.exists else None
    except DvcException:
        return None


def _name(stage: "Stage") -> str:
    """As DVC names it from the repository's root: "train@erm-df-0", "grid/dvc.yaml:train@pim-ffpp-aug-0"."""
    name, file = getattr(stage, "name", ""), str(stage.path_in_repo)
    return name if file == "dvc.yaml" else f"{file}:{name}" if name else file


def heights(nodes: Mapping[str, Node]) -> dict[str, int]:
    """For each stage the length of the longest chain of stages that waits for it."""
    waits = {name: node.awaits & nodes.keys() for name, node in nodes.items()}
    height = dict.fromkeys(nodes, 0)
    for name in reversed(list(TopologicalSorter(waits).static_order())):
        for needed in waits[name]:
            height[needed] = max(height[needed], height[name] + 1)
    return height
