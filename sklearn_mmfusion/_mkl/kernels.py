r"""Kernels of modalities and of their interactions: centred, of unit variance, 0 where absent.

Letters: r new rows, n training rows, d features. A kernel k becomes

.. math:: \tilde k(x, x') = \frac{k(x, x') - \mu(x) - \mu(x') + g}{s}, \qquad
          \mu(x) = \sum_i \omega_i k(x, x_i), \quad g = \sum_i \omega_i \mu(x_i), \quad
          s = \sum_i \omega_i k(x_i, x_i) - g

with the weights :math:`\omega` of the training rows that have the modality: mean 0 and variance 1
in feature space, or the weight of a kernel would depend on its scale. The kernel of an interaction
is the product of these, that is an outer product of centred features, centred and scaled again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics.pairwise import kernel_metrics

from sklearn_mmfusion._errors import FusionError, FusionMemoryError, InputError, InputTypeError
from sklearn_mmfusion._inputs.modality_spec import hint
from sklearn_mmfusion._inputs.schema import labelled
from sklearn_mmfusion._rows.scaling import LEFT_OUT, block_moments
from sklearn_mmfusion._stacking.estimator_encoder import sequence_summary
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData, ModalityLayout
from sklearn_mmfusion.data._values import raise_faults

__all__ = ["FittedKernels", "KernelSpec", "check_kernels", "fit_kernels"]

Floats = npt.NDArray[np.float64]
Terms = Sequence[tuple[int, ...]]

_MAX_BYTES = 8 * 2**30  # of all kernel matrices of a fit
_WORKING = 4  # matrices that are there besides, at most
_CHUNK_VALUES = 16_000_000  # of the kernel matrices of a chunk of new rows
_CONSTANT = 1e-12  # a variance below this share of the mean square is rounding
_NON_NEGATIVE = ("additive_chi2", "chi2")  # kernels of histograms, which are not standardised


@dataclass(frozen=True)
class KernelSpec:
    """A kernel: a name of scikit-learn's or a function, and its parameters."""

    function: str | Callable[[Floats, Floats], Any]
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def standardizes(self) -> bool:
        """Whether features are standardised first."""
        return self.function not in _NON_NEGATIVE

    def __call__(self, rows: Floats, others: Floats) -> Floats:
        """Kernel matrix, (r, d) and (n, d) -> (r, n)."""
        compute = self.function
        if isinstance(compute, str):
            compute = kernel_metrics()[compute]
        values = np.asarray(compute(rows, others, **self.params), dtype=np.float64)
        shape = (len(rows), len(others))
        if values.shape != shape:
            raise InputError(f"the kernel returned shape {values.shape}, expected {shape}")
        if not np.isfinite(values).all():
            raise InputError("the kernel returned NaN or infinity")
        return values

    def resolved(self, rows: Floats, share: Floats) -> KernelSpec:
        """Return the kernel with a number for ``gamma``: "scale" is 1 / (d * variance).

        "auto" is 1 / d, as in scikit-learn's support vector machines.
        """
        if not isinstance(self.params.get("gamma"), str) or callable(self.function):
            return self
        variance = 1.0
        if self.params["gamma"] == "scale":
            variance = float(share @ np.square(rows - (share @ rows).mean()).mean(1))
        gamma = 1.0 / (rows.shape[1] * (variance if variance > 0 else 1.0))
        return KernelSpec(self.function, self.params | {"gamma": gamma})


