"""The encoder parameter object of MulT, which encodes all modalities and their terms together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar

from sklearn.base import BaseEstimator

from sklearn_mmfusion._encoders.specs import AT_LEAST_ONE, PROBABILITY
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.mult import MulTModule

__all__ = ["MulTEncoder"]

_PER_MODALITY = ("vocabulary_size", "embedding_dim")


class MulTEncoder(BaseEstimator):
    """Encode every term by transformers within and across modalities (MulT).

    Use it where modalities are sequences whose steps matter to each other, aligned or not, on
    several thousand rows. Other encoders see one modality, and interactions come from products
    of their results; here a term of several modalities has cross-modal attention of its own.
    A modality is (n, T, d), or (n, d), which is one step; in other arrays of three axes, such as
    grey images (n, H, W), the rows are the steps. Each may have its own number of steps.

    Parameters
    ----------
    hidden_dim : int, default=40
        Width h of every layer; a multiple of ``n_heads``. A unimodal term has h features, all
        others 2h.
    n_layers : int, default=2
        Number of blocks of attention and feed-forward network.
    n_heads : int, default=8
        Number of attention heads.
    feedforward_dim : int, default=None
        Width of the feed-forward networks; None means four times ``hidden_dim``.
    dropout : float, default=0.1
        Probability, from 0 to 1, with which an element of what each half block adds, or a unit
        of its feed-forward network, is zeroed in training.
    vocabulary_size : int or mapping of str to int, default=None
        Number of symbols, for modalities that hold integer codes (n, T): a number if all do, else
        modality name to number. Codes below 0 are padding, unknown ones (``vocabulary_size`` and
        above) a step of zeros.
    embedding_dim : int or mapping of str to int, default=None
        Width of a learned embedding of the codes, for all or by name; None means one-hot.

    Notes
    -----
    NOTE[DIFF]: the routing paper has 7 layers, MulT itself 4, both with ``hidden_dim=40``. Two are
    the default here, for data of some thousand rows and for laptops.

    Keys and values of cross-modal attention are the embedded sequences, as in the paper, not what
    other blocks made of them. So a stream "a attends to b" reads the last valid step of a and all
    steps of b; what happened earlier in a reaches the term through the stream "b attends to a".

    References
    ----------
    Tsai et al. (2019), "Multimodal Transformer for Unaligned Multimodal Language Sequences";
    Tsai et al. (2020), "Multimodal Routing", appendix A.1.

    Examples
    --------
    >>> from sklearn_mmfusion import MulTEncoder
    >>> MulTEncoder(n_layers=4, vocabulary_size={"text": 128})
    MulTEncoder(n_layers=4, vocabulary_size={'text': 128})
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_dim": [AT_LEAST_ONE],
        "n_layers": [AT_LEAST_ONE],
        "n_heads": [AT_LEAST_ONE],
        "feedforward_dim": [AT_LEAST_ONE, None],
        "dropout": [PROBABILITY],
        "vocabulary_size": [AT_LEAST_ONE, Mapping, None],
        "embedding_dim": [AT_LEAST_ONE, Mapping, None],
    }

    def __init__(
        self,
        *,
        hidden_dim: int = 40,
        n_layers: int = 2,
        n_heads: int = 8,
        feedforward_dim: int | None = None,
        dropout: float = 0.1,
        vocabulary_size: int | Mapping[str, int] | None = None,
        embedding_dim: int | Mapping[str, int] | None = None,
    ) -> None:
        self.hidden_dim = hidden_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.feedforward_dim = feedforward_dim
        self.dropout = dropout
        self.vocabulary_size = vocabulary_size
        self.embedding_dim = embedding_dim

    def takes_codes_of(self, name: str) -> bool:
        """Return whether the values of a modality are integer codes, which are not standardised.

        Parameters
        ----------
        name : str
            Name of the modality.

        Returns
        -------
        bool
            True where ``vocabulary_size`` covers the modality.
        """
        return self._of("vocabulary_size", name) is not None

    def build_joint(
        self, layouts: Sequence[ModalityLayout], terms: Sequence[tuple[int, ...]]
    ) -> MulTModule:
        """Return a new torch module for all modalities.

        Parameters
        ----------
        layouts : sequence of ModalityLayout
            Names and shapes of the modalities.
        terms : sequence of tuple of int
            Terms as increasing positions of modalities.

        Returns
        -------
        MulTModule
            Called as ``module(values, lengths, present, weight=None)``; has ``output_dims``.

        Raises
        ------
        InputError
            If a parameter is invalid, names no modality, or a modality has a shape that is not
            taken. The faults of all come in one message.
        """
        return MulTModule(terms=terms, **self.sizes(layouts))

    def sizes(self, layouts: Sequence[ModalityLayout]) -> dict[str, Any]:
        """Return the sizes of a module for these modalities; raise as ``build_joint`` does."""
        try:
            self._validate_params()
        except ValueError as error:
            raise InputError(str(error)) from error
        faults = self._parameter_faults([layout.name for layout in layouts])
        faults += [fault for layout in layouts if (fault := self._shape_fault(layout))]
        if faults:
            raise InputError("\n".join(faults))
        return {
            "input_dims": [layout.shape[-1] for layout in layouts],
            "hidden_dim": self.hidden_dim,
            "n_heads": self.n_heads,
            "n_layers": self.n_layers,
            "feedforward_dim": self.feedforward_dim,
            "dropout": self.dropout,
            "vocabulary_sizes": [self._of("vocabulary_size", layout.name) for layout in layouts],
            "embedding_dims": [self._of("embedding_dim", layout.name) for layout in layouts],
        }

    def _of(self, parameter: str, name: str) -> int | None:
        """Return the value of a parameter for one modality."""
        value = getattr(self, parameter)
        return value.get(name) if isinstance(value, Mapping) else value

    def _parameter_faults(self, names: Sequence[str]) -> list[str]:
        """Return what is wrong with the parameters, whatever the shapes."""
        faults = []
        if self.hidden_dim % self.n_heads:
            faults.append(
                "MulTEncoder: hidden_dim must be a multiple of n_heads, got "
                f"{self.hidden_dim} and {self.n_heads}"
            )
        for parameter in _PER_MODALITY:
            value = getattr(self, parameter)
            if not isinstance(value, Mapping):
                continue
            for name, size in value.items():
                if name not in names:
                    close = difflib.get_close_matches(str(name), names, n=1)
                    hint = f"did you mean {close[0]!r}? " if close else ""
                    faults.append(
                        f"MulTEncoder: {parameter} names {name!r}, which is no modality; {hint}"
                        f"The modalities are {list(names)}"
                    )
                elif size is not None and not _is_count(size):
                    faults.append(
                        f"modality {name!r}: {parameter} of MulTEncoder must be an integer of at "
                        f"least 1, got {size!r}"
                    )
        return faults

    def _shape_fault(self, layout: ModalityLayout) -> str | None:
        """Return what is wrong with the shape of a modality; None if it is taken."""
        shape = ", ".join(["n", *map(str, layout.shape)]) + ("," if not layout.shape else "")
        got = f"got shape ({shape}), dtype {layout.dtype}"
        if self._of("vocabulary_size", layout.name) is not None:
            if len(layout.shape) == 1 and layout.dtype.startswith(("int", "uint", "bool")):
                return None
            return (
                f"modality {layout.name!r}: MulTEncoder takes 2-D (n, T) integer codes where there "
                f"is a vocabulary_size, {got}; leave it out of vocabulary_size, a mapping of the "
                "modalities that hold codes"
            )
        if self._of("embedding_dim", layout.name) is not None:
            return (
                f"modality {layout.name!r}: embedding_dim needs vocabulary_size, the number of "
                "integer codes; name the modality in both, or in none"
            )
        if len(layout.shape) in (1, 2):
            return None
        return (
            f"modality {layout.name!r}: MulTEncoder takes 3-D (n, T, d), 2-D (n, d), or integer "
            f"codes (n, T) with vocabulary_size, {got}; reshape it to steps and features, such as "
            "X.reshape(len(X), n_steps, -1)"
        )


def _is_count(value: Any) -> bool:
    """Return whether a value is an integer of at least 1."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
