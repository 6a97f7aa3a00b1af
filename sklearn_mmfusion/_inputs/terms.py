"""The terms of a model: which modalities act together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._inputs.modality_spec import hint

__all__ = ["check_terms", "term_name"]

# More terms than this is a mistake, not a model.
_MAX_TERMS = 100_000


def term_name(term: Sequence[int], names: Sequence[str]) -> str:
    """Return the name of a term: the names of its modalities, joined by " x "."""
    return " x ".join(names[m] for m in term)


def check_terms(
    interactions: Any, names: Sequence[str], *, latent_dim: int = 1, max_features: int = 1_000_000
) -> list[tuple[int, ...]]:
    r"""Return the terms of a model as positions of modalities.

    Parameters
    ----------
    interactions : int, "all" or list of tuples of str
        Highest order of the terms, all orders, or the terms of order two and more by name, in any
        order. Every modality always has a term of its own.
    names : sequence of str
        Names of the modalities, in the model's order.
    latent_dim : int, default=1
        Features per modality; a term of order :math:`k` has ``latent_dim ** k`` features.
    max_features : int, default=1_000_000
        Largest number of features that a term may have.

    Returns
    -------
    list of tuple of int
        By order first, then by the positions of the modalities.

    Raises
    ------
    InputError
        For an order above the number of modalities (with one modality there is one term, whatever
        the order), unknown names, and terms that would be too large.
    InputTypeError
        When ``interactions`` is none of the above.
    """
    n = len(names)
    if isinstance(interactions, str) and interactions == "all":
        highest, chosen = n, None
    elif isinstance(interactions, int | np.integer) and not isinstance(interactions, bool):
        if interactions < 1:
            msg = f"interactions must be at least 1, got {interactions}"
            raise InputError(msg)
        if interactions > n > 1:
            msg = f"interactions={interactions} is more than the {n} modalities {list(names)}"
            raise InputError(msg)
        highest, chosen = min(int(interactions), n), None
    elif isinstance(interactions, str) or not isinstance(interactions, Sequence | set | frozenset):
        raise InputTypeError(
            "interactions must be an order, 'all' or a list of tuples of modality names, got "
            f"{interactions!r}"
        )
    else:
        chosen = _named_terms(interactions, names)
        highest = max(len(term) for term in chosen)
    largest = tuple(range(highest)) if chosen is None else max(chosen, key=len)
    if latent_dim**highest > max_features:
        raise InputError(
            f"{term_name(largest, names)!r} needs {latent_dim**highest:_} features "
            f"(limit {max_features:_}): lower latent_dim or the order of the interactions"
        )
    if chosen is not None:
        return sorted(chosen, key=lambda term: (len(term), term))
    n_terms = sum(comb(n, order) for order in range(1, highest + 1))
    if n_terms > _MAX_TERMS:
        raise InputError(
            f"interactions={interactions!r} of {n} modalities are {n_terms:_} terms "
            f"(limit {_MAX_TERMS:_})"
        )
    return [term for order in range(1, highest + 1) for term in combinations(range(n), order)]


def _named_terms(interactions: Iterable[Any], names: Sequence[str]) -> set[tuple[int, ...]]:
    """Return the asked terms and those of single modalities."""
    where = {name: i for i, name in enumerate(names)}
    terms: set[tuple[int, ...]] = {(m,) for m in range(len(names))}
    faults = []
    for term in interactions:
        if isinstance(term, str) or not isinstance(term, Sequence | set | frozenset) or not term:
            raise InputTypeError(
                f"an interaction is a tuple of modality names, got {term!r}; write "
                f"interactions=[{tuple(names[:2])!r}]"
            )
        unknown = [name for name in term if name not in where]
        if unknown:
            faults.append(
                f"interaction {term!r} names unknown modalities {unknown}, expected some of "
                f"{list(names)}{hint(unknown, names)}"
            )
        elif len(set(term)) < len(term):
            faults.append(f"interaction {term!r} names a modality twice")
        else:
            terms.add(tuple(sorted(where[name] for name in term)))
    if faults:
        raise InputError("\n".join(faults))
    return terms
