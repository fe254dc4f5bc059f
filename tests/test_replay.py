import pytest
import torch

from utils.replay import Replay


def filled(count, capacity=8):
    replay = Replay(capacity, torch.Generator().manual_seed(0))
    for i in range(count):
        replay.add(torch.full((3,), float(i)), i, float(i), i % 2 == 0)
    return replay


def test_the_latest_transitions_are_kept_and_the_oldest_overwritten():
    replay = filled(11)
    _, index, _, _ = replay.sample(2000)
    assert len(replay) == 8
    assert sorted(set(index.tolist())) == [3, 4, 5, 6, 7, 8, 9, 10]


def test_fields_of_one_row_belong_to_one_transition():
    s, index, r, even = filled(8).sample(500)
    torch.testing.assert_close(s, r[:, None].expand(-1, 3))
    assert torch.equal(index.float(), r)
    assert torch.equal(even, index % 2 == 0)
    assert (index.dtype, even.dtype) == (torch.int64, torch.bool)


def test_draws_are_uniform_over_what_is_stored():
    _, index, _, _ = filled(4).sample(40_000)
    frequency = index.bincount(minlength=4) / 40_000
    torch.testing.assert_close(frequency, torch.full((4,), 0.25), atol=0.011, rtol=0)  # 5 standard errors


def test_what_is_stored_neither_changes_with_its_source_nor_carries_a_gradient():
    replay, x = Replay(2, torch.Generator()), torch.ones(2, requires_grad=True)
    replay.add(x)
    with torch.no_grad():
        x += 1
    (stored,) = replay.sample(1)
    assert stored.tolist() == [[1.0, 1.0]]
    assert not stored.requires_grad


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Replay(0, torch.Generator()), "capacity >= 1, got 0"),
        (lambda: Replay(3, torch.Generator()).sample(2), "filled replay, got 2 of 0"),
        (lambda: filled(2).sample(0), "batch >= 1"),
        (lambda: filled(2).add(torch.zeros(2), 1, 1.0, True), r"expected fields of shapes \[\(3,\)"),
        (lambda: filled(2).add(torch.zeros(3)), r"got \[\(3,\)\]"),
        (lambda: Replay(3, torch.Generator()).add(), r"got \[\]"),
    ],
)
def test_errors_name_what_was_expected_and_received(call, message):
    with pytest.raises(ValueError, match=message):
        call()
