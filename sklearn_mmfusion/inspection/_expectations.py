r"""Expected outputs with some modalities fixed, and linear combinations of them.

For a set S of modalities

.. math:: v_S(x) = E_{b \sim \prod_m P_m}\, f(x_S, b_{\bar S})

with every modality outside S drawn on its own from the background. Additive projections, components
of a functional ANOVA and Shapley values are sums of :math:`c_S v_S`, here called quantities. A set
is a bit mask: bit m is modality m.

Letters: n explained row, q quantity, k output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.inspection._evaluator import Evaluator
from sklearn_mmfusion.inspection._parts import Part
from sklearn_mmfusion.inspection._products import Product, grid

__all__ = ["Estimates", "Quantity", "estimate"]

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
Quantity = dict[int, float]

_BLOCK = 2**18  # combinations to hold outputs of at a time
_DRAW_VALUES = 2**22  # numbers of quantities per draw held at a time: 32 MB


@dataclass
class Estimates:
    """Quantities for every explained row.

    Attributes
    ----------
    values : ndarray of shape (n, q, k)
        Values.
    errors : ndarray of shape (n, q, k)
        Standard errors of sampling; 0 where nothing was sampled.
    method : {"exact", "sampled"}
        Whether any expectation was sampled.
    n_evaluations : int
        Combinations of rows of which a part of the model was computed.
    """

    values: Floats
    errors: Floats
    method: str
    n_evaluations: int


@dataclass(frozen=True)
class _Task:
    """What has to be known of one part of the model.

    Attributes
    ----------
    part : Part
        The part.
    coefficients : ndarray of shape (q, 2 ** n_members)
        Coefficient in each quantity of the expectation with a subset of the members fixed.
    needed : list of int
        Subsets with a coefficient other than zero.
    cost : int
        Combinations for the exact expectations.
    """

    part: Part
    coefficients: Floats
    needed: list[int]
    cost: int


def estimate(
    evaluator: Evaluator,
    quantities: Sequence[Quantity],
    *,
    method: str,
    n_draws: int,
    max_evaluations: int,
    rng: Callable[[], np.random.Generator],
) -> Estimates:
    """Compute quantities for the rows of X.

    Parameters
    ----------
    evaluator : Evaluator
        The model.
    quantities : sequence of dict of int to float
        Coefficients of the sets.
    method : {"auto", "exact", "sampled"}
        "auto" is exact for the parts that fit into ``max_evaluations``.
    n_draws : int
        Draws of background rows where expectations are sampled; the same for all rows and sets,
        so that what does not depend on the background cancels exactly.
    max_evaluations : int
        Largest number of combinations in exact mode.
    rng : callable
        Returns the generator for the draws.

    Raises
    ------
    InputError
        If there are too many combinations for ``method="exact"``.
    """
    if method not in ("auto", "exact", "sampled"):
        raise InputError(f"method must be 'auto', 'exact' or 'sampled', got {method!r}")
    entries = [(q, mask, c) for q, some in enumerate(quantities) for mask, c in some.items()]
    which, masks, coefficients = (np.array(column) for column in zip(*entries, strict=True))
    columns = (which, masks, coefficients)
    tasks = [_task(evaluator, part, columns, len(quantities)) for part in evaluator.parts]
    tasks = [task for task in tasks if task.needed]
    total = sum(task.cost for task in tasks)
    if method == "exact" and total > max_evaluations:
        n, background = evaluator.n_samples, len(evaluator.background)
        raise InputError(
            f"exact expectations over {len(evaluator.names)} modalities, {n} rows and {background} "
            f"background rows need {total:,} evaluations of the model (max_evaluations="
            f"{max_evaluations:,}): pass fewer rows, background=50, method='sampled', or raise "
            "max_evaluations"
        )
    exact, sampled = _divide(evaluator, tasks, method, n_draws, max_evaluations)
    n, n_q, n_k = evaluator.n_samples, len(quantities), evaluator.n_outputs
    values = np.zeros((n, n_q, n_k))
    # The constant is in every expectation.
    weights = np.array([sum(quantity.values()) for quantity in quantities])
    values += weights[:, None] * evaluator.constant
    for task in exact:
        for subset, found in _exact(evaluator, task).items():
            values += task.coefficients[:, subset, None] * found[:, None, :]
    errors = np.zeros_like(values)
    n_evaluations = sum(task.cost for task in exact)
    if sampled:
        draws = rng().choice(evaluator.background, (n_draws, len(evaluator.names)))
        mean, errors = _sampled(evaluator, sampled, draws, n_q)
        values += mean
        n_evaluations += sum(_sampled_cost(evaluator, task, n_draws) for task in sampled)
    return Estimates(values, errors, "sampled" if sampled else "exact", n_evaluations)


def _task(
    evaluator: Evaluator, part: Part, entries: tuple[Index, Index, Floats], n_q: int
) -> _Task:
    """Coefficients of the part's own expectations: modalities outside it make no difference."""
    quantity, mask, coefficient = entries
    mine = np.zeros_like(mask)
    for i, m in enumerate(part.members):
        mine |= (mask >> m & 1) << i
    coefficients = np.zeros((n_q, 1 << len(part.members)))
    np.add.at(coefficients, (quantity, mine), coefficient)
    # What cancels, cancels up to rounding of the coefficients.
    coefficients[np.abs(coefficients) < 1e-12] = 0.0
    needed = [int(subset) for subset in np.flatnonzero(coefficients.any(0))]
    return _Task(part, coefficients, needed, _cost(evaluator, part, needed))


