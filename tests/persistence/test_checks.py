"""Parts of a model that contradict each other, one contradiction at a time."""

import math
from dataclasses import is_dataclass, replace

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

from sklearn_mmfusion import (
    InTenseClassifier,
    LateFusionClassifier,
    MLPEncoder,
    MNLRegressor,
    MulTClassifier,
    SummaryEncoder,
)
from sklearn_mmfusion._inputs.modality_spec import ColumnGroup
from sklearn_mmfusion._persistence import checks as saved_checks
from sklearn_mmfusion._persistence.checks import check_parts
from sklearn_mmfusion._state.hints import Mismatch

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
    pytest.mark.filterwarnings("ignore:X is a 2D array and modalities=None:UserWarning"),
]

N = 30
RNG = np.random.default_rng(0)
A, B = RNG.normal(size=(N, 4)), RNG.normal(size=(N, 3, 5))
Y = np.arange(N) % 3
SCHEMA, TARGET, RESULT = ("_schema",), ("_target",), ("_results", 0)
PLAN = (*RESULT, "plan")


def _fit(name):
    quick = {"max_epochs": 2, "random_state": 0}
    if name == "mapping":
        small = {"a": MLPEncoder(hidden_dim=8, n_quantiles=None), "b": SummaryEncoder()}
        est = InTenseClassifier(encoders=small, latent_dim=3, **quick)
        return est.fit({"b": B, "a": A}, Y)
    if name == "binary":
        return LateFusionClassifier(**quick).fit({"b": B, "a": A}, Y > 0)
    if name == "multilabel":
        return LateFusionClassifier(**quick).fit({"b": B, "a": A}, np.eye(3)[Y])
    if name == "joint":
        return MulTClassifier(**quick).fit({"b": B, "a": A}, Y)
    table, numbers = np.hstack([A, A, A[:, :2]]), A[:, :2]
    if name == "one":
        return MNLRegressor(**quick).fit(table, numbers)
    spec = {"a": slice(0, 4), "c": [4, 5, 6, 7], "d": ([8, 9], (2, 1))}
    return MNLRegressor(modalities=spec, **quick).fit(table, numbers)


@pytest.fixture(scope="module")
def models():
    """Parts of fitted estimators, fitted where they are first asked for."""

    class Models(dict):
        def __missing__(self, name):
            parts = _fit(name)._saved_parts()
            self[name] = {key: value for key, (value, _) in parts.items()}
            return self[name]

    return Models()


def put(part, path, value):
    """Return a copy of a nested part with one value changed."""
    if not path:
        return value
    key, *rest = path
    if isinstance(part, dict):
        return part | {key: put(part.get(key), rest, value)}
    if is_dataclass(part):
        return replace(part, **{key: put(getattr(part, key), rest, value)})
    items = list(part)
    items[key] = put(items[key], rest, value)
    return type(part)(items)


def group(columns, shape=None):
    return ColumnGroup("a", columns, shape)


def texts(*values):
    return np.array(values, dtype=object)


@pytest.mark.parametrize("name", ["mapping", "binary", "multilabel", "joint", "one", "columns"])
def test_parts_of_a_fit_fit_together(name, models):
    check_parts(models[name])


