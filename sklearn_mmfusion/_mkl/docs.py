"""Passages that the docstrings of MKLClassifier and MKLRegressor share."""

from __future__ import annotations

from typing import Any

from sklearn_mmfusion._docs import fill_docs

__all__ = ["with_mkl_docs"]

_PARAMETERS = """\
modalities : mapping or list of str, default=None
    For 2-D ``X``: name to slice, list of positions or list of column names, or
    ``(columns, shape)`` for a modality that is not flat; together they cover every column
    exactly once. For a mapping: names to use, in the order of the terms. None takes a mapping
    as it is, and a 2-D ``X`` as one modality.
kernel : str, callable or mapping, default="rbf"
    A kernel of :func:`sklearn.metrics.pairwise.pairwise_kernels` by name, a callable that takes
    arrays of shape (r, d) and (n, d) and returns one of shape (r, n), or a mapping from
    every modality to one of these or to a dict with parameters, such as
    ``{"kernel": "rbf", "gamma": 0.1}``. ``gamma`` is 1 / d by default and with "auto"; "scale" is
    1 / (d * variance), which is the same where no feature is constant.
interactions : int, "all" or list of tuples of str, default=1
    Highest order of the terms, all orders, or the interactions by the names of their
    modalities; every modality has a term of its own besides. The kernel of an interaction is the
    product of the centred kernels of its modalities.
p : float, default=1
    Norm of the kernel weights, from 1 to infinity. 1 is sparse: terms that are not needed get a
    weight of exactly 0. Larger values spread the weights; infinity fixes all at 1.
"""

_SOLVER = """\
tol : float, default=1e-6
    Largest relative duality gap of a solution, above 0.
max_iter : int, default=200
    Largest number of kernel weights for which support vector machines are fitted.
"""

_LAST = """\
missing : {"raise", "mask"}, default="raise"
    What a modality that is NaN in a whole row is: an error, or a row without it. With "mask", the
    terms that hold an absent modality contribute exactly 0 there.
"""

_ATTRIBUTES = """\
relevance_scores_ : dict of str to float
    Relevance of each term; their p-norm is 1. They come from the norms of the terms' weight
    vectors by the same formula as those of :class:`MNLClassifier`.
kernel_weights_ : ndarray of shape (n_terms,)
    Weights of the kernels, of p-norm 1: the relevance, up to the duality gap. Terms whose kernel
    does not tell rows apart have none.
contribution_std_ : ndarray of shape (n_terms, n_outputs)
    Weighted standard deviation of each contribution over the training rows, in units of the
    output.
dual_coef_ : ndarray of shape (n_outputs, n_support)
    Coefficients of the support vectors, in y's units.
support_ : ndarray of shape (n_support,)
    Training rows that are support vectors of some output.
intercept_ : ndarray of shape (n_outputs,)
    Intercept; with the contributions it adds up to the output.
objective_ : float
    Value of the objective.
duality_gap_ : float
    How much a better solution could lower the objective at most, relative to it.
n_iter_ : int
    Kernel weights for which support vector machines were fitted.
term_names_ : list of str
    Names of the terms, such as ``"text x audio"``.
term_modalities_ : list of tuple of str
    Modalities of each term.
modality_names_ : list of str
    Modalities in the order of the terms.
n_features_in_ : int
    Modalities of a mapping, columns of a 2-D ``X``.
feature_names_in_ : ndarray of str
    Names of the modalities of a mapping, or of the columns of a DataFrame.
"""

_NOTES = """\
Flat features and images (their pixels) are standardised first, but for the kernels "chi2" and
"additive_chi2", which take non-negative features as they are. Sequences are described by mean,
standard deviation, minimum, maximum and last - first of each feature over their valid steps, as by
:class:`SummaryEncoder`. Kernels are centred and scaled to unit variance in feature space over the
(weighted) training rows.

Every kernel matrix has ``8 * n_samples**2`` bytes, and all are in memory at a time: three
modalities of 10 000 rows need 5.2 GiB with what is worked in, and above 8 GiB ``fit`` refuses. The
fitted model keeps all training rows. The zeros at p = 1 are exact and stand on the duality gap,
which takes the kernels of weight 0 into account.
"""


def with_mkl_docs(cls: Any) -> Any:
    """Fill the marks of a docstring, such as ``{solver}``, with shared passages."""
    parts = {
        "parameters": _PARAMETERS,
        "solver": _SOLVER,
        "last": _LAST,
        "attributes": _ATTRIBUTES,
        "notes": _NOTES,
    }
    return fill_docs(cls, parts)
