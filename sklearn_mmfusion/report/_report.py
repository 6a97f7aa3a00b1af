"""One self-contained HTML file about a fitted model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion._state.atomic_files import check_target, write_atomically
from sklearn_mmfusion.plotting import RelevanceDisplay
from sklearn_mmfusion.report._cautions import cautions
from sklearn_mmfusion.report._html import counted
from sklearn_mmfusion.report._page import Section, page, page_data
from sklearn_mmfusion.report._report_figures import unseen_axes
from sklearn_mmfusion.report._row_relevance import row_relevance
from sklearn_mmfusion.report._scores import score_rows
from sklearn_mmfusion.report._sections import (
    calibration_section,
    data_section,
    examples_section,
    scores_section,
)
from sklearn_mmfusion.report._sections_model import (
    interactions_section,
    relevance_section,
    routing_section,
    settings_section,
    training_section,
)
from sklearn_mmfusion.report._subject import Subject

__all__ = ["FusionReport", "fusion_report"]

_KINDS = {
    "binary": "two classes",
    "multiclass": "{} classes",
    "multilabel": "{} labels",
    "regression": "regression",
}


class FusionReport:
    """A report, as text and as numbers; :func:`fusion_report` makes one.

    In a notebook it shows itself.

    Parameters
    ----------
    html : str
        The whole page.
    data : dict
        Section, then table, then ``"columns"`` and ``"rows"``: the numbers of the page, not
        rounded.

    Attributes
    ----------
    html : str
        The whole page.
    data : dict
        The numbers of the page.

    Examples
    --------
    >>> from sklearn_mmfusion.report import FusionReport
    >>> FusionReport("<!DOCTYPE html><title>Nothing</title>", {})
    FusionReport(37 characters, sections=[])
    """

    def __init__(self, html: str, data: dict[str, Any]) -> None:
        self.html = html
        self.data = data

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Where to; a file that is there is replaced.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        FileError
            An ``OSError``: the directory does not exist or can't be written to, or is the path. A
            file that was there before is as it was.
        """
        write_atomically(path, [self.html.encode("utf-8")])
        return Path(path)

    def _repr_html_(self) -> str:
        # In a frame of its own: neither style sheet reaches the other page.
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-downloads" loading="lazy" '
            'style="width:100%;height:40rem;border:1px solid #8888" title="Fusion report"></iframe>'
        )

    def __repr__(self) -> str:
        return f"FusionReport({len(self.html)} characters, sections={list(self.data)})"


def fusion_report(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    path: str | os.PathLike[str] | None = None,
    title: str | None = None,
    X_train: Any = None,
    y_train: Any = None,
    sample_weight: Any = None,
    cv_results: Any = None,
    test_ratio: float | None = None,
    n_examples: int = 6,
    random_state: Any = 0,
) -> FusionReport:
    r"""Write one HTML file about a fitted model: data, scores, relevance, examples, settings.

    The file stands alone: figures and style are inside, and it loads nothing. It reads well on a
    desktop, on a phone, in light, in dark, and on paper, and every number in it can be downloaded
    from it. Sections that a model has nothing to say about are left out.

    Parameters
    ----------
    estimator : fitted estimator
        An estimator of this package, or a Pipeline or search that ends in one.
    X : mapping, ModalityFrame, DataFrame or array-like
        Rows to judge the model on, which it should not have seen.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Their target.
    path : str or path-like, default=None
        File to write; None writes none.
    title : str, default=None
        Title of the page; None names the estimator.
    X_train : mapping, ModalityFrame, DataFrame or array-like, default=None
        The training rows: their scores then stand beside those of ``X``, and rows of ``X`` that
        are among them are counted.
    y_train : array-like of shape (n_train,) or (n_train, n_outputs), default=None
        Target of the training rows.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows of ``X`` in scores, calibration and shares of contributions.
    cv_results : mapping or iterable of fitted estimators, default=None
        What ``cross_validate(..., return_estimator=True)`` returned for the same kind of
        estimator: relevance then has intervals over the fits, and the scores of the folds are
        shown.
    test_ratio : float, default=None
        Rows of a test part of ``cv_results`` divided by rows of its training part, for the
        intervals. None reads it from ``return_indices=True`` when that was asked for, else takes
        the fits for those of one k-fold cross-validation, 1 / (k - 1), and says so.
    n_examples : int, default=6
        How many single rows to show with the contributions of their terms.
    random_state : int, RandomState instance or None, default=0
        Which of the rows that are predicted right are shown.

    Returns
    -------
    FusionReport
        With ``html``, ``data`` (all numbers), and ``save(path)``.

    Raises
    ------
    InputTypeError
        If there is no estimator of this package inside, or the arguments are in another order.
    InputError
        If rows or target do not fit the estimator, only one of ``X_train`` and ``y_train`` is
        given, or ``test_ratio`` without ``cv_results``.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ImportError
        If matplotlib is not installed.
    FileError
        An ``OSError``: the file can't be written. A directory that is missing, or that is the
        path, is refused before anything is computed.

    See Also
    --------
    sklearn_mmfusion.plotting.RelevanceDisplay : The picture of relevance alone.

    Notes
    -----
    Shares of contributions are :math:`\overline{|c_t|} / \sum_s \overline{|c_s|}` over the rows
    of ``X``, absolute values summed over outputs; those of a regressor with several targets are
    divided by the standard deviation of the target first, so that units do not matter. Their 95 %
    intervals speak of the variation between rows under this one model.

    Beside the relevance of the fit stands that of :func:`~sklearn_mmfusion.relevance_scores` on the
    rows (of more than 5000, on as many drawn at random), for estimators whose relevance is a share
    of the contributions: MNL, InTense and MKL. A caution names the terms whose relevance in
    training is far above it, if

    - it is above by 0.2 or more;
    - there are 50 rows or more, on which the best factors of the contributions predict better than
      a constant by two standard errors;
    - the rows contradict the relevance of the fit: a likelihood-ratio test, of contributions scaled
      to it and multiplied by one factor against a factor for each term, has a p-value below 0.01.

    So low relevance by chance on few rows, or of one among terms that say the same, is no caution.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_mmfusion import MNLClassifier, fusion_report
    >>> rng = np.random.default_rng(0)
    >>> X = {"text": rng.normal(size=(90, 3)), "audio": rng.normal(size=(90, 2))}
    >>> y = X["text"][:, 0] > 0
    >>> est = MNLClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> report = fusion_report(est, X, y)
    >>> report.html[:15]
    '<!DOCTYPE html>'
    """
    _check_order(estimator, X, y)
    if (X_train is None) != (y_train is None):
        raise InputError("X_train and y_train belong together; give both or neither")
    if test_ratio is not None and cv_results is None:
        raise InputError("test_ratio is that of the fits in cv_results; give both, or neither")
    if path is not None:
        check_target(path)
    subject = Subject.of(estimator, X, y, sample_weight)
    train = None if X_train is None else Subject.of(estimator, X_train, y_train)
    scores = score_rows(subject)
    on_rows = row_relevance(subject)
    sections = [
        Section("cautions", "Read this first", list(cautions(subject, scores, train, on_rows))),
        data_section(subject),
        scores_section(subject, train, _fold_scores(cv_results)),
        calibration_section(subject),
        relevance_section(subject, _over_fits(subject.model, cv_results, test_ratio), on_rows),
        interactions_section(subject),
        routing_section(subject),
        examples_section(subject, n_examples, random_state),
        training_section(subject),
        settings_section(subject),
    ]
    shown = [section for section in sections if section is not None and section.blocks]
    name = type(subject.model).__name__
    html = page(
        title or f"Fusion report: {name}",
        _lead(subject, name),
        _facts(subject, scores),
        shown,
    )
    report = FusionReport(html, page_data(shown))
    if path is not None:
        report.save(path)
    return report


