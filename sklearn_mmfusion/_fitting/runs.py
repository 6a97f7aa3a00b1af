"""Which networks a fit trains, on which rows: members, held-out rows, what is chosen on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_mmfusion._encoders.choosing import SMALL_SAMPLE
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._fitting.alternatives import Alternative
from sklearn_mmfusion._fitting.data import FitInput, FitResult
from sklearn_mmfusion._fitting.fit import FitSteps, fit_steps
from sklearn_mmfusion._fitting.looks import Looks, taken
from sklearn_mmfusion._fitting.memory_estimate import check_memory
from sklearn_mmfusion._fitting.options import FitOptions, refuse_watchers, watchers
from sklearn_mmfusion._fitting.wild_rows import without_wild_rows
from sklearn_mmfusion._model.plan import FusionPlan, build_network
from sklearn_mmfusion._model.seeds import seed_for
from sklearn_mmfusion._rows.groups import split_by_group
from sklearn_mmfusion._rows.splitting import (
    HASHED_ROWS,
    SPARE_ROWS,
    Split,
    split_by_content,
    split_rows,
)
from sklearn_mmfusion.data._blocks import ModalityLayout

__all__ = ["FitRuns"]

_LAG = 0.25  # share of what the first fit gained in training loss that a second may lack
_WITH_HELD_OUT = "choose early_stopping='auto' or True"


class FitRuns(FitOptions):
    """Runs of the networks of one call of ``fit``."""

    early_stopping: bool | str
    validation_fraction: Any
    warm_start: bool

    def _resolve_encoders(
        self, layouts: tuple[ModalityLayout, ...], n_samples: int, *, linear: bool = False
    ) -> tuple[Any, ...]:
        """Return the encoders, or with ``linear`` those that may be tried in place of them."""
        raise NotImplementedError  # pragma: no cover - abstract

    def _n_members(self) -> int:
        """Return how many networks there are whose outputs are averaged."""
        return int(getattr(self, "n_bags", 1))

    def _warm_starts(self, plan: FusionPlan) -> list[tuple[FusionPlan, Any]]:
        """Plan of each member, its seed included, and the arrays that it starts from or None."""
        n_members = self._n_members()
        plans = [replace(plan, seed=_member_seed(plan.seed, i)) for i in range(n_members)]
        last: list[FitResult] = getattr(self, "_results", []) if self.warm_start else []
        if not last:
            return [(member, None) for member in plans]
        if len(last) != n_members:
            raise InputError(
                f"warm_start: n_bags={n_members}, but the last fit has {len(last)} members; "
                "set warm_start=False, or n_bags to that number"
            )
        return [self._warm_state(*pair) for pair in zip(plans, last, strict=True)]

    def _run_members(
        self, whole: FitInput, held: FitInput | None, starts: list[tuple[FusionPlan, Any]]
    ) -> Iterator[FitSteps]:
        """Yield the fit of each member."""
        if held is not None and self.early_stopping is False:
            refuse_watchers(self.callbacks, f"a fit of all epochs; {_WITH_HELD_OUT}")
        if held is not None:
            held = without_wild_rows(whole, held)
        for plan, start in starts:
            if held is None:
                yield self._run(plan, whole, start)
            else:
                n_rows = whole.data.n_samples + held.data.n_samples
                self._begin(plan, whole, self._n_tries(plan, n_rows, start))
                yield self._run_best(plan, whole, held, start)

    def _run(self, plan: FusionPlan, whole: FitInput, start: Any) -> FitSteps:
        """Fit with held-out rows, or choose on them in a first fit and then fit all rows."""
        n = whole.data.n_samples
        early = self.early_stopping
        if early == "auto":
            early = n > SPARE_ROWS or bool(watchers(self.callbacks))
        if early:
            fraction = self.validation_fraction
            if fraction == "auto":
                fraction = 0.2 if n <= SPARE_ROWS else 0.1
            seed = seed_for(plan.seed, "split")
            split = _split(whole, fraction, seed)
            if split is None and whole.groups is None:  # a handful: copies may be on both sides
                split = split_rows(whole.target, whole.kind, fraction, seed)
            if split is not None:
                self._begin(plan, whole, self._n_tries(plan, n, start))
                return (yield from self._run_best(plan, *taken(whole, split), start))
            self._refuse_no_rows(whole)
        refuse_watchers(self.callbacks, f"a fit on all rows; {_WITH_HELD_OUT}")
        fraction = 0.2 if self.validation_fraction == "auto" else self.validation_fraction
        seed = seed_for(plan.seed, "inner split")
        split = _split(whole, fraction, seed)
        if split is None:
            self._begin(plan, whole, 1)
            return (yield from self._run_once(plan, whole, None, start))
        looks = Looks(whole, split, fraction, seed, _split)
        parts = taken(whole, split)
        self._begin(plan, whole, self._n_tries(plan, n, start, looks) + 1)
        # Few rows cannot spare any: what is chosen is chosen in a first fit without some.
        schedule = self._schedule(plan, parts[0], whole)
        inner = yield from self._run_best(plan, *parts, start, looks)
        del parts, looks  # before all rows take memory of their own
        if inner.training.interrupted:
            return inner
        chosen = {**self._chosen(inner), "lr": inner.training.first_lr}
        if self.early_stopping == "auto" and inner.training.best_epoch is not None:
            chosen |= {**schedule, "max_epochs": inner.training.best_epoch}
        plan = replace(plan, terms=self._terms_left(inner), encoders=inner.plan.encoders)
        result = yield from self._run_once(plan, whole, None, start, **chosen)
        if "max_epochs" in chosen and _lags(result, inner):
            return inner
        if "max_epochs" in chosen and chosen["max_epochs"] < inner.training.n_epochs:
            # It ends where held-out rows did best, whether or not the training loss is at rest.
            result = replace(result, training=replace(result.training, stopped=True))
        return replace(
            result,
            gain=inner.gain,
            gain_error=inner.gain_error,
            validation_history=inner.validation_history,
        )

    def _refuse_no_rows(self, whole: FitInput) -> None:
        """Refuse a share of the rows that the user wants to be held out, and that leaves none."""
        if self.early_stopping != "auto" and self.validation_fraction != "auto":
            found, more = "", "more rows"
            if whole.groups is not None:
                n_groups = len(np.unique(whole.groups))
                found = f" from {n_groups} group{'s' if n_groups > 1 else ''}"
                more = "more groups, in all and of each class"
            raise InputError(
                f"early_stopping=True, but validation_fraction={self.validation_fraction} of "
                f"{whole.data.n_samples} rows are no two to hold out and two to train{found}; use "
                f"{more}, another validation_fraction or 'auto', or early_stopping='auto' or False"
            )

    def _schedule(self, plan: FusionPlan, kept: FitInput, whole: FitInput) -> dict[str, Any]:
        """Options with which all rows are trained as some were, for as many epochs."""
        first = self._options(plan, kept)
        schedule: dict[str, Any] = {"dropout_epochs": first.dropout_epochs}
        if self.batch_size == "auto":
            is_full = first.batch_size >= kept.data.n_samples
            schedule["batch_size"] = whole.data.n_samples if is_full else first.batch_size
        return schedule

    def _begin(self, plan: FusionPlan, whole: FitInput, n_fits: int) -> None:
        """Begin the task of a fit that trains this many times."""
        if whole.task is not None:
            n_phases = int(self._method_options(plan, whole).get("n_phases", 1))
            whole.task.begin(n_fits * n_phases * self._n_members())

    def _n_tries(
        self, plan: FusionPlan, n_rows: int, start: Any, looks: Looks | None = None
    ) -> int:
        """Return how many fits :meth:`_run_best` makes at most."""
        return 1 + len(self._others(plan, n_rows, start))

    def _others(self, plan: FusionPlan, n_rows: int, start: Any) -> list[Alternative]:
        """Return other models that are tried on held-out rows, in this order."""
        if start is not None:
            return []
        tries: list[Alternative] = []
        # Of one step an epoch there are few.
        one_step = self.batch_size == "auto" and n_rows <= SMALL_SAMPLE
        if self.lr == "auto" and one_step and plan.has_short_encoder:
            tries.append(Alternative(lr=self._long_lr))
        if plan.reads_components and plan.first_encoders(n_rows) == plan.encoders:
            tries.append(Alternative(encoders=plan.on_components(plan.encoders)))
        return tries

    def _run_first(
        self, plan: FusionPlan, kept: FitInput, held: FitInput, start: Any, looks: Looks | None
    ) -> FitSteps:
        """Fit on some rows the model that others are tried beside."""
        return (yield from self._run_once(plan, kept, held, start))

    def _run_best(
        self,
        plan: FusionPlan,
        kept: FitInput,
        held: FitInput,
        start: Any,
        looks: Looks | None = None,
    ) -> FitSteps:
        """Fit on some rows, and let other models win on the others.

        They win by a lower loss; with more than ``SMALL_SAMPLE`` rows it has to be lower by two
        standard errors. With fewer, no hidden layers are simpler by one of them.
        """
        n_rows = kept.data.n_samples + held.data.n_samples
        first = plan
        if start is None:
            first = replace(plan, encoders=plan.first_encoders(n_rows))
        best = yield from self._run_first(first, kept, held, start, looks)
        small = n_rows <= SMALL_SAMPLE
        has_gained = is_linear = False
        for change in self._others(plan, n_rows, start):
            if best.training.interrupted:
                break
            if change.after_gain and not (small or has_gained):
                continue
            lr = best.training.first_lr if change.lr is None else change.lr
            changed = change.plan(plan, best)
            other = yield from self._run_once(changed, kept, held, None, vote=change.vote, lr=lr)
            mine, others = other.held, best.held
            assert mine is not None and others is not None  # since there are such rows
            has_gained |= change.encoders is not None and mine.beats(others, 0.0)
            if other.training.interrupted:
                best = replace(best, training=replace(best.training, interrupted=True))
            elif change.wins(mine, others, is_linear, small):
                best, is_linear = other, change.becomes_linear(is_linear)
        return replace(best, held=None)

    def _terms_left(self, inner: FitResult) -> tuple[tuple[int, ...], ...]:
        """Return the terms of the fit on all rows, after a first fit on some."""
        return inner.plan.terms

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
        vote: bool = False,
        **chosen: Any,
    ) -> FitSteps:
        options = self._options(plan, kept)
        patience = options.patience if held else None
        options = replace(options, patience=patience, checkpoint=kept.checkpoint, **chosen)
        dtype = self._training_dtype(kept.data, options.device)
        check_memory(plan, options, dtype, kept.data)
        steps = fit_steps(
            plan,
            kept,
            held,
            options=options,
            loss_name=self._loss_name(kept.kind),
            dtype=dtype,
            polish_weights=polish,
            vote=vote,
            start=start,
        )
        return (yield from steps)

    def _warm_state(self, plan: FusionPlan, result: FitResult) -> tuple[FusionPlan, Any]:
        """Plan and arrays to start from: those of the last fit, if it was of the same model."""
        old = result.plan
        shapes = [[layout.shape for layout in p.layouts] for p in (old, plan)]
        same = old.names == plan.names and shapes[0] == shapes[1]
        encoders = self._encoders_of(old, plan) if same else plan.encoders
        plan = replace(plan, terms=old.terms, encoders=encoders)
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

    def _encoders_of(self, old: FusionPlan, plan: FusionPlan) -> tuple[Any, ...]:
        """Return the encoders of the last fit, where any number of rows may have chosen them."""
        if plan.is_joint or old.is_joint:
            return plan.encoders
        known = [[repr(encoder)] for encoder in plan.encoders]
        for n_rows in (SMALL_SAMPLE, SPARE_ROWS):
            own, linear = (
                self._resolve_encoders(plan.layouts, n_rows, linear=others)
                for others in (False, True)
            )
            chosen = replace(plan, encoders=own, linear=linear)
            for some in (own, linear, *map(chosen.on_components, (own, linear)), chosen.fixed()):
                for names, encoder in zip(known, some, strict=True):
                    names.append(repr(encoder))
        triples = zip(known, old.encoders, plan.encoders, strict=True)
        return tuple(last if repr(last) in names else now for names, last, now in triples)


def _split(whole: FitInput, fraction: float, seed: int) -> Split | None:
    """Split rows into those to train on and those held out; None where there are too few."""
    if whole.groups is not None:
        return split_by_group(whole.groups, whole.target, whole.kind, fraction, seed, whole.weight)
    if whole.data.n_samples > HASHED_ROWS:
        return split_rows(whole.target, whole.kind, fraction, seed)
    return split_by_content(whole.data, whole.target, whole.kind, fraction, seed, whole.weight)


def _lags(second: FitResult, first: FitResult) -> bool:
    """Whether a second fit ended far from the training loss that the first had in its best epoch.

    As many epochs are not always enough: where nothing but an interaction is to be learned, the
    loss stays where it is until the encoders find it, for how long is a matter of chance.
    """
    if second.training.interrupted or second.training.phase_epochs is not None:
        return False
    losses: list[Any] = [epoch["train_loss"] for epoch in first.training.history]
    last: Any = second.training.history[-1]["train_loss"]
    start, best = losses[0], losses[(first.training.best_epoch or 1) - 1]
    return bool(last - best > _LAG * (start - best) > 0)


def _member_seed(seed: int, member: int) -> int:
    """Seed of a member; the first is the fit without others."""
    return seed if member == 0 else seed_for(seed, "bag", str(member))