def check_kernels(kernel: Any, names: Sequence[str]) -> list[KernelSpec]:
    """Return the kernel of each modality.

    Parameters
    ----------
    kernel : str, callable or mapping
        One kernel for all modalities, or modality -> name, callable or dict. A dict has the name
        or callable as ``"kernel"`` beside its parameters. A callable takes arrays of shape (r, d)
        and (n, d) and returns one of shape (r, n).
    names : sequence of str
        Names of the modalities.

    Returns
    -------
    list of KernelSpec
        In the order of ``names``.

    Raises
    ------
    InputError, InputTypeError
        For unknown names of modalities, kernels and parameters, all at once.
    """
    if not isinstance(kernel, Mapping):
        return [_spec(kernel)] * len(names)
    faults: list[FusionError] = []
    gone = [name for name in names if name not in kernel]
    extra = [name for name in kernel if name not in names]
    if gone or extra:
        parts = ([f"missing: {gone}"] if gone else []) + ([f"unexpected: {extra}"] if extra else [])
        faults.append(
            InputError(
                f"the modalities of kernel do not match: {', '.join(parts)}; expected "
                f"{list(names)}{hint(extra, names)}"
            )
        )
    specs = []
    for name in names:
        if name in kernel:
            try:
                specs.append(_spec(kernel[name]))
            except FusionError as error:
                faults.append(labelled(error, f"modality {name!r}:"))
    raise_faults(faults)
    return specs


def _spec(value: Any) -> KernelSpec:
    params = {}
    if isinstance(value, Mapping):
        params = dict(value)
        if "kernel" not in params:
            raise InputError(
                "a kernel as a dict has its name as 'kernel', as in {'kernel': 'rbf', 'gamma': "
                f"0.1}}; got the keys {list(params)}"
            )
        value = params.pop("kernel")
    known = kernel_metrics()
    if isinstance(value, str):
        if value not in known:
            msg = f"kernel={value!r} is unknown, expected one of {sorted(known)} or a callable"
            raise InputError(msg + hint([value], sorted(known)))
        accepted = list(inspect.signature(known[value]).parameters)[2:]
        unknown = [name for name in params if name not in accepted]
        if unknown:
            msg = f"kernel {value!r} has no parameters {unknown}, expected some of {accepted}"
            raise InputError(msg)
        gamma = params.get("gamma")
        is_word = isinstance(gamma, str) and gamma not in ("scale", "auto")
        if is_word or (isinstance(gamma, Real) and not float(gamma) > 0):
            raise InputError(
                f"kernel {value!r}: gamma must be a positive number, 'scale' or 'auto', got "
                f"{gamma!r}"
            )
    elif not callable(value):
        raise InputTypeError(
            f"a kernel is a name, a callable or a dict of 'kernel' and parameters, got {value!r}"
        )
    return KernelSpec(value, params)


# ---------------------------------------------------------------------------------------------
# Rows as flat features
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scaler:
    """Standardised flat features of a modality: sequences by their summary, images by pixels."""

    moments: tuple[Floats, Floats] | None
    summary_moments: tuple[Floats, Floats] | None

    @classmethod
    def fit(cls, block: ModalityBlock, weight: Floats, spec: KernelSpec) -> _Scaler:
        moments = _moments(block, weight) if spec.standardizes else None
        if not _is_sequence(block):
            return cls(moments, None)
        summary = ModalityBlock(block.name, cls(moments, None)(block), present=block.present)
        return cls(moments, None if moments is None else _moments(summary, weight))

    def __call__(self, block: ModalityBlock) -> Floats:
        values = np.asarray(block.values, dtype=np.float64)
        if self.moments is not None:
            values = (values - self.moments[0]) / self.moments[1]
        if _is_sequence(block):
            values = sequence_summary(values, block.lengths)
            if self.summary_moments is not None:
                values = (values - self.summary_moments[0]) / self.summary_moments[1]
        values = values.reshape(len(values), -1)
        if block.present is not None:
            values = np.where(block.present[:, None], values, 0.0)
        return values


def _moments(block: ModalityBlock, weight: Floats) -> tuple[Floats, Floats]:
    """Mean and scale, with which constants count for nothing in new rows."""
    return block_moments(block, weight, of_constants=LEFT_OUT)


def _is_sequence(block: ModalityBlock) -> bool:
    return block.values.ndim == 3 and block.values.dtype != np.uint8