REFUSED = [
    # Schema
    ("mapping", (*SCHEMA, "form"), "f" * 41, f"the form of X is '{'f' * 40}'$"),
    ("mapping", (*SCHEMA, "layouts", 0, "shape"), (), "modality 'b': no shape of a row"),
    ("mapping", (*SCHEMA, "layouts", 0, "shape"), (3, 0), "modality 'b': no shape of a row"),
    ("mapping", (*SCHEMA, "layouts", 0, "shape"), (2**31, 5), "modality 'b': no shape of a row"),
    ("mapping", (*SCHEMA, "layouts", 0, "dtype"), "d" * 21, f"'b': dtype '{'d' * 20}'$"),
    ("mapping", (*SCHEMA, "layouts", 0, "dtype"), "object", "modality 'b': dtype 'object'"),
    ("mapping", (*SCHEMA, "layouts", 0, "dtype"), "complex128", "'b': dtype 'complex128'"),
    ("mapping", (*SCHEMA, "layouts", 0, "name"), "c", "modalities of schema and plan differ"),
    ("mapping", (*SCHEMA, "feature_names_in"), texts("b", 3), "feature names are no texts"),
    ("mapping", (*SCHEMA, "feature_names_in"), texts(["b", "a"]), "feature names are no texts"),
    ("mapping", (*SCHEMA, "feature_names_in"), np.array(["b"]), "feature names are no texts"),
    ("mapping", (*SCHEMA, "column_spec"), (), "a mapping has no columns"),
    ("mapping", (*SCHEMA, "n_features_in"), 1, "numbers of modalities differ"),
    ("columns", (*SCHEMA, "feature_names_in"), texts("x"), "numbers of columns differ"),
    ("columns", (*SCHEMA, "column_spec"), None, "columns are missing"),
    ("one", (*SCHEMA, "n_features_in"), 9, "columns are missing"),
    ("one", (*SCHEMA, "n_features_in"), 11, "columns are missing"),
    ("columns", (*SCHEMA, "column_spec", 0, "name"), "c", "names differ"),
    *(
        ("columns", (*SCHEMA, "column_spec", 0), group(columns), "columns do not exist")
        for columns in [
            *(slice(-1, 3), slice(None, 4), slice(0, None), slice(7, 11), slice(0.0, 4)),
            *(slice(0, 4, 0), slice(0, 4, 1.0), slice(4, 0, -1), slice(True, 5)),
            *((-1, 1, 2, 3), (0, 1, 2, 10)),
        ]
    ),
    ("columns", (*SCHEMA, "column_spec", 0), group(slice(0, 5)), "'a': columns and shape differ"),
    ("columns", (*SCHEMA, "column_spec", 0), group((0, 1, 2)), "'a': columns and shape differ"),
    ("columns", (*SCHEMA, "column_spec", 0), group((0, 1, 2, 3), (2, 2)), "shapes differ"),
    # Target
    ("mapping", (*TARGET, "kind"), "k" * 41, f"the kind of target is '{'k' * 40}'$"),
    ("mapping", (*TARGET, "n_outputs"), 0, "there is no output"),
    ("mapping", (*TARGET, "n_outputs"), 2, "classes and outputs differ"),
    ("mapping", (*TARGET, "classes"), None, "the classes are missing"),
    ("mapping", (*TARGET, "classes"), np.eye(3), "the classes are missing"),
    ("mapping", (*TARGET, "classes"), np.arange(4), "classes and outputs differ"),
    ("binary", (*TARGET, "classes"), np.arange(1), "classes and outputs differ"),
    ("binary", (*TARGET, "classes"), np.arange(3), "classes and outputs differ"),
    ("binary", (*TARGET, "n_outputs"), 2, "classes and outputs differ"),
    ("one", (*TARGET, "classes"), np.arange(2), "regression has no classes"),
    ("one", (*TARGET, "n_outputs"), 3, "outputs of target and plan differ"),
    ("one", (*TARGET, "n_outputs"), 0, "there is no output"),
    # Terms that are shown
    ("mapping", ("_display",), [()], "a term has no such modality"),
    ("mapping", ("_display",), [(0, 2)], "a term has no such modality"),
    ("mapping", ("_display",), [(-1, 0)], "a term has no such modality"),
    ("mapping", ("_display",), [(0,), (1, 0)], "a term is not in order"),
    ("mapping", ("_display",), [(1, 1)], "a term is not in order"),
    # Plan
    ("mapping", (*PLAN, "n_outputs"), 2, "outputs of target and plan differ"),
    ("mapping", (*PLAN, "scalings"), (None,), "scalings and modalities differ"),
    ("mapping", (*PLAN, "encoders"), (MLPEncoder(),), "encoders and modalities differ"),
    ("mapping", (*PLAN, "encoders"), (MLPEncoder(),) * 3, "encoders and modalities differ"),
    ("mapping", (*PLAN, "terms"), (), "terms are not unique"),
    ("mapping", (*PLAN, "terms"), ((0,), (0,)), "terms are not unique"),
    ("mapping", (*PLAN, "terms", 0), (2,), "a term has no such modality"),
    ("mapping", (*PLAN, "terms", 0), (-1,), "a term has no such modality"),
    ("mapping", (*PLAN, "terms", 0), (), "a term has no such modality"),
    ("mapping", (*PLAN, "modality_dropout"), -0.01, "modality_dropout is no probability"),
    ("mapping", (*PLAN, "modality_dropout"), 1.0, "modality_dropout is no probability"),
    ("mapping", (*PLAN, "layouts", 1, "shape"), (3, 0), "modality 'b': no shape of a row"),
    ("mapping", (*PLAN, "scalings", 0, 0), np.zeros(3), "modality 'a': scaling$"),
    ("mapping", (*PLAN, "scalings", 0, 1), np.ones(3), "modality 'a': scaling$"),
    ("mapping", (*PLAN, "scalings", 0, 1), np.ones(()), "modality 'a': scaling$"),
    ("mapping", (*PLAN, "scalings", 0, 0), np.zeros(()), "modality 'a': scaling$"),
    ("mapping", (*PLAN, "scalings", 0), (np.zeros((1, 4)), np.ones((1, 4))), "'a': scaling$"),
    ("mapping", (*PLAN, "scalings", 1), (np.zeros((3, 5)), np.ones((3, 5))), "'b': scaling$"),
    *(
        ("mapping", (*PLAN, "scalings", 0, part), np.array([1, value, 1, 1]), "not finite and pos")
        for part, value in [(0, np.inf), (0, np.nan), (1, np.inf), (1, np.nan), (1, 0.0), (1, -1.0)]
    ),
    # State
    ("mapping", (*RESULT, "state", "n" * 81), np.array([np.nan]), f"weights '{'n' * 80}' are not"),
    ("mapping", (*RESULT, "state", "n" * 81), np.zeros(2), f"'{'n' * 80}': .* none, got .2,.$"),
    *(
        ("mapping", (*RESULT, "target_scale", part), value, "no scale of targets")
        for part, value in [
            *(("mean", np.zeros(2)), ("mean", np.zeros(0)), ("mean", np.zeros((1, 1)))),
            *(("mean", np.array([np.inf])), ("scale", np.ones(2)), ("scale", np.array([np.nan]))),
            *(("scale", np.array([np.inf])), ("scale", np.array([1.0, -1.0, 1.0]))),
            ("scale", -np.ones(1)),
        ]
    ),
]


