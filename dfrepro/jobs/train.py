"""From a run's specification (`Params.spec`) to its checkpoint, and back to the trained detector.

A specification is plain data and says everything that decides the weights; it travels in the checkpoint. What the
kinds of runs are made of is in `dfrepro.train.ingredients`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from dfrepro.jobs.kinds import method_of
from dfrepro.train import checkpoint
from dfrepro.train.ingredients import Inputs, Spec


def train_run(spec: Spec, inputs: Inputs, out: Path, *, resume: Path) -> dict[str, float]:
    """Train the run that `spec` describes; write its checkpoint at `out`, whole or not at all.

    Returns the last line of the history. Raises WorkbookError when an input is missing or the loss is not finite.
    """
    from dfrepro.train.fit import Objective, TrainConfig, fit  # what only loads a detector does without
    from dfrepro.train.steps import StepRule
    from dfrepro.train.validation import in_domain

    seed = spec["seed"]
    made = method_of(spec).prepare(started(spec, inputs), inputs)
    images = 2 if spec["data"]["fakes"] != "dataset" else 1  # a draw of pseudo-fakes is a pair
    config = TrainConfig(**spec["training"], seed=seed)
    config = replace(config, batch=config.batch // images)
    faces = None if config.select == "best_validation" else config.validation
    validate = in_domain(spec, inputs.store, faces) if faces != 0 else None
    objective = Objective(made.loss, StepRule(**spec["step"], seed=seed), refine=made.refine, validate=validate)
    meta = {"spec": spec, "faces": inputs.store.meta}
    name = f"{spec['run']}, seed {seed}"
    return fit(made.detector, made.data, objective, config, out, meta=meta, resume=resume, name=name)


def started(spec: Spec, inputs: Inputs) -> Spec:
    """The specification with a path for `pretrained`, where the network begins from one of the scale's starts.

    Checkpoints keep the specification without it: a path is of one machine.
    """
    if "start" not in spec:
        return spec
    weights = inputs.folder("start") / checkpoint.WEIGHTS
    return spec | {"backbone": spec["backbone"] | {"pretrained": str(weights)}}


def load_detector(folder: Path) -> Any:
    """The trained detector of a checkpoint, in evaluation mode on the CPU; its weights replace any pretrained ones."""
    spec = checkpoint.load_meta(folder)["spec"]
    bare = spec | {"backbone": spec["backbone"] | {"pretrained": False}}
    detector: nn.Module = method_of(spec).build(bare)
    checkpoint.load_weights(folder, detector)
    return detector.eval()
