"""The knapsack, against every combination of a small one."""

import random
from itertools import product

import pytest

from scripts.methods.allocation import Choice, TooSmallError, allocate


def some_choices(seed: int) -> dict[str, list[Choice]]:
    rng = random.Random(seed)
    return {
        name: [Choice(t, rng.randrange(50, 150), rng.random()) for t in ("a", "b", "c", "d")]
        for name in ("one", "two", "three", "four", "five")
    }


@pytest.mark.parametrize("seed", range(5))
def test_near_the_best_of_all_combinations(seed: int) -> None:
    choices, budget = some_choices(seed), 470
    chosen = allocate(choices, budget)
    assert sum(choice.bytes for choice in chosen.values()) <= budget
    fitting = [c for c in product(*choices.values()) if sum(one.bytes for one in c) <= budget]
    best = min(sum(one.loss for one in combination) for combination in fitting)
    largest_step = max(one.loss for offered in choices.values() for one in offered)
    assert sum(choice.loss for choice in chosen.values()) <= best + largest_step / 2


def test_no_more_bytes_for_more_loss() -> None:
    offered = [Choice("small", 10, 1.0), Choice("large", 20, 2.0), Choice("same", 10, 3.0)]
    assert allocate({"x": offered}, 100) == {"x": offered[0]}


def test_all_that_fits_is_the_best_of_each() -> None:
    chosen = allocate(some_choices(0), 10_000)
    for name, offered in some_choices(0).items():
        assert chosen[name].loss == min(one.loss for one in offered)


def test_size_that_cannot_be_kept() -> None:
    with pytest.raises(TooSmallError, match=r"^3 bytes are missing$") as caught:
        allocate({"x": [Choice("a", 10, 1.0)], "y": [Choice("b", 5, 1.0)]}, 12)
    assert caught.value.missing == 3
