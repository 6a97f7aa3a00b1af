"""Tests of dropout with a generator of its own."""

import copy
import pickle

import pytest
import torch
from torch import nn

from sklearn_mmfusion.modules.dropout import (
    Dropout,
    set_dropout_generator,
    set_dropout_strength,
)


def dropout(p, seed=0):
    module = Dropout(p)
    set_dropout_generator(module, torch.Generator().manual_seed(seed))
    return module


def test_dropout_is_identity_in_evaluation_mode_and_at_zero():
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_dropout_keeps_scaled_values_or_zeros():
    x = torch.full((200, 500), 3.0)
    y = dropout(0.25)(x)
    assert set(y.unique().tolist()) == {0.0, 4.0}
    # Binomial: the standard error of the share is sqrt(p (1 - p) / n) = 0.0014.
    assert (y == 0).double().mean().item() == pytest.approx(0.25, abs=0.006)


def test_dropout_of_everything_is_zero():
    assert torch.equal(dropout(1.0)(torch.ones(3)), torch.zeros(3))


def test_dropout_mask_depends_on_generator_only():
    x = torch.ones(50)
    state = torch.get_rng_state()
    first = dropout(0.5)(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, dropout(0.5)(x))
    assert not torch.equal(first, dropout(0.5, seed=1)(x))


def test_dropout_mask_is_the_same_in_both_dtypes():
    x = torch.ones(50)
    double = dropout(0.5)(x.double())
    assert double.dtype == torch.float64
    assert torch.equal(dropout(0.5)(x), double.float())


def test_dropout_gradient_is_the_mask():
    x = torch.ones(50, requires_grad=True)
    y = dropout(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_dropout_without_generator_raises_in_training():
    with pytest.raises(RuntimeError, match="set_dropout_generator"):
        Dropout(0.5)(torch.ones(2))


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_dropout_refuses_impossible_probability(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Dropout(p)


def test_set_dropout_generator_reaches_every_depth():
    module = nn.Sequential(Dropout(0.1), nn.Sequential(Dropout(0.2), nn.ReLU()))
    generator = torch.Generator()
    set_dropout_generator(module, generator)
    assert module[0].generator is generator
    assert module[1][0].generator is generator


def test_strength_is_a_factor_of_the_probability():
    x = torch.full((200, 500), 3.0)
    module, weaker = dropout(0.5), dropout(0.25)
    set_dropout_strength(module, 0.5)
    assert torch.equal(module(x), weaker(x))
    assert module.p == 0.5


def test_strength_zero_is_identity_and_needs_no_generator():
    x, module = torch.ones(3), Dropout(0.5)
    set_dropout_strength(module, 0.0)
    assert module(x) is x


def test_strength_reaches_every_depth():
    module = nn.Sequential(Dropout(0.1), nn.Sequential(Dropout(0.2), nn.ReLU()))
    assert [module[0].strength, module[1][0].strength] == [1.0, 1.0]
    set_dropout_strength(module, 0.3)
    assert [module[0].strength, module[1][0].strength] == [0.3, 0.3]


@pytest.mark.parametrize("shape", [(40, 50), (40, 5, 10)])
def test_shared_mask_is_the_same_for_all_rows_and_new_in_each_call(shape):
    module = Dropout(0.5)
    set_dropout_generator(module, torch.Generator().manual_seed(0), shared=True)
    x = torch.ones(shape)
    y = module(x)
    assert torch.equal(y, y[:1].expand(shape))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(module(x), y)
    # It does not depend on the number of rows, so that a row may come twice.
    set_dropout_generator(module, torch.Generator().manual_seed(0), shared=True)
    assert torch.equal(module(x[:3]), y[:3])


def test_masks_of_rows_differ_unless_shared():
    module = dropout(0.5)
    assert module.shared is False
    y = module(torch.ones(40, 50))
    assert not torch.equal(y, y[:1].expand(40, 50))


def test_dropout_can_be_copied_and_pickled():
    module = dropout(0.5)
    x = torch.ones(20)
    copied, loaded = copy.deepcopy(module), pickle.loads(pickle.dumps(module))  # noqa: S301
    expected = module(x)
    assert torch.equal(copied(x), expected)
    assert torch.equal(loaded(x), expected)
    assert not module.state_dict()