def _is_grid(evaluator: Evaluator) -> bool:
    """Whether the explained rows are the background, so that one grid has all marginals."""
    return np.array_equal(evaluator.background, evaluator.own_rows)


def _cost(evaluator: Evaluator, part: Part, needed: Sequence[int]) -> int:
    order, n, b = len(part.members), evaluator.n_samples, len(evaluator.background)
    grid = _is_grid(evaluator) and order > 1
    total = 0
    if grid and any(subset.bit_count() < 2 for subset in needed):
        total += b**order
    for subset in needed:
        free = order - subset.bit_count()
        if grid and subset.bit_count() < 2:
            continue
        total += b**order if subset == 0 else n * b**free
    return total


def _sampled_cost(evaluator: Evaluator, task: _Task, n_draws: int) -> int:
    full = (1 << len(task.part.members)) - 1
    cost = {0: n_draws, full: evaluator.n_samples}
    return sum(cost.get(subset, n_draws * evaluator.n_samples) for subset in task.needed)


def _divide(
    evaluator: Evaluator, tasks: list[_Task], method: str, n_draws: int, max_evaluations: int
) -> tuple[list[_Task], list[_Task]]:
    """Tell exact from sampled parts: in "auto" the cheap ones are exact."""
    if method == "exact":
        return tasks, []
    if method == "sampled":
        return [], tasks
    exact, sampled, spent = [], [], 0
    for task in sorted(tasks, key=lambda task: task.cost):
        cheaper = task.cost <= _sampled_cost(evaluator, task, n_draws)
        if cheaper or spent + task.cost <= max_evaluations:
            exact.append(task)
            spent += task.cost
        else:
            sampled.append(task)
    return exact, sampled


# -- exact ---------------------------------------------------------------------------------------


def _exact(evaluator: Evaluator, task: _Task) -> dict[int, Floats]:
    """Return the expectation for every needed subset, (n, k) or (1, k)."""
    part, order = task.part, len(task.part.members)
    rows, background = evaluator.own_rows, evaluator.background
    found: dict[int, Floats] = {}
    if _is_grid(evaluator) and order > 1 and any(s.bit_count() < 2 for s in task.needed):
        marginals = _grid_marginals(part, background)
        for subset in task.needed:
            if subset == 0:
                found[subset] = marginals[0].mean(0, keepdims=True)
            elif subset.bit_count() == 1:
                found[subset] = marginals[subset.bit_length() - 1]
    for subset in task.needed:
        if subset not in found:
            fixed = [i for i in range(order) if subset >> i & 1]
            found[subset] = _mean_over(part, rows, fixed, background)
    return found


def _grid_marginals(part: Part, rows: Index) -> list[Floats]:
    """Return the mean over all other axes of the grid of rows, (n, k) for each axis."""
    n, order = len(rows), len(part.members)
    sums: list[Floats] = []
    for where, block in grid([rows] * order).blocks(_BLOCK):
        values = part.evaluate_product(block)
        if not sums:
            sums = [np.zeros((n, values.shape[-1])) for _ in range(order)]
        for axis in range(order):
            others = tuple(a for a in range(order) if a != axis)
            sums[axis][where[axis]] += values.sum(others)
    return [total / n ** (order - 1) for total in sums]


