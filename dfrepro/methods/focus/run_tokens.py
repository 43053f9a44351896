"""A plain ViT on labels alone (P4): the network behind the self-attention, Grad-CAM and Score-CAM maps."""

from dfrepro.methods.focus.encoder import TokenDetector, build_plain
from dfrepro.nets.detector import Backbone
from dfrepro.nets.losses import CrossEntropy
from dfrepro.train.draws import training_data
from dfrepro.train.ingredients import Ingredients, Inputs, Spec


def build(spec: Spec) -> TokenDetector:
    return build_plain(Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    return Ingredients(build(spec), training_data(spec, inputs), CrossEntropy(spec["training"]["label_smoothing"]))
