"""Means, intervals, relevance and shares of routing, against plain numpy."""

import numpy as np
import pytest
import torch

from sklearn_mmfusion.modules.summaries import (
    activation_summary,
    contribution_shares,
    mean_interval,
    predicted_concepts,
    routing_summary,
)


def even(n):
    return torch.full((n,), 1.0 / n, dtype=torch.float64)


def test_mean_and_interval_equal_numpy():
    x = np.random.default_rng(0).normal(size=(40, 3, 2))
    mean, interval = mean_interval(
        torch.from_numpy(x), torch.ones(40, 3, dtype=torch.bool), even(40), 40.0
    )
    half = 1.959963984540054 * x.std(0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(interval[..., 0], x.mean(0) - half, rtol=1e-12)
    np.testing.assert_allclose(interval[..., 1], x.mean(0) + half, rtol=1e-12)


def test_only_rows_with_the_term_count():
    x = np.random.default_rng(1).normal(size=(30, 2))
    present = np.random.default_rng(2).random((30, 2)) > 0.4
    mean, interval = mean_interval(torch.from_numpy(x), torch.from_numpy(present), even(30), 30.0)
    for t in range(2):
        mine = x[present[:, t], t]
        half = 1.959963984540054 * mine.std(ddof=1) / np.sqrt(len(mine))
        np.testing.assert_allclose(mean[t], mine.mean(), rtol=1e-12)
        np.testing.assert_allclose(interval[t], [mine.mean() - half, mine.mean() + half])


def test_integer_weights_equal_repeated_rows():
    x = np.random.default_rng(3).normal(size=(12, 2, 3))
    weight = np.arange(12) % 3 + 1.0
    repeated = np.repeat(x, weight.astype(int), axis=0)
    n = int(weight.sum())
    everywhere = torch.ones(12, 2, dtype=torch.bool)
    found = mean_interval(torch.from_numpy(x), everywhere, torch.from_numpy(weight / n), float(n))
    expected = mean_interval(
        torch.from_numpy(repeated), torch.ones(n, 2, dtype=torch.bool), even(n), float(n)
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_a_single_row_has_a_mean_and_no_interval_and_none_has_neither():
    present = torch.tensor([[True, False]] + [[False, False]] * 3)
    mean, interval = mean_interval(torch.ones(4, 2, dtype=torch.float64), present, even(4), 4.0)
    assert mean[0] == 1 and interval[0].isnan().all()
    assert mean[1].isnan() and interval[1].isnan().all()


@pytest.mark.parametrize("n", [50, 400])
def test_intervals_cover_the_mean_of_the_population(n):
    # Routing coefficients of two concepts: skewed numbers between 0 and 1.
    rng = np.random.default_rng(4)
    r = rng.beta(2.0, 5.0, size=(4000, n))
    present = torch.ones(n, 4000, dtype=torch.bool)
    _, interval = mean_interval(torch.from_numpy(r.T.copy()), present, even(n), float(n))
    low, high = interval.numpy().T
    covered = ((low <= 2 / 7) & (high >= 2 / 7)).mean()
    assert 0.93 <= covered <= 0.97


def test_predicted_concepts_of_every_kind_of_target():
    one = predicted_concepts(torch.tensor([[2.0], [-1.0]]), False)
    assert one.tolist() == [[0, 1], [1, 0]]
    several = torch.tensor([[1.0, 3.0, -1.0], [-3.0, -2.0, -4.0]])
    assert predicted_concepts(several, False).tolist() == [[0, 1, 0], [0, 1, 0]]
    # All positive labels share the row; without one the most probable label has it.
    assert predicted_concepts(several, True).tolist() == [[0.5, 0.5, 0], [0, 1, 0]]


def test_routing_summary_equals_a_loop_over_rows():
    rng = np.random.default_rng(5)
    r = rng.dirichlet(np.ones(3), size=(8, 4))
    p = rng.random((8, 4))
    contributions, logits = rng.normal(size=(8, 4, 3)), rng.normal(size=(8, 3))
    share = rng.dirichlet(np.ones(8))
    tensors = map(torch.from_numpy, (r, p, contributions, logits, share))
    found = routing_summary(*tensors, 8.0)
    relevance, sizes = np.zeros(4), np.zeros(4)
    for b in range(8):
        for i in range(4):
            relevance[i] += share[b] * p[b, i] * r[b, i, logits[b].argmax()]
            sizes[i] += share[b] * np.abs(contributions[b, i]).sum()
    np.testing.assert_allclose(found["relevance"], relevance / relevance.sum(), rtol=1e-12)
    np.testing.assert_allclose(found["contribution_share"], sizes / sizes.sum(), rtol=1e-12)
    np.testing.assert_allclose(
        found["routed_activations"], np.einsum("b,bt,btj->tj", share, p, r), rtol=1e-12
    )
    np.testing.assert_allclose(found["activations"], share @ p, rtol=1e-12)
    np.testing.assert_allclose(found["routing_coefficients"].sum(1), 1, rtol=1e-12)


def test_shares_of_nothing_are_zero():
    zeros = torch.zeros(3, 2, 1, dtype=torch.float64)
    assert contribution_shares(zeros, even(3)).tolist() == [0, 0]
    found = activation_summary(zeros[..., 0], zeros, even(3), 3.0)
    assert found["relevance"].tolist() == [0, 0]
    assert found["activations"].isnan().all()
