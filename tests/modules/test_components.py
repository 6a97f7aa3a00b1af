"""Tests of principal components in front of an encoder."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from sklearn_mmfusion import (
    IdentityEncoder,
    LinearEncoder,
    MLPEncoder,
    MNLRegressor,
    SummaryEncoder,
)
from sklearn_mmfusion._fitting import fit as fit_module
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules import components
from sklearn_mmfusion.modules.components import (
    ComponentsModule,
    PrincipalComponents,
    principal_directions,
)

FLAT = ModalityLayout("flat", (40,), "float64")
NARROW = ModalityLayout("flat", (5,), "float64")
SEQUENCE = ModalityLayout("steps", (7, 8), "float64")


def build(encoder, layout):
    with torch.random.fork_rng(devices=[]):
        return encoder.build(layout)


def factors(n, d, seed=0):
    """Rows of three factors of different strength, and some noise."""
    rng = np.random.default_rng(seed)
    strength = np.array([3.0, 2.0, 1.0])
    loads = rng.normal(size=(3, d))
    return (rng.normal(size=(n, 3)) * strength) @ loads + 0.1 * rng.normal(size=(n, d)) + 1.0


@pytest.mark.parametrize(("n", "d"), [(60, 9), (9, 60)])
def test_directions_are_those_of_scikit_learn(n, d):
    x = factors(n, d)
    mean, directions = principal_directions(torch.tensor(x), None, 3)
    whitened = (x - mean.numpy()) @ directions.numpy().T
    pca = PCA(3, whiten=True).fit(x)
    theirs = pca.transform(x) * np.sqrt(n / (n - 1))  # theirs have an unbiased variance of 1
    signs = np.sign((whitened * theirs).sum(0))
    np.testing.assert_allclose(whitened, theirs * signs, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(whitened.T @ whitened / n, np.eye(3), atol=1e-9)
    largest = np.abs(directions.numpy()).argmax(1)
    assert (directions.numpy()[np.arange(3), largest] > 0).all()


def test_iteration_for_large_data_finds_the_same(monkeypatch):
    x = torch.tensor(factors(120, 90))
    exact = principal_directions(x, None, 3)
    monkeypatch.setattr(components, "_EXACT", 10)
    state = torch.get_rng_state()
    found = principal_directions(x, None, 3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(found[1], exact[1], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("d", [6, 50])
def test_whole_weights_are_repetitions_and_zeros_do_not_count(d):
    rng = np.random.default_rng(1)
    x, counts = torch.tensor(factors(20, d)), torch.tensor(rng.integers(0, 4, size=20))
    weighted = principal_directions(x, counts, 3)
    repeated = principal_directions(x.repeat_interleave(counts, 0), None, 3)
    for ours, theirs in zip(weighted, repeated, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_order_of_rows_and_units_of_all_features_do_not_matter():
    x = torch.tensor(factors(30, 50))
    mean, directions = principal_directions(x, None, 3)
    _, other = principal_directions(x.flip(0), None, 3)
    torch.testing.assert_close(other, directions, rtol=1e-8, atol=1e-9)
    mean_1000, directions_1000 = principal_directions(1000 * x, None, 3)
    torch.testing.assert_close(mean_1000, 1000 * mean)
    torch.testing.assert_close(directions_1000, directions / 1000, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "weight", "n_found"),
    [
        (torch.zeros(0, 6), None, 0),
        (torch.ones(5, 6), None, 0),
        (torch.ones(5, 6), torch.zeros(5), 0),
        (torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]), None, 1),
    ],
)
def test_directions_that_are_not_there_are_zero(x, weight, n_found):
    mean, directions = principal_directions(x, weight, 2)
    assert torch.isfinite(mean).all()
    assert torch.isfinite(directions).all()
    assert int((directions.abs().sum(1) > 0).sum()) == n_found


@pytest.mark.parametrize("cls", [LinearEncoder, MLPEncoder])
def test_prepared_values_give_the_same_encoding(cls):
    params = {"n_quantiles": 8} if cls is MLPEncoder else {}
    layout = ModalityLayout("flat", (12,), "float64")
    module = build(cls(n_components=3, output_dim=4, **params), layout).double().eval()
    encoder = module.encoder
    x = torch.tensor(factors(40, 12))
    module.fit_inputs(x)
    expected = encoder(module.components(x))
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(module.forward_prepared(module.prepare(x)), expected)
    assert module.output_dim == 4


def test_components_may_be_handed_on_as_they_are():
    x = factors(40, 12)
    module = build(IdentityEncoder(n_components=3), ModalityLayout("flat", (12,), "float64"))
    module.double().fit_inputs(torch.tensor(x))
    expected = PCA(3, whiten=True).fit_transform(x) * np.sqrt(40 / 39)  # of variance 1 over n
    found = module(torch.tensor(x)).numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-8, atol=1e-10)
    assert module.output_dim == 3
    assert not list(module.parameters())


def test_components_are_part_of_the_state():
    module = PrincipalComponents(12, 3)
    module.fit_inputs(torch.tensor(factors(40, 12)).float())
    again = PrincipalComponents(12, 3)
    again.load_state_dict(module.state_dict())
    x = torch.tensor(factors(4, 12)).float()
    torch.testing.assert_close(again(x), module(x))
    assert module(x).dtype == torch.float32


@pytest.mark.parametrize("cls", [IdentityEncoder, LinearEncoder, MLPEncoder])
def test_encoders_take_components_where_there_are_more_features(cls):
    encoder = cls(n_components=6)
    module = build(encoder, FLAT)
    assert type(module) is ComponentsModule
    assert module(torch.zeros(2, 40)).shape == (2, module.output_dim)
    assert type(build(encoder, NARROW)) is not ComponentsModule
    assert type(build(cls(), FLAT)) is not ComponentsModule


def test_summaries_of_sequences_take_a_perceptron_on_components():
    module = build(SummaryEncoder(head=MLPEncoder(n_components=6, n_quantiles=8)), SEQUENCE)
    x = torch.tensor(np.random.default_rng(0).normal(size=(30, 7, 8))).float()
    module.fit_inputs(x)
    assert module(x).shape == (30, 32)
    assert (module.head.components.directions != 0).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
@pytest.mark.parametrize("n_components", [0, 1.5, "all"])
def test_fit_refuses_other_numbers_of_components(n_components):
    X = {"flat": factors(30, 12)}
    est = MNLRegressor(encoders=LinearEncoder(n_components=n_components), random_state=0)
    with pytest.raises(ValueError, match=r"modality 'flat'.*n_components"):
        est.fit(X, X["flat"][:, 0])


def two_sites(n, d=40):
    """Rows of two sites in turn, which vary along directions of their own."""
    rng = np.random.default_rng(0)
    x = 0.1 * rng.normal(size=(n, d))
    for site in (0, 1):
        x[site::2, 10 * site : 10 * site + 10] += rng.normal(size=(n // 2, 1))
    return x


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
@pytest.mark.parametrize("n", [300, 1500])
def test_rows_of_wide_modalities_are_drawn_at_random_and_few_all_taken(n, monkeypatch):
    monkeypatch.setattr(fit_module, "_INPUT_BYTES", 40 * 8)  # less than 256 rows
    x = two_sites(n)
    est = MNLRegressor(
        encoders=LinearEncoder(n_components=2), max_epochs=1, early_stopping=False, random_state=0
    )
    est.fit({"flat": x}, x[:, 0])
    directions = est.module_.encoders[0].components.directions
    loads = directions.abs().amax(0)
    assert loads[:20].min() > 3 * loads[20:].max()
    if n == 300:
        scaled = (x - x.mean(0)) / x.std(0)
        _, expected = principal_directions(torch.tensor(scaled), None, 2)
        torch.testing.assert_close(directions.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_rows_that_lack_the_modality_do_not_count():
    rng = np.random.default_rng(0)
    x = factors(80, 40)
    X = {"flat": x.copy(), "other": rng.normal(size=(80, 2))}
    X["flat"][::4] = np.nan
    est = MNLRegressor(
        encoders={"flat": LinearEncoder(n_components=3)}, missing="mask", max_epochs=3,
        early_stopping=False, random_state=0,
    )  # fmt: skip
    est.fit(X, x[:, 0])
    part = x[np.arange(80) % 4 > 0]
    scaled = (part - part.mean(0)) / part.std(0)
    _, directions = principal_directions(torch.tensor(scaled), None, 3)
    position = sorted(X).index("flat")
    found = est.module_.encoders[position].components.directions
    torch.testing.assert_close(found.double(), directions, rtol=1e-6, atol=1e-7)
