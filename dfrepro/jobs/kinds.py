"""Which module of `dfrepro.methods` puts a run of each kind together, by the name that `params.yaml` gives the kind.

Such a module holds `build(spec)`, the detector with initial weights, and `prepare(spec, inputs)`, everything that its
training needs; where scores do not say everything, also `measure(detector, spec, stores, inputs)`. Methods know no data
layout, data know no method: here they meet. A stage of dvc.yaml depends on the one module of its kind.
"""

from importlib import import_module
from typing import Any, Protocol

from torch import nn

from dfrepro.errors import WorkbookError
from dfrepro.train.ingredients import Ingredients, Inputs, Spec

KINDS = {
    "backbone": "dfrepro.methods.pim.run",
    "pel": "dfrepro.methods.pel.run",
    "fia_usa": "dfrepro.methods.fia_usa.run",
    "focus": "dfrepro.methods.focus.run",
    "tokens": "dfrepro.methods.focus.run_tokens",
    "focus_evaluation": "dfrepro.methods.focus.run_evaluation",
    "fpg": "dfrepro.methods.fpg.run",
    "foundation": "dfrepro.methods.foundation.run",
    "imported": "dfrepro.methods.imported.run",
}


class Method(Protocol):
    """What such a module offers; `measure` may be absent."""

    def build(self, spec: Spec) -> nn.Module: ...

    def prepare(self, spec: Spec, inputs: Inputs) -> Ingredients: ...


def method_of(spec: Spec) -> Any:
    """The module for the kind of detector that a specification names. Raises WorkbookError for an unknown one."""
    kind = spec["detector"]["kind"]
    if kind not in KINDS:
        raise WorkbookError(
            f"detector.kind is {kind!r}", where=f"runs.{spec['run']}", remedy=f"One of {', '.join(KINDS)}"
        )
    return import_module(KINDS[kind])