def _mean_over(part: Part, rows: Index, fixed: Sequence[int], background: Index) -> Floats:
    """Return the mean over the background of the modalities that are not fixed, (n, k)."""
    order, b = len(part.members), len(background)
    free = [i for i in range(order) if i not in fixed]
    # Fixed modalities change rows together, along the first axis if there are any.
    lead = (len(rows),) if fixed else ()
    axes = tuple(len(lead) + free.index(i) if i in free else 0 for i in range(order))
    choices = tuple(background if i in free else rows for i in range(order))
    product = Product((*lead, *(b,) * len(free)), axes, choices)
    total: Floats | None = None
    for where, block in product.blocks(_BLOCK):
        values = part.evaluate_product(block)
        if total is None:
            total = np.zeros((*lead, values.shape[-1]))
        total[where[: len(lead)]] += values.sum(tuple(range(len(lead), values.ndim - 1)))
    assert total is not None  # there is at least one combination
    return total.reshape(-1, total.shape[-1]) / b ** len(free)


# -- sampled -------------------------------------------------------------------------------------


def _sampled(
    evaluator: Evaluator, tasks: Sequence[_Task], draws: Index, n_quantities: int
) -> tuple[Floats, Floats]:
    """Return means over the draws and their standard errors, (n, q, k) each."""
    n_k = evaluator.n_outputs
    n_subsets = sum(len(task.needed) for task in tasks)
    per_pair = (n_quantities + n_subsets) * n_k
    draw_step = max(1, min(len(draws), _DRAW_VALUES // per_pair))
    row_step = max(1, _DRAW_VALUES // (per_pair * draw_step))
    means, errors = [], []
    for start in range(0, evaluator.n_samples, row_step):
        rows = evaluator.own_rows[start : start + row_step]
        mean, error = _sampled_rows(tasks, rows, draws, draw_step, n_quantities, n_k)
        means.append(mean)
        errors.append(error)
    return np.concatenate(means), np.concatenate(errors)


def _sampled_rows(
    tasks: Sequence[_Task],
    rows: Index,
    draws: Index,
    draw_step: int,
    n_quantities: int,
    n_outputs: int,
) -> tuple[Floats, Floats]:
    shape = (len(rows), n_quantities, n_outputs)
    pivot: Floats | None = None
    total, squares = np.zeros(shape), np.zeros(shape)
    for start in range(0, len(draws), draw_step):
        some = draws[start : start + draw_step]
        values = np.zeros((len(some), *shape))
        for task in tasks:
            for subset in task.needed:
                found = _drawn(task.part, subset, rows, some)
                values += task.coefficients[:, subset, None] * found[:, :, None, :]
        if pivot is None:
            # Squares of differences: a quantity that no draw changes has an error of 0.
            pivot = values[0].copy()
        values -= pivot
        total += values.sum(0)
        squares += np.square(values).sum(0)
    assert pivot is not None  # there is at least one draw
    n = len(draws)
    mean = total / n
    variance = np.maximum(squares / n - np.square(mean), 0.0) * (n / max(1, n - 1))
    error = np.sqrt(variance / n) if n > 1 else np.full(shape, np.nan)
    return pivot + mean, error


def _drawn(part: Part, subset: int, rows: Index, draws: Index) -> Floats:
    """Return values with a subset of the members from the rows, the others from the draws.

    Shape: (draws, n, k), with 1 in place of what makes no difference.
    """
    members = part.members
    fixed = [i for i in range(len(members)) if subset >> i & 1]
    if len(fixed) == len(members):
        index = np.repeat(rows[:, None], len(members), axis=1)
        return part.evaluate(index)[None]
    if not fixed:
        return part.evaluate(draws[:, list(members)])[:, None]
    # A draw of the others with every row: two axes.
    axes = tuple(int(i in fixed) for i in range(len(members)))
    choices = tuple(rows if i in fixed else draws[:, m] for i, m in enumerate(members))
    return part.evaluate_product(Product((len(draws), len(rows)), axes, choices))
