"""What a fit that has ended should be warned of."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_mmfusion._errors import FitInterruptedWarning, RelevanceWarning, warn
from sklearn_mmfusion._fitting.data import FitResult

__all__ = ["MIN_EFFECT", "not_shown_to_learn", "warn_of_fit"]

MIN_EFFECT = 2.0  # standard errors that the held-out gain must exceed to count as learned


def not_shown_to_learn(model: Any) -> bool:
    """Whether held-out rows leave open if a fitted model is better than a constant.

    Its gain is at most two standard errors then. False without held-out rows, and for models that
    do not judge themselves.
    """
    gain = getattr(model, "validation_gain_", np.nan)
    error = getattr(model, "validation_gain_error_", 0.0)
    return bool(not np.isnan(gain) and not gain > MIN_EFFECT * error)


def warn_of_fit(model: Any, results: list[FitResult], explains: str) -> None:
    """Warn of a fit that was cut short, has not converged, or may have learned nothing.

    Parameters
    ----------
    model : estimator
        The fitted estimator.
    results : list of FitResult
        Results of the members.
    explains : str
        What means nothing where nothing was learned; "" for models that explain nothing.
    """
    training = results[-1].training  # the one that was interrupted, if one was
    unfinished = [
        member.training
        for member in results
        if not _has_converged(
            member.training.history, member.training.stopped, member.training.n_epochs
        )
    ]
    if training.interrupted:
        warn(_interruption(results), FitInterruptedWarning)
    elif unfinished:
        training = unfinished[0]
        warn(
            f"training had not converged after max_epochs={training.n_epochs} epochs; "
            "raise max_epochs or lr",
            ConvergenceWarning,
        )
    if not explains:
        return
    if np.isnan(getattr(model, "validation_gain_", 0.0)) and not training.interrupted:
        warn(
            "there are too few rows to hold some out (fewer than ten, equal ones, or one group in "
            "all or of each class): nothing shows that the model predicts better than a constant, "
            f"and its {explains} may mean nothing",
            RelevanceWarning,
        )
        return
    if not not_shown_to_learn(model):
        return
    where = "held-out rows" if training.used_held_out else "rows held out of a first fit"
    warn(
        f"the model is not shown to predict better than a constant: on {where} its gain is "
        f"{model.validation_gain_:.3f}, which is not above two standard errors of "
        f"{model.validation_gain_error_:.3f}; its {explains} may mean nothing",
        RelevanceWarning,
    )


def _interruption(results: list[FitResult]) -> str:
    """Say what an interrupted fit has left."""
    last, cut = results[-1].training, sum(result.training.interrupted for result in results)
    text = f"fit was interrupted; the model is that of epoch {last.best_epoch or last.n_epochs}"
    if len(results) == 1:
        return text
    if cut == 1:
        return f"{text} of member {len(results)} and those before it"
    epochs = [r.training.best_epoch or r.training.n_epochs for r in results]
    return f"fit was interrupted; its {len(results)} members are those of epochs {epochs}"


def _has_converged(history: list[dict[str, Any]], stopped: bool, n_epochs: int) -> bool:
    """Whether early stopping ended the fit, or the training loss had come to rest."""
    if stopped:
        return True
    losses = [float(epoch["train_loss"]) for epoch in history]
    window = max(1, len(losses) // 20)
    if len(losses) < 20:
        return False
    late, earlier = np.mean(losses[-window:]), np.mean(losses[-2 * window : -window])
    return bool(earlier - late <= 0.02 * max(abs(losses[0]), 1e-12))
