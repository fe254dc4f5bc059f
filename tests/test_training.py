import pytest
import torch

from utils import training


def quadratic(steps, lr=0.1):
    w = torch.tensor([3.0], requires_grad=True)
    batches = (torch.tensor([1.0]) for _ in range(1000))
    values = list(training.fit(lambda target: (w - target).square().sum(), torch.optim.SGD([w], lr), batches, steps))
    return w, values


def test_gradient_descent_on_a_parabola_follows_its_closed_form():
    w, values = quadratic(20)
    torch.testing.assert_close(w.detach(), torch.tensor([1 + 2 * 0.8**20]))
    assert [step for step, _ in values] == list(range(20))
    assert values[3][1] == pytest.approx((2 * 0.8**3) ** 2, rel=1e-5)


def test_seed_repeats_both_generators():
    a = training.seed(7)
    first = torch.rand(3), torch.rand(3, generator=a)
    b = training.seed(7)
    torch.testing.assert_close((torch.rand(3), torch.rand(3, generator=b)), first, rtol=0, atol=0)


def test_every_row_is_seen_once_an_epoch():
    stream = training.minibatches(torch.arange(10), torch.arange(10) * 2, batch=4, generator=training.seed(0))
    epoch = [next(stream) for _ in range(3)]
    assert sorted(torch.cat([x for x, _ in epoch]).tolist()) == list(range(10))
    assert all((y == 2 * x).all() for x, y in epoch)


def test_one_thread_is_used():
    assert torch.get_num_threads() == 1


def test_the_schedule_is_stepped_after_each_update():
    w = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([w], 1.0)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    list(training.fit(lambda x: (w * x).sum(), optimizer, [torch.ones(1)] * 3, 3, schedule=schedule))
    torch.testing.assert_close(w.detach(), torch.tensor([1 - 1.75]))


def test_a_loss_that_is_not_finite_stops_before_the_update():
    w = torch.ones(1, requires_grad=True)
    steps = training.fit(
        lambda x: (w * x).sum(), torch.optim.SGD([w], 1.0), [torch.tensor([torch.inf])], 1, label="bad"
    )
    with pytest.raises(FloatingPointError, match="bad: the loss is inf at step 0"):
        list(steps)
    assert w.item() == 1


UNEQUAL = (torch.ones(2), torch.ones(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training.seed(-1), "expected a non-negative integer, got -1"),
        (lambda: training.seed(True), "got True"),
        (lambda: training.minibatches(batch=1, generator=torch.Generator()), r"got lengths \[\]"),
        (lambda: training.minibatches(*UNEQUAL, batch=1, generator=torch.Generator()), r"got lengths \[2, 3\]"),
        (lambda: training.minibatches(UNEQUAL[0], batch=0, generator=torch.Generator()), "expected batch >= 1, got 0"),
        (lambda: quadratic(0), "expected steps >= 1, got 0"),
        (lambda: quadratic(1001), "expected 1001 batches, got 1000"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_train_fits_freezes_and_repeats():
    x = torch.linspace(-1, 1, 40)[:, None]

    def fitted():
        training.seed(3)
        line = torch.nn.Linear(1, 1)
        return training.train(line, lambda x, y: ((line(x) - y) ** 2).mean(), x, 2 * x + 1, steps=400, lr=0.1)

    line = fitted()
    torch.testing.assert_close(
        torch.stack([line.weight[0, 0], line.bias[0]]), torch.tensor([2.0, 1.0]), rtol=0, atol=1e-3
    )
    assert not line.training
    assert not line.weight.requires_grad
    torch.testing.assert_close(line.weight, fitted().weight, rtol=0, atol=0)
