"""make_recovery: samples against the stated truth, and the checks of its arguments."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from sklearn_mmfusion.datasets import make_recovery

MIXTURE = {("a",): 1.0, ("b",): -0.5, ("a", "b"): 0.7, ("a", "b", "c"): 0.3}


def product_columns(tokens, mu):
    """Centred products of shared tokens for all non-empty sets of a, b, c."""
    sets = ["a", "b", "c", "ab", "ac", "bc", "abc"]
    centred = {name: values[:, 0] - mu for name, values in tokens.items()}
    columns = np.stack([np.prod([centred[m] for m in S], axis=0) for S in sets], axis=1)
    return [" x ".join(S) for S in sets], columns


def test_recovery_defaults_give_the_documented_bunch():
    task = make_recovery(random_state=0)
    assert list(task.data) == ["a", "b"]
    assert all(x.shape == (4000, 8) and x.dtype == np.float64 for x in task.data.values())
    assert task.coefficients == {"a": 1.0, "b": 0.5, "a x b": 0.5}
    assert task.relevance == pytest.approx({"a": 0.5, "b": 0.25, "a x b": 0.25})
    np.testing.assert_array_equal(task.target, task.signal)
    assert "Recovery regression" in task.DESCR


def test_recovery_balanced_relevance_is_the_share_of_absolute_coefficients():
    for tokens in ("shared", "separate"):
        task = make_recovery(50, MIXTURE, tokens=tokens, random_state=0)
        expected = {"a": 0.4, "b": 0.2, "a x b": 0.28, "a x b x c": 0.12}
        assert task.relevance == pytest.approx(expected)


def test_recovery_target_is_the_signal_of_its_tokens():
    task = make_recovery(200, MIXTURE, random_state=0)
    a, b, c = (task.tokens[name][:, 0].astype(float) for name in "abc")
    np.testing.assert_allclose(task.target, a - 0.5 * b + 0.7 * a * b + 0.3 * a * b * c)
    assert task.token_terms == {name: ["all"] for name in "abc"}


def test_recovery_separate_tokens_are_one_per_term_and_independent():
    task = make_recovery(20_000, MIXTURE, tokens="separate", random_state=0)
    assert task.token_terms == {
        "a": ["a", "a x b", "a x b x c"],
        "b": ["b", "a x b", "a x b x c"],
        "c": ["a x b x c"],
    }
    signal = np.zeros(20_000)
    for term, coefficient in task.coefficients.items():
        product = np.ones(20_000)
        for name in term.split(" x "):
            product *= task.tokens[name][:, task.token_terms[name].index(term)]
        signal += coefficient * product
    np.testing.assert_allclose(task.target, signal)
    everything = np.hstack(list(task.tokens.values()))
    correlations = np.corrcoef(everything.T)[~np.eye(7, dtype=bool)]
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)


def test_recovery_unbalanced_truth_equals_regression_on_centred_products():
    task = make_recovery(50_000, MIXTURE, balance=0.7, random_state=0)
    names, columns = product_columns(task.tokens, mu=0.4)
    slopes = LinearRegression().fit(columns, task.target).coef_
    for name, slope, column in zip(names, slopes, columns.T, strict=True):
        assert task.component_std[name] == pytest.approx(abs(slope) * column.std(), rel=0.03)
    assert task.intercept == pytest.approx(task.signal.mean(), abs=0.03)
    assert sum(task.relevance.values()) == pytest.approx(1)


def test_recovery_balance_by_name_and_correlation_hold_in_the_sample():
    task = make_recovery(50_000, balance={"a": 0.8}, random_state=0)
    assert (task.tokens["a"] == 1).mean() == pytest.approx(0.8, abs=0.01)
    assert (task.tokens["b"] == 1).mean() == pytest.approx(0.5, abs=0.01)
    task = make_recovery(50_000, correlation=0.5, random_state=0)
    pair = np.corrcoef(task.tokens["a"][:, 0], task.tokens["b"][:, 0])[0, 1]
    assert pair == pytest.approx(0.5, abs=0.02)
    # On paper: t_a t_b - rho is orthogonal to both tokens, which stay whole.
    expected = {"a": 1.0, "b": 0.5, "a x b": 0.5 * np.sqrt(0.75)}
    assert task.component_std == pytest.approx(expected)


@pytest.mark.parametrize("noise", [0.0, 0.3, 1.0])
def test_recovery_tokens_can_be_read_linearly_but_are_no_single_feature(noise):
    task = make_recovery(20_000, tokens="separate", noise=noise, random_state=1)
    x, tokens = task.data["a"], task.tokens["a"].astype(float)
    reader = LinearRegression().fit(x, tokens)
    assert reader.score(x, tokens) == pytest.approx(1 / (1 + noise**2), abs=0.01)
    single = np.corrcoef(np.hstack([x, tokens]).T)[: x.shape[1], x.shape[1] :]
    assert np.abs(single).max() < 0.95
    assert np.abs(x.mean(axis=0)).max() > 0.3


def test_recovery_default_noise_is_read_nearly_without_error():
    task = make_recovery(20_000, random_state=0)
    x, token = task.data["a"], task.tokens["a"][:, 0].astype(float)
    read = np.sign(LinearRegression().fit(x, token).predict(x))
    assert (read != token).mean() < 0.002


def test_recovery_target_noise_has_the_asked_scale():
    task = make_recovery(20_000, target_noise=2.0, random_state=0)
    assert (task.target - task.signal).std() == pytest.approx(2.0, rel=0.03)


def test_recovery_classification_draws_with_the_documented_logit():
    task = make_recovery(100_000, balance=0.6, task="classification", random_state=0)
    assert task.target.dtype == np.int64
    std = np.sqrt(sum(part**2 for part in task.component_std.values()))
    for level in np.unique(task.signal):
        rows = task.signal == level
        chance = 1 / (1 + np.exp(-3 * (level - task.intercept) / std))
        tolerance = 5 * np.sqrt(chance * (1 - chance) / rows.sum()) + 1e-3
        assert task.target[rows].mean() == pytest.approx(chance, abs=tolerance)


def test_recovery_classification_large_logit_scale_gives_the_sign():
    task = make_recovery(500, task="classification", logit_scale=1e6, random_state=0)
    clear = task.signal != 0
    np.testing.assert_array_equal(task.target[clear], (task.signal > 0)[clear])


def test_recovery_added_modalities_are_a_second_view_and_noise():
    task = make_recovery(5000, duplicate="b", n_noise_modalities=2, random_state=0)
    assert list(task.data) == ["a", "b", "b_copy", "noise1", "noise2"]
    token = task.tokens["b"][:, 0].astype(float)
    scores = {
        name: LinearRegression().fit(x, token).score(x, token) for name, x in task.data.items()
    }
    assert scores["b"] > 0.9
    assert scores["b_copy"] > 0.9
    assert max(scores["a"], scores["noise1"], scores["noise2"]) < 0.01
    assert np.abs(task.data["b"] - task.data["b_copy"]).max() > 0.5


def test_recovery_same_seed_same_data_and_global_state_untouched():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (make_recovery(50, task="classification", random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first.target, second.target)
    for name in first.data:
        np.testing.assert_array_equal(first.data[name], second.data[name])
    X, y = make_recovery(50, task="classification", random_state=3, return_X_y=True)
    np.testing.assert_array_equal(X["a"], first.data["a"])
    np.testing.assert_array_equal(y, first.target)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_recovery_term_order_does_not_depend_on_how_terms_are_written():
    task = make_recovery(20, {("b",): 1, ("b", "a"): 1, ("c", "a"): 1}, random_state=0)
    assert list(task.data) == ["b", "a", "c"]
    assert list(task.coefficients) == ["b", "b x a", "a x c"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coefficients": {}}, "at least one term"),
        ({"coefficients": {"ab": 1.0}}, "tuples of distinct modality names"),
        ({"coefficients": {("a", "a"): 1.0}}, "tuples of distinct modality names"),
        ({"coefficients": {("a", "b"): 1.0, ("b", "a"): 1.0}}, "twice"),
        ({"coefficients": {("a",): np.nan}}, "finite number"),
        ({"coefficients": {tuple("abcdefghijk"): 1.0}}, "at most 10 modalities"),
        ({"coefficients": {("noise1",): 1.0}, "n_noise_modalities": 1}, "noise1"),
        ({"balance": {"z": 0.5}}, "unknown modality 'z'"),
        ({"balance": {"a": 1.0}}, r"\(0, 1\) for 'a'"),
        ({"balance": 1.0}, "'balance' parameter"),
        ({"correlation": 1.0}, "'correlation' parameter"),
        ({"tokens": "own"}, "'tokens' parameter"),
        ({"duplicate": "z"}, "unknown modality 'z'"),
        ({"tokens": "separate", "n_features": 1}, "a: 2 tokens do not fit"),
    ],
)
def test_recovery_bad_argument_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_recovery(10, **arguments)