# ---------------------------------------------------------------------------------------------
# Kernels of terms
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Centring:
    """Mean and variance of a kernel over the training rows that have its modalities."""

    share: Floats  # (n,), sums to 1; 0 for the other rows
    means: Floats  # (n,)
    grand_mean: float
    scale: float  # 0 for a kernel that does not tell rows apart

    @classmethod
    def fit(cls, values: Floats, share: Floats) -> _Centring:
        means = values @ share
        grand_mean, diagonal = float(means @ share), values.diagonal()
        scale = float(diagonal @ share) - grand_mean
        if scale <= _CONSTANT * float(np.abs(diagonal) @ share):
            scale = 0.0
        return cls(share, means, grand_mean, scale)

    def __call__(self, values: Floats, present: npt.NDArray[np.bool_]) -> Floats:
        """Shape: values (r, n), present (r,) -> (r, n)."""
        if self.scale == 0:
            return np.zeros_like(values)
        centred: Floats = values - (values @ self.share)[:, None]
        centred -= self.means - self.grand_mean
        centred /= self.scale
        centred[~present] = 0.0
        centred[:, self.share == 0] = 0.0
        return centred


@dataclass(frozen=True)
class FittedKernels:
    """Kernels between new rows and the training rows, which it keeps; see :func:`fit_kernels`.

    Attributes
    ----------
    terms : sequence of tuple of int
        Terms as positions of modalities; those of a single one come first.
    """

    terms: Terms
    _specs: list[KernelSpec]
    _scalers: list[_Scaler]
    _rows: list[Floats]
    _single: list[_Centring]  # by modality
    _centrings: list[_Centring]  # by term

    def contributions(self, data: ModalityData, coefficients: Floats, weights: Floats) -> Floats:
        """Return what each term adds to each output.

        Parameters
        ----------
        data : ModalityData
            New rows.
        coefficients : ndarray of shape (n, n_outputs)
            Coefficients of the training rows.
        weights : ndarray of shape (n_terms,)
            Weights of the kernels; those of weight 0 are not computed.

        Returns
        -------
        ndarray of shape (r, n_terms, n_outputs)
            0 where a modality of the term is absent.
        """
        result = np.zeros((data.n_samples, len(self.terms), coefficients.shape[1]))
        used = [t for t in range(len(self.terms)) if weights[t] != 0]
        step = max(1, _CHUNK_VALUES // ((len(self._rows) + 3) * len(coefficients)))
        for start in range(0, data.n_samples, step):
            rows = data.take(slice(start, start + step))
            singles: dict[int, Floats] = {}
            for t in used:
                for m in self.terms[t]:
                    if m not in singles:
                        singles[m] = self._single_kernel(m, rows.blocks[m])
                values = self._term_kernel(t, singles, rows)
                result[start : start + step, t] = weights[t] * (values @ coefficients)
        return result

    def check(
        self, layouts: Sequence[ModalityLayout], coefficients: Floats, weights: Floats
    ) -> None:
        """Raise an InputError unless all parts fit together; for kernels that come from a file."""
        n_modalities, n = len(layouts), len(coefficients)
        parts = self._specs, self._scalers, self._rows, self._single
        counts = {len(part) for part in parts} == {n_modalities}
        counts = counts and len(self._centrings) == len(self.terms) == len(weights)
        terms = all(term and all(0 <= m < n_modalities for m in term) for term in self.terms)
        if not counts or not terms or coefficients.ndim != 2 or weights.ndim != 1:
            raise InputError("kernels, terms and modalities do not fit together")
        for centring in (*self._single, *self._centrings):
            if centring.share.shape != (n,) or centring.means.shape != (n,):
                raise InputError("kernels and training rows do not fit together")
        for layout, spec, scaler, rows in zip(layouts, *parts[:3], strict=True):
            _spec({"kernel": spec.function, **spec.params})
            is_sequence = len(layout.shape) == 2 and layout.dtype != "uint8"
            shape = (1, layout.shape[1]) if is_sequence else layout.shape
            width = None if is_sequence else prod(shape)
            if rows.ndim != 2 or len(rows) != n or width not in (None, rows.shape[1]):
                raise InputError(f"modality {layout.name!r}: training rows have another shape")
            row = ModalityBlock(layout.name, np.zeros((1, *shape), layout.dtype))
            _computed(spec, layout.name, scaler(row), rows)

    def _single_kernel(self, m: int, block: ModalityBlock) -> Floats:
        values = _computed(self._specs[m], block.name, self._scalers[m](block), self._rows[m])
        return self._single[m](values, _present(block))

    def _term_kernel(self, t: int, singles: dict[int, Floats], rows: ModalityData) -> Floats:
        term = self.terms[t]
        if len(term) == 1:
            return singles[term[0]]
        present = np.all([_present(rows.blocks[m]) for m in term], axis=0)
        return self._centrings[t](_product(term, singles), present)


def fit_kernels(
    data: ModalityData, terms: Terms, specs: Sequence[KernelSpec], weight: Floats
) -> tuple[FittedKernels, Floats]:
    """Fit centring and scales, and return the kernel matrices of the training rows.

    Parameters
    ----------
    data : ModalityData
        Training rows.
    terms : sequence of tuple of int
        Terms as positions of modalities: all single ones in their order, then interactions.
    specs : sequence of KernelSpec
        Kernel of each modality.
    weight : ndarray of shape (n,)
        Positive row weights.

    Returns
    -------
    kernels : FittedKernels
    matrices : ndarray of shape (n_terms, n, n)
        All 0 for a term that does not tell rows apart, or that no row has.

    Raises
    ------
    FusionMemoryError
        When the matrices of all terms, and four more to work with, need over 8 GiB.
    InputError
        For a kernel that fails on a modality.
    """
    n = data.n_samples
    needed = 8 * n**2 * (len(terms) + _WORKING)
    if needed > _MAX_BYTES:
        raise FusionMemoryError(
            f"{len(terms)} kernel matrices of {n} x {n} need {needed / 2**30:.1f} GiB (limit "
            f"{_MAX_BYTES / 2**30:.0f} GiB): fit fewer rows or terms, or use MNLClassifier or "
            "MNLRegressor, which need no kernel matrices"
        )
    resolved, scalers, rows, single = [], [], [], []
    matrices = np.empty((len(terms), n, n))
    for m, (block, spec) in enumerate(zip(data.blocks, specs, strict=True)):
        scaler = _Scaler.fit(block, weight, spec)
        features, share = scaler(block), _share(weight, _present(block))
        spec = spec.resolved(features, share)
        values = _computed(spec, block.name, features, features)
        values = 0.5 * (values + values.T)
        centring = _Centring.fit(values, share)
        matrices[m] = centring(values, _present(block))
        resolved.append(spec)
        scalers.append(scaler)
        rows.append(features)
        single.append(centring)
    singles = dict(enumerate(matrices[: len(single)]))
    centrings = list(single)
    for t in range(len(single), len(terms)):
        present = np.all([_present(data.blocks[m]) for m in terms[t]], axis=0)
        values = _product(terms[t], singles)
        centrings.append(_Centring.fit(values, _share(weight, present)))
        matrices[t] = centrings[t](values, present)
    return FittedKernels(terms, resolved, scalers, rows, single, centrings), matrices


def _computed(spec: KernelSpec, name: str, rows: Floats, others: Floats) -> Floats:
    try:
        return spec(rows, others)
    except FusionError as error:
        raise labelled(error, f"modality {name!r}:") from None
    except Exception as error:
        if not callable(spec.function) and not isinstance(error, TypeError | ValueError):
            raise
        msg = f"modality {name!r}: kernel {spec.function!r} failed: {type(error).__name__}: {error}"
        raise InputError(msg) from error


def _product(term: tuple[int, ...], singles: dict[int, Floats]) -> Floats:
    values = singles[term[0]]
    for m in term[1:]:
        values = values * singles[m]
    return values


def _present(block: ModalityBlock) -> npt.NDArray[np.bool_]:
    return np.ones(len(block.values), dtype=bool) if block.present is None else block.present


def _share(weight: Floats, present: npt.NDArray[np.bool_]) -> Floats:
    counted = weight * present
    total = float(counted.sum())
    return counted / total if total > 0 else counted
