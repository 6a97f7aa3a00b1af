"""How far a fit is, told to scikit-learn's callbacks where scikit-learn has them (1.9 and later).

A fit is a task; it has parts (one training after the other), and a part has steps (epochs). Without
callbacks, or before 1.9, nothing happens here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["CallbackSupport", "FitTask", "PartTask"]


def _callback_support() -> type:
    """Return scikit-learn's mixin with ``set_callbacks``, or an empty class."""
    try:
        from sklearn.callback import CallbackSupportMixin
    except ImportError:
        return type("CallbackSupportMixin", (), {"__module__": __name__})
    mixin: type = CallbackSupportMixin
    return mixin


CallbackSupport: Any = _callback_support()


class FitTask:
    """One call of ``fit``, as scikit-learn's callbacks see it.

    Parameters
    ----------
    estimator : estimator
        The estimator that is fitted.
    X, y, sample_weight : object
        What ``fit`` was given; callbacks that ask get it as it is.
    attributes : callable, default=None
        Takes what a step hands over and returns the attributes of an estimator that is fitted so
        far; called only where a callback asks for such an estimator.
    """

    def __init__(
        self,
        estimator: Any,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        attributes: Callable[[Any], dict[str, Any]] | None = None,
    ) -> None:
        self.estimator = estimator
        self.attributes = attributes
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.given = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self.context: Any = None

    def begin(self, n_parts: int) -> None:
        """Begin the task, unless it has begun; it will have at most this many parts."""
        if self.context is None and hasattr(self.estimator, "_init_callback_context"):
            self.context = self.estimator._init_callback_context(max_subtasks=n_parts)
            self.context.call_on_fit_task_begin(**self.given)

    def begin_part(self, name: str, n_steps: int) -> PartTask:
        """Begin a part with at most this many steps; without any it is done in one go."""
        listens = self.context is not None and self.has_listeners
        return PartTask(self if listens else None, name, n_steps)

    @property
    def has_listeners(self) -> bool:
        """Whether a callback follows the fit."""
        return bool(getattr(self.estimator, "_skl_callbacks", None))

    def end(self) -> None:
        """End the task, once the estimator is fitted."""
        if self.context is not None:
            self.context.call_on_fit_task_end(**self.given, reconstruction_attributes={})
            self.context = None
        # The net that was trained knows this task, and lives on in circles until they are
        # collected: the estimator and its rows shall not.
        self.estimator, self.attributes, self.given = None, None, {}


class PartTask:
    """A part of a fit; :meth:`FitTask.begin_part` makes one.

    Parameters
    ----------
    fit : FitTask or None
        The fit; None where nobody listens.
    name : str
        What is done, in a few words.
    n_steps : int
        Largest number of steps.
    """

    def __init__(self, fit: FitTask | None, name: str, n_steps: int) -> None:
        self.fit = fit
        if fit is not None:
            self.context = fit.context.subcontext(task_name=name, max_subtasks=n_steps)
            self.context.call_on_fit_task_begin(**fit.given)

    def begin_step(self) -> None:
        """Begin a step."""
        if self.fit is not None:
            self.step = self.context.subcontext(task_name="epoch")
            self.step.call_on_fit_task_begin(**self.fit.given)

    def end_step(self, so_far: Callable[[], Any]) -> bool:
        """End a step, and return whether a callback wants the part to end here.

        ``so_far`` returns what :class:`FitTask` makes the attributes of a fitted estimator of.
        """
        if self.fit is None:
            return False
        attributes = self.fit.attributes
        found = None if attributes is None else lambda: attributes(so_far())
        return bool(
            self.step.call_on_fit_task_end(**self.fit.given, reconstruction_attributes=found)
        )

    def end(self) -> None:
        """End the part."""
        if self.fit is not None:
            self.context.call_on_fit_task_end(**self.fit.given)
