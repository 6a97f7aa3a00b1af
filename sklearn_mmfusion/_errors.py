"""Exceptions and warnings of the package.

Every exception inherits from the builtin that a user would catch and from
:class:`FusionError`, so that ``except ValueError`` and ``except FusionError`` both work.
"""

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
    "NumericalWarning",
    "RelevanceWarning",
    "UnsafeFileError",
]


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


class FileError(FusionError, OSError):
    """A file cannot be written."""


class CheckpointError(FileError):
    """A checkpoint cannot be written, is damaged, or belongs to another fit."""


class UnsafeFileError(FusionError, ValueError):
    """A file is no model of this package, is damaged, or asks for what ``load`` never does."""


class RelevanceWarning(UserWarning):
    """The model has not learned, so that its relevance scores or contributions mean nothing."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; the fit went on without it."""


class FitInterruptedWarning(UserWarning):
    """Training was interrupted by the user; the last whole epoch was kept."""


class NumericalWarning(UserWarning):
    """Values vary so little about a large mean that digits were lost."""
