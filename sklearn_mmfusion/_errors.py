"""Exceptions and warnings of the package.

Every exception inherits from the builtin that a user would catch and from
:class:`FusionError`, so that ``except ValueError`` and ``except FusionError`` both work.
"""

import sys
import warnings
from typing import Any

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "CompileError",
    "DivergedError",
    "FileError",
    "FitInterruptedWarning",
    "FusionError",
    "FusionMemoryError",
    "InputError",
    "InputTypeError",
    "ModuleError",
    "NumericalWarning",
    "RelevanceWarning",
    "UnsafeFileError",
    "warn",
]

# Packages between a user's line and ours: pipelines, searches, workers.
_OURS = ("sklearn_mmfusion", "sklearn", "joblib", "contextlib")


class FusionError(Exception):
    """Base class of all exceptions that the package raises on its own account."""


class InputError(FusionError, ValueError):
    """Input of the right type with a value, shape or name that cannot be used."""


class InputTypeError(FusionError, TypeError):
    """Input of a type that cannot be used."""


class DivergedError(FusionError, FloatingPointError):
    """Loss or weights became NaN or infinite in training.

    Attributes
    ----------
    weights : dict of str to ndarray or None
        Arrays of the network after the last epoch in which all were finite.
    """

    weights: dict[str, Any] | None = None


class FusionMemoryError(FusionError, MemoryError):
    """A model or a batch would not fit, or did not fit, in memory."""


class CompileError(FusionError, RuntimeError):
    """torch.compile could not compile a network, as where there is no compiler."""


class ModuleError(FusionError, RuntimeError):
    """A module of the user's own failed on the values of a modality; the cause is its error."""


class FileError(FusionError, OSError):
    """A file cannot be written."""


class CheckpointError(FileError):
    """A checkpoint cannot be written, is damaged, or belongs to another fit."""


class UnsafeFileError(FusionError, ValueError):
    """A file is no model of this package, is damaged, or asks for what ``load`` never does."""


class RelevanceWarning(UserWarning):
    """Relevance, contributions or p-values may mean nothing: no learning is shown, or can be.

    A fit warns where its gain on held-out rows over the best constant (``validation_gain_``) is at
    most two standard errors (``validation_gain_error_``), and where there are too few rows to hold
    some out. The user guide on relevance says what to do then: compare the model, over folds, with
    a constant and with a plain model.
    """


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the fit went on without it."""


class FitInterruptedWarning(UserWarning):
    """Training was interrupted by the user; the last whole epoch was kept."""


class NumericalWarning(UserWarning):
    """Values vary so little about a large mean that digits were lost, or a few dwarf all others."""


def warn(message: str, category: type[Warning]) -> None:
    """Warn of something, at the line of the user's that led to it.

    Parameters
    ----------
    message : str
        What there is to say.
    category : type
        Kind of the warning.
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
