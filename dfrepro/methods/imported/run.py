"""A run that was trained elsewhere: its network is built as its import found it (`dfrepro.jobs.imports`)."""

from torch import nn

from dfrepro.errors import WorkbookError
from dfrepro.methods.imported.detector import ImportedDetector
from dfrepro.methods.imported.python import PythonDetector
from dfrepro.nets.detector import Backbone
from dfrepro.train.ingredients import Ingredients, Inputs, Spec


def build(spec: Spec) -> nn.Module:
    options = spec["detector"]["options"]
    if "file" in options:
        return PythonDetector(**options, image_size=spec["backbone"]["image_size"])
    return ImportedDetector(Backbone(**spec["backbone"]), **options)


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    where, remedy = f"imports/{spec['run']}", "`python -m dfrepro evaluate` scores it as it is"
    raise WorkbookError("an imported run is not trained here", where=where, remedy=remedy)
