"""Contributions of terms on some rows with their target: what fits them best, and who adds what.

Letters in einsum: n row, t term, k output, q coefficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax

from sklearn_mmfusion import functional as F
from sklearn_mmfusion._fitting.stand_ins import Products, stand_ins
from sklearn_mmfusion._rows.effective_scores import EffectiveScores

__all__ = ["Recombination", "weighted_std"]

Floats = npt.NDArray[np.float64]

_RIDGE = 1e-8  # of the largest curvature: keeps flat directions finite
_PULL = 1e-4  # weight of "the model is right" against a mean loss; separable rows need it


class Recombination:
    """Contributions of terms to the outputs of some rows, to be weighed anew.

    Parameters
    ----------
    kind : {"regression", "binary", "multiclass", "multilabel"}
        What the outputs are.
    contributions : ndarray of shape (n_samples, n_terms, n_outputs)
        Of regression in standard deviations of each target over the rows; of several classes with
        mean 0 over them, since what is common to all classes changes no probability.
    response : ndarray of shape (n_samples, n_outputs) or None
        Targets in standard deviations, or indicators.
    intercept : ndarray of shape (n_outputs,)
        In the same units.
    share : ndarray of shape (n_samples,)
        Row weights that sum to 1.
    n_counted : float
        Number of rows that the weights stand for.
    """

    def __init__(
        self,
        kind: str,
        contributions: Floats,
        response: Floats | None,
        intercept: Floats,
        share: Floats,
        n_counted: float,
    ) -> None:
        self.kind = kind
        self.contributions = contributions
        self.response = response
        self.intercept = intercept
        self.share = share
        self.n_counted = n_counted

    def reweighted(self, factors: Floats) -> Self:
        """Return the same rows with their weights multiplied by some factors."""
        rows = copy(self)
        share = self.share * factors
        rows.share = share / share.sum()
        return rows

    @property
    def term_std(self) -> Floats:
        """Standard deviation of each term's contributions, all outputs together, (n_terms,)."""
        stds = weighted_std(self.contributions.reshape(len(self.share), -1), self.share)
        shape = self.contributions.shape[1:]
        whole: Floats = np.sqrt(np.square(stds.reshape(shape)).sum(axis=1))
        return whole

    @property
    def term_norms(self) -> Floats:
        """Size of each term as relevance takes it, (n_terms,): of one output ``term_std``.

        See :func:`~sklearn_mmfusion.functional.least_block_norms`.
        """
        if self.contributions.shape[2] == 1:
            return self.term_std
        centred = self.contributions - np.einsum("n,ntk->tk", self.share, self.contributions)
        covariance = np.einsum("n,ntk,ntl->tkl", self.share, centred, centred)
        norms: Floats = F.least_block_norms(torch.from_numpy(covariance)).numpy()
        return np.where(self.term_std > 0, norms, 0.0)

    @property
    def n_informative(self) -> float:
        """Rows of equal weight, and of even classes, that would say as much of an effect."""
        n = 1 / float(self.share @ self.share)
        if self.kind == "regression":
            return n
        positive = self.share @ self._known_response()
        rare = np.minimum(positive, 1 - positive)
        return n * float(rare.sum() if self.kind == "multiclass" else 2 * rare.min())

    def mean_loss(self, outputs: Floats) -> float:
        """Mean log-loss, or squared error as a share of the target's variance."""
        return float(self.share @ self._losses(outputs))

    def _losses(self, outputs: Floats) -> Floats:
        y = self._known_response()
        if self.kind == "regression":
            losses: Floats = np.square(outputs - y).mean(axis=1)
            return losses
        if self.kind == "multiclass":
            return -(y * log_softmax(outputs, axis=1)).sum(axis=1)
        return (np.logaddexp(0, outputs) - y * outputs).sum(axis=1)

    def _mean(self, outputs: Floats) -> Floats:
        if self.kind == "regression":
            return outputs
        found: Floats = softmax(outputs, axis=1) if self.kind == "multiclass" else expit(outputs)
        return found

    def _known_response(self) -> Floats:
        assert self.response is not None  # callers that need y have one
        return self.response

    # -- the best factors of the contributions -------------------------------------------------

    def best_factors(self) -> Floats:
        r"""Non-negative factors of the terms that fit these rows best, (n_terms,).

        They minimise the mean loss of :math:`b + \sum_t \gamma_t c_t(x)`, with free intercepts; a
        very weak pull to :math:`\gamma_t = 1` settles what the rows leave open.
        """
        return self._recombined()[0]

    def best_loss(self) -> float:
        """Mean loss that the best factors leave, in the units of :meth:`mean_loss`."""
        factors, intercept = self._recombined()
        return self.mean_loss(np.einsum("ntk,t->nk", self.contributions, factors) + intercept)

    def best_gain(self) -> tuple[float, float]:
        """Loss of the best constant that the best factors take away: its mean, and its error.

        In the units of :meth:`mean_loss`; the error is that of a mean over rows, where whole
        weights count as repetitions.
        """
        y, share = self._known_response(), self.share
        factors, intercept = self._recombined()
        outputs = np.einsum("ntk,t->nk", self.contributions, factors) + intercept
        gains = self._losses(self._best_constant(y)) - self._losses(outputs)
        mean = float(share @ gains)
        return mean, float(np.sqrt(share @ np.square(gains - mean) / max(self.n_counted, 1.0)))

    def _best_constant(self, y: Floats) -> Floats:
        """Return the outputs of the best model without terms, for every row."""
        mean = self.share @ y
        if self.kind != "regression":
            mean = np.clip(mean, 1e-12, 1 - 1e-12)
            mean = np.log(mean) if self.kind == "multiclass" else np.log(mean / (1 - mean))
        return np.broadcast_to(mean, y.shape)

    def _recombined(self) -> tuple[Floats, Floats]:
        """Return the best factors, and the intercepts that go with them."""
        y, share = self._known_response(), self.share
        std = self.term_std
        scale = np.where(std > 0, std, 1.0)
        c = self.contributions / scale[:, None]
        n_terms, n_outputs = c.shape[1:]
        # The regression loss is a mean over outputs and half a square to be like the others.
        unit = 1.0 / n_outputs if self.kind == "regression" else 1.0

        def objective(x: Floats) -> tuple[float, Floats]:
            factors, b = x[:n_terms], x[n_terms:]
            outputs = np.einsum("ntk,t->nk", c, factors) + b
            away = factors - scale * (std > 0)
            residual = share[:, None] * unit * (self._mean(outputs) - y)
            gradient = np.einsum("ntk,nk->t", c, residual) + _PULL * away
            half = 0.5 if self.kind == "regression" else 1.0
            value = half * float(share @ self._losses(outputs)) + 0.5 * _PULL * float(away @ away)
            return value, np.concatenate([gradient, residual.sum(axis=0)])

        start = np.concatenate([std, self.intercept])
        bounds = [(0, None)] * n_terms + [(None, None)] * n_outputs
        options = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 20}
        solution = minimize(
            objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        factors: Floats = np.where(std > 0, solution.x[:n_terms] / scale, 0.0)
        return factors, solution.x[n_terms:]

    # -- what one term adds to the others ------------------------------------------------------

    def effective_scores(
        self,
        term: int,
        products: Sequence[Products] = (),
        n_units: float = 0,
        threshold: float = 1.0,
    ) -> EffectiveScores:
        r"""Effective score of each row for one term beside all others.

        With the others' factors and the intercepts fitted to these rows,
        :math:`s_i = w_i \sum_k \tilde c_{ik} (y_{ik} - \mu_{ik})`, where :math:`\tilde c` is the
        term's contribution without what the others say, in the metric of the information matrix.
        Their sum is the derivative of the log-likelihood in the direction of the term.

        The others are joined by the bent effects among ``products`` that the residuals follow most
        closely, and those that the term does, with their least gain given by ``threshold``. How
        many depends on ``n_units``, the number of rows or groups that say something of their own.
        """
        y = self._known_response()
        n, n_terms, n_outputs = self.contributions.shape
        std = self.term_std
        others = [t for t in range(n_terms) if t != term and std[t] > 0]
        if std[term] == 0:
            return EffectiveScores(np.zeros(n))
        intercepts = np.broadcast_to(np.eye(n_outputs), (n, n_outputs, n_outputs))
        columns = self.contributions[:, others].transpose(0, 2, 1) / std[others]
        design = np.concatenate([intercepts, columns], axis=2)
        theta = np.concatenate([self.intercept, std[others]])
        outputs = design @ self._newton(design, theta, y)
        own = self.contributions[:, term] / std[term]
        if products:
            for followed, least in ((y - self._mean(outputs), 1.0), (own, threshold)):
                bent = stand_ins(followed, design, products, self.share, n_units, least)
                design = np.concatenate([design, bent], axis=2)
            theta = np.concatenate([theta, np.zeros(design.shape[2] - len(theta))])
            outputs = design @ self._newton(design, theta, y)
        weighted, information = self._information(design, outputs)
        inverse = np.asarray(np.linalg.inv(information), np.float64)
        effective = own - design @ (inverse @ np.einsum("nkq,nk->q", weighted, own))
        own_weighted, _ = self._information(effective[:, :, None], outputs)
        loadings = np.einsum("nkq,nk->nq", weighted, effective)
        return EffectiveScores(
            self.share * (effective * (y - self._mean(outputs))).sum(axis=1),
            variance=float(self.share @ (own_weighted[:, :, 0] * effective).sum(axis=1)),
            loadings=loadings,
            weighted_loadings=self.share[:, None] * loadings,
            inverse=inverse,
            inner=np.einsum("nkq,nkr,n->qr", weighted, design, self.share),
        )

    def beside_bent_effects(
        self, products: Sequence[Products], n_units: float, threshold: float
    ) -> Floats | None:
        """Best mean of the response by the terms together and bent effects of single modalities.

        Those among ``products`` that the residuals follow, by ``n_units`` and ``threshold`` as in
        :func:`~sklearn_mmfusion._fitting.stand_ins.stand_ins`; None where they follow none. Rows of
        weight 0 are predicted and have no part in it.
        """
        y = self._known_response()
        n, _, n_outputs = self.contributions.shape
        intercepts = np.broadcast_to(np.eye(n_outputs), (n, n_outputs, n_outputs))
        design = np.concatenate([intercepts, self.contributions.sum(axis=1)[:, :, None]], axis=2)
        theta = self._newton(design, np.append(self.intercept, 1.0), y)
        residual = y - self._mean(design @ theta)
        bent = stand_ins(residual, design, products, self.share, n_units, threshold)
        if not bent.shape[2]:
            return None
        design = np.concatenate([design, bent], axis=2)
        theta = self._newton(design, np.append(theta, np.zeros(bent.shape[2])), y)
        return self._mean(design @ theta)

    def _newton(self, design: Floats, theta: Floats, y: Floats) -> Floats:
        """Best coefficients of a design (n, k, q), by Newton steps that never raise the loss."""

        def loss(x: Floats) -> float:
            half = 0.5 * y.shape[1] if self.kind == "regression" else 1.0
            return half * float(self.share @ self._losses(design @ x))

        value = loss(theta)
        for _ in range(50):
            outputs = design @ theta
            residual = self.share[:, None] * (y - self._mean(outputs))
            gradient = np.einsum("nkq,nk->q", design, residual)
            if np.abs(gradient).max() < 1e-10:
                break
            _, information = self._information(design, outputs)
            step, size = np.linalg.solve(information, gradient), 1.0
            while (new := loss(theta + size * step)) > value and size > 1e-8:
                size /= 2
            if size <= 1e-8:
                break
            theta, value = theta + size * step, new
        return theta

    def _information(self, design: Floats, outputs: Floats) -> tuple[Floats, Floats]:
        """Design times the weighted variance of the response, and the information matrix."""
        mean = self._mean(outputs)
        if self.kind == "regression":
            varied = design
        elif self.kind == "multiclass":
            average = np.einsum("nk,nkq->nq", mean, design)
            varied = mean[:, :, None] * (design - average[:, None])
        else:
            varied = (mean * (1 - mean))[:, :, None] * design
        weighted = self.share[:, None, None] * varied
        information = np.einsum("nkq,nkr->qr", weighted, design)
        largest = float(information.diagonal().max())
        information = information + (_RIDGE * largest + 1e-300) * np.eye(len(information))
        return weighted, information


def weighted_std(values: Floats, share: Floats) -> Floats:
    """Return standard deviations of columns; 0 where round-off is all that varies."""
    centred = values - share @ values
    std: Floats = np.sqrt(share @ np.square(centred))
    # Columns that do not vary: what round-off leaves is no variation.
    return np.where(std > 1e-12 * np.abs(values).max(axis=0, initial=0), std, 0.0)
