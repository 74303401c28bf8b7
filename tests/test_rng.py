"""Philox against its published answers; streams that depend on key and index alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from reprolib.run import rng


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


# kat_vectors of Random123, the code that comes with the paper: (counter, key, answer) of philox4x32 with 10 rounds
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    first, second = words(key)
    block = np.array([words(counter), [1, 2, 3, 4]], dtype=np.uint32)
    assert rng.philox4x32(block, (first, second))[0].tolist() == words(answer)


def test_seeds_are_63_bits_and_stay_the_same_for_ever() -> None:
    # the first 63 bits of the SHA-256 of "('cgn', 7)": another value would change every result of the report
    assert rng.seed_of("cgn", 7) == 0x74623D6AD63D2A02
    assert all(0 <= rng.seed_of(n) < 2**63 for n in range(100))


@pytest.mark.parametrize("other", [("a", 2), ("b", 1), (1, "a"), ("a", "1"), ("a", 1, 0), ("a1",)])
def test_different_keys_give_different_seeds(other: rng.Key) -> None:
    assert rng.seed_of(*other) != rng.seed_of("a", 1)


def test_seeded_repeats_inside_and_leaves_the_outside_alone() -> None:
    torch.manual_seed(0)
    undisturbed = torch.rand(2)
    torch.manual_seed(0)
    first = torch.rand(1)
    with rng.seeded("step", 1):
        inside = torch.rand(3)
    assert torch.equal(torch.cat([first, torch.rand(1)]), undisturbed)
    with rng.seeded("step", 1):
        assert torch.equal(torch.rand(3), inside)
    with rng.seeded("step", 2):
        assert not torch.equal(torch.rand(3), inside)


def test_a_gpu_that_is_first_used_inside_is_seeded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA seeds it when it starts, if it was told before."""
    told: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", told.append)
    with rng.seeded("a"):
        assert not told  # there is none here
    monkeypatch.setattr(rng, "_has_gpu", lambda: True)
    with rng.seeded("a"):
        assert told == [rng.seed_of("a")]


def test_seeded_restores_the_generator_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), rng.seeded("step", 1):
        torch.rand(1 // 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_permutation_is_a_permutation_of_its_key() -> None:
    order = rng.permutation(100, "p", 1)
    assert torch.equal(order.sort().values, torch.arange(100))
    assert torch.equal(order, rng.permutation(100, "p", 1))
    assert not torch.equal(order, rng.permutation(100, "p", 2))


@pytest.mark.parametrize("draws", [1, 3, 4, 5, 8])
def test_fewer_draws_are_a_prefix_of_more(draws: int) -> None:
    index = torch.arange(7)
    numbers = rng.uniform(("k",), index, draws)
    assert numbers.shape == (7, draws)
    assert numbers.dtype == torch.float64
    assert torch.equal(numbers, rng.uniform(("k",), index, 9)[:, :draws])


def test_rows_do_not_depend_on_the_other_rows() -> None:
    everything = rng.uniform(("k", 0), torch.arange(1000), 5)
    index = torch.tensor([999, 3, 3, 0, 512])
    assert torch.equal(rng.uniform(("k", 0), index, 5), everything[index])


def test_no_number_comes_twice() -> None:
    # nine draws are three blocks of Philox; a counter that stood still would repeat the first
    assert rng.uniform(("k",), torch.arange(1000), 9).unique().numel() == 9000


def test_an_empty_index_gives_no_rows() -> None:
    assert rng.uniform(("k",), torch.arange(0), 3).shape == (0, 3)


def test_numbers_are_uniform_and_never_touch_the_bounds() -> None:
    numbers = rng.uniform(("k", 1), torch.arange(20_000), 4)
    assert numbers.min() > 0
    assert numbers.max() < 1
    for column in numbers.unbind(1):
        assert stats.kstest(column.numpy(), "uniform").pvalue > 1e-4


def test_columns_neighbours_and_keys_are_uncorrelated() -> None:
    one = rng.uniform(("k", 1), torch.arange(20_001), 2).numpy()
    other = rng.uniform(("k", 2), torch.arange(20_001), 2).numpy()
    for left, right in [(one[:, 0], one[:, 1]), (one[:-1, 0], one[1:, 0]), (one[:, 0], other[:, 0])]:
        assert abs(np.corrcoef(left, right)[0, 1]) < 0.03  # four standard deviations of no correlation
