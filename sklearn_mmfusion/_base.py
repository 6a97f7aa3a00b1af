"""The fit template that all estimators share."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from numbers import Integral, Real
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, _fit_context, clone, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples

from sklearn_mmfusion._diagram import DiagramMixin
from sklearn_mmfusion._encoders.choosing import EncodersMixin, resolve_encoders
from sklearn_mmfusion._errors import (
    DivergedError,
    InputError,
    InputTypeError,
)
from sklearn_mmfusion._fitted import FittedFusion, without_net
from sklearn_mmfusion._fitting.data import FitInput, FitResult
from sklearn_mmfusion._fitting.memory_estimate import MemoryEstimates
from sklearn_mmfusion._fitting.partial_fits import PartialFits
from sklearn_mmfusion._fitting.runs import FitRuns
from sklearn_mmfusion._fitting.telling_gaps import warn_of_telling_gaps
from sklearn_mmfusion._fitting.together import (
    Fitting,
    may_run_beside_others,
    run_fittings,
)
from sklearn_mmfusion._fitting.warnings import warn_of_fit
from sklearn_mmfusion._fitting.wild_cells import warn_of_wild_values
from sklearn_mmfusion._inputs.fingerprints import fingerprint
from sklearn_mmfusion._inputs.validation import (
    InputSchema,
    TargetSchema,
    check_fit_inputs,
    set_input_attributes,
)
from sklearn_mmfusion._inputs.validation_targets import (
    check_same_outputs,
    check_target_names,
    weighted_rows,
)
from sklearn_mmfusion._model.plan import FusionPlan, Head, in_plan_order
from sklearn_mmfusion._rows.groups import check_groups
from sklearn_mmfusion._stacking.estimator_encoder import (
    fit_representations,
    represent,
)
from sklearn_mmfusion._training.checkpoint import Checkpoint
from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion._training.distributed import join_processes
from sklearn_mmfusion._training.memory_errors import memory_errors, rows_text
from sklearn_mmfusion._training.progress import CallbackSupport, FitTask
from sklearn_mmfusion.data._blocks import ModalityData, ModalityLayout

__all__ = ["BaseFusion"]


class BaseFusion(
    PartialFits,
    EncodersMixin,
    DiagramMixin,
    MemoryEstimates,
    CallbackSupport,
    FitRuns,
    FittedFusion,
):
    """Base of all estimators that train a network.

    A subclass says which terms there are (:meth:`_make_terms`), how their encodings become
    outputs (:meth:`_make_head`), which loss (:meth:`_loss_name`), and what it reads off a fit
    (:meth:`_set_readings`); everything else is here and in the floors below.
    """

    # Metadata routing: groups that reach a meta-estimator are asked for by default.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True}

    _takes_joint_encoder: ClassVar[bool] = False
    # What may mean nothing where it is not shown that a fit has learned; "" for models that
    # explain nothing.
    _explains: ClassVar[str] = ""

    _parameter_constraints: ClassVar[dict[str, list[Any] | str]] = {
        "modalities": "no_validation",
        "encoders": "no_validation",
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "lr_decay": [Interval(Real, 0, 1, closed="right")],
        "optimizer": [None, BaseEstimator],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), StrOptions({"auto"})],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "missing": [StrOptions({"raise", "mask"})],
        "modality_dropout": [Interval(Real, 0, 1, closed="left")],
        "device": [str],
        "distributed": [None, StrOptions({"auto"})],
        "dtype": [StrOptions({"auto", "float32", "float64", "bfloat16"})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "compile": ["boolean", StrOptions({"cudagraphs"})],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
        "net_params": [dict, None],
        "checkpoint": [str, PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    _saved: ClassVar[dict[str, Any]] = {
        "_schema": InputSchema,
        "_target": TargetSchema,
        "_display": list[tuple[int, ...]],
        "_results": list[FitResult],
        "n_iter_": int,
        "history_": list[dict[str, Any]],
    }

    representations_: dict[str, Any]
    n_iter_: int
    history_: list[dict[str, Any]]
    validation_history_: list[dict[str, Any]]

    # -- what a subclass supplies --------------------------------------------------------------

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        """Terms as positions in ``names``."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _make_head(self, target: TargetSchema, n_samples: int) -> Head:
        """Head of the network."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _set_readings(self) -> None:
        """Set the fitted attributes that only this method has."""
        raise NotImplementedError  # pragma: no cover - abstract

    # -- fit -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> Any:
        """Fit the model.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Modalities with n_samples rows each; see the user guide for every form.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows. Whole numbers, class weights included, count as
            repetitions: rows of weight 1000 are 1000 rows each to every standard error, those
            that decide on interactions and warnings too. Any others count by Kish's size,
            ``sum(w) ** 2 / sum(w ** 2)`` rows in all, which no common factor changes: weights of
            1000.5 are one row each. Divide weights that are no repetitions, such as those of a
            survey, by their mean.
        groups : array-like of shape (n_samples,), default=None
            Labels of rows that belong together, such as those of one person. Whole groups are
            held out then, with about ``validation_fraction`` of the rows and of each class
            (:class:`~sklearn.model_selection.StratifiedGroupKFold`), and so are the folds of an
            :class:`EstimatorEncoder`; errors of held-out losses and gains are those of groups. Rows
            of ``X_val`` have no groups, and each is its own. With metadata routing, groups that
            reach a meta-estimator go on to ``fit`` by themselves.
        X_val, y_val : optional
            Held-out rows of your own, such as the validation part that a data set comes with, in
            the forms of ``X`` and ``y``. They take the place of rows that would be held out of
            ``X`` (``validation_fraction``), whatever the number of rows: the best epoch and all
            else that is chosen on held-out rows is chosen on them.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        InputError, InputTypeError
            Input that cannot be used; a ValueError and a TypeError. Nothing is changed then.
        DivergedError
            Loss or weights became infinite or NaN.
        FusionMemoryError
            There was not enough memory, on the CPU or the GPU; a MemoryError.
        CheckpointError
            The ``checkpoint`` is of another fit, damaged, or cannot be written; an OSError.
        """
        run_fittings([self._fitting(X, y, sample_weight, groups, X_val, y_val)])
        return self

    def _fitting(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> Fitting:
        """Fit the model: yield the fits of the members to be run, and take their results."""
        schema, data, target, encoded, weight = check_fit_inputs(
            self, X, y, sample_weight, classifier=is_classifier(self), lazy=True
        )
        of_rows = weighted_rows(sample_weight)  # those of weight 0 are gone, with their groups
        n_given = data.n_samples if of_rows is None else _num_samples(sample_weight)
        codes = check_groups(groups, n_given)
        if codes is not None and of_rows is not None:
            codes = codes[of_rows]
        validation = None
        if X_val is not None or y_val is not None:
            validation = self._check_validation(schema, target, X_val, y_val)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        parallel = join_processes(self.distributed)
        if parallel is not None:
            seed = parallel.same_seed(seed)
        checkpoint = None
        if self.checkpoint is not None:
            if parallel is not None:
                raise InputError(
                    "checkpoint: a fit on several processes (distributed) cannot be gone on with; "
                    "set checkpoint=None, or distributed=None"
                )
            checkpoint = self._open_checkpoint(data, encoded, weight, codes, validation, seed)
            seed = checkpoint.seed
        plan, display = self._make_plan(schema, target, data.n_samples, seed)
        whole = self._fit_input(plan, data, target, encoded, weight)
        whole.checkpoint, whole.groups = checkpoint, codes
        plan, whole.data, representations = fit_representations(
            plan, whole.data, encoded, whole.weight, target.kind, codes
        )
        loss_name = self._loss_name(target.kind)
        warn_of_wild_values(plan, whole, loss_name, sample_weight, representations, target.names)
        held = None
        if validation is not None:
            held = self._fit_input(plan, validation[0], target, validation[1], None)
            held.data = represent(representations, held.data)
        starts = self._warm_starts(plan)

        def attributes(result: FitResult) -> dict[str, Any]:
            twin = copy.copy(self)
            twin.representations_ = representations
            twin._set_fitted(schema, target, display, [result])
            return {
                name: value
                for name, value in vars(twin).items()
                if name.endswith("_") or name.startswith("_")
            }

        task = whole.task = FitTask(self, X, y, sample_weight, attributes)
        try:
            with intra_op_threads(self.n_threads), self._memory_errors(plan, whole):
                beside = may_run_beside_others(plan, self._options(plan, whole), whole)
                results = yield self._run_members(whole, held, starts), beside
        except DivergedError:
            if checkpoint is not None:
                checkpoint.remove()  # going on would end in the same
            raise
        self.representations_ = representations
        self._set_fitted(schema, target, display, results)
        task.end()
        if checkpoint is not None and not results[-1].training.interrupted:
            checkpoint.remove()
        warn_of_fit(self, results, self._explains)
        warn_of_telling_gaps(self, whole)

    def _refits_gain_together(self, X: Any, y: Any, sample_weight: Any, groups: Any = None) -> bool:
        """Whether several fits to these rows, or to some of them, gain by being run together."""
        schema, data, target, encoded, weight = check_fit_inputs(
            self, X, y, sample_weight, classifier=is_classifier(self), lazy=True
        )
        plan, _ = self._make_plan(schema, target, data.n_samples, 0)
        whole = self._fit_input(plan, data, target, encoded, weight)
        whole.task = FitTask(self, X, y, sample_weight)
        return may_run_beside_others(plan, self._options(plan, whole), whole)

    def _memory_errors(self, plan: FusionPlan, rows: FitInput) -> AbstractContextManager[None]:
        def describe() -> str:
            options = self._options(plan, rows)
            return (
                f"fitting {rows_text(rows.data)} in batches of {options.batch_size} on "
                f"{options.device}: lower batch_size or the widths of the encoders, use "
                "dtype='float32', or leave terms out"
            )

        return memory_errors(describe)

    def _open_checkpoint(
        self,
        data: ModalityData,
        encoded: npt.NDArray[Any],
        weight: npt.NDArray[np.float64] | None,
        groups: npt.NDArray[np.intp] | None,
        validation: tuple[ModalityData, npt.NDArray[Any]] | None,
        seed: int,
    ) -> Checkpoint:
        last: list[FitResult] = getattr(self, "_results", []) if self.warm_start else []
        start = [array for result in last for array in result.state.values()]
        found = fingerprint(self, data, encoded, weight, start, validation, groups)
        return Checkpoint(self.checkpoint, found, seed, keeps_seed=self.random_state is None)

    def _make_plan(
        self, schema: InputSchema, target: TargetSchema, n_samples: int, seed: int
    ) -> tuple[FusionPlan, list[tuple[int, ...]]]:
        """Plan of the network, and its terms in the order in which the user sees them."""
        shown = self._make_terms(schema.names)
        only = getattr(self, "_only_terms", None)  # set by sweep for the time of a fit
        if only is not None:
            shown = [t for t in shown if frozenset(schema.names[m] for m in t) in only]
        order = sorted(range(len(schema.layouts)), key=lambda i: schema.names[i])
        rank = {position: i for i, position in enumerate(order)}
        internal = [tuple(sorted(rank[m] for m in term)) for term in shown]
        terms = sorted(internal, key=lambda term: (len(term), term))
        layouts = tuple(schema.layouts[i] for i in order)
        encoders = self._resolve_encoders(layouts, n_samples)
        linear = self._resolve_encoders(layouts, n_samples, linear=True)
        plan = FusionPlan(
            layouts=layouts,
            encoders=encoders,
            terms=tuple(terms),
            scalings=(None,) * len(layouts),
            head=self._make_head(target, n_samples),
            n_outputs=target.n_outputs,
            modality_dropout=self.modality_dropout,
            seed=seed,
            linear=linear if repr(linear) != repr(encoders) else (),
        )
        return plan, internal

    def _resolve_encoders(
        self, layouts: tuple[ModalityLayout, ...], n_samples: int, *, linear: bool = False
    ) -> tuple[Any, ...]:
        if not hasattr(self.encoders, "build_joint"):
            return tuple(resolve_encoders(self.encoders, layouts, n_samples, linear=linear))
        if not self._takes_joint_encoder:
            raise InputError(
                f"{type(self).__name__} needs an encoder for each modality, got "
                f"{self.encoders!r}, which reads all of them together; use TransformerEncoder(), "
                "or an estimator that takes it, such as RoutingClassifier"
            )
        return (clone(self.encoders),)

    def _fit_input(
        self,
        plan: FusionPlan,
        data: ModalityData,
        target: TargetSchema,
        encoded: npt.NDArray[Any],
        weight: npt.NDArray[np.float64] | None,
    ) -> FitInput:
        in_all = self._with_class_weight(target, encoded, weight)
        counted = None
        if in_all is not weight:
            counted = np.ones(len(encoded)) if weight is None else weight
        return FitInput(in_plan_order(plan, data), encoded, in_all, target.kind, counted)

    def _check_validation(
        self, schema: InputSchema, target: TargetSchema, X_val: Any, y_val: Any
    ) -> tuple[ModalityData, npt.NDArray[Any]]:
        """Return held-out rows that the user passes, and their encoded target."""
        if X_val is None or y_val is None:
            raise InputError("X_val and y_val go together: pass both or none")
        check_target_names(y_val, target)
        # Names and counts of columns are compared with this fit's, not with those of the last one.
        like_this = clone(self)
        set_input_attributes(like_this, schema)
        _, data, given, encoded, _ = check_fit_inputs(
            like_this,
            X_val,
            y_val,
            None,
            classifier=is_classifier(self),
            schema=schema,
            classes=target.classes,
        )
        check_same_outputs(given, target, argument="y_val")
        return data, encoded

    def _with_class_weight(
        self,
        target: TargetSchema,
        encoded: npt.NDArray[Any],
        weight: npt.NDArray[np.float64] | None,
    ) -> npt.NDArray[np.float64] | None:
        return weight

    # -- fitted attributes ---------------------------------------------------------------------

    def _set_fitted(
        self,
        schema: InputSchema,
        target: TargetSchema,
        display: list[tuple[int, ...]],
        results: list[FitResult],
    ) -> None:
        self._schema, self._target, self._display = schema, target, display
        self._set_results(results)
        result = results[0]
        set_input_attributes(self, schema)
        if target.classes is not None:
            self.classes_ = target.classes
        names, encoders = result.plan.names, result.plan.encoders
        self.encoders_ = dict.fromkeys(names, encoders[0])  # a joint encoder is that of all
        if not result.plan.is_joint:
            self.encoders_ = dict(zip(names, encoders, strict=True))
        for name, representation in getattr(self, "representations_", {}).items():
            self.encoders_[name] = representation.encoder
        self.n_iter_ = result.training.n_epochs
        self.history_ = result.training.history
        self.validation_history_ = result.validation_history
        self.validation_gain_ = float(np.mean([member.gain for member in results]))
        # Members hold out different rows of the same few: their errors are far from independent,
        # and that of the mean is taken to be as large as that of one.
        self.validation_gain_error_ = float(np.mean([member.gain_error for member in results]))
        self.intercept_ = np.mean([_intercept(member) for member in results], axis=0)
        self._set_readings()

    def _saved_parts(self) -> dict[str, tuple[Any, Any]]:
        if names := list(getattr(self, "representations_", {})):
            raise InputTypeError(
                f"modality {names[0]!r}: the fitted estimator of an EstimatorEncoder cannot be "
                "saved as data; save the whole model with skops (skops.io.dump)"
            )
        parts = super()._saved_parts()
        parts["_results"] = [without_net(result) for result in self._results], list[FitResult]
        return parts

    def _restore(self, parts: dict[str, Any]) -> None:
        super()._restore(parts)
        self.representations_ = {}
        self._set_fitted(self._schema, self._target, self._display, self._results)
        # What was not read off the last fit: epochs of partial_fit, parameters at the fit.
        super()._restore(parts)


def _intercept(result: FitResult) -> npt.NDArray[np.float64]:
    """Intercept of one network in y's units."""
    bias = result.state["fusion.bias"].astype(np.float64)
    scaled: npt.NDArray[np.float64] = bias * result.target_scale.scale + result.target_scale.mean
    return scaled
