"""The training loop: seeded windows, accumulated gradients, a rate by step, held-out loss, states to go on from.

A step's windows, rate and place in the run follow from its number alone. Processes share each batch, so that one
process and many take the same steps.
"""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from dropeact.checkpoints import progress
from dropeact.checkpoints.log import Log
from dropeact.checkpoints.options import TIMED_STEPS, Options
from dropeact.checkpoints.packing import Windows, step_windows
from dropeact.checkpoints.training import Student, by_bin, learning_rate, position_losses

CLIP = 1.0


@dataclass
class Loop:
    """One run: what is trained, on which windows, and how far it is."""

    options: Options
    accelerator: Accelerator
    student: Student
    trained: dict[str, nn.Parameter]
    optimizer: Optimizer
    windows: Windows
    folder: Path
    log: Log
    step: int = 0
    steps: int | None = None
    seconds: float = 0.0
    wrapped: Any = field(init=False)
    started: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Distribute the student and go on from the newest state, if there is one."""
        self.wrapped = self.accelerator.prepare_model(self.student)
        if self.options.tokens is not None:
            self.steps = max(self.options.tokens // self.tokens_per_step, 1)
        state = progress.latest(self.folder)
        if state is not None:
            numbers = progress.restore(state, self.trained, self.optimizer)
            self.step, self.steps, self.seconds = numbers["step"], numbers["steps"], numbers["seconds"]
        if self.accelerator.is_main_process:  # which alone adds to it
            self.log.keep(self.step if state is not None else -1)  # without a state, the first row is written again

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one step, over all processes."""
        return self.options.batch * self.options.length

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.step * self.tokens_per_step

    def train(self) -> Iterator[int]:
        """Train to the end; yield the number of each finished step."""
        if self.step == 0:
            self.write({"step": 0, "tokens": 0, "seconds": 0.0} | self.evaluate())
        self.started = time.perf_counter() - self.seconds
        while self.steps is None or self.step < self.steps:
            loss, rate = self.take_step()
            self.step += 1
            self.seconds = time.perf_counter() - self.started
            if self.steps is None and self.step == TIMED_STEPS:
                self.steps = self.affordable_steps()
            row = {
                "step": self.step,
                "tokens": self.tokens,
                "loss": loss,
                "learning_rate": rate,
                "seconds": self.seconds,
            }
            if self.due():
                row |= self.evaluate()
            self.write(row)
            yield self.step  # first, so that whatever is kept of this step is there before the state that follows it
            if self.step % self.options.save_every == 0 or self.step == self.steps:
                self.save()

    def write(self, row: dict[str, float]) -> None:
        """Log a row, from one process."""
        if self.accelerator.is_main_process:
            self.log.add(row, self.remaining())

    def take_step(self) -> tuple[float, float]:
        """Change the weights once; return the mean loss over the batch and the learning rate."""
        share = learning_rate(self.step, steps=self.steps, warmup=self.options.warmup_steps)
        rate = share * self.options.learning_rate
        total = torch.zeros((), device=self.accelerator.device)
        parts = self.micro_batches()
        targets = sum(self.student.targets(tokens) for tokens in parts)
        for index, tokens in enumerate(parts):
            last = index == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                loss = self.wrapped(tokens) / targets
                loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(list(self.trained.values()), CLIP)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        mean = self.accelerator.reduce(total, reduction="mean")
        assert isinstance(mean, Tensor)
        return float(mean), rate

    def micro_batches(self) -> list[Tensor]:
        """Return this process's share of the step's windows, a micro-batch at a time."""
        options, processes = self.options, self.accelerator.num_processes
        numbers = step_windows(self.step, batch=options.batch, count=len(self.windows.training), seed=options.seed)
        share = numbers[self.accelerator.process_index :: processes]
        tokens = torch.as_tensor(self.windows.training[share].astype(np.int64), device=self.accelerator.device)
        return list(tokens.split(options.micro_batch))

    def affordable_steps(self) -> int:
        """Turn the minutes of the budget into steps, by the speed so far; one process decides for all."""
        assert self.options.budget_minutes is not None
        possible = int(self.step * 60 * self.options.budget_minutes / self.seconds)
        steps = torch.tensor(max(possible, self.options.warmup_steps, self.step), device=self.accelerator.device)
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast(steps, 0)
        return int(steps)

    def due(self) -> bool:
        """Tell whether held-out loss is measured after this step: at equal distances, and at the end."""
        if self.steps is None:
            return False
        every = max(self.steps // self.options.evaluations, 1)
        return self.step % every == 0 or self.step == self.steps

    def evaluate(self) -> dict[str, float]:
        """Return the held-out loss in nats, over all targets and by runs of 128 positions."""
        return bins_of(self.heldout(self.student.model))

    def heldout(self, model: Any) -> Tensor:
        """Return a model's mean held-out loss by position, without dropout; processes share the windows."""
        device, processes = self.accelerator.device, self.accelerator.num_processes
        share = self.windows.heldout[self.accelerator.process_index :: processes].astype(np.int64)
        training = model.training
        losses = position_losses(model.eval(), torch.as_tensor(share, device=device), precision=self.student.precision)
        model.train(training)
        exact = torch.float32 if device.type == "mps" else torch.float64  # which Apple's GPUs lack
        total = self.accelerator.reduce(losses.to(device, exact), reduction="sum")
        assert isinstance(total, Tensor)
        return total.cpu() / len(self.windows.heldout)

    def save(self) -> None:
        """Write a state to go on from."""
        if self.accelerator.is_main_process:
            numbers = {"steps": self.steps, "seconds": self.seconds}
            progress.save(self.folder, self.step, numbers, self.trained, self.optimizer)
        self.accelerator.wait_for_everyone()

    def remaining(self) -> float | None:
        """Return the seconds that are left at the speed so far."""
        return None if self.steps is None or not self.step else self.seconds / self.step * (self.steps - self.step)


def bins_of(losses: Tensor) -> dict[str, float]:
    """Name the mean of a loss by position, and its mean over each run of 128 targets."""
    bins = {f"heldout_{128 * index}": value for index, value in enumerate(by_bin(losses))}
    return {"heldout": float(losses.mean()), **bins}
