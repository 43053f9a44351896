"""The training loop: draws x detector x loss x step rule, on Lightning Fabric.

A training is a pure function of its arguments: on one machine's CPU the weights are the same to the bit, with any
number of data workers, and killed at any moment and started again.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from pydantic.dataclasses import dataclass as checked
from torch import Tensor, nn
from tqdm.auto import tqdm

from dfrepro.data.dataset import Batch, FaceDataset, batches
from dfrepro.errors import WorkbookError
from dfrepro.files import atomic_folder, remove_leftovers
from dfrepro.nets.detector import evaluating
from dfrepro.nets.trunk import seed_generators
from dfrepro.settings import CHECKED, Training
from dfrepro.train import checkpoint
from dfrepro.train.checkpoint import ResumeState
from dfrepro.train.interrupt import interruptible
from dfrepro.train.steps import Loss, Step, StepRule

Refine = Callable[[nn.Module, Batch, torch.Generator], Batch]  # a look at the network before the step (FPG)
Validate = Callable[[nn.Module], float]  # the higher, the better
CONSTANT = 0.75  # share of the steps before "constant_then_linear" falls
LOOKS = 12  # at the validation faces in a training: more cost time and tell no more


@checked(frozen=True, config=CHECKED)
class TrainConfig(Training):
    """A run's settings, and what its process adds.

    `batch` counts draws here, of which one of pseudo-fakes is a pair. threads: torch's CPU threads, 0 leaves them.
    select: "best_validation" validates after every epoch; else it is done after every k-th and the last, at most
    `LOOKS` times or so, and decides nothing. save_seconds: how often the state for a resume is written. log_every: how
    many steps may pass between two looks at the loss (each waits for the device).
    """

    seed: int = 0
    threads: int = 0
    accelerator: str = "auto"
    devices: int | str = 1
    num_nodes: int = 1
    strategy: str = "auto"
    deterministic: bool = True
    save_seconds: float = 60.0
    log_every: int = 20

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of `step` (0-based) of `steps`, as a share of `lr`."""
        rising = self.warmup * steps
        if step < rising:
            return (step + 1) / (rising + 1)
        done = (step - rising) / max(steps - rising, 1)
        if self.schedule == "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "constant_then_linear":
            return min(1.0, (1 - done) / (1 - CONSTANT))
        return 1.0

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        common: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimiser == "sgd":
            return torch.optim.SGD(parameters, momentum=self.momentum, **common)
        kind = torch.optim.Adam if self.optimiser == "adam" else torch.optim.AdamW
        return kind(parameters, betas=self.betas, eps=self.eps, **common)


@dataclass
class Progress:
    """Where a training is. `best`: weights and value of the best validation so far."""

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    totals: dict[str, float] = field(default_factory=dict)  # sums over the epoch's steps so far
    best: float = -math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """What is trained how: everything but the data and the loop's settings. `refine` and `validate` may be absent."""

    loss: Loss
    rule: StepRule = field(default_factory=StepRule)
    refine: Refine | None = None
    validate: Validate | None = None


def fit(
    detector: nn.Module,
    data: FaceDataset,
    objective: Objective,
    config: TrainConfig,
    out: Path | str,
    *,
    meta: Mapping[str, Any] | None = None,
    resume: Path | str | None = None,
    name: str = "training",
) -> dict[str, float]:
    """Train `detector` and write its checkpoint, with history.csv, into the folder `out`, whole or not at all.

    meta: plain data that the checkpoint carries; it also says whether a state found in the folder `resume` (default:
    beside `out`) belongs to this training. Returns the last line of the history, with `seconds` and `images_per_second`
    of this call. Raises WorkbookError when the loss is not finite, naming the faces of the batch.
    """
    if config.select == "best_validation" and objective.validate is None:
        raise WorkbookError("select is best_validation and there is no validation", where=name, remedy="Give one")
    out = Path(out)
    state = Path(resume) if resume is not None else out.parent / f".{out.name}-resume"
    state.mkdir(parents=True, exist_ok=True)
    remove_leftovers(out)
    run = {"meta": dict(meta or {}), "config": asdict(config), "rule": asdict(objective.rule), "draws": len(data)}
    with _Loop(detector, data, objective, config, state / "state.safetensors", run, name) as loop:
        started = time.perf_counter()
        images = loop.train()
        seconds = time.perf_counter() - started
        loop.finish(out, meta or {})
    speed = {"seconds": seconds, "images_per_second": images / seconds if seconds else math.nan}
    return (loop.progress.history[-1] if loop.progress.history else {}) | speed


