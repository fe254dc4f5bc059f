"""Last digits of sums, written out token by token: problems, a verifier, demonstrations, and a tiny policy.

A problem holds 2 to 5 digits, then blanks. A response is a string of digits and a stop; its answer is the last digit
before the stop. Who thinks aloud writes the running sums, modulo ten: "7 + 4 + 9 + 5" becomes "1 0 5 .".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils import training

__all__ = ["BLANK", "DIGITS", "LENGTH", "STOP", "TEST", "Policy", "demonstrations", "imitate", "problems"]
__all__ += ["running_sums", "share_solved", "student", "text", "verify"]

STOP, BLANK, START = 10, 11, 12
DIGITS, LENGTH = 5, 8


def problems(count: int, generator: torch.Generator) -> Tensor:
    """`(count, 5)` random problems: a length of 2 to 5, uniform, then as many uniform digits, then blanks.

    Raises:
        ValueError: `count` below 1.
    """
    if count < 1:
        raise ValueError(f"problems: expected a count of at least 1, got {count}")
    n = torch.randint(2, DIGITS + 1, (count, 1), generator=generator)
    digits = torch.randint(10, (count, DIGITS), generator=generator)
    return torch.where(torch.arange(DIGITS) < n, digits, BLANK)


def running_sums(x: Tensor) -> Tensor:
    """The last digits of the running sums, `(B, 5)`; a blank adds nothing.

    >>> running_sums(torch.tensor([[7, 4, 9, 5, BLANK]])).tolist()
    [[7, 1, 0, 5, 5]]
    """
    return torch.where(x < 10, x, 0).cumsum(1) % 10


def demonstrations(x: Tensor, direct: float, generator: torch.Generator) -> Tensor:
    """`(B, 8)` right responses, blank after the stop.

    With probability `direct` the answer alone, else the running sums; the answer is then repeated 0 to 3 times.

    Raises:
        ValueError: `direct` outside [0, 1], or `x` of another shape.
    """
    if not 0 <= direct <= 1 or x.ndim != 2 or x.shape[1] != DIGITS:
        expected = f"0 <= direct <= 1 and x (B, {DIGITS})"
        raise ValueError(f"demonstrations: expected {expected}, got {direct} and {tuple(x.shape)}")
    n, t = (x < 10).sum(1, keepdim=True), torch.arange(LENGTH)
    at_once = torch.rand(len(x), 1, generator=generator) < direct
    first = torch.where(at_once, n - 1, 1)
    length = n - first + torch.randint(4, (len(x), 1), generator=generator)
    y = running_sums(x).gather(1, (first + t).clamp(max=DIGITS - 1))
    return torch.where(t < length, y, torch.where(t == length, STOP, BLANK))


def verify(x: Tensor, y: Tensor) -> Tensor:
    """`(B,)`: 1.0 where the last digit before the first stop is the sum's; 0.0 without stop or without digit.

    >>> x = torch.tensor([[7, 4, 9, 5, BLANK]] * 3)
    >>> verify(x, torch.tensor([[1, 0, 5, STOP], [5, 1, STOP, BLANK], [1, 0, 5, 5]])).tolist()
    [1.0, 0.0, 0.0]
    """
    stop = (y == STOP).float().argmax(1, keepdim=True)
    last = y.gather(1, (stop - 1).clamp(min=0))[:, 0]
    stopped = (y == STOP).any(1) & (stop[:, 0] > 0)
    return (stopped & (last == running_sums(x)[:, -1])).float()


def text(tokens: Tensor) -> str:
    """A response in words.

    >>> text(torch.tensor([1, 0, 5, STOP, BLANK]))
    '1 0 5 .'
    """
    return " ".join("0123456789. "[token] for token in tokens.tolist()).strip()


class Policy(nn.Module):
    """An autoregressive distribution over responses.

    One recurrent network reads the problem. Another writes; before each token it also sees two weighted means of the
    problem's digits, whose weights belong to the step and are learned: where to look while writing.
    """

    def __init__(self, width: int = 48, length: int = LENGTH):
        super().__init__()
        self.token = nn.Embedding(13, width)
        self.look = nn.Parameter(torch.zeros(2, length, DIGITS))
        self.reader = nn.GRU(width, width, batch_first=True)
        self.writer = nn.GRU(3 * width, width, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 11))

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        digits = self.token(x)
        glances = torch.einsum("hti,bid->bthd", self.look.softmax(-1), digits)
        return self.reader(digits)[1], glances.flatten(2)

    def _write(self, before: Tensor, glances: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, state = self.writer(torch.cat([self.token(before), glances], -1), state)
        return self.head(out).log_softmax(-1), state

    def log_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """The log-probability, in nats, of whole responses: `(B, 5), (B, length) -> (B,)`."""
        state, glances = self._read(x)
        before = torch.cat([torch.full_like(y[:, :1], START), y[:, :-1]], 1)
        log_p = self._write(before, glances, state)[0]
        chosen = log_p.gather(-1, y.clamp(max=STOP)[..., None])[..., 0]
        return (chosen * (y != BLANK)).sum(1)

    @torch.no_grad()
    def sample(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """One response to each problem, `(B, length)`, blank after the stop."""
        state, glances = self._read(x)
        token, y = torch.full((len(x), 1), START), []
        for t in range(glances.shape[1]):
            log_p, state = self._write(token, glances[:, t : t + 1], state)
            drawn = torch.multinomial(log_p[:, 0].exp(), 1, generator=generator)
            token = torch.where((token == STOP) | (token == BLANK), BLANK, drawn)
            y.append(token)
        return torch.cat(y, 1)


def imitate(policy: Policy, x: Tensor, y: Tensor, steps: int, generator: torch.Generator, lr: float = 6e-3) -> Policy:
    """The policy, after `steps` of maximum likelihood on responses `y` to problems `x`, in place."""
    optimizer = torch.optim.Adam(policy.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps + 1)
    batches = training.minibatches(x, y, batch=128, generator=generator)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return -policy.log_prob(x, y).mean()

    for _ in training.fit(loss, optimizer, batches, steps, schedule=schedule, label="imitate"):
        pass
    return policy


def student(seed: int, direct: float = 0.3, steps: int = 400) -> tuple[Policy, Tensor, torch.Generator]:
    """A policy that imitated 2,000 demonstrations, their problems, and the generator, to go on with.

    Args:
        seed: of everything drawn; direct: share of demonstrations without thoughts; steps: updates of 128 each.
    """
    generator = training.seed(seed)
    x = problems(2000, generator)
    y = demonstrations(x, direct, generator)
    return imitate(Policy(), x, y, steps, generator), x, generator


TEST = problems(1000, torch.Generator().manual_seed(1000))


def share_solved(policy: Policy, generator: torch.Generator) -> float:
    """The share of the 1,000 problems of `TEST` that one sampled response each solves."""
    return verify(TEST, policy.sample(TEST, generator)).mean().item()
