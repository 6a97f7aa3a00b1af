"""The method ``save``, and what an estimator says about the state that it saves."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from sklearn.utils.validation import check_is_fitted

from sklearn_mmfusion._persistence.files import save_estimator

__all__ = ["SavableMixin"]


class SavableMixin:
    """Estimators that can be written to a file and loaded without pickle.

    ``_saved`` maps the names of fitted attributes to their types: these are what a file holds, and
    :meth:`_restore` makes everything else of them.
    """

    _saved: ClassVar[dict[str, Any]] = {}
    # Private attributes that are made anew.
    _not_saved: ClassVar[frozenset[str]] = frozenset(
        {"_cache", "_skl_callbacks", "_sklearn_output_config"}
    )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a file that :func:`~sklearn_mmfusion.load` reads.

        The file is in the safetensors format: arrays and JSON, no code. It appears as a whole or
        not at all; a file that was there is replaced, and where the path is a symbolic link, the
        file that it points to.

        Parameters
        ----------
        path : str or path-like
            Where to write, such as ``"model.safetensors"``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        InputTypeError
            If a parameter or the fitted state holds what cannot be written as data: estimators of
            scikit-learn's, callbacks, modules and functions without an import path.
        FileError
            If the file cannot be written; an OSError.
        """
        check_is_fitted(self, "_result")
        save_estimator(self, path)

    def _saved_hints(self) -> dict[str, Any]:
        """Return the types of all parts that may be in a file."""
        return self._saved

    def _saved_parts(self) -> dict[str, tuple[Any, Any]]:
        """Return value and type of each part."""
        state = vars(self)
        unknown = [name for name in state if name.startswith("_") and name not in self._saved]
        unknown = [name for name in unknown if name not in self._not_saved]
        if unknown:  # pragma: no cover - a fault of ours: tests/persistence/test_files.py
            raise AssertionError(f"fitted state that _saved does not name: {unknown}")
        return {name: (state[name], hint) for name, hint in self._saved.items() if name in state}

    def _restore(self, parts: dict[str, Any]) -> None:
        """Set the fitted attributes from the parts of a file."""
        for name, value in parts.items():
            setattr(self, name, value)
