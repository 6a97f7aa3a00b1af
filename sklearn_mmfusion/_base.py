"""The fit template that all estimators share."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, _fit_context, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sklearn_mmfusion._distributed import join_processes
from sklearn_mmfusion._encoders import SMALL_SAMPLE, EncodersMixin, resolve_encoders
from sklearn_mmfusion._errors import FitInterruptedWarning, InputError, RelevanceWarning
from sklearn_mmfusion._estimator_encoder import EstimatorEncoder, fit_representations
from sklearn_mmfusion._fitted import FittedFusion, ModuleCache
from sklearn_mmfusion._fitting import FitInput, FitResult, fit_network
from sklearn_mmfusion._memory_estimate import MemoryEstimates, check_memory
from sklearn_mmfusion._optimizers import AdamW
from sklearn_mmfusion._plan import FusionPlan, Head, build_network, in_plan_order
from sklearn_mmfusion._splitting import split_by_content, split_rows
from sklearn_mmfusion._training import TrainingOptions, intra_op_threads, seed_for
from sklearn_mmfusion._validation import (
    InputSchema,
    TargetSchema,
    check_fit_inputs,
    set_input_attributes,
)
from sklearn_mmfusion.data._blocks import ModalityData, ModalityLayout
from sklearn_mmfusion.modules.losses import LOSSES

__all__ = ["BaseFusion"]

_MIN_EFFECT = 2.0  # standard errors that the held-out gain must exceed to count as learned
_DEVICE_AUTO_VALUES = 20_000_000  # below this many input values "auto" stays on the CPU
_HASHED_ROWS = 50_000  # above, rows are not told apart by what is in them
_SPARE_ROWS = 5000  # below, validation_fraction="auto" holds out 0.2 of the rows, above 0.1


class BaseFusion(EncodersMixin, MemoryEstimates, FittedFusion):
    """Base of all estimators that train a network.

    A subclass says which terms there are (:meth:`_make_terms`), how their encodings become
    outputs (:meth:`_make_head`), which loss, and what it reads off a fit (:meth:`_set_readings`);
    everything else is here and in the floors below.
    """

    _takes_joint_encoder: ClassVar[bool] = False

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
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "warm_start": ["boolean"],
        "callbacks": [list, None],
        "net_params": [dict, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    n_iter_: int
    history_: list[dict[str, Any]]

    # -- what a subclass supplies --------------------------------------------------------------

    def _make_terms(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        """Terms as positions in ``names``."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _make_head(self, target: TargetSchema) -> Head:
        """Head of the network."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _loss_name(self, kind: str) -> str:
        """Key of the loss for a kind of target."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _method_options(self, plan: FusionPlan) -> dict[str, Any]:
        """Options of training that only this method has."""
        return {"reg": 0.0, "reg_factors": (), "p": 1.0}

    def _set_readings(self) -> None:
        """Set the fitted attributes that only this method has."""
        raise NotImplementedError  # pragma: no cover - abstract

    # -- fit -----------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Fit the model.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Modalities with n_samples rows each; see the user guide for every form.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows.

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
        """
        schema, data, target, encoded, weight = check_fit_inputs(
            self, X, y, sample_weight, classifier=is_classifier(self), lazy=True
        )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        parallel = join_processes(self.distributed)
        if parallel is not None:
            seed = parallel.same_seed(seed)
        plan, display = self._make_plan(schema, target, data.n_samples, seed)
        whole = self._fit_input(plan, data, target, encoded, weight)
        plan, whole.data, representations = fit_representations(
            plan, whole.data, encoded, whole.weight, target.kind
        )
        start = None
        if self.warm_start:
            plan, start = self._warm_state(plan)
        with intra_op_threads(self.n_threads):
            result = self._run(plan, whole, start)
        self.representations_ = representations
        self._set_fitted(schema, target, display, result)
        self._warn(result)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Any:
        """Train one epoch on a batch of rows.

        Inputs are scaled by the statistics of the first call. Batch statistics are running
        averages, and the fusion weights are not polished: call :meth:`fit` for relevance scores
        to report.

        Parameters
        ----------
        X : mapping, ModalityFrame, DataFrame or array-like
            Rows of the batch.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Target.
        classes : array-like, default=None
            All labels that will ever come (classifiers; needed in the first call unless the
            first batch has them all).
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the rows.

        Returns
        -------
        self : object
            The estimator.
        """
        first = not hasattr(self, "_result")
        known = classes if first else getattr(self, "classes_", None)
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
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        if first:
            plan, display = self._make_plan(schema, target, data.n_samples, seed)
        else:
            plan, display = replace(self._result.plan, seed=seed), self._display
        self._refuse_estimators(plan)
        batch = self._fit_input(plan, data, target, encoded, weight)
        with intra_op_threads(self.n_threads):
            result = fit_network(
                plan,
                batch,
                None,
                options=replace(
                    self._options(plan, batch),
                    max_epochs=1,
                    ramp_epochs=0,
                    patience=None,
                    parallel=None,  # every process goes on with a net of its own
                    # A stream has no end to decay towards.
                    lr_decay=1.0,
                    dropout_epochs=sys.maxsize,
                ),
                loss_name=self._loss_name(batch.kind),
                dtype=self._training_dtype(batch.data),
                polish_weights=False,
                one_epoch=True,
                last=None if first else self._result,
            )
        n_before = 0 if first else self.n_iter_
        history = [] if first else self.history_
        self._set_fitted(schema, target, display, result)
        self.n_iter_ = n_before + 1
        self.history_ = [*history, {**result.training.history[-1], "epoch": self.n_iter_}]
        return self

    def _refuse_estimators(self, plan: FusionPlan) -> None:
        names = [n for n in plan.names if n in getattr(self, "representations_", {})]
        if not plan.is_joint:
            pairs = zip(plan.names, plan.encoders, strict=True)
            names += [name for name, encoder in pairs if isinstance(encoder, EstimatorEncoder)]
        if names:
            raise InputError(
                f"modality {names[0]!r}: EstimatorEncoder needs all rows at once; use fit, or "
                "another encoder for partial_fit"
            )

    def _make_plan(
        self, schema: InputSchema, target: TargetSchema, n_samples: int, seed: int
    ) -> tuple[FusionPlan, list[tuple[int, ...]]]:
        """Plan of the network, and its terms in the order in which the user sees them."""
        shown = self._make_terms(schema.names)
        order = sorted(range(len(schema.layouts)), key=lambda i: schema.names[i])
        rank = {position: i for i, position in enumerate(order)}
        internal = [tuple(sorted(rank[m] for m in term)) for term in shown]
        terms = sorted(internal, key=lambda term: (len(term), term))
        layouts = tuple(schema.layouts[i] for i in order)
        plan = FusionPlan(
            layouts=layouts,
            encoders=self._resolve_encoders(layouts, n_samples),
            terms=tuple(terms),
            scalings=(None,) * len(layouts),
            head=self._make_head(target),
            n_outputs=target.n_outputs,
            modality_dropout=self.modality_dropout,
            seed=seed,
        )
        return plan, internal

    def _resolve_encoders(
        self, layouts: tuple[ModalityLayout, ...], n_samples: int
    ) -> tuple[Any, ...]:
        if not hasattr(self.encoders, "build_joint"):
            return tuple(resolve_encoders(self.encoders, layouts, n_samples))
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
        weight = self._with_class_weight(target, encoded, weight)
        return FitInput(in_plan_order(plan, data), encoded, weight, target.kind)

    def _with_class_weight(
        self,
        target: TargetSchema,
        encoded: npt.NDArray[Any],
        weight: npt.NDArray[np.float64] | None,
    ) -> npt.NDArray[np.float64] | None:
        return weight

    def _run(self, plan: FusionPlan, whole: FitInput, start: Any) -> FitResult:
        """Fit with held-out rows, or choose on them in a first fit and then fit all rows."""
        n = whole.data.n_samples
        early = n > SMALL_SAMPLE if self.early_stopping == "auto" else self.early_stopping
        if early:
            fraction = self.validation_fraction
            if fraction == "auto":
                fraction = 0.2 if n < _SPARE_ROWS else 0.1
            split = split_rows(whole.target, whole.kind, fraction, seed_for(plan.seed, "split"))
            if split is not None:
                return self._run_best(plan, whole.take(split[0]), whole.take(split[1]), start)
        fraction = 0.2 if self.validation_fraction == "auto" else self.validation_fraction
        seed = seed_for(plan.seed, "inner split")
        if n > _HASHED_ROWS:
            split = split_rows(whole.target, whole.kind, fraction, seed)
        else:
            split = split_by_content(whole.data, whole.target, whole.kind, fraction, seed)
        if split is None:
            return self._run_once(plan, whole, None, start)
        # Small data cannot spare rows: what is chosen is chosen in a first fit without some.
        inner = self._run_best(plan, whole.take(split[0]), whole.take(split[1]), start)
        if inner.training.interrupted:
            return inner
        chosen = self._chosen(inner)
        if self.early_stopping == "auto" and inner.training.best_epoch is not None:
            chosen["max_epochs"] = inner.training.best_epoch
        plan = replace(plan, terms=inner.plan.terms)
        result = self._run_once(plan, whole, None, start, **chosen)
        if "max_epochs" in chosen and chosen["max_epochs"] < inner.training.n_epochs:
            # It ends where held-out rows did best, whether or not the training loss is at rest.
            result = replace(result, training=replace(result.training, stopped=True))
        return replace(result, gain=inner.gain, gain_error=inner.gain_error)

    def _run_best(self, plan: FusionPlan, kept: FitInput, held: FitInput, start: Any) -> FitResult:
        """Fit on some rows, and choose on the others what there is to choose."""
        result = self._run_once(plan, kept, held, start)
        return replace(result, held_losses=None, held_share=None)

    def _chosen(self, inner: FitResult) -> dict[str, Any]:
        """Options that a first fit on some rows has settled for the fit on all rows."""
        return {}

    def _run_once(
        self,
        plan: FusionPlan,
        kept: FitInput,
        held: FitInput | None,
        start: Any,
        polish: bool = False,
        **chosen: Any,
    ) -> FitResult:
        options = self._options(plan, kept)
        options = replace(options, patience=options.patience if held else None, **chosen)
        check_memory(plan, options, self._training_dtype(kept.data), kept.data)
        return fit_network(
            plan,
            kept,
            held,
            options=options,
            loss_name=self._loss_name(kept.kind),
            dtype=self._training_dtype(kept.data),
            polish_weights=polish,
            start=start,
        )

    def _options(self, plan: FusionPlan, rows: FitInput) -> TrainingOptions:
        n_rows = rows.data.n_samples
        small = n_rows <= SMALL_SAMPLE
        if self.batch_size == "auto":
            # About 30 steps an epoch, in powers of two; full batch on small data.
            size = 2 ** round(float(np.log2(max(n_rows, 2) / 30)))
            batch_size = n_rows if small else int(np.clip(size, 32, 512))
        else:
            batch_size = int(min(self.batch_size, n_rows))
        parallel = join_processes(self.distributed)
        max_epochs = (200 if small else 100) if self.max_epochs == "auto" else self.max_epochs
        lr = 0.003 if self.lr == "auto" else float(self.lr)
        optimizer = AdamW() if self.optimizer is None else self.optimizer
        if self.early_stopping is False:
            patience = None
        else:
            # An epoch of one step says little: all of them are run, and the best is kept.
            patience = int(max_epochs) if batch_size >= n_rows else self.n_iter_no_change
        return TrainingOptions(
            max_epochs=int(max_epochs),
            batch_size=batch_size,
            lr=lr,
            lr_decay=float(self.lr_decay),
            **self._method_options(plan),
            loss=LOSSES[self._loss_name(rows.kind)],
            build_optimizer=optimizer.build,
            weight_decay=float(self.weight_decay),
            seed=plan.seed,
            ramp_epochs=min(10, int(max_epochs) // 3),
            dropout_epochs=int(max_epochs),
            patience=patience,
            callbacks=self.callbacks,
            net_params=dict(self.net_params or {}),
            verbose=0 if parallel is not None and parallel.rank else int(self.verbose),
            parallel=parallel,
            device=self._training_device(plan, n_rows),
        )

    def _training_device(self, plan: FusionPlan, n_rows: int) -> str:
        if self.device == "auto":
            values = n_rows * sum(int(np.prod(layout.shape)) for layout in plan.layouts)
            large = values >= _DEVICE_AUTO_VALUES
            return "cuda" if large and torch.cuda.is_available() else "cpu"
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise InputError(f"device={self.device!r} is not a torch device: {error}") from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise InputError(
                f"device={self.device!r}: cuda is not available here; use device='cpu' or 'auto'"
            )
        return str(device)

    def _training_dtype(self, data: ModalityData) -> torch.dtype:
        if self.dtype != "auto":
            return torch.float64 if self.dtype == "float64" else torch.float32
        double = any(block.values.dtype == np.float64 for block in data.blocks)
        on_cpu = self.device in ("auto", "cpu")
        return torch.float64 if double and on_cpu else torch.float32

    def _warm_state(self, plan: FusionPlan) -> tuple[FusionPlan, Any]:
        """Plan and arrays to start from: those of the last fit, if it was of the same model."""
        result: FitResult | None = getattr(self, "_result", None)
        if result is None:
            return plan, None
        old = result.plan
        shapes = [[layout.shape for layout in p.layouts] for p in (old, plan)]
        same = old.names == plan.names and shapes[0] == shapes[1]
        plan = replace(plan, terms=old.terms)
        if not same or any(
            name not in result.state or result.state[name].shape != tuple(value.shape)
            for name, value in build_network(replace(plan, scalings=old.scalings))
            .state_dict()
            .items()
        ):
            raise InputError(
                "warm_start: modalities, encoders or outputs differ from those of the last fit; "
                "set warm_start=False"
            )
        return plan, result.state

    # -- fitted attributes ---------------------------------------------------------------------

    def _set_fitted(
        self,
        schema: InputSchema,
        target: TargetSchema,
        display: list[tuple[int, ...]],
        result: FitResult,
    ) -> None:
        self._schema, self._target, self._display, self._result = schema, target, display, result
        self._cache = ModuleCache()
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
        self.validation_gain_ = result.gain
        bias = result.state["fusion.bias"].astype(np.float64)
        self.intercept_ = bias * result.target_scale.scale + result.target_scale.mean
        self._set_readings()

    def _warn(self, result: FitResult) -> None:
        training = result.training
        if training.interrupted:
            warnings.warn(
                "fit was interrupted; the model is that of epoch "
                f"{training.best_epoch or training.n_epochs}",
                FitInterruptedWarning,
                stacklevel=3,
            )
        elif not _has_converged(training.history, training.stopped, training.n_epochs):
            warnings.warn(
                f"training had not converged after max_epochs={training.n_epochs} epochs; "
                "raise max_epochs or lr",
                ConvergenceWarning,
                stacklevel=3,
            )
        gain, error = result.gain, result.gain_error
        if np.isnan(gain) or gain > _MIN_EFFECT * error:
            return
        where = (
            "held-out rows"
            if training.used_held_out
            else "rows held out of a second fit on the others"
        )
        warnings.warn(
            f"the model predicts {where} no better than a constant (gain {gain:.3f}, standard "
            f"error {error:.3f}): its relevance scores mean nothing",
            RelevanceWarning,
            stacklevel=3,
        )


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
