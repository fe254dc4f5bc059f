"""Experience replay: a ring of transitions, drawn from at random."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Replay"]


class Replay:
    """The latest `capacity` transitions; each batch is drawn from them uniformly, with replacement.

    A transition is any fixed sequence of fields, such as `(s, a, r, s_next, terminated)`: the first one sets their
    shapes and types. Store `terminated`, not "over": an episode that a time limit cut off still has a future.

    Args:
        capacity: number of transitions kept, at least 1; beyond it the oldest is overwritten.
        generator: the source of the draws.

    Raises:
        ValueError: `capacity` below 1.

    Source: Lin (1992), Self-improving reactive agents. Taught in: reinforcement/value-functions.

    >>> replay = Replay(2, torch.Generator())
    >>> for reward in (1.0, 2.0, 3.0): replay.add([0.0, 0.0], reward)
    >>> len(replay), sorted(set(replay.sample(50)[1].tolist()))
    (2, [2.0, 3.0])
    """

    def __init__(self, capacity: int, generator: torch.Generator):
        if capacity < 1:
            raise ValueError(f"Replay: expected capacity >= 1, got {capacity}")
        self.capacity, self.generator, self.added = capacity, generator, 0
        self.fields: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, *transition) -> None:
        """Store one transition of numbers, arrays or tensors.

        Raises:
            ValueError: no fields, or fields whose number or shapes differ from the first transition's.
        """
        values = [torch.as_tensor(field).detach() for field in transition]
        if not self.fields and values:
            self.fields = tuple(v.new_zeros(self.capacity, *v.shape) for v in values)
        expected, got = [tuple(f.shape[1:]) for f in self.fields], [tuple(v.shape) for v in values]
        if expected != got or not got:
            raise ValueError(f"Replay.add: expected fields of shapes {expected}, got {got}")
        for field, value in zip(self.fields, values, strict=True):
            field[self.added % self.capacity] = value
        self.added += 1

    def sample(self, batch: int) -> tuple[Tensor, ...]:
        """`batch` transitions, field by field: a tuple of tensors `(batch, ...)`.

        Raises:
            ValueError: `batch` below 1, or nothing stored yet.
        """
        if batch < 1 or not len(self):
            raise ValueError(f"Replay.sample: expected batch >= 1 of a filled replay, got {batch} of {len(self)}")
        rows = torch.randint(len(self), (batch,), generator=self.generator)
        return tuple(field[rows] for field in self.fields)