class _Loop:
    """The loop's state. Entered, torch's generators are its own and the network is on the device."""

    def __init__(
        self,
        detector: nn.Module,
        data: FaceDataset,
        objective: Objective,
        config: TrainConfig,
        state: Path,
        run: dict[str, Any],
        name: str,
    ):
        self.detector, self.data, self.objective, self.config = detector, data, objective, config
        self.state, self.run, self.name = state, run, name
        self.per_epoch = max(1, len(data) // config.batch)
        self.steps = config.epochs * self.per_epoch
        self.progress = Progress()
        self.pending: list[tuple[list[Tensor], dict[str, Tensor]]] = []  # rows and values of steps not yet looked at

    def __enter__(self) -> "_Loop":
        config = self.config
        self.fabric = fabric = Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            num_nodes=config.num_nodes,
            strategy=config.strategy,
            precision=config.precision,  # type: ignore[arg-type]
        )
        fabric.launch()
        self.stack = ExitStack()
        self.stack.enter_context(_settings(config))
        self.stack.enter_context(torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []))
        self._set_up()
        self._restore()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def _set_up(self) -> None:
        detector: nn.Module = self.detector
        if self.config.channels_last:
            detector = detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        detector.train()
        optimizer = self.config.build_optimizer(detector)
        compiled: Any = detector
        if self.config.compile:  # dropout draws from torch's generators, not from Inductor's own
            compiled = torch.compile(detector, options={"fallback_random": True})
        self.model, self.optimizer = self.fabric.setup(compiled, optimizer)  # type: ignore[arg-type]
        step = Step(self.objective.rule, self.fabric, self.model, reuse=not self.config.compile)
        self.step = self.stack.enter_context(step)

    # --- the loop -------------------------------------------------------------------------------------------------

    def train(self) -> int:
        """Run the steps that are left; return how many images that took."""
        config, progress, images = self.config, self.progress, 0
        saved = time.monotonic()
        silent = {} if self.fabric.is_global_zero else {"disable": True}  # else TQDM_DISABLE decides
        bar = tqdm(total=self.steps, initial=progress.step, desc=self.name, unit="step", **silent)
        with bar, interruptible() as asked_to_stop:
            for micro in self._batches():
                images += self._take(micro)
                progress.step += 1
                bar.update()
                ended = progress.step % self.per_epoch == 0
                if ended or len(self.pending) >= config.log_every:
                    self._collect()
                if ended:
                    bar.set_postfix(self._end_epoch())
                if time.monotonic() - saved >= config.save_seconds and progress.step < self.steps:
                    self._collect()
                    self._save()
                    saved = time.monotonic()
                if asked_to_stop() and progress.step < self.steps:
                    self._collect()
                    self._save()
                    raise KeyboardInterrupt(f"{self.name} is saved at step {progress.step} of {self.steps}")
        return images

    def _take(self, micro: list[Batch]) -> int:
        """One step. Its random draws depend on seed, rank and step alone: a resume has nothing to restore."""
        index, rank = self.progress.step, self.fabric.global_rank
        draws = np.random.SeedSequence([self.config.seed, rank, index]).generate_state(2, np.uint64)
        seed_generators(int(draws[0]), self.fabric.device)
        micro = [self.fabric.to_device(batch) for batch in micro]
        if self.objective.refine is not None:
            generator = torch.Generator().manual_seed(int(draws[1]))
            micro = [self.objective.refine(self.model, batch, generator) for batch in micro]
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * self.config.rate(index, self.steps)
        stats = self.step(self.objective.loss, micro, index)
        self.optimizer.step()
        self.pending.append(([batch["row"] for batch in micro], stats))
        return sum(len(batch["image"]) for batch in micro)

    def _batches(self) -> Iterator[list[Batch]]:
        return batches(
            self.data,
            self.config.batch,
            first=self.progress.step,
            last=self.steps,
            rank=self.fabric.global_rank,
            world_size=self.fabric.world_size,
            micro=self.config.accumulate,
            workers=self.config.workers,
            pin=self.fabric.device.type == "cuda",
        )

    def _collect(self) -> None:
        """Bring the values of the last steps to the host, add them up, and stop at a loss that is not finite."""
        if not self.pending:
            return
        names = list(self.pending[0][1])
        values = torch.stack([torch.stack([stats[name].float() for name in names]) for _, stats in self.pending])
        table = values.cpu().tolist()  # steps x names: the one place that waits for the device
        for (rows, _), line in zip(self.pending, table):
            loss = line[names.index("loss")]
            if not math.isfinite(loss):
                raise self._not_finite(loss, torch.cat(rows).tolist())
            for key, value in zip(names, line):
                self.progress.totals[key] = self.progress.totals.get(key, 0.0) + value
        self.pending.clear()

    def _not_finite(self, loss: float, rows: list[int]) -> WorkbookError:
        keys = self.data.keys(rows)
        shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
        return WorkbookError(
            f"the loss is {loss} on {shown}",
            where=f"{self.name}, about step {self.progress.step}",
            remedy="Lower the learning rate or look at these faces; the last good state is kept",
        )

    def _end_epoch(self) -> dict[str, float]:
        """Close the epoch's line of the history; return what the progress bar shows."""
        progress = self.progress
        means = {key: total / self.per_epoch for key, total in progress.totals.items()}
        if self.fabric.world_size > 1:
            means = {key: self._over_ranks(mean) for key, mean in means.items()}
        line = {"epoch": progress.step // self.per_epoch, "step": progress.step, **means}
        line["lr"] = float(self.optimizer.param_groups[0]["lr"])
        if self._looks_after(progress.step // self.per_epoch):
            line["validation"] = self._validate()
        progress.history.append(line)
        progress.totals = {}
        return {key: round(line[key], 4) for key in ("loss", "validation") if key in line}

    def _over_ranks(self, value: float) -> float:
        mean: Tensor = self.fabric.all_reduce(torch.tensor(value))  # type: ignore[assignment]
        return float(mean)

    def _looks_after(self, epoch: int) -> bool:
        """Whether the validation faces are looked at after `epoch` (1-based): every k-th, and the last."""
        epochs = self.config.epochs
        every = 1 if self.config.select == "best_validation" else math.ceil(epochs / LOOKS)
        return self.objective.validate is not None and (epoch % every == 0 or epoch == epochs)

    def _validate(self) -> float:
        assert self.objective.validate is not None
        with evaluating(self.detector):
            value = float(self.objective.validate(self.detector))
        if self.config.select == "best_validation" and value > self.progress.best:
            weights = {name: tensor.detach().clone() for name, tensor in self.detector.state_dict().items()}
            self.progress.best, self.progress.best_weights = value, weights
        return value

    # --- state ----------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        if not self.fabric.is_global_zero or not self._finite():
            return
        progress = self.progress
        tensors, plain = checkpoint.pack_optimizer(_bare(self.optimizer))
        tensors |= {f"model.{name}": value for name, value in self.detector.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in progress.best_weights.items()}
        values = {"step": progress.step, "history": progress.history, "totals": progress.totals, "optimizer": plain}
        values["best"] = None if math.isinf(progress.best) else progress.best
        ResumeState(tensors, values).save(self.state, self.run)

    def _finite(self) -> bool:
        weights = [value for value in self.detector.state_dict().values() if value.is_floating_point()]
        return bool(torch.stack([value.isfinite().all() for value in weights]).all())

    def _restore(self) -> None:
        found = ResumeState.load(self.state, self.run)
        if found is None:
            return
        tensors, values = found.tensors, found.values
        self.detector.load_state_dict(_below("model.", tensors))
        checkpoint.unpack_optimizer(_bare(self.optimizer), tensors, values["optimizer"])
        best = -math.inf if values["best"] is None else values["best"]
        weights = _below("best.", tensors)
        self.progress = Progress(values["step"], values["history"], values["totals"], best, weights)

    def finish(self, out: Path, meta: Mapping[str, Any]) -> None:
        """Write the checkpoint and drop the state."""
        if not self._finite():
            raise WorkbookError(
                "the weights are not finite after the last step", where=self.name, remedy="Lower the lr"
            )
        if self.progress.best_weights:
            self.detector.load_state_dict(self.progress.best_weights)
        self.detector.eval()
        if self.fabric.is_global_zero:
            last = self.progress.history[-1] if self.progress.history else {}
            last = {key: value for key, value in last.items() if math.isfinite(value)}  # JSON has no NaN
            with atomic_folder(out) as folder:
                checkpoint.save(folder, self.detector, {**meta, "training": {"steps": self.steps, **last}})
                pd.DataFrame(self.progress.history).to_csv(folder / "history.csv", index=False)
            self.state.unlink(missing_ok=True)
            if not any(self.state.parent.iterdir()):
                self.state.parent.rmdir()
        self.fabric.barrier()


@contextmanager
def _settings(config: TrainConfig) -> Iterator[None]:
    """Deterministic kernels where there are any, and the number of threads; put back after it."""
    was = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    deterministic: Any = torch.utils.deterministic
    fill, threads = deterministic.fill_uninitialized_memory, torch.get_num_threads()
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        deterministic.fill_uninitialized_memory = False  # costs time and helps debugging only
        torch.use_deterministic_algorithms(True, warn_only=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was[0], warn_only=was[1])
        deterministic.fill_uninitialized_memory = fill
        torch.set_num_threads(threads)


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    return getattr(optimizer, "optimizer", optimizer)  # without Fabric's wrapping


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
