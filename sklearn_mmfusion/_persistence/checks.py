"""Whether the parts of a model from a file fit together, before anything is built from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch.overrides import TorchFunctionMode

from sklearn_mmfusion._fitting.data import FitResult
from sklearn_mmfusion._inputs.modality_spec import ColumnGroup, check_names
from sklearn_mmfusion._inputs.schema import InputSchema
from sklearn_mmfusion._inputs.validation import TargetSchema
from sklearn_mmfusion._model.plan import FusionPlan, build_network
from sklearn_mmfusion._state.hints import Mismatch
from sklearn_mmfusion.data._blocks import ModalityLayout

__all__ = ["check_parts"]

_KINDS = ("binary", "multiclass", "multilabel", "regression")
_FORMS = ("mapping", "array", "dataframe")
_FREE = 4096  # a number in a specification may always be as large as this
_SLACK = 2**20  # numbers that building a network may take beside its arrays
_LARGEST = 2**31
_ROWS = "n_samples"  # of EarlyEncoder: a number of training rows, by which nothing is sized


def check_parts(parts: dict[str, Any]) -> None:
    """Check every schema, target and fit among the parts of an estimator.

    Raises
    ------
    Mismatch
        If they contradict each other, or weights are not finite.
    """
    schema, target = parts["_schema"], parts["_target"]
    _check_schema(schema)
    _check_target(target)
    results = [part for part in parts.values() if isinstance(part, FitResult)]
    for part in parts.values():
        if isinstance(part, (list, tuple)):
            results += [item for item in part if isinstance(item, FitResult)]
    for result in results:
        _check_plan(result.plan, schema, target)
        _check_state(result)
    for term in parts.get("_display", []):
        _check_term(term, len(schema.layouts))
        _need(list(term) == sorted(set(term)), "a term is not in order")


def _need(holds: bool, text: str) -> None:
    if not holds:
        raise Mismatch(text)


def _check_schema(schema: InputSchema) -> None:
    check_names(schema.names)
    _need(schema.form in _FORMS, f"the form of X is {schema.form[:40]!r}")
    for layout in schema.layouts:
        _check_layout(layout)
    names = schema.feature_names_in
    if names is not None:
        _need(names.ndim == 1 and names.dtype == object, "feature names are no texts")
        _need(all(isinstance(name, str) for name in names), "feature names are no texts")
    if schema.form == "mapping":
        _need(schema.column_spec is None, "a mapping has no columns")
        _need(schema.n_features_in >= len(schema.layouts), "numbers of modalities differ")
        return
    _need(names is None or len(names) == schema.n_features_in, "numbers of columns differ")
    if schema.column_spec is None:
        width = math.prod(schema.layouts[0].shape)
        _need(len(schema.layouts) == 1 and schema.n_features_in == width, "columns are missing")
        return
    _need([group.name for group in schema.column_spec] == schema.names, "names differ")
    for group, layout in zip(schema.column_spec, schema.layouts, strict=True):
        _check_columns(group, layout, schema.n_features_in)


def _check_columns(group: ColumnGroup, layout: ModalityLayout, n_columns: int) -> None:
    columns = group.columns
    if isinstance(columns, slice):
        step = 1 if columns.step is None else columns.step
        plain = all(type(part) is int for part in (columns.start, columns.stop, step))
        _need(
            plain and columns.start >= 0 and columns.stop <= n_columns and step > 0,
            "columns do not exist",
        )
        count = len(range(columns.start, columns.stop, step))
    else:
        _need(all(0 <= column < n_columns for column in columns), "columns do not exist")
        count = len(columns)
    _need(count == math.prod(layout.shape), f"modality {layout.name!r}: columns and shape differ")
    _need(group.shape is None or tuple(group.shape) == layout.shape, "shapes differ")


def _check_layout(layout: ModalityLayout) -> None:
    sizes = all(0 < size < _LARGEST for size in layout.shape)
    _need(len(layout.shape) > 0 and sizes, f"modality {layout.name!r}: no shape of a row")
    _need(layout.dtype in _DTYPES, f"modality {layout.name!r}: dtype {layout.dtype[:20]!r}")


_DTYPES = {np.dtype(code).name for code in "?bBhHiIlLqQefdg"}


def _check_target(target: TargetSchema) -> None:
    kind, classes, k = target.kind, target.classes, target.n_outputs
    _need(kind in _KINDS, f"the kind of target is {kind[:40]!r}")
    _need(k >= 1, "there is no output")
    if kind == "regression":
        _need(classes is None, "regression has no classes")
        return
    _need(classes is not None and classes.ndim == 1, "the classes are missing")
    assert classes is not None
    _need(len(classes) == (2 if kind == "binary" else k), "classes and outputs differ")
    _need(kind != "binary" or k == 1, "classes and outputs differ")


def _check_term(term: tuple[int, ...], n: int) -> None:
    _need(len(term) > 0 and all(0 <= m < n for m in term), "a term has no such modality")


def _check_plan(plan: FusionPlan, schema: InputSchema, target: TargetSchema) -> None:
    names = plan.names
    _need(names == sorted(schema.names), "modalities of schema and plan differ")
    _need(plan.n_outputs == target.n_outputs, "outputs of target and plan differ")
    _need(len(plan.scalings) == len(names), "scalings and modalities differ")
    _need(plan.is_joint or len(plan.encoders) == len(names), "encoders and modalities differ")
    _need(len(plan.terms) > 0 and len(set(plan.terms)) == len(plan.terms), "terms are not unique")
    _need(0 <= plan.modality_dropout < 1, "modality_dropout is no probability")
    for term in plan.terms:
        _check_term(term, len(names))
    for layout, scaling in zip(plan.layouts, plan.scalings, strict=True):
        _check_layout(layout)
        if scaling is not None:
            mean, scale = scaling
            # One number for the pixels of an image, else one for each feature.
            shape = () if mean.ndim == 0 else layout.shape[-1:]
            _need(mean.shape == scale.shape == shape, f"modality {layout.name!r}: scaling")
            finite = np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()
            _need(bool(finite), f"modality {layout.name!r}: scaling is not finite and positive")


def _check_state(result: FitResult) -> None:
    """Build the network within the memory of its arrays, and compare them."""
    state, k = result.state, result.plan.n_outputs
    for name, value in state.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise Mismatch(f"weights {name[:80]!r} are not finite")
    scale = result.target_scale
    for part in (scale.mean, scale.scale):
        _need(part.shape in ((1,), (k,)) and bool(np.isfinite(part).all()), "no scale of targets")
    _need(bool((scale.scale >= 0).all()), "no scale of targets")
    n_values = sum(value.size for value in state.values())
    largest = max(n_values, _FREE)
    for number in _numbers((result.plan.encoders, result.plan.head)):
        _need(abs(number) <= largest, f"a size of {number} is more than the file has weights for")
    budget = _Budget(4 * n_values + _SLACK, 50 * len(state) + 1000)
    with budget:
        network = build_network(result.plan)
    built = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name in [*built, *state]:
        mine, theirs = built.get(name), None if name not in state else state[name].shape
        if mine != theirs:
            text = f"array {name[:80]!r}: expected shape {mine}, got {theirs}"
            raise Mismatch(text.replace("None", "none"))
    wanted = {
        name: str(v.dtype).removeprefix("torch.")
        for name, v in network.double().state_dict().items()
    }
    for name, dtype in wanted.items():
        if state[name].dtype.name != dtype:
            raise Mismatch(f"array {name!r}: expected dtype {dtype}, got {state[name].dtype.name}")


def _numbers(value: Any) -> Iterator[int]:
    """Yield every whole number in specifications of encoders and heads."""
    if isinstance(value, bool):
        return
    if isinstance(value, int):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _numbers(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _numbers(getattr(value, field.name))
    elif isinstance(value, BaseEstimator):
        for name, item in value.get_params(deep=False).items():
            if name != _ROWS:
                yield from _numbers(item)


class _Budget(TorchFunctionMode):
    """Refuse to make tensors of more numbers than there may be, before their memory is asked for.

    Parameters
    ----------
    numbers : int
        Elements of all tensors that are made, together.
    tensors : int
        How many may be made.
    """

    _MAKERS = frozenset(
        {
            torch.arange,
            torch.empty,
            torch.eye,
            torch.full,
            torch.linspace,
            torch.normal,
            torch.ones,
            torch.rand,
            torch.randn,
            torch.zeros,
        }
    )

    def __init__(self, numbers: int, tensors: int) -> None:
        super().__init__()
        self.numbers, self.tensors = numbers, tensors

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Count what a call would make, and let it run."""
        if func in self._MAKERS:
            self._spend(_size(func, args, kwargs or {}))
        elif func is torch.repeat_interleave and isinstance(args[-1], torch.Tensor):
            self._spend(int(args[-1].sum()))
        return func(*args, **(kwargs or {}))

    def _spend(self, numbers: int) -> None:
        self.numbers -= numbers
        self.tensors -= 1
        if self.numbers < 0 or self.tensors < 0:
            raise Mismatch("its network would be larger than the weights in the file")


def _size(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    values = [*args, *kwargs.values()]
    if func in (torch.arange, torch.linspace):
        return int(max(abs(value) for value in values if isinstance(value, (int, float))))
    if func is torch.eye:
        return int(args[0] * args[-1])  # one number stands for both sides
    shape = next((value for value in values if isinstance(value, (tuple, list))), args)
    return math.prod(int(size) for size in shape)
