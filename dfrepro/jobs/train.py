"""From a run's specification (`Params.spec`) to its checkpoint, and back to the trained detector.

A specification is plain data and says everything that decides the weights; it travels in the checkpoint. What the
kinds of runs are made of is in `dfrepro.train.ingredients`.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dfrepro.data.dataset import select
from dfrepro.data.manifest import FaceStore
from dfrepro.jobs.kinds import method_of
from dfrepro.train import checkpoint
from dfrepro.train.draws import window
from dfrepro.train.ingredients import Inputs, Spec

if TYPE_CHECKING:
    from dfrepro.train.fit import Validate


def train_run(spec: Spec, inputs: Inputs, out: Path, *, resume: Path) -> dict[str, float]:
    """Train the run that `spec` describes; write its checkpoint at `out`, whole or not at all.

    Returns the last line of the history. Raises WorkbookError when an input is missing or the loss is not finite.
    """
    from dfrepro.train.fit import Objective, TrainConfig, fit  # what only loads a detector does without
    from dfrepro.train.steps import StepRule

    seed = spec["seed"]
    made = method_of(spec).prepare(started(spec, inputs), inputs)
    images = 2 if spec["data"]["fakes"] != "dataset" else 1  # a draw of pseudo-fakes is a pair
    config = TrainConfig(**spec["training"], seed=seed)
    config = replace(config, batch=config.batch // images)
    validate = _validation(spec, inputs.store) if config.select == "best_validation" else None
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


def _validation(spec: Spec, store: FaceStore) -> "Validate":
    """Video AUC on the in-domain validation split: the one thing a checkpoint may be chosen by."""
    from dfrepro.evaluate import metrics
    from dfrepro.evaluate.predict import predict

    rows = select(store.manifest, split="val", manipulations=spec["data"]["manipulations"])
    size = window(spec, store.meta)

    def validate(detector: Any) -> float:
        scores, _ = predict(detector, store, rows, size=size)
        return metrics.video_auc(scores)

    return validate
