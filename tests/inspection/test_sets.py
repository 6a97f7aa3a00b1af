from itertools import combinations, permutations
from math import comb, factorial

import numpy as np
import pytest

from sklearn_mmfusion import InputError, InputTypeError
from sklearn_mmfusion.inspection._sets import (
    check_subsets,
    component,
    mask_of,
    sets_up_to,
    shapley_interaction,
    shapley_taylor,
    shapley_value,
)

NAMES = ["text", "audio", "video"]


def random_game(n, seed=0):
    return np.random.default_rng(seed).normal(size=2**n)


def value_of(quantity, game):
    return sum(coefficient * game[mask] for mask, coefficient in quantity.items())


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_shapley_value_is_the_mean_marginal_contribution_over_all_orders(n):
    game = random_game(n)
    for m in range(n):
        gains = []
        for order in permutations(range(n)):
            before = mask_of(order[: order.index(m)])
            gains.append(game[before | 1 << m] - game[before])
        assert value_of(shapley_value(m, n), game) == pytest.approx(np.mean(gains), abs=1e-12)


def discrete_derivative(game, members, base):
    return sum(
        (-1) ** (len(members) - size) * game[mask_of(base) | mask_of(part)]
        for size in range(len(members) + 1)
        for part in combinations(members, size)
    )


@pytest.mark.parametrize("n", [2, 3, 5])
def test_shapley_interaction_of_a_pair_is_its_weighted_mean_derivative(n):
    game, pair = random_game(n), (0, n - 1)
    others = [m for m in range(n) if m not in pair]
    expected = 0.0
    for size in range(n - 1):
        for base in combinations(others, size):
            weight = factorial(size) * factorial(n - size - 2) / factorial(n - 1)
            expected += weight * discrete_derivative(game, pair, base)
    assert value_of(shapley_interaction(pair, n), game) == pytest.approx(expected, abs=1e-12)


def test_shapley_taylor_of_a_pair_is_its_mean_derivative_over_all_orders():
    # The derivative at those players that come before both of the pair, in a random order.
    n, pair = 4, (1, 2)
    game = random_game(n)
    values = []
    for order in permutations(range(n)):
        first = min(order.index(m) for m in pair)
        values.append(discrete_derivative(game, pair, order[:first]))
    found = value_of(shapley_taylor(pair, n, 2), game)
    assert found == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_shapley_taylor_indices_add_up_to_the_gain_of_all_players(n):
    game = random_game(n)
    total = sum(value_of(shapley_taylor(s, n, 2), game) for s in sets_up_to(n, 2))
    assert total == pytest.approx(game[-1] - game[0], abs=1e-12)


def test_components_of_all_sets_add_up_to_the_full_set():
    game = random_game(4)
    total = game[0] + sum(value_of(component(s), game) for s in sets_up_to(4, 4))
    assert total == pytest.approx(game[-1], abs=1e-12)


def test_sets_up_to_counts_binomially_and_refuses_too_many():
    assert len(sets_up_to(6, 3)) == 6 + comb(6, 2) + comb(6, 3)
    with pytest.raises(InputError, match="40 modalities have .* sets of up to 5"):
        sets_up_to(40, 5)


def test_check_subsets_reads_names_and_tuples_in_any_order():
    assert check_subsets(None, NAMES) == [(0,), (1,), (2,)]
    assert check_subsets("all", NAMES)[-1] == (0, 1, 2)
    assert check_subsets(["video", ("audio", "text")], NAMES) == [(2,), (0, 1)]


@pytest.mark.parametrize(
    ("subsets", "error", "message"),
    [
        (["vidio"], InputError, "did you mean 'video'"),
        ([("text", "text")], InputError, "names a modality twice"),
        (["text", ("text",)], InputError, "there twice"),
        ([], InputError, "at least one"),
        ([()], InputError, "unknown"),
        ("text", InputTypeError, "a list of modality names"),
        (2, InputTypeError, "a list of modality names"),
    ],
)
def test_check_subsets_refuses(subsets, error, message):
    with pytest.raises(error, match=message):
        check_subsets(subsets, NAMES)
