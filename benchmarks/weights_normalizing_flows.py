"""Train the flow over the world's places that the chapter on normalizing flows loads, and save it.

    PYTHONPATH=. python benchmarks/weights_normalizing_flows.py

Minutes on one core; prints the test nats per steradian before and after rounding to float16.
"""

import torch

from tests.chapter import load
from utils import training, weights

STEPS = 6000


def main() -> None:
    """Train, round, report."""
    book = load("generative/normalizing-flows")
    x_train, x_test = book.places()
    training.seed(0)
    model = book.fitted(book.triangles(torch.arange(2), 10, x_train), x_train, steps=STEPS, lr=5e-3, batch=1024)
    print("test nats, float32:", book.nats(*model(x_test)).mean().item())
    weights.save("world_flow", model.state_dict(), made_by="benchmarks/weights_normalizing_flows.py")
    model.load_state_dict(weights.load("world_flow"))
    print("test nats, as saved:", book.nats(*model(x_test)).mean().item())


if __name__ == "__main__":
    main()
