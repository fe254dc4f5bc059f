"""Seeding, device and one training loop.

Importing this module sets torch to one thread and flushes denormals to zero: on small models two threads that share
their cores with other work run 10 to 100 times slower than one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from tqdm.auto import tqdm

__all__ = ["device", "fit", "minibatches", "seed", "train"]

torch.set_num_threads(1)
torch.set_flush_denormal(True)


def seed(value: int) -> torch.Generator:
    """A CPU generator seeded with `value`, after seeding torch's global generator with it too.

    Raises:
        ValueError: `value` is not a non-negative integer.

    >>> a = seed(0); x = torch.rand(2)
    >>> b = seed(0); bool((x == torch.rand(2)).all())
    True
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"seed: expected a non-negative integer, got {value!r}")
    torch.manual_seed(value)
    return torch.Generator().manual_seed(value)


def device() -> torch.device:
    """The accelerator if the machine has one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def minibatches(*tensors: Tensor, batch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
    """Endless minibatches, reshuffled each epoch; every row is seen once an epoch, the last batch may be smaller.

    Args:
        tensors: one or more tensors with the same first dimension.
        batch: rows a minibatch, at least 1.
        generator: the source of the shuffles.

    Raises:
        ValueError: no tensors, lengths that differ, no rows, or `batch` below 1.
    """
    lengths = [len(t) for t in tensors]
    if not tensors or len(set(lengths)) != 1 or lengths[0] == 0:
        raise ValueError(f"minibatches: expected tensors of one common, positive length, got lengths {lengths}")
    if batch < 1:
        raise ValueError(f"minibatches: expected batch >= 1, got {batch}")

    def endless() -> Iterator[tuple[Tensor, ...]]:
        while True:
            order = torch.randperm(lengths[0], generator=generator)
            for rows in order.split(batch):
                yield tuple(t[rows] for t in tensors)

    return endless()


def fit(
    loss: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    batches: Iterable,
    steps: int,
    *,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    label: str = "fit",
) -> Iterator[tuple[int, float]]:
    """Gradient descent that yields `(step, loss)` after each step and shows its progress.

    The caller's loop does the plotting, the early stopping and the averaging: `for step, value in fit(...)`.

    Args:
        loss: called with each batch (unpacked when it is a tuple); returns a scalar tensor.
        optimizer: any torch optimizer over the parameters that `loss` depends on.
        batches: an iterable of batches, such as `minibatches`; cut off after `steps`.
        steps: number of updates, at least 1.
        schedule: stepped after each update, if given.
        label: shown beside the progress bar.

    Raises:
        ValueError: `steps` below 1, or the batches ran out early.
        FloatingPointError: the loss is not finite; the step is named and the parameters are left as they were.
    """
    if steps < 1:
        raise ValueError(f"fit: expected steps >= 1, got {steps}")
    return _descend(loss, optimizer, iter(batches), steps, schedule, label)


def _descend(loss, optimizer, batches, steps, schedule, label) -> Iterator[tuple[int, float]]:
    for step in tqdm(range(steps), desc=label, leave=False, mininterval=1.0):
        batch = next(batches, None)
        if batch is None:
            raise ValueError(f"fit: expected {steps} batches, got {step}")
        optimizer.zero_grad(set_to_none=True)
        value = loss(*batch) if isinstance(batch, tuple) else loss(batch)
        if not torch.isfinite(value):
            raise FloatingPointError(f"{label}: the loss is {value.item()} at step {step}")
        value.backward()
        optimizer.step()
        if schedule is not None:
            schedule.step()
        yield step, value.item()


def train(
    model: torch.nn.Module,
    loss: Callable[..., Tensor],
    *tensors: Tensor,
    steps: int,
    lr: float,
    batch: int = 64,
    decay: float = 0.0,
    generator: torch.Generator | None = None,
) -> torch.nn.Module:
    """The model, trained by AdamW under a one-cycle learning rate, then frozen and in evaluation mode.

    Args:
        model: its parameters are updated in place.
        loss: called with one batch of each tensor, returns a scalar tensor.
        tensors: the training data, with one common first dimension.
        steps: number of updates; `lr`: the largest learning rate; `batch`: rows an update; `decay`: weight decay.
        generator: the source of the shuffles; by default a new one with seed 0.

    Raises:
        ValueError, FloatingPointError: as `minibatches` and `fit`.

    >>> line = torch.nn.Linear(1, 1)
    >>> line = train(line, lambda x: (line(x) ** 2).mean(), torch.ones(4, 1), steps=2, lr=0.1)
    >>> line.training, line.weight.requires_grad
    (False, False)
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps)
    generator = generator or torch.Generator().manual_seed(0)
    batches = minibatches(*tensors, batch=batch, generator=generator)
    for _ in fit(loss, optimizer, batches, steps, schedule=schedule):
        pass
    return model.eval().requires_grad_(False)
