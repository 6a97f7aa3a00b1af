"""Several fits at a time: their trainings meet, and those of equal shape are done together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

from sklearn_mmfusion._encoders.specs import IdentityEncoder, LinearEncoder, MLPEncoder
from sklearn_mmfusion._fitting.data import FitInput, FitResult
from sklearn_mmfusion._fitting.fit import FitSteps, Training
from sklearn_mmfusion._fitting.stacked_training import stack_key, train_stack
from sklearn_mmfusion._inputs.lazy_blocks import is_lazy
from sklearn_mmfusion._model.block_head import BlockNormHead
from sklearn_mmfusion._model.plan import FusionPlan
from sklearn_mmfusion._optimizers import SGD, AdamW
from sklearn_mmfusion._training.devices import usual_torch
from sklearn_mmfusion._training.epochs import TrainingResult
from sklearn_mmfusion._training.net import TrainingOptions

__all__ = [
    "Fitting",
    "fits_at_a_time",
    "may_run_beside_others",
    "run_alone",
    "run_fittings",
    "run_together",
]

T = TypeVar("T")

# One call of ``fit``: yields the fits of its members, and whether they may run beside others, and
# takes their results.
Fitting = Generator[tuple[Iterator[FitSteps], bool], list[FitResult], None]

# In larger batches operations cost what they compute: little is gained by doing several as one.
# All rows at once share their dropout masks, which are no small part else.
_MAX_BATCH_ROWS, _MAX_WHOLE_ROWS = 128, 512
_MAX_BYTES = 8 * 2**20  # of the rows of a fit: every fit has copies of some
# A GPU waits for its operations to be asked for, until batches are far larger.
_MAX_GPU_ROWS, _MAX_GPU_BYTES = 4096, 128 * 2**20
_MAX_FITS = 10  # at a time
_ENCODERS = (MLPEncoder, LinearEncoder, IdentityEncoder)


def may_run_beside_others(plan: FusionPlan, options: TrainingOptions, rows: FitInput) -> bool:
    """Whether a fit gains by running side by side with fits of the same shape, and none is lost.

    The rule: fusion by MNL or InTense of flat features whose encoders are perceptrons, linear maps
    or none, in batches of at most 128 rows (512 where that is all of them) and with at most 8 MB
    of data in memory, on a GPU in batches of at most 4096 rows and with at most 128 MB; no row
    that lacks a modality (the shares of rows that have it differ between fits); and nobody who
    wants to see one training at a time (callbacks, a checkpoint, ``verbose``, ``net_params``,
    ``compile``, ``distributed``, an optimiser of the user's own).

    Parameters
    ----------
    plan : FusionPlan
        Its network.
    options : TrainingOptions
        Options for all rows.
    rows : FitInput
        All rows.
    """
    spec = getattr(options.build_optimizer, "__self__", None)
    watched = options.callbacks or options.net_params or options.verbose or rows.checkpoint
    if rows.task is not None and rows.task.has_listeners:
        return False
    on_cpu, on_gpu = options.device == "cpu", options.device.startswith("cuda")
    elsewhere = options.compile or options.bfloat16 or options.parallel is not None
    elsewhere = elsewhere or not (on_cpu or on_gpu)
    if watched or elsewhere or type(spec) not in (AdamW, SGD):
        return False
    n, max_bytes = rows.data.n_samples, _MAX_BYTES
    limit = _MAX_WHOLE_ROWS if options.batch_size >= n else _MAX_BATCH_ROWS
    if on_gpu:
        limit, max_bytes = _MAX_GPU_ROWS, _MAX_GPU_BYTES
    if min(options.batch_size, n) > limit or is_lazy(rows.data):
        return False
    if sum(block.values.nbytes for block in rows.data.blocks) > max_bytes:
        return False
    if any(block.present is not None for block in rows.data.blocks):
        return False
    return type(plan.head) is BlockNormHead and all(type(e) in _ENCODERS for e in plan.encoders)


def fits_at_a_time(plan: FusionPlan, options: TrainingOptions, rows: FitInput, n_fits: int) -> int:
    """Return how many of several fits to the same rows, or parts of them, run side by side."""
    return min(n_fits, _MAX_FITS) if may_run_beside_others(plan, options, rows) else 1


def run_fittings(fittings: Sequence[Fitting]) -> None:
    """Run calls of ``fit``, side by side where that is possible.

    Parameters
    ----------
    fittings : sequence of generator
        One for each call.
    """
    with ExitStack() as stack:
        stack.enter_context(usual_torch())
        waiting: list[tuple[Fitting, Iterator[FitSteps]]] = []
        for fitting in fittings:
            stack.callback(fitting.close)
            members, beside = next(fitting)
            if beside:
                waiting.append((fitting, members))
            else:
                _end(fitting, _run(fitting, partial(run_alone, members)))
        if not waiting:
            return
        fits = [members for _, members in waiting]
        found = _run(waiting[-1][0], partial(_side_by_side, fits))
        for (fitting, _), results in reversed(list(zip(waiting, found, strict=True))):
            if not results:
                raise KeyboardInterrupt  # before it had begun
            _end(fitting, results)


def _run(fitting: Fitting, run: Callable[[], T]) -> T:
    """Run what a call of ``fit`` asks for; it knows what to make of an error."""
    try:
        return run()
    except BaseException as error:
        fitting.throw(error)
        raise


def _end(fitting: Fitting, results: list[FitResult]) -> None:
    with suppress(StopIteration):
        fitting.send(results)


def _side_by_side(fits: Sequence[Iterable[FitSteps]]) -> list[list[FitResult]]:
    """Run the fits of all members of several calls, some of them at a time."""
    every = [(i, steps) for i, members in enumerate(fits) for steps in members]
    size = -(-len(every) // -(-len(every) // _MAX_FITS))
    found: list[list[FitResult]] = [[] for _ in fits]
    for start in range(0, len(every), size):
        part = every[start : start + size]
        results = run_together([steps for _, steps in part])
        for place, result in results.items():
            found[part[place][0]].append(result)
        if any(result.training.interrupted for result in results.values()):
            break
    return found


def run_alone(fits: Iterable[FitSteps]) -> list[FitResult]:
    """Run one fit after the other, up to one that is interrupted.

    Parameters
    ----------
    fits : iterable of generator
        What :func:`~sklearn_mmfusion._fitting.fit.fit_steps` returns, or goes on from that. Each is
        made when the one before it has ended.
    """
    results: list[FitResult] = []
    for steps in fits:
        result: TrainingResult | None = None
        while True:
            try:
                training = next(steps) if result is None else steps.send(result)
            except StopIteration as end:
                results.append(end.value)
                break
            result = training.run()
            del training  # its rows are not needed any more
        if results[-1].training.interrupted:
            break
    return results


def run_together(fits: Iterable[FitSteps]) -> dict[int, FitResult]:
    """Run fits side by side, each as it would be alone.

    All go up to the training that they need next; those of equal shape are done together, others
    one after the other.

    Parameters
    ----------
    fits : iterable of generator
        Fits of which none knows of another.

    Returns
    -------
    dict of int to FitResult
        Results by the place of the fit, in order. After an interruption those that were being
        trained, which keep their last whole epoch, and those that had ended before.
    """
    steps = list(fits)
    results: dict[int, FitResult] = {}
    waiting: dict[int, Training] = {}

    def advance(i: int, result: TrainingResult | None) -> None:
        try:
            waiting[i] = next(steps[i]) if result is None else steps[i].send(result)
        except StopIteration as end:
            results[i] = end.value

    for i in range(len(steps)):
        advance(i, None)
    while waiting:
        for places in _companies(waiting):
            trainings = [waiting.pop(i) for i in places]
            found = train_stack(trainings) if len(places) > 1 else [trainings[0].run()]
            del trainings  # their rows are not needed any more
            if any(result.interrupted for result in found):
                waiting.clear()
            for i, result in zip(places, found, strict=True):
                advance(i, result)
            if any(result.interrupted for result in found):
                break
    return dict(sorted(results.items()))


def _companies(waiting: dict[int, Training]) -> Sequence[Sequence[int]]:
    """Return the places of the trainings that are done together, and of others one by one."""
    companies: dict[object, list[int]] = {}
    for i, training in waiting.items():
        key = stack_key(training)
        companies.setdefault(i if key is None else key, []).append(i)
    return list(companies.values())
