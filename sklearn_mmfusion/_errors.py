"""Exceptions and warnings of the package.

Every exception inherits from the builtin that a user would catch and from
:class:`FusionError`, so that ``except ValueError`` and ``except FusionError`` both work.
"""

__all__ = [
    "DivergedError",
    "FitInterruptedWarning",
    "FusionError",
    "FusionMemoryError",
    "InputError",
    "InputTypeError",
    "NumericalWarning",
    "RelevanceWarning",
]


class FusionError(Exception):
    """Base class of all exceptions that the package raises on its own account."""


class InputError(FusionError, ValueError):
    """Input of the right type with a value, shape or name that cannot be used."""


class InputTypeError(FusionError, TypeError):
    """Input of a type that cannot be used."""


class DivergedError(FusionError, FloatingPointError):
    """Loss or weights became NaN or infinite in training."""


class FusionMemoryError(FusionError, MemoryError):
    """A model or a batch would not fit, or did not fit, in memory."""


class RelevanceWarning(UserWarning):
    """The model has not learned, so that its relevance scores mean nothing."""


class FitInterruptedWarning(UserWarning):
    """Training was interrupted by the user; the last whole epoch was kept."""


class NumericalWarning(UserWarning):
    """Values vary so little about a large mean that digits were lost."""
