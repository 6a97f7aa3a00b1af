"""One epoch on a batch of rows: ``partial_fit``."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy.typing as npt
from sklearn.base import _fit_context, is_classifier
from sklearn.utils import check_random_state

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._fitting.fit import fit_steps
from sklearn_mmfusion._fitting.options import refuse_watchers
from sklearn_mmfusion._fitting.together import run_alone
from sklearn_mmfusion._fitting.wild_cells import warn_of_wild_values
from sklearn_mmfusion._inputs.validation import check_fit_inputs
from sklearn_mmfusion._inputs.validation_targets import (
    check_same_classes,
    check_same_outputs,
    check_target_names,
)
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._stacking.estimator_encoder import EstimatorEncoder
from sklearn_mmfusion._training.devices import intra_op_threads, usual_torch

__all__ = ["PartialFits"]

_FEWEST = 10  # rows by which a stream that knew one class may scale its inputs instead


class PartialFits:
    """Adds :meth:`partial_fit` to an estimator with a plan."""

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self: Any, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> Any:
        """Train one epoch on a batch of rows.

        Inputs, and targets of a regression, are scaled by the statistics of the first call, which
        should be of rows that are like those to come. A class that it lacks has to be in
        ``classes``. Rows of one class alone are like no others, and say nothing of what tells
        classes apart: the first later batch of ten rows with another class begins anew. Batch
        statistics are running averages, and the fusion weights are not polished: call :meth:`fit`
        for relevance scores to report.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows of the batch.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        classes : array-like, default=None
            All labels that will ever come (classifiers; needed in the first call unless the
            first batch has them all). Later calls may repeat them.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows, in one unit over all calls: a batch of weights of 2
            counts twice as much as one of weights of 1.

        Returns
        -------
        self : object
            The estimator.
        """
        if self._n_members() > 1:
            raise InputError(
                f"partial_fit: n_bags={self._n_members()} takes all rows at once; use fit, or "
                "n_bags=1"
            )
        refuse_watchers(self.callbacks, "partial_fit; use fit")
        if isinstance(getattr(self, "class_weight", None), str):
            raise InputError(
                f"partial_fit: class_weight={self.class_weight!r} needs the frequencies of all "
                "rows, which no batch knows; pass a dict of weights, or sample_weight"
            )
        first = not hasattr(self, "_result")
        known = classes if first else getattr(self, "classes_", None)
        if not first and known is not None and classes is not None:
            check_same_classes(classes, self._target)
        if not first:
            check_target_names(y, self._target)
        schema, data, target, encoded, weight = check_fit_inputs(
            self,
            X,
            y,
            sample_weight,
            classifier=is_classifier(self),
            schema=None if first else self._schema,
            classes=known,
            lazy=True,
        )
        if not first:
            check_same_outputs(target, self._target)
            target = self._target  # an array has no names of columns; the first call may have had
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        last = None if first else self._result
        only_class = _only_class(target.kind, encoded)
        if last is not None and last.only_class >= 0 > only_class and len(encoded) >= _FEWEST:
            last = None
        if last is None:
            plan, display = self._make_plan(schema, target, data.n_samples, seed)
        else:
            plan, display = replace(last.plan, seed=seed), self._display
        self._refuse_estimators(plan)
        batch = self._fit_input(plan, data, target, encoded, weight)
        if last is None:
            loss_name = self._loss_name(batch.kind)
            warn_of_wild_values(plan, batch, loss_name, sample_weight, target_names=target.names)
        options = self._options(plan, batch)
        with (
            usual_torch(),
            intra_op_threads(self.n_threads),
            self._memory_errors(plan, batch),
        ):
            steps = fit_steps(
                plan,
                batch,
                None,
                options=replace(
                    options,
                    max_epochs=1,
                    ramp_epochs=0,
                    patience=None,
                    parallel=None,  # every process goes on with a net of its own
                    # A stream has no end to decay towards.
                    lr_decay=1.0,
                    dropout_epochs=sys.maxsize,
                ),
                loss_name=self._loss_name(batch.kind),
                dtype=self._training_dtype(batch.data, options.device),
                polish_weights=False,
                one_epoch=True,
                last=last,
            )
            (result,) = run_alone([steps])
        if last is not None and last.only_class != only_class:
            only_class = -1  # from now on there is something to lose
        result = replace(result, only_class=only_class)
        n_before = 0 if first else self.n_iter_
        history = [] if first else self.history_
        self._set_fitted(schema, target, display, [result])
        self.n_iter_ = n_before + 1
        self.history_ = [*history, {**result.training.history[-1], "epoch": self.n_iter_}]
        return self

    def _refuse_estimators(self: Any, plan: FusionPlan) -> None:
        names = [n for n in plan.names if n in getattr(self, "representations_", {})]
        if not plan.is_joint:
            pairs = zip(plan.names, plan.encoders, strict=True)
            names += [name for name, encoder in pairs if isinstance(encoder, EstimatorEncoder)]
        if names:
            raise InputError(
                f"modality {names[0]!r}: EstimatorEncoder needs all rows at once; use fit, or "
                "another encoder for partial_fit"
            )


def _only_class(kind: str, encoded: npt.NDArray[Any]) -> int:
    """Return the class that all rows are of; -1 where they are not, or have no classes."""
    if kind not in ("binary", "multiclass") or (encoded != encoded[0]).any():
        return -1
    return int(encoded[0])
