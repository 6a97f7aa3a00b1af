"""Sets of modalities: what users ask for, and the coefficients of games over them.

A set is a bit mask: bit m is modality m. A quantity is a dict from set to its coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb, factorial
from typing import Any

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._inputs.modality_spec import hint

__all__ = [
    "check_subsets",
    "component",
    "mask_of",
    "sets_up_to",
    "shapley_interaction",
    "shapley_taylor",
    "shapley_value",
]

Quantity = dict[int, float]
Members = tuple[int, ...]

_MAX_SETS = 4096  # more sets than this is a mistake, not a question


def mask_of(members: Sequence[int]) -> int:
    """Return the bit mask of positions."""
    return sum(1 << m for m in members)


def sets_up_to(n_modalities: int, max_order: int) -> list[Members]:
    """Return all non-empty sets by order and then by position.

    Raises
    ------
    InputError
        If there are too many of them.
    """
    count = sum(comb(n_modalities, order) for order in range(1, max_order + 1))
    if count > _MAX_SETS:
        raise InputError(
            f"{n_modalities} modalities have {count:_} sets of up to {max_order} of them (limit "
            f"{_MAX_SETS:_}): lower the order"
        )
    return [
        members
        for order in range(1, max_order + 1)
        for members in combinations(range(n_modalities), order)
    ]


def check_subsets(subsets: Any, names: Sequence[str]) -> list[Members]:
    """Return the sets of modalities that a user names.

    Parameters
    ----------
    subsets : None, "all", or list of str and tuples of str
        None are the single modalities.
    names : sequence of str
        Names of the modalities.

    Raises
    ------
    InputError, InputTypeError
        For unknown names and sets that come twice, and what is no list.
    """
    if subsets is None:
        return [(m,) for m in range(len(names))]
    if isinstance(subsets, str) and subsets == "all":
        return sets_up_to(len(names), len(names))
    if isinstance(subsets, str) or not isinstance(subsets, list | tuple | set | frozenset):
        raise InputTypeError(
            "subsets: expected None, 'all' or a list of modality names and of tuples of them, got "
            f"{subsets!r}"
        )
    found: list[Members] = []
    for subset in subsets:
        wanted = [subset] if isinstance(subset, str) else list(subset)
        unknown = [name for name in wanted if name not in names]
        if unknown or not wanted:
            raise InputError(
                f"subsets: {subset!r} names unknown modalities {unknown}, expected some of "
                f"{list(names)}{hint(unknown, names)}"
            )
        members = tuple(sorted({list(names).index(name) for name in wanted}))
        if members in found or len(members) < len(wanted):
            raise InputError(f"subsets: {subset!r} is there twice, or names a modality twice")
        found.append(members)
    if not found:
        raise InputError("subsets: expected at least one modality")
    return found


def component(members: Sequence[int]) -> Quantity:
    r"""Coefficients of a component of the functional ANOVA.

    .. math:: f_S = \sum_{T \subseteq S} (-1)^{|S| - |T|} v_T
    """
    return {
        mask_of(part): (-1.0) ** (len(members) - size)
        for size in range(len(members) + 1)
        for part in combinations(members, size)
    }


def shapley_value(m: int, n_modalities: int) -> Quantity:
    r"""Coefficients of a Shapley value.

    .. math:: \phi_m = \sum_{T \not\ni m} \frac{|T|!\,(M - |T| - 1)!}{M!}\,(v_{T \cup m} - v_T)
    """
    return shapley_interaction((m,), n_modalities)


def shapley_interaction(members: Sequence[int], n_modalities: int) -> Quantity:
    r"""Coefficients of the Shapley interaction index (SII) of a set S.

    .. math:: I(S) = \sum_{T \subseteq N \setminus S}
              \frac{|T|!\,(M - |T| - |S|)!}{(M - |S| + 1)!}\,\Delta_S(T)
    """
    rest = n_modalities - len(members)
    weights = [
        factorial(size) * factorial(rest - size) / factorial(rest + 1) for size in range(rest + 1)
    ]
    return _derivatives(members, n_modalities, weights)


def shapley_taylor(members: Sequence[int], n_modalities: int, order: int) -> Quantity:
    r"""Coefficients of the Shapley-Taylor index (STII) of a set S, of a given highest order k.

    .. math:: |S| < k:\ \Delta_S(\emptyset); \qquad |S| = k:\
              \frac{k}{M} \sum_{T \subseteq N \setminus S} \binom{M - 1}{|T|}^{-1} \Delta_S(T)
    """
    if len(members) < order:
        return component(members)
    rest = n_modalities - len(members)
    weights = [order / n_modalities / comb(n_modalities - 1, size) for size in range(rest + 1)]
    return _derivatives(members, n_modalities, weights)


def _derivatives(members: Sequence[int], n_modalities: int, weights: Sequence[float]) -> Quantity:
    r"""Weighted sum of derivatives over the sets T of other modalities.

    .. math:: \Delta_S(T) = \sum_{L \subseteq S} (-1)^{|S| - |L|} v_{T \cup L}
    """
    others = [m for m in range(n_modalities) if m not in members]
    signs = component(members)
    quantity: Quantity = {}
    for size, weight in enumerate(weights):
        for rest in combinations(others, size):
            base = mask_of(rest)
            for mask, sign in signs.items():
                quantity[base | mask] = quantity.get(base | mask, 0.0) + sign * weight
    return quantity
