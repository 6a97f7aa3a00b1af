"""The sections on the data and on what the model predicts."""

from __future__ import annotations

import numpy as np

from sklearn_mmfusion.plotting._labels import shortened
from sklearn_mmfusion.report._data_summary import summarise_modality, target_rows
from sklearn_mmfusion.report._examples import choose_examples
from sklearn_mmfusion.report._html import counted, number, plain
from sklearn_mmfusion.report._page import Figure, Section, Table, Text
from sklearn_mmfusion.report._report_figures import (
    calibration_figure,
    confusion_figure,
    errors_figure,
    local_figure,
    short_term,
)
from sklearn_mmfusion.report._scores import (
    brier_score,
    calibration,
    confusion,
    per_class,
    per_output,
    score_rows,
)
from sklearn_mmfusion.report._subject import Subject

__all__ = ["calibration_section", "data_section", "examples_section", "scores_section"]

_MOST_PANEL_TERMS = 6
_MOST_CLASSES = 40  # of a confusion matrix
_MOST_OUTPUTS = 4  # scatter plots


def data_section(subject: Subject) -> Section:
    """Say what the modalities and the target hold."""
    modalities = []
    for block in subject.data.blocks:
        s = summarise_modality(block)
        padding = None if s.padding is None else f"{s.padding:.1%}"
        modalities.append(
            [s.name, s.kind, s.shape, s.dtype, f"{s.missing:.1%}", padding]
            + [s.minimum, s.mean, s.maximum, s.std]
        )
    columns = ["modality", "kind", "shape of a row", "type", "missing rows", "padding"]
    columns += ["minimum", "mean", "maximum", "standard deviation"]
    blocks: list[Text | Table | Figure] = [
        Text(f"{counted(subject.n_samples, 'row')}, as the model sees them."),
        Table("modalities", columns, modalities),
        Table("target", *target_rows(subject), caption="Target"),
    ]
    if subject.transformers:
        steps = ", ".join(subject.transformers)
        blocks.insert(1, Text(f"Steps before the model: {steps}.", quiet=True))
    return Section("data", "Data", list(blocks))


def scores_section(
    subject: Subject, train: Subject | None, cv_scores: dict[str, tuple[float, float, int]]
) -> Section:
    """Compare predictions and target."""
    scores = score_rows(subject)
    columns, rows = ["score", "these rows", "a constant"], [list(row) for row in scores]
    if train is not None:
        columns.insert(2, "training rows")
        for row, (_, score, _) in zip(rows, score_rows(train), strict=True):
            row.insert(2, score)
    weighted = "" if subject.weight is None else " Scores count rows by their sample weight."
    note = f"A constant is the best one for these rows.{weighted}"
    blocks: list[Text | Table | Figure] = [Text(note, quiet=True), Table("scores", columns, rows)]
    section = Section("scores", "Scores", list(blocks))
    if cv_scores:
        section.blocks.append(
            Table(
                "cross_validation",
                ["score", "mean of folds", "standard deviation", "folds"],
                [[name, *values] for name, values in cv_scores.items()],
                caption="Cross-validation",
            )
        )
    if subject.kind == "regression":
        if subject.n_outputs > 1:
            section.blocks.append(Table("per_output", *per_output(subject)))
        truth = subject.y.reshape(len(subject.y), -1)
        guess = subject.predicted.reshape(len(subject.y), -1)
        outputs = zip(subject.output_names, truth.T, guess.T, strict=True)
        for name, t, g in list(outputs)[:_MOST_OUTPUTS]:
            svg = errors_figure(t, g, plain(name))
            section.blocks.append(Figure(svg, f"Predictions of {name} against the truth"))
        return section
    if subject.kind != "multilabel":
        labels, counts = confusion(subject)
        if len(labels) <= _MOST_CLASSES:
            svg = confusion_figure([plain(label) for label in labels], counts)
            caption = "Numbers: rows. Colour: their share in the rows of the true class."
            section.blocks.append(
                Figure(svg, "Confusion matrix: true class by predicted class", caption)
            )
        section.blocks.append(Table("per_class", *per_class(subject)))
        section.blocks.append(
            Table(
                "confusion",
                ["true", *labels],
                [[label, *row] for label, row in zip(labels, counts.tolist(), strict=True)],
                folded="Confusion matrix in numbers",
            )
        )
        return section
    section.blocks.append(Table("per_label", *per_class(subject)))
    return section


