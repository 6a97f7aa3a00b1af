"""Tests of the errors that name the modality whose module of the user's failed."""

import pickle

import pytest
import torch
from conformance import seeded
from torch import nn

from sklearn_mmfusion._errors import (
    DivergedError,
    FusionError,
    FusionMemoryError,
    InputError,
    InputTypeError,
    ModuleError,
)
from sklearn_mmfusion._training.memory_errors import memory_errors
from sklearn_mmfusion.modules.encoders import UserModule
from sklearn_mmfusion.modules.failures import failure_of


class Raising(nn.Module):
    """Raises an error, unless it sees zeros."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, values, weight=None):
        if values.any():
            raise self.error
        return values


class OfTheUsers(Exception):
    """An error that a user's program waits for."""


def call(error, **options):
    encoder = UserModule(Raising(error), (3,), label="modality 'tab'", **options)
    return encoder(torch.ones(4, 3), weight=torch.ones(4))


@pytest.mark.parametrize(
    ("error", "kind", "builtin"),
    [
        (RuntimeError("broken"), ModuleError, RuntimeError),
        (NotImplementedError("broken"), ModuleError, RuntimeError),
        (ValueError("broken"), InputError, ValueError),
        (TypeError("broken"), InputTypeError, TypeError),
        (IndexError("broken"), ModuleError, RuntimeError),
        (ZeroDivisionError("broken"), ModuleError, RuntimeError),
        (torch.linalg.LinAlgError("broken"), ModuleError, RuntimeError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
@pytest.mark.parametrize("trainable", [True, False])
def test_an_error_names_the_modality_and_what_went_in(error, kind, builtin, trainable):
    name = type(error).__name__.lstrip("_")
    mode = "training" if trainable else "evaluation"
    expected = (
        rf"^modality 'tab': the encoder module Raising failed in {mode} mode on values of shape "
        rf"\(4, 3\), float32 and weight of shape \(4,\), float32: _?{name}: broken; correct"
    )
    with pytest.raises(kind, match=expected) as caught:
        call(error, trainable=trainable)
    assert isinstance(caught.value, builtin)
    assert caught.value.__cause__ is error
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        DivergedError("diverged"),
        OfTheUsers("stop"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_enough_passes_as_it_is(error):
    with pytest.raises(type(error)) as caught:
        call(error)
    assert caught.value is error and caught.value.__cause__ is None


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory. Tried")])
def test_memory_is_told_of_by_whoever_knows_the_sizes(error):
    with (
        pytest.raises(FusionMemoryError, match="while fitting 4 rows"),
        memory_errors(lambda: "fitting 4 rows"),
    ):
        call(error)


def test_other_words_of_a_memory_do_not_hide_an_error():
    with pytest.raises(InputError, match="ValueError: out of memory slots"):
        call(ValueError("out of memory slots"))


def test_prepared_values_of_a_frozen_module_are_named():
    encoder = UserModule(seeded(nn.Linear, 3, 2), (3,), trainable=False, label="modality 'tab'")
    with pytest.raises(ModuleError, match=r"^modality 'tab': .*Linear.*\(2, 5\), float32: Runtime"):
        encoder.prepare(torch.ones(2, 5))


def test_zeros_that_ask_for_the_width_raise_as_they_are():
    with pytest.raises(RuntimeError) as caught:
        UserModule(seeded(nn.Linear, 5, 2), (3,))
    assert not isinstance(caught.value, FusionError)


def test_what_is_not_there_is_not_told_of():
    failure = failure_of(RuntimeError("x"), nn.Identity(), "m", torch.ones(2), lengths=None)
    assert "lengths" not in str(failure)
