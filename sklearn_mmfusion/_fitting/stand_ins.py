"""Bent effects of fewer modalities, which a term or what is left of the target follows.

Letters in einsum: n row, k output, f and g feature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.utils.extmath import randomized_svd

__all__ = ["Products", "leading_components", "products_beside", "stand_ins", "standardized"]

Floats = npt.NDArray[np.float64]

_KINKS = (0.25, 0.5, 0.75)  # quantiles of a feature
_UNITS_WITH_KINKS = 100  # fewer allow so few columns that squares need them all
_N_JOINT = 6  # components of each of two modalities, whose products are effects of both
_UNITS_PER_COLUMN, _MOST_COLUMNS = 10, 100
_MOST_VALUES = 2**25  # of all columns: 256 MB
_LEAST = 1e-6  # of a variance: what is left of a column below that is round-off


class Products(NamedTuple):
    """Candidates: each feature of one set times each of another.

    Attributes
    ----------
    left, right : ndarray of shape (n_samples, n_features)
        The two sets; with a column of ones in both the features themselves are among the products.
    """

    left: Floats
    right: Floats


def standardized(values: Floats) -> Floats:
    """Return the columns that vary, with mean 0 and variance 1."""
    std = values.std(axis=0)
    varied = std > 1e-9 * np.abs(values).max(axis=0, initial=0)
    found: Floats = (values[:, varied] - values[:, varied].mean(axis=0)) / std[varied]
    return found


def leading_components(values: Floats, n_components: int) -> Floats:
    """Return the first principal components of the standardised columns, with variance 1."""
    values = standardized(values)
    n_components = min(n_components, *values.shape)
    if n_components == 0:
        return values[:, :0]
    u, size, _ = randomized_svd(values, n_components, random_state=0)
    found: Floats = u[:, size > 1e-3 * size[0]] * np.sqrt(len(values))
    return found


def products_beside(
    members: Iterable[str], features: Mapping[str, Floats], n_units: float
) -> list[Products]:
    r"""Return candidates for what the effect of a term has to be told from.

    Of each modality, but the only one of a term: its features, their products with each other, and
    the distance of each to its quartiles. Sums of such take in what is bent, and E(ab | a), which
    is a square where E(b | a) is linear; with squares alone, what is bent sharply would be missed.
    Of each pair of modalities within a larger term: products of two and three components.

    Parameters
    ----------
    members : iterable of str
        Modalities of the term.
    features : mapping of str to ndarray of shape (n_samples, n_features)
        Features of all modalities, standardised.
    n_units : float
        Number of rows or groups that say something of their own; of 100 and more, distances count.

    Returns
    -------
    list of Products
        Candidates.
    """
    members = sorted(members)
    others = {name: z for name, z in features.items() if [name] != members and z.shape[1]}
    found = [Products(_with_ones(z), _with_ones(z)) for z in others.values()]
    if len(members) > 2:
        few = {m: leading_components(others[m], _N_JOINT) for m in members if m in others}
        for a, b in combinations(few.values(), 2):
            both = np.einsum("nf,ng->nfg", a, b).reshape(len(a), -1)
            found.append(Products(both, _with_ones(np.hstack([a, b]))))
    if n_units < _UNITS_WITH_KINKS:
        return found
    return found + [Products(_kinks(z), np.ones((len(z), 1))) for z in others.values()]


def _kinks(features: Floats) -> Floats:
    """Return the distance of each feature to its quartiles."""
    return np.hstack([np.abs(features - k) for k in np.quantile(features, _KINKS, axis=0)])


def _with_ones(features: Floats) -> Floats:
    return np.hstack([np.ones((len(features), 1)), features])


def stand_ins(
    followed: Floats,
    design: Floats,
    products: Sequence[Products],
    share: Floats,
    n_units: float,
    threshold: float,
) -> Floats:
    r"""Choose the candidates that some values follow most closely.

    One after the other, by orthogonal matching pursuit: with :math:`r` what the design and the
    columns so far leave of the values, the next is the candidate :math:`\phi` with the largest
    gain :math:`\|\mathrm{cov}(\phi, r)\|^2 / \mathrm{var}(\phi)`, along the direction
    :math:`\mathrm{cov}(\phi, r)` of the outputs.

    Parameters
    ----------
    followed : ndarray of shape (n_samples, n_outputs)
        The values: a contribution, or residuals.
    design : ndarray of shape (n_samples, n_outputs, q)
        Columns that are there, among them an intercept for each output.
    products : sequence of Products
        Candidates.
    share : ndarray of shape (n_samples,)
        Row weights that sum to 1.
    n_units : float
        Number of rows or groups that say something of their own. At most one column is chosen for
        ten of them, and at most 100.
    threshold : float
        The least gain, as a multiple of :math:`\|r\|^2 \log(p) / n_\text{units}` with p candidates;
        the largest of independent candidates has about 2 by chance.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs, n_chosen)
        Chosen columns.
    """
    n, n_outputs = followed.shape
    n_columns = min(_MOST_COLUMNS, int(n_units / _UNITS_PER_COLUMN), _MOST_VALUES // followed.size)
    if not products or n_columns == 0:
        return np.zeros((n, n_outputs, 0))
    chosen: list[Floats] = []
    root = np.sqrt(share)[:, None]
    basis, _ = np.linalg.qr((root[:, :, None] * design).reshape(n * n_outputs, -1))
    left = _without(basis, (root * followed).ravel())
    whole = float(left @ left)
    variances = [_variances(pair, share) for pair in products]
    n_candidates = sum(variance.size for variance in variances)
    chance = threshold * np.log(max(n_candidates, 2)) / n_units
    for _ in range(n_columns):
        residual = root * left.reshape(n, n_outputs)
        slopes = [
            np.stack([pair.left.T @ (r[:, None] * pair.right) for r in residual.T], axis=2)
            for pair in products
        ]
        gains = [
            np.divide(np.square(slope).sum(axis=2), v, out=np.zeros_like(v), where=v > 0)
            for slope, v in zip(slopes, variances, strict=True)
        ]
        best = int(np.argmax([gain.max() for gain in gains]))
        f, g = np.unravel_index(int(gains[best].argmax()), gains[best].shape)
        if gains[best][f, g] <= max(chance * float(left @ left), _LEAST * whole):
            break
        values = products[best].left[:, f] * products[best].right[:, g]
        values = (values - share @ values) / np.sqrt(variances[best][f, g])
        slope = slopes[best][f, g]
        column = values[:, None] * (slope / np.linalg.norm(slope))
        new = _without(basis, (root * column).ravel())
        size = float(np.linalg.norm(new))
        if size**2 <= _LEAST:
            break
        basis = np.column_stack([basis, new / size])
        left = _without(basis, left)
        chosen.append(column)
    return np.stack(chosen, axis=2) if chosen else np.zeros((n, n_outputs, 0))


def _without(basis: Floats, values: Floats) -> Floats:
    """Return what orthonormal columns leave of values, twice for round-off."""
    values = values - basis @ (basis.T @ values)
    left: Floats = values - basis @ (basis.T @ values)
    return left


def _variances(pair: Products, share: Floats) -> Floats:
    """Weighted variance of each candidate; 0 where it does not vary."""
    weighted = share[:, None] * pair.right
    mean = pair.left.T @ weighted
    square = np.square(pair.left).T @ (weighted * pair.right)
    variance: Floats = square - np.square(mean)
    return np.where(variance > _LEAST * square, variance, 0.0)
