import numpy as np
import pytest

from sklearn_mmfusion import InputError
from sklearn_mmfusion.inspection import _expectations
from sklearn_mmfusion.inspection._evaluator import make_evaluator
from sklearn_mmfusion.inspection._expectations import estimate
from sklearn_mmfusion.inspection._parts import index_part
from sklearn_mmfusion.inspection._sets import component, sets_up_to

RNG = np.random.default_rng(0)
COLUMNS = {name: RNG.normal(size=5) for name in "abc"}
OTHERS = {name: RNG.normal(size=4) for name in "abc"}


def tangled(a, b, c):
    return np.stack([a * b * c + a * c - b + 2, np.sin(a + b + c)], axis=-1)


def run(evaluator, quantities, method="exact", n_draws=50, max_evaluations=10**6, seed=0):
    return estimate(
        evaluator,
        quantities,
        method=method,
        n_draws=n_draws,
        max_evaluations=max_evaluations,
        rng=lambda: np.random.default_rng(seed),
    )


@pytest.mark.parametrize("block", [2**18, 7, 1])
@pytest.mark.parametrize("background", [None, OTHERS], ids=["own", "others"])
def test_exact_expectations_are_those_of_loops_in_any_blocks(
    formula, expectation, background, block, monkeypatch
):
    monkeypatch.setattr(_expectations, "_BLOCK", block)
    evaluator = make_evaluator(formula(tangled), COLUMNS, background=background)
    found = run(evaluator, [{mask: 1.0} for mask in range(8)])
    columns = list(COLUMNS.values())
    reference = columns if background is None else list(OTHERS.values())
    for mask in range(8):
        fixed = [m for m in range(3) if mask >> m & 1]
        for row in range(5):
            expected = expectation(lambda v: tangled(*v), columns, reference, fixed, row)
            assert found.values[row, mask] == pytest.approx(expected, abs=1e-12)
    assert found.method == "exact"
    assert not found.errors.any()


def test_number_of_evaluations_is_that_of_the_combinations(formula):
    counted = []

    def counting(a, b, c):
        counted.append(len(a))
        return a

    for background, expected in ((None, 5**3 + 3 * 5 * 5 + 5), (OTHERS, 64 + 3 * 5 * 16 + 60 + 5)):
        evaluator = make_evaluator(formula(counting), COLUMNS, background=background)
        counted.clear()
        found = run(evaluator, [{mask: 1.0} for mask in range(8)])
        assert found.n_evaluations == expected == sum(counted)
        with pytest.raises(InputError, match=rf"need {expected} evaluations.*background=50"):
            run(evaluator, [{mask: 1.0} for mask in range(8)], max_evaluations=expected - 1)


def test_sampled_expectations_are_unbiased_and_as_uncertain_as_they_say(formula):
    evaluator = make_evaluator(formula(tangled), COLUMNS)
    quantities = [{mask: 1.0} for mask in range(7)] + [component((0, 1, 2))]
    exact = run(evaluator, quantities).values
    found = [run(evaluator, quantities, "sampled", 40, seed=seed) for seed in range(400)]
    assert {one.method for one in found} == {"sampled"}
    differences = np.array([one.values for one in found]) - exact
    stated = np.sqrt(np.mean([np.square(one.errors) for one in found], axis=0))
    assert np.abs(differences.mean(0) / stated).max() < 4.5 / np.sqrt(400)
    ratio = differences.std(0) / stated
    assert ratio.min() > 0.85
    assert ratio.max() < 1.15


def test_sampling_an_additive_model_has_no_error_in_its_projection(formula):
    evaluator = make_evaluator(formula(lambda a, b, c: a**2 - b + np.exp(c)), COLUMNS)
    projection = {1: 1.0, 2: 1.0, 4: 1.0, 0: -2.0}
    exact = run(evaluator, [projection])
    found = run(evaluator, [projection], "sampled", 10)
    assert np.abs(found.values - exact.values).max() < 1e-12
    assert found.errors.max() < 1e-12


@pytest.mark.parametrize("values", [2**22, 3])
def test_sampled_blocks_change_nothing(formula, values, monkeypatch):
    evaluator = make_evaluator(formula(tangled), COLUMNS)
    quantities = [{0: 1.0}, *(component(members) for members in sets_up_to(3, 3))]
    expected = run(evaluator, quantities, "sampled")
    monkeypatch.setattr(_expectations, "_DRAW_VALUES", values)
    found = run(evaluator, quantities, "sampled")
    assert np.abs(found.values - expected.values).max() < 1e-12
    assert np.abs(found.errors - expected.errors).max() < 1e-12


def test_one_draw_has_no_standard_error(formula):
    found = run(make_evaluator(formula(tangled), COLUMNS), [{1: 1.0}], "sampled", 1)
    assert np.isnan(found.errors).all()


def split_by_parts(evaluator, parts):
    """The same model as a sum of parts that read some modalities each."""
    columns = list(COLUMNS.values())

    def as_part(members, function):
        def compute(index):
            picked = [columns[m][index[:, i]] for i, m in enumerate(members)]
            return function(*picked)[:, None]

        return index_part(members, compute)

    evaluator.parts = [as_part(members, function) for members, function in parts]
    evaluator.constant = np.array([2.0])
    return evaluator


@pytest.mark.parametrize("method", ["exact", "sampled"])
def test_parts_of_a_sum_give_what_the_whole_gives(formula, method):
    whole = make_evaluator(formula(lambda a, b, c: 2 + a**2 + np.sin(b * c) + a * c), COLUMNS)
    parts = split_by_parts(
        make_evaluator(formula(lambda a, b, c: a), COLUMNS),
        [
            ((0,), np.square),
            ((2, 1), lambda c, b: np.sin(b * c)),
            ((0, 2), np.multiply),
        ],
    )
    quantities = [{0: 1.0}, *(component(members) for members in sets_up_to(3, 3))]
    expected, found = (run(evaluator, quantities, method) for evaluator in (whole, parts))
    assert np.abs(found.values - expected.values).max() < 1e-12
    assert np.abs(found.errors - expected.errors).max() < 1e-12
    # The component of all three, and that of a and b, are 0 without a single evaluation.
    assert not found.values[:, [4, 7]].any()
    # Two grids of 25 with their 5 rows, and 5 rows that are their own background.
    assert run(parts, quantities).n_evaluations == 2 * (25 + 5) + (5 + 5)


def test_auto_samples_only_the_parts_that_do_not_fit(formula):
    evaluator = split_by_parts(
        make_evaluator(formula(lambda a, b, c: a), COLUMNS),
        [((0, 1, 2), lambda a, b, c: a * b * c), ((0,), np.square), ((1, 2), np.multiply)],
    )
    quantities = [component(members) for members in sets_up_to(3, 1)]
    assert run(evaluator, quantities, "auto").method == "exact"
    found = run(evaluator, quantities, "auto", n_draws=2, max_evaluations=60)
    exact = run(evaluator, quantities)
    assert found.method == "sampled"
    assert found.errors.max() > 0
    # Parts that cost less than their sample are exact whatever the limit.
    assert found.n_evaluations == 10 + 25 + (3 * 10 + 2)
    alone = run(split_by_parts(evaluator, [((1, 2), np.multiply)]), quantities, "auto", 2, 60)
    assert alone.method == "exact"
    assert exact.n_evaluations == 125 + 10 + 25


def test_estimate_refuses_an_unknown_method(formula):
    with pytest.raises(InputError, match="method must be"):
        run(make_evaluator(formula(tangled), COLUMNS), [{1: 1.0}], "fast")
