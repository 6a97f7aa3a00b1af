"""The maximum of a convolution: values and gradients of torch's own, where it is used."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from conformance import seeded

from sklearn_mmfusion.modules import convolution
from sklearn_mmfusion.modules.convolution import Conv1dModule
from sklearn_mmfusion.modules.windows import convolved_maximum, pays

GENERATOR = torch.Generator().manual_seed(0)


def _normal(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def _reference(x, weight, bias, valid):
    found = F.conv1d(x, weight, bias)
    if valid is not None:
        found = found.masked_fill(~valid, -torch.inf)
    return found.max(2).values


@pytest.mark.parametrize("n_features, width", [(1, 1), (1, 7), (4, 7), (3, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_convolution_and_maximum(n_features, width, masked):
    x, weight = _normal(5, n_features, 40), _normal(6, n_features, width)
    bias, factor = _normal(6), _normal(5, 6)
    valid = None
    if masked:
        valid = torch.arange(41 - width) < torch.tensor([1, 3, 20, 30, 41 - width]).view(5, 1, 1)
    found = []
    for function in (convolved_maximum, _reference):
        leaves = [weight.clone().requires_grad_(), bias.clone().requires_grad_()]
        top = function(x, *leaves, valid)
        found.append([top, *torch.autograd.grad((top * factor).sum(), leaves)])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_row_without_a_window_that_counts_is_minus_infinity():
    weight = _normal(3, 2, 4).requires_grad_()
    valid = torch.tensor([[[False] * 17], [[True] * 17]])
    top = convolved_maximum(_normal(2, 2, 20), weight, _normal(3), valid)
    assert bool((top[0] == -torch.inf).all())
    assert bool(top[1].isfinite().all())
    torch.where(top.isfinite(), top, 0.0).sum().backward()
    assert bool(weight.grad.isfinite().all())


def test_what_is_no_number_stays_none():
    x = _normal(2, 2, 20)
    x[0, 0, 3] = torch.nan
    weight = _normal(3, 2, 4).requires_grad_()
    top = convolved_maximum(x, weight, _normal(3), None)
    assert bool(top[0].isnan().all())
    assert bool(top[1].isfinite().all())
    top.sum().backward()  # no place outside the windows


def test_very_close_windows_are_told_apart():
    x = torch.full((1, 1, 9), 1e-12, dtype=torch.float64)
    x[0, 0, 4] *= 1 + 1e-15
    weight = torch.ones(1, 1, 1, dtype=torch.float64, requires_grad=True)
    convolved_maximum(x, weight, torch.zeros(1, dtype=torch.float64), None).sum().backward()
    assert weight.grad.item() == x[0, 0, 4].item() != x[0, 0, 5].item()


def test_it_pays_for_many_small_windows_in_training_only():
    x = torch.zeros(2, 4, 28)
    assert pays(x, 7)
    assert not pays(x[..., 1:], 7)  # fewer windows than numbers in one
    assert not pays(torch.zeros(2, 20, 1000), 7)  # windows of 140 numbers
    assert not pays(x.clone().requires_grad_(), 7)
    with torch.no_grad():
        assert not pays(x, 7)
    with torch.autocast("cpu", torch.bfloat16):
        assert not pays(x, 7)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kernel_sizes": (4,)},
        {"padding": "valid"},
        {"padding": "valid", "kernel_sizes": (4,), "output_dim": 3},
        {"vocabulary_size": 4, "activation": "tanh"},
    ],
    ids=str,
)
@pytest.mark.parametrize("lengths", [None, [0, 1, 5, 60, 59]])
def test_module_is_the_same_with_and_without(settings, lengths, monkeypatch):
    module = seeded(Conv1dModule, 4, (8,), **settings).double()
    values = _normal(5, 60, 4)
    if "vocabulary_size" in settings:
        values = torch.randint(-1, 5, (5, 60), generator=GENERATOR)
    lengths = None if lengths is None else torch.tensor(lengths)
    found, calls = [], []

    def counted(*args):
        calls.append(args)
        return convolved_maximum(*args)

    monkeypatch.setattr(convolution, "convolved_maximum", counted)
    for uses in (pays, lambda x, kernel_size: False):
        monkeypatch.setattr(convolution, "pays", uses)
        encoded = module(values, lengths)
        gradients = torch.autograd.grad((encoded**2).sum(), list(module.parameters()))
        found.append([encoded, *gradients])
    assert len(calls) == 1
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "gelu"},  # does not rise everywhere: it comes before the maximum
        {"pooling": "max_mean"},
        {"batch_norm": True},
        {"pool_sizes": (2,)},
        {"channels": (8, 8), "kernel_sizes": (3, 3), "pool_sizes": (1, 1)},
    ],
    ids=str,
)
def test_module_does_without_where_other_things_stand_between(settings, monkeypatch):
    def refuse(*args):
        raise AssertionError("no maximum follows, or the sequence has a gradient")

    monkeypatch.setattr(convolution, "convolved_maximum", refuse)
    seeded(Conv1dModule, 4, **settings)(torch.zeros(3, 60, 4)).sum().backward()