def _check_order(estimator: Any, X: Any, y: Any) -> None:
    """Refuse arguments in another order, or a class in place of an estimator."""
    order = "the order is fusion_report(estimator, X, y)"
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        is_class = isinstance(estimator, type)
        got = f"the class {estimator.__name__}" if is_class else f"a {type(estimator).__name__}"
        raise InputTypeError(f"estimator: expected a fitted estimator, got {got}; {order}")
    for name, value in (("X", X), ("y", y)):
        if hasattr(value, "fit") and hasattr(value, "get_params"):
            raise InputTypeError(
                f"{name}: expected {'rows' if name == 'X' else 'their target'}, got an estimator, "
                f"{type(value).__name__}; {order}"
            )
    if isinstance(y, Mapping):
        raise InputTypeError(f"y: expected the target, got a {type(y).__name__} of rows; {order}")


def _lead(subject: Subject, name: str) -> str:
    modalities = len(subject.model.modality_names_)
    kind = _KINDS[subject.kind].format(len(subject.classes))
    plural = "modality" if modalities == 1 else "modalities"
    return f"{name} on {modalities} {plural}, {counted(subject.n_samples, 'row')}, {kind}."


def _facts(
    subject: Subject, scores: list[tuple[str, float | None, float | None]]
) -> list[tuple[str, Any]]:
    """Return the few numbers that stand on top."""
    facts: list[tuple[str, Any]] = [
        (name, score) for name, score, _ in scores if score is not None
    ][:3]
    relevance = getattr(subject.model, "relevance_scores_", None)
    if relevance:
        top = max(relevance, key=lambda term: relevance[term])
        facts.append(("most relevant", f"{top} ({relevance[top]:.2f})"))
    return facts


def _fold_scores(cv_results: Any) -> dict[str, tuple[float, float, int]]:
    """Return mean, standard deviation and number of the scores of each kind."""
    if not isinstance(cv_results, Mapping):
        return {}
    return {
        key.removeprefix("test_"): (
            float(np.mean(values)),
            float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
            len(values),
        )
        for key, values in cv_results.items()
        if key.startswith("test_")
    }


def _over_fits(model: Any, cv_results: Any, test_ratio: float | None) -> RelevanceDisplay | None:
    """Return the relevance over the fits of a cross-validation, in the terms of the model."""
    if cv_results is None or not hasattr(model, "relevance_scores_"):
        return None
    # Drawn on axes that nobody sees: without any it would open a figure of pyplot.
    display = RelevanceDisplay.from_cv_results(cv_results, test_ratio=test_ratio, ax=unseen_axes())
    if set(display.term_names) != set(model.term_names_):
        raise InputError(
            f"cv_results: the fits have the terms {display.term_names}, the estimator "
            f"{model.term_names_}"
        )
    return display
