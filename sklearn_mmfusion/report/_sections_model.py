"""The sections on the model: relevance, interactions, routing, training, settings."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from sklearn_mmfusion._explanations import GlobalExplanation
from sklearn_mmfusion._version import __version__
from sklearn_mmfusion.plotting import RelevanceDisplay, TrainingCurveDisplay
from sklearn_mmfusion.plotting._training_curve import merged_epochs
from sklearn_mmfusion.report._html import number, plain
from sklearn_mmfusion.report._importance import (
    contribution_shares,
    pair_matrix,
    shares_by_order,
)
from sklearn_mmfusion.report._page import Figure, Section, Table, Text
from sklearn_mmfusion.report._report_figures import (
    pairs_figure,
    relevance_figure,
    routing_figure,
    shares_figure,
    training_figure,
)
from sklearn_mmfusion.report._row_relevance import RowRelevance
from sklearn_mmfusion.report._subject import Subject

__all__ = [
    "interactions_section",
    "relevance_section",
    "routing_section",
    "settings_section",
    "training_section",
]

_A_TERM = (
    "A term is one modality, or an interaction of several, as in text x audio; its order is their "
    "number."
)
_ITS_RELEVANCE = (
    " Its relevance says how much of the model it is: 0 where the model does not use it. Little "
    "means not needed beside the others, which may hold the same."
)
_MOST_MODALITIES = 20  # of the heat map of pairs
_LONGEST_VALUE = 300  # characters of a parameter
_PACKAGES = ("scikit-learn", "torch", "skorch", "numpy", "scipy", "pandas", "matplotlib")


def relevance_section(
    subject: Subject, display: RelevanceDisplay | None, on_rows: RowRelevance | None = None
) -> Section | None:
    """Say which terms matter: by the model's own scores, and by what they add on these rows.

    Parameters
    ----------
    subject : Subject
        What the report is about.
    display : RelevanceDisplay or None
        Relevance over the fits of a cross-validation, where there are some.
    on_rows : RowRelevance or None, default=None
        Relevance on the rows of the report.
    """
    model = subject.model
    scores = getattr(model, "relevance_scores_", None)
    if scores is None and not subject.is_additive:
        return None
    section = Section("relevance", "Relevance")
    section.blocks.append(
        Text(_A_TERM + (_ITS_RELEVANCE if scores is not None else ""), quiet=True)
    )
    names = subject.term_names
    columns = ["term", "order"]
    cells: list[list[Any]] = [[n, o] for n, o in zip(names, subject.orders, strict=True)]
    if scores is not None:
        columns.append("relevance of this fit")
        for cell, name in zip(cells, names, strict=True):
            cell.append(scores[name])
        if on_rows is not None:
            columns.append("relevance on these rows")
            for cell, value in zip(cells, on_rows.scores.tolist(), strict=True):
                cell.append(value)
        section.blocks.append(Text(_words(display)))
        one = RelevanceDisplay(
            [[scores[name] for name in names]],
            term_names=names,
            term_modalities=_plain_terms(model),
        )
        if display is not None:
            columns += ["mean over fits", "lower (fits)", "upper (fits)"]
            place = {name: i for i, name in enumerate(display.term_names)}
            interval = display.interval
            for cell, name in zip(cells, names, strict=True):
                at = place[name]
                low, high = (None, None) if interval is None else interval[at].tolist()
                cell += [float(display.mean[at]), low, high]
            places = [place[name] for name in names]
            one = display._with_terms(names, _plain_terms(model), places)
        svg = relevance_figure(one)
        section.blocks.append(Figure(svg, "Relevance of each term"))
    if len(getattr(model, "_results", ())) > 1:
        columns.append("standard deviation over members")
        for cell, name in zip(cells, names, strict=True):
            cell.append(float(model.relevance_std_[name]))
    if subject.is_additive:
        shares = contribution_shares(subject.absolute_contributions, subject.share)
        columns += ["share of contributions", "lower (rows)", "upper (rows)"]
        for cell, *values in zip(cells, shares.share, shares.low, shares.high, strict=True):
            cell += [float(value) for value in values]
        svg = shares_figure(_plain_terms(model), shares.share, shares.low, shares.high)
        section.blocks.append(Figure(svg, "Share of each term in the contributions"))
        several = subject.kind == "regression" and subject.n_outputs > 1
        units = ", each output divided by the standard deviation of its target" if several else ""
        section.blocks.append(
            Text(
                "Share of contributions: how much of what moves the outputs comes from a term, in "
                f"absolute size{units}, over the rows of this report, with 95 % intervals over "
                "rows.",
                quiet=True,
            )
        )
    order = np.argsort([-float(cell[2]) for cell in cells], kind="stable")
    ranked = [cells[i] for i in order]
    folded = "All terms in numbers" if len(cells) > 12 else None
    section.blocks.append(Table("terms", columns, ranked, folded=folded))
    return section


def _words(display: RelevanceDisplay | None) -> str:
    if display is None or len(display.relevance) == 1:
        return (
            "Relevance of one fit. It is one draw: another sample or another seed gives other "
            "values. Give cv_results to see how far they move."
        )
    shared = (
        "as of one cross-validation with as many folds; of other fits give test_ratio, or call "
        "cross_validate with return_indices=True"
        if display.assumed_folds
        else f"test parts have {number(display.test_ratio)} times the rows of their training parts"
    )
    return (
        f"Relevance over {len(display.relevance)} fits, with the 95 % interval of the mean, "
        f"corrected for the training rows that the fits share ({shared})."
    )


def _plain_terms(model: Any) -> list[tuple[str, ...]]:
    return [tuple(plain(name) for name in term) for term in model.term_modalities_]


def interactions_section(subject: Subject) -> Section | None:
    """Say how much modalities do together."""
    model = subject.model
    if not subject.is_additive or max(subject.orders) < 2:
        return None
    share = contribution_shares(subject.absolute_contributions, subject.share).share
    by_order = shares_by_order(share, subject.orders)
    columns, rows = ["modalities together", "terms", "share of contributions"], []
    importances = getattr(model, "order_importances_", None)
    if importances is not None:
        columns.append("share of standard deviation")
    for order, value in by_order.items():
        row: list[Any] = [order, subject.orders.count(order), value]
        if importances is not None:
            row.append(importances.get(order))
        rows.append(row)
    section = Section(
        "interactions",
        "Interactions",
        [
            Text(
                "How much of the contributions single modalities bring, and how much comes only "
                "from modalities together."
            ),
            Table("orders", columns, rows),
        ],
    )
    names = list(model.modality_names_)
    if 2 < len(names) <= _MOST_MODALITIES:
        terms = [tuple(term) for term in model.term_modalities_]
        svg = pairs_figure([plain(n) for n in names], pair_matrix(share, terms, names))
        section.blocks.append(Figure(svg, "Shares of modalities and their pairs"))
        section.blocks.append(Text("On the diagonal a modality alone, below it pairs.", quiet=True))
    return section


def routing_section(subject: Subject) -> Section | None:
    """Say which term speaks for which concept."""
    model = subject.model
    if not hasattr(model, "activations"):
        return None
    explanation = model.explain_global(subject.X_model)
    data = explanation.data
    cleaned = GlobalExplanation(
        {
            **data,
            "term_names": [plain(name) for name in data["term_names"]],
            "concept_names": [plain(name) for name in data["concept_names"]],
        }
    )
    routed = data.get("routing_coefficients") is not None
    title = "Routing" if routed else "Activation"
    text = (
        "How much of each term goes to each concept, on average over these rows. Uniform routing "
        f"is {1 / len(data['concept_names']):.3g}; a mean in bold differs from it. Terms by their "
        "share of the contributions."
        if routed
        else "How active each term is, on average over these rows."
    )
    columns = ["term", "activation", "lower", "upper", "share of contributions"]
    if routed:
        for concept in data["concept_names"]:
            columns += [f"to {concept}", f"to {concept}, lower", f"to {concept}, upper"]
    rows = []
    for t, name in enumerate(data["term_names"]):
        ends = data["activation_intervals"][t].tolist()
        row = [name, float(data["activations"][t]), *ends, float(data["contribution_share"][t])]
        if routed:
            for j in range(len(data["concept_names"])):
                row += [float(data["routing_coefficients"][t, j])]
                row += data["routing_intervals"][t, j].tolist()
        rows.append(row)
    return Section(
        "routing",
        title,
        [
            Text(text),
            Figure(routing_figure(cleaned), f"{title} of terms"),
            Table("terms", columns, rows, folded=f"{title} in numbers"),
        ],
    )


def training_section(subject: Subject) -> Section | None:
    """Show the losses of the epochs."""
    model = subject.model
    history = getattr(model, "history_", None)
    if not history:
        return None
    display = TrainingCurveDisplay([history], [model.validation_history_])
    (best,) = display.best_epochs
    facts: list[list[Any]] = [["epochs", int(model.n_iter_)]]
    if best is not None:
        facts.append(["best epoch on held-out rows", best])
    for word, name in (
        ("gain on held-out rows", "validation_gain_"),
        ("penalty (reg_)", "reg_"),
        ("penalty behind the final weights (relaxed_reg_)", "relaxed_reg_"),
        ("factor of the final weights (calibration_factor_)", "calibration_factor_"),
        ("duality gap of the fusion weights", "polish_gap_"),
        ("sum of the fusion weights' norms", "fusion_norm_"),
    ):
        if hasattr(model, name):
            facts.append([word, float(getattr(model, name))])
    epochs = merged_epochs(history, model.validation_history_)
    columns = [key for key in ("lr", "train_loss", "valid_loss") if any(key in e for e in epochs)]
    rows = [[e, *(epoch.get(key) for key in columns)] for e, epoch in enumerate(epochs, start=1)]
    svg = training_figure(display)
    return Section(
        "training",
        "Training",
        [
            Figure(svg, "Loss by epoch"),
            Table("facts", ["", "value"], facts),
            Table("epochs", ["epoch", *columns], rows, folded="All epochs in numbers"),
        ],
    )


def settings_section(subject: Subject) -> Section:
    """List parameters, encoders and versions."""
    model = subject.model
    rows, marked = _parameter_rows(model)
    blocks: list[Text | Table | Figure] = [
        Table(
            "parameters",
            ["parameter", "value", "default"],
            rows,
            caption=f"{type(model).__name__}; what is not the default is marked",
            marked=marked,
        )
    ]
    if search := _search(subject.estimator):
        best = [[name, _value(value)] for name, value in search.best_params_.items()]
        best.append(["mean score of the folds", float(search.best_score_)])
        caption = f"Best of {len(search.cv_results_['params'])} candidates"
        blocks.append(Table("search", ["parameter", "value"], best, caption=caption))
    encoders = getattr(model, "encoders_", None)
    if isinstance(encoders, Mapping):
        table = [
            [name, type(encoders[name]).__name__, _value(encoders[name])]
            for name in model.modality_names_
        ]
        columns = ["modality", "encoder", "as written"]
        blocks.append(Table("encoders", columns, table, caption="Encoders"))
    blocks.append(Table("versions", ["package", "version"], _versions(), caption="Versions"))
    return Section("settings", "Settings", list(blocks))


def _parameter_rows(model: BaseEstimator) -> tuple[list[list[Any]], frozenset[int]]:
    defaults = type(model)().get_params(deep=False)
    rows, marked = [], set()
    for i, (name, value) in enumerate(sorted(model.get_params(deep=False).items())):
        text, usual = _value(value), _value(defaults[name])
        rows.append([name, text, usual])
        if text != usual:
            marked.add(i)
    return rows, frozenset(marked)


def _value(value: Any) -> str:
    """Return a parameter as text, without line breaks and of some length only."""
    if isinstance(value, np.ndarray):
        return f"array of shape {value.shape}, {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _search(estimator: Any) -> Any:
    """Return the search around the model, if there is one."""
    while not hasattr(estimator, "best_params_"):
        if not hasattr(estimator, "steps"):
            return None
        estimator = estimator.steps[-1][1]
    return estimator


def _versions() -> list[list[str]]:
    rows = [["Python", platform.python_version()], ["sklearn-mmfusion", __version__]]
    for package in _PACKAGES:
        try:
            rows.append([package, version(package)])
        except PackageNotFoundError:
            continue
    return rows
