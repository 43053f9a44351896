"""A plain ViT on labels alone (P4): the network behind the self-attention, Grad-CAM and Score-CAM maps."""

from dfrepro.methods.focus_encoder import TokenDetector, build_plain
from dfrepro.runs import Ingredients, Inputs, Spec
from dfrepro.runs.draws import training_data
from dfrepro.train.losses import CrossEntropy
from dfrepro.train.models import Backbone


def build(spec: Spec) -> TokenDetector:
    return build_plain(Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    return Ingredients(build(spec), training_data(spec, inputs), CrossEntropy(spec["training"]["label_smoothing"]))
