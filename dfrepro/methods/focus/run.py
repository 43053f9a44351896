"""FoCus (P4): two token encoders that compete for every position, trained on labels alone; its maps are a stage."""

from dfrepro.methods.focus import detector as focus
from dfrepro.nets.detector import Backbone
from dfrepro.train.draws import training_data
from dfrepro.train.ingredients import Ingredients, Inputs, Spec, variant


def build(spec: Spec) -> focus.Focus:
    return focus.build(variant(spec, focus.VARIANTS), Backbone(**spec["backbone"]), spec["seed"])


def prepare(spec: Spec, inputs: Inputs) -> Ingredients:
    detector = build(spec)
    return Ingredients(detector, training_data(spec, inputs), focus.loss_of(detector.config))
