"""What to know before believing the numbers, in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_mmfusion._fitting.warnings import not_shown_to_learn
from sklearn_mmfusion.report._data_summary import n_shared_rows
from sklearn_mmfusion.report._html import counted, number
from sklearn_mmfusion.report._page import Caution
from sklearn_mmfusion.report._row_relevance import FEWEST_ROWS, RowRelevance
from sklearn_mmfusion.report._subject import Subject

__all__ = ["cautions"]

_MUCH_MISSING = 0.5
_MOST_TERMS = 3  # that a sentence names


def cautions(
    subject: Subject,
    scores: list[tuple[str, float | None, float | None]],
    train: Subject | None,
    on_rows: RowRelevance | None = None,
) -> list[Caution]:
    """Return warnings first, then notes.

    Parameters
    ----------
    subject : Subject
        What the report is about.
    scores : list of (str, float or None, float or None)
        Scores and those of a constant.
    train : Subject or None
        The training rows, where they were given.
    on_rows : RowRelevance or None, default=None
        Relevance on the rows of the report.
    """
    found = [
        *_of_the_fit(subject.model),
        *_of_the_scores(subject, scores),
        *_of_the_relevance(subject, on_rows),
        *_of_the_rows(subject, train),
    ]
    return sorted(found, key=lambda caution: caution.level != "warning")


def _of_the_fit(model: Any) -> list[Caution]:
    found = []
    gain = getattr(model, "validation_gain_", None)
    result = getattr(model, "_result", None)
    training = getattr(result, "training", None)
    if gain is not None and not np.isnan(gain):
        if not_shown_to_learn(model):
            error = getattr(model, "validation_gain_error_", 0.0)
            found.append(
                Caution(
                    "On rows that the fit held out, the model is not shown to be better than a "
                    f"constant: its gain is {number(gain)}, which is not above two standard errors "
                    f"of {number(error)}. What this page says about relevance, interactions and "
                    "routing may mean nothing.",
                    "warning",
                )
            )
    elif gain is not None:
        found.append(
            Caution(
                "The fit had no held-out rows to judge itself by; whether the model has learned "
                "anything is for the scores below to say."
            )
        )
    if training is not None and training.interrupted:
        found.append(Caution("The fit was interrupted before its end.", "warning"))
    if getattr(model, "fusion_norm_", 1.0) == 0:
        found.append(
            Caution(
                "All fusion weights are zero: the penalty has removed every term, and the model "
                "is a constant. Lower reg.",
                "warning",
            )
        )
    gap = getattr(model, "polish_gap_", None)
    is_vote = getattr(result, "is_vote", False)  # solved for in another way
    if gap is not None and np.isnan(gap) and getattr(model, "polish", False) and not is_vote:
        reason = (
            "there is none without a penalty (reg=0)"
            if getattr(model, "reg_", None) == 0
            else "that did worse on held-out rows"
        )
        found.append(
            Caution(
                "The fusion weights are those of the last training step, not of the exact "
                f"solution: {reason}. Relevance depends somewhat on where training ended."
            )
        )
    found += _of_the_terms(model)
    return found


def _of_the_terms(model: Any) -> list[Caution]:
    relevance = getattr(model, "relevance_scores_", None)
    if relevance is None:
        return []
    pairs = zip(model.term_names_, model.term_modalities_, strict=True)
    higher = [name for name, term in pairs if len(term) > 1]
    if higher and getattr(model, "reg", None) == "auto" and not any(relevance[n] for n in higher):
        return [
            Caution(
                f"None of the {len(higher)} interactions is used: with them, held-out rows were "
                "not predicted clearly better, or the penalty removed them."
            )
        ]
    return []


def _of_the_scores(
    subject: Subject, scores: list[tuple[str, float | None, float | None]]
) -> list[Caution]:
    known = {name: (score, constant) for name, score, constant in scores if score is not None}
    for name, worse in (
        ("log loss", lambda s, c: s >= c),
        ("log loss, mean over labels", lambda s, c: s >= c),
        ("R²", lambda s, c: s <= c),
        ("R², mean over outputs", lambda s, c: s <= c),
        ("balanced accuracy", lambda s, c: s <= c),
    ):
        if name in known:
            score, constant = known[name]
            if not worse(score, constant):
                return []
            return [
                Caution(
                    f"On the rows of this report the model does no better than a constant: {name} "
                    f"{number(score)}, of the constant {number(constant)}.",
                    "warning",
                )
            ]
    return []


def _of_the_relevance(subject: Subject, on_rows: RowRelevance | None) -> list[Caution]:
    far = [] if on_rows is None else on_rows.far_above
    if on_rows is None or not far:
        return []
    named = [
        f"{subject.term_names[t]} ({on_rows.of_fit[t]:.2f} in training, "
        f"{on_rows.scores[t]:.2f} on these rows)"
        for t in far[:_MOST_TERMS]
    ]
    if len(far) > _MOST_TERMS:
        named.append(f"{len(far) - _MOST_TERMS} more")
    return [
        Caution(
            f"Relevance in training is far above what these rows support: {', '.join(named)}; go "
            "by the relevance on these rows, and fit again with fewer columns in that modality "
            "(PCA in a ModalityTransformer), a stronger penalty or more training rows.",
            "warning",
        )
    ]


def _of_the_rows(subject: Subject, train: Subject | None) -> list[Caution]:
    found = []
    if subject.n_samples < FEWEST_ROWS:
        are = "is" if subject.n_samples == 1 else "are"
        rows = counted(subject.n_samples, "row")
        found.append(Caution(f"{rows} {are} few: every number here is uncertain."))
    if train is None:
        found.append(
            Caution(
                "This page can't know whether its rows were among the training rows. Scores and "
                "intervals speak of new data only if they were not; with X_train it checks."
            )
        )
    elif shared := n_shared_rows(subject, train):
        found.append(
            Caution(
                f"{number(shared)} of the {counted(subject.n_samples, 'row')} "
                f"{'is a training row' if shared == 1 else 'are training rows'}: "
                "the scores are too good.",
                "warning",
            )
        )
    if subject.is_classifier and subject.kind != "multilabel":
        known = set(subject.classes)
        unseen = [label for label in np.unique(subject.y).tolist() if label not in known]
        if unseen:
            found.append(
                Caution(
                    f"The model has never seen the class{'es' if len(unseen) > 1 else ''} "
                    f"{', '.join(map(str, unseen))}; log loss can't be computed.",
                    "warning",
                )
            )
    for block in subject.data.blocks:
        if block.present is not None and block.present.mean() < 1 - _MUCH_MISSING:
            found.append(
                Caution(
                    f"Modality {block.name}: missing in "
                    f"{1 - block.present.mean():.0%} of the rows, where its terms add 0."
                )
            )
    return found