def calibration_section(subject: Subject) -> Section | None:
    """Compare stated probabilities with what came true."""
    found = calibration(subject)
    if found is None:
        return None
    svg = calibration_figure(found.stated, found.observed, found.counts, plain(found.what))
    rows = [
        [f"{low:.1f} to {high:.1f}", int(count), stated, observed]
        for low, high, count, stated, observed in zip(
            found.edges[:-1],
            found.edges[1:],
            found.counts,
            found.stated,
            found.observed,
            strict=True,
        )
    ]
    return Section(
        "calibration",
        "Calibration",
        [
            Text(
                f"Stated probability of {found.what}, and how often it came true. The expected "
                "calibration error is their mean difference, the Brier score the mean squared "
                "distance of the stated probabilities from 0 and 1."
            ),
            Figure(svg, "Reliability curve"),
            Table(
                "measures",
                ["measure", "value"],
                [
                    ["expected calibration error", found.error],
                    ["Brier score", brier_score(subject)],
                ],
            ),
            Table(
                "bins",
                ["stated", "predictions", "mean stated", "came true"],
                rows,
                folded="Reliability curve in numbers",
            ),
        ],
    )


def examples_section(subject: Subject, n_examples: int, random_state: object) -> Section | None:
    """Show single rows, and what each term added to their outputs."""
    examples = choose_examples(subject, n_examples, random_state)
    if not examples:
        return None
    labels = subject.row_labels
    rows, columns = [], ["row", *(["label"] if labels else []), "shown as", "true", "predicted"]
    if subject.probabilities is not None:
        columns.append("probability of the prediction")
    for example in examples:
        row = [example.row, *([labels[example.row]] if labels else []), example.why]
        row += [_label(subject, values, example.row) for values in (subject.y, subject.predicted)]
        if subject.probabilities is not None:
            row.append(_probability(subject, example.row))
        rows.append(row)
    section = Section("examples", "Examples", [Table("rows", columns, rows)])
    if not subject.is_additive:
        section.blocks.append(
            Text("This model is no sum of contributions that could be shown.", quiet=True)
        )
        return section
    positions = np.array([example.row for example in examples])
    contributions = subject.contributions_of(positions)
    intercept = np.ravel(subject.model.intercept_)
    terms = subject.model.term_modalities_
    panels, numbers = [], []
    limits: dict[int, float] = {}
    for example, parts in zip(examples, contributions, strict=True):
        output = subject.output_names[example.output]
        values = parts[:, example.output]
        n_shown = min(max(1, int(np.count_nonzero(values))), _MOST_PANEL_TERMS)
        largest = np.argsort(-np.abs(values), kind="stable")[:n_shown]
        names = [short_term([plain(name) for name in terms[t]]) for t in largest]
        one = subject.kind == "regression" and subject.n_outputs == 1
        of = "" if one else f", for {shortened(plain(output), 20)}"
        # Contributions to several targets are in their units: each has an axis of its own.
        scale = example.output if subject.kind == "regression" else 0
        limits[scale] = max(limits.get(scale, 0.0), float(np.abs(values).max()))
        to = "the logit" if subject.is_classifier else shortened(plain(output), 30)
        called = f" ({shortened(plain(labels[example.row]), 20)})" if labels else ""
        title = f"row {example.row}{called}: {example.why}{of}"
        panels.append((title, names, values[largest], scale, to))
        total = float(values.sum() + intercept[example.output])
        numbers.append([example.row, output, "intercept", float(intercept[example.output])])
        numbers += [
            [example.row, output, subject.term_names[t], float(values[t])]
            for t in np.argsort(-np.abs(values), kind="stable")
        ]
        numbers.append([example.row, output, "sum", total])
    figures = [
        Figure(
            local_figure(title, names, values, limits[scale], f"contribution to {to}"),
            f"Largest contributions, {title}",
        )
        for title, names, values, scale, to in panels
    ]
    section.blocks += [
        Text(
            "What each term adds for these rows, the largest first. Intercept and all "
            "contributions add up to the output."
        ),
        *figures,
        Table(
            "contributions",
            ["row", "output", "term", "contribution"],
            numbers,
            folded="Contributions in numbers",
        ),
    ]
    return section


def _label(subject: Subject, values: np.ndarray, row: int) -> object:
    value = values[row]
    if subject.kind == "multilabel":
        on = [str(label) for label, x in zip(subject.classes, value, strict=True) if x]
        return ", ".join(on) or "none"
    if subject.kind == "regression":
        return float(value) if value.ndim == 0 else ", ".join(number(float(v)) for v in value)
    return str(value)


def _probability(subject: Subject, row: int) -> float | None:
    probabilities = subject.probabilities
    assert probabilities is not None
    if subject.kind == "multilabel":
        p = probabilities[row]
        return float(np.where(subject.predicted[row] != 0, p, 1 - p).min())
    return float(probabilities[row, subject.predicted_class(row)])