@pytest.mark.parametrize(("name", "path", "value", "text"), REFUSED)
def test_parts_that_contradict_each_other_are_refused(name, path, value, text, models):
    with pytest.raises(Mismatch, match=text):
        check_parts(put(models[name], path, value))


ACCEPTED = [
    ("mapping", (*SCHEMA, "n_features_in"), 3),  # some of the modalities were selected
    ("mapping", (*SCHEMA, "feature_names_in"), None),
    *(("mapping", (*SCHEMA, "layouts", 0, "dtype"), np.dtype(code).name) for code in "?bBhiqQefd"),
    ("mapping", ("_display",), [(0,), (0, 1)]),
    ("mapping", ("_display",), []),
    ("mapping", (*PLAN, "modality_dropout"), 0.99),
    ("mapping", (*RESULT, "target_scale", "mean"), np.zeros(3)),
    ("mapping", (*RESULT, "target_scale", "scale"), np.ones(1)),
    ("columns", (*SCHEMA, "feature_names_in"), texts(*"abcdefghij")),
    *(
        ("columns", (*SCHEMA, "column_spec", 0), group(columns))
        for columns in [slice(0, 4), slice(6, 10), slice(1, 8, 2), (9, 0, 1, 2)]
    ),
    ("columns", (*SCHEMA, "column_spec", 0), group(slice(0, 4), (4,))),
]


@pytest.mark.parametrize(("name", "path", "value"), ACCEPTED)
def test_parts_that_another_fit_could_have_left_are_accepted(name, path, value, models):
    check_parts(put(models[name], path, value))


@pytest.mark.parametrize("shape", [(2**31 - 1,), (1, 1)])
def test_any_shape_within_the_limit_is_one(shape, models):
    check_parts(put(models["mapping"], (*SCHEMA, "layouts", 0, "shape"), shape))


def test_one_number_may_scale_all_pixels(models):
    # What is wrong is no longer the scaling, but that the network had four of each.
    path = (*PLAN, "scalings", 0)
    with pytest.raises(Mismatch, match=r"expected shape \(\), got \(4,\)"):
        check_parts(put(models["mapping"], path, (np.zeros(()), np.ones(()))))


def test_arrays_of_another_shape_or_dtype_and_missing_ones_are_refused(models):
    parts = models["mapping"]
    state = parts["_results"][0].state
    name, value = next((k, v) for k, v in state.items() if v.ndim == 2)
    for changed, text in [
        (value[:, 1:], rf"array '{name}': expected shape \({len(value)}, {value.shape[1]}\), got"),
        (value.astype(np.float32), f"array '{name}': expected dtype float64, got float32"),
        (np.ones(value.shape, np.int64), f"array '{name}': expected dtype float64, got int64"),
    ]:
        with pytest.raises(Mismatch, match=text):
            check_parts(put(parts, (*RESULT, "state", name), changed))
    rest = {key: array for key, array in state.items() if key != name}
    with pytest.raises(Mismatch, match=f"array '{name}': expected shape .*, got none"):
        check_parts(put(parts, (*RESULT, "state"), rest))


