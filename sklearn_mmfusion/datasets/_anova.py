"""Exact functional ANOVA of a function of finitely many states.

Letters: ``m`` variables, the axes of a table; ``f`` the function's values and ``P`` the joint
probabilities, both of shape (L_1, ..., L_M); ``S`` a set of variables, a tuple of axes.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

__all__ = ["finite_functional_anova"]

Table = NDArray[np.float64]
Subset = tuple[int, ...]


def finite_functional_anova(f: Table, P: Table) -> dict[Subset, Table]:
    r"""Decompose a function of dependent variables into hierarchically orthogonal parts.

    .. math:: f = \sum_{S} f_S, \qquad E[f_S\, g_T] = 0
        \text{ for every function } g_T \text{ of } x_T,\ T \subsetneq S

    For independent variables this is the ordinary functional ANOVA (Hoeffding, Sobol). For
    dependent ones it is the generalisation of [1]_ and [2]_: parts are orthogonal to all parts
    of their own subsets only, so variances do not add up. It is unique if every cell of `P` is
    positive.

    Parameters
    ----------
    f : ndarray of shape (L_1, ..., L_M)
        Value of the function in each state.
    P : ndarray of shape (L_1, ..., L_M)
        Probability of each state, positive, summing to one.

    Returns
    -------
    dict of tuple of int to ndarray
        For every set of axes, the empty one first and then by size, the part as an array that
        broadcasts against `f` (length 1 along the axes that are not in the set). Their sum is f.

    Raises
    ------
    ValueError
        If the shapes differ, a probability is not positive, or their sum is not one.

    Notes
    -----
    :math:`f_S` lies in :math:`H_S`, the functions of x_S orthogonal to those of fewer of its
    variables. An orthonormal basis of each :math:`H_S` comes from a QR factorisation on the
    marginal table of S; one least-squares problem then gives all coordinates. The size
    of the problem is the number of states, so this is for at most a few thousand of them.

    References
    ----------
    .. [1] Hooker (2007), "Generalized functional ANOVA diagnostics for high-dimensional
       functions of dependent variables", JCGS 16(3).
    .. [2] Chastaing, Gamboa and Prieur (2012), "Generalized Hoeffding-Sobol decomposition for
       dependent variables", Electronic Journal of Statistics 6.
    """
    f, P = np.asarray(f, np.float64), np.asarray(P, np.float64)
    if f.shape != P.shape:
        raise ValueError(f"f and P must have one shape, got {f.shape} and {P.shape}.")
    if not (P > 0).all() or not np.isclose(P.sum(), 1.0):
        raise ValueError("P must be positive in every state and sum to one.")
    subsets = [S for size in range(f.ndim + 1) for S in combinations(range(f.ndim), size)]
    bases: dict[Subset, Table] = {}
    for S in subsets:  # by size, so that those of its subsets are there
        bases[S] = _orthogonal_basis(P, S, bases)
    # Weighted by sqrt(P), the Euclidean product of two columns is E[g h].
    root = np.sqrt(P).reshape(-1, 1)
    columns = np.concatenate([_spread(bases[S], f.shape) for S in subsets], axis=1)
    coordinates, *_ = np.linalg.lstsq(columns * root, f.reshape(-1) * root[:, 0], rcond=None)
    parts: dict[Subset, Table] = {}
    start = 0
    for S in subsets:
        stop = start + bases[S].shape[-1]
        parts[S] = bases[S] @ coordinates[start:stop]
        start = stop
    return parts


def _orthogonal_basis(P: Table, S: Subset, bases: dict[Subset, Table]) -> Table:
    """Return an orthonormal basis of H_S: (lengths of S, 1 elsewhere, dimension of H_S).

    `bases` holds those of all proper subsets of S. Together they are linearly independent and
    span every function of fewer variables, whose complement under the marginal of S is H_S.
    """
    others = tuple(axis for axis in range(P.ndim) if axis not in S)
    marginal = P.sum(axis=others, keepdims=True)
    if not S:
        return np.ones((*marginal.shape, 1))
    root = np.sqrt(marginal).reshape(-1, 1)
    proper = (T for size in range(len(S)) for T in combinations(S, size))
    lower = np.concatenate([_spread(bases[T], marginal.shape) for T in proper], axis=1)
    orthogonal, _ = np.linalg.qr(lower * root, mode="complete")
    basis: Table = orthogonal[:, lower.shape[1] :] / root
    return basis.reshape(*marginal.shape, -1)


def _spread(basis: Table, shape: tuple[int, ...]) -> Table:
    """Broadcast functions (..., h) to all states of `shape`: (number of states, h)."""
    n_functions = basis.shape[-1]
    return np.broadcast_to(basis, (*shape, n_functions)).reshape(-1, n_functions)
