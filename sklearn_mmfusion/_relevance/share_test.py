"""Whether rows contradict given shares of the terms."""

from __future__ import annotations

from copy import copy

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from sklearn_mmfusion._fitting.held_out import HeldOut

__all__ = ["contradiction"]

Floats = npt.NDArray[np.float64]


def contradiction(rows: HeldOut, shares: Floats) -> float:
    r"""Return the p-value of the hypothesis that the terms have these shares on the rows.

    A likelihood-ratio test: contributions multiplied by the best non-negative factors, against
    contributions that are scaled to the shares and multiplied by one common factor. Terms that say
    the same, between which rows cannot choose, give no small p-value, and neither do shares that
    are low by chance on few rows. Several outputs of one row count as one.

    Parameters
    ----------
    rows : HeldOut
        Rows with their target.
    shares : ndarray of shape (n_terms,)
        Share of each term in the norms of the contributions, 0 to 1.

    Returns
    -------
    float
        Of the chi-squared distribution with one degree of freedom less than there are terms that
        vary on the rows; 1.0 where fewer than two do.
    """
    norms = rows.term_norms
    n_free = int(np.count_nonzero(norms)) - 1
    if n_free < 1:
        return 1.0
    scale = np.where(norms > 0, shares / np.where(norms > 0, norms, 1.0), 0.0)
    common = copy(rows)
    common.contributions = np.einsum("ntk,t->nk", rows.contributions, scale)[:, None]
    # Neither loss is 0: the factors of rows that can be told apart are held by their weak pull.
    held, free = (max(part.best_loss(), 1e-12) for part in (common, rows))
    if rows.kind == "regression":
        statistic = rows.n_counted * np.log(held / free)
    else:
        n_labels = rows.contributions.shape[2] if rows.kind == "multilabel" else 1
        statistic = 2 * rows.n_counted * (held - free) / n_labels
    return float(chi2.sf(max(statistic, 0.0), n_free))