# -- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_of_4096_are_free_and_larger_ones_want_as_many_weights(sign, models):
    def fault(number, n_more=0):
        changed = put(models["mapping"], (*PLAN, "encoders", 0), MLPEncoder(hidden_dim=number))
        if n_more:
            changed = put(changed, (*RESULT, "state", "more"), np.zeros(n_more))
        with pytest.raises(Exception, match=".") as caught:  # ours, or that of a negative size
            check_parts(changed)
        return str(caught.value)

    n_values = sum(value.size for value in models["mapping"]["_results"][0].state.values())
    assert n_values < 4096
    assert "more than the file has weights for" not in fault(sign * 4096)
    assert f"a size of {sign * 4097} is more than" in fault(sign * 4097)
    most = n_values + 5000
    assert "more than the file has weights for" not in fault(sign * most, n_more=5000)
    assert f"a size of {sign * (most + 1)} is more than" in fault(sign * (most + 1), n_more=5000)


def test_network_may_take_four_times_the_weights_and_a_million_numbers(models, monkeypatch):
    asked = []

    class Recorded(saved_checks._Budget):
        def __init__(self, numbers, tensors):
            asked.append((numbers, tensors))
            super().__init__(numbers, tensors)

    monkeypatch.setattr(saved_checks, "_Budget", Recorded)
    check_parts(models["mapping"])
    state = models["mapping"]["_results"][0].state
    n_values = sum(math.prod(value.shape) for value in state.values())
    assert asked == [(4 * n_values + 1024 * 1024, 50 * len(state) + 1000)]


class Specification(BaseEstimator):
    def __init__(self, width=7, n_samples=10**9, inner=None):
        self.width, self.n_samples, self.inner = width, n_samples, inner


def test_numbers_are_found_wherever_they_are_but_for_those_that_size_nothing():
    inner = [1, (2, True, 0.5), {"x": 3, "4": "5"}, ColumnGroup("a", (6,), (8, 9)), None]
    found = list(saved_checks._numbers(Specification(inner=inner)))
    assert sorted(found) == [1, 2, 3, 6, 7, 8, 9]
    nested = Specification(inner=Specification(width=8))
    assert sorted(saved_checks._numbers(nested)) == [7, 8]


MADE = {
    "sizes": lambda: torch.zeros(2, 3),
    "one size": lambda: torch.rand(6),
    "tuple": lambda: torch.empty((2, 3)),
    "list": lambda: torch.ones([2, 3]),
    "keyword": lambda: torch.randn(size=(2, 3)),
    "with dtype": lambda: torch.zeros(2, 3, dtype=torch.float64),
    "full": lambda: torch.full((2, 3), 9.0),
    "normal": lambda: torch.normal(0.0, 9.0, (2, 3)),
    "scalar": lambda: torch.ones(()),
    "square": lambda: torch.eye(3),
    "rectangle": lambda: torch.eye(3, 2),
    "range": lambda: torch.arange(6),
    "range from 0": lambda: torch.arange(0, 6),
    "range of floats": lambda: torch.arange(end=6.0),
    "range below 0": lambda: torch.arange(-6, 0),
    "points": lambda: torch.linspace(-1.0, 1.0, 6),
}


@pytest.mark.parametrize("call", MADE.values(), ids=MADE)
def test_tensor_is_made_within_the_budget_and_not_beyond(call):
    with torch.random.fork_rng():
        size = call().numel()
        with saved_checks._Budget(size, 1):
            call()
        with (
            pytest.raises(Mismatch, match="larger than the weights"),
            saved_checks._Budget(size - 1, 1),
        ):
            call()
        with (
            pytest.raises(Mismatch, match="larger than the weights"),
            saved_checks._Budget(size, 0),
        ):
            call()


def test_budget_is_one_for_all_tensors_together():
    with saved_checks._Budget(5, 2):
        torch.zeros(2)
        torch.zeros(3)
    for numbers, tensors in [(4, 2), (5, 1)]:
        with (
            pytest.raises(Mismatch, match="larger than the weights"),
            saved_checks._Budget(numbers, tensors),
        ):
            torch.zeros(2)
            torch.zeros(3)


def test_repeats_count_as_what_they_make_and_other_calls_as_nothing():
    few, counts = torch.tensor([7, 8]), torch.tensor([2, 3])
    with saved_checks._Budget(5, 1):
        torch.repeat_interleave(few, counts)
        torch.repeat_interleave(few, 2)
        torch.cat([few, counts])
    for made in ((few, counts), (counts,)):
        with saved_checks._Budget(5, 1):
            torch.repeat_interleave(*made)
        with pytest.raises(Mismatch, match="larger"), saved_checks._Budget(4, 1):
            torch.repeat_interleave(*made)
