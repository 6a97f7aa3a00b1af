"""ModelComparison: its tables against NumPy and SciPy."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

from sklearn_mmfusion import ModelComparison
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.plotting import ComparisonDisplay

RNG = np.random.default_rng(0)
SCORES = {
    "plain": RNG.random((2, 3)),
    "fusion": RNG.random((2, 3)) + 0.5,
    "other": RNG.random((2, 3)),
}
TIMES = {name: RNG.random((2, 3)) for name in SCORES}


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def _comparison(**params):
    metrics = {"accuracy": SCORES, "recall": {n: 1 - v for n, v in SCORES.items()}}
    params = {"test_ratio": 0.5, "seeds": [7, 9], "fit_times": TIMES} | params
    return ModelComparison(metrics, **params)


def test_frame_holds_every_score_once():
    pytest.importorskip("pandas")
    frame = _comparison().to_frame()
    assert frame.columns.tolist() == ["metric", "model", "seed", "fold", "score", "fit_time"]
    assert len(frame) == 2 * 3 * 2 * 3
    for _, row in frame.iterrows():
        place = [7, 9].index(row["seed"]), row["fold"]
        score = SCORES[row["model"]][place]
        assert row["score"] == (score if row["metric"] == "accuracy" else 1 - score)
        assert row["fit_time"] == TIMES[row["model"]][place]
    assert "fit_time" not in ModelComparison({"score": SCORES}).to_frame()


@pytest.mark.parametrize(
    ("reference", "against"), [("best", "fusion"), ("first", "plain"), ("other", "other")]
)
def test_summary_is_the_corrected_test_of_paired_differences(reference, against):
    pytest.importorskip("pandas")
    frame = _comparison().summary(reference=reference)
    assert frame.index.tolist() == sorted(SCORES, key=lambda name: -SCORES[name].mean())
    factor = np.sqrt(1 / 6 + 0.5)
    for name, row in frame.iterrows():
        values = SCORES[name].ravel()
        assert row["mean"] == pytest.approx(values.mean())
        assert row["std"] == pytest.approx(values.std(ddof=1))
        interval = stats.t.interval(0.95, 5, loc=values.mean(), scale=values.std(ddof=1) * factor)
        assert (row["lower"], row["upper"]) == pytest.approx(interval)
        assert row["fit_time"] == pytest.approx(TIMES[name].mean())
        differences = values - SCORES[against].ravel()
        assert row["difference"] == pytest.approx(differences.mean())
        if name == against:
            assert row[["difference_lower", "difference_upper", "p_value"]].isna().all()
            continue
        scale = differences.std(ddof=1) * factor
        interval = stats.t.interval(0.95, 5, loc=differences.mean(), scale=scale)
        assert (row["difference_lower"], row["difference_upper"]) == pytest.approx(interval)
        p = 2 * stats.t.sf(abs(differences.mean()) / scale, 5)
        assert row["p_value"] == pytest.approx(p)


def test_seeds_on_the_same_folds_are_averaged_before_intervals():
    pytest.importorskip("pandas")
    frame = _comparison(same_folds=True).summary(reference="other")
    over_seeds = {name: values.mean(axis=0) for name, values in SCORES.items()}
    expected = ModelComparison({"accuracy": over_seeds}, test_ratio=0.5).summary(reference="other")
    columns = ["mean", "lower", "upper", "difference", "difference_lower", "difference_upper"]
    np.testing.assert_allclose(frame[columns], expected[columns])
    np.testing.assert_allclose(frame["p_value"], expected["p_value"])
    for name, row in frame.iterrows():
        assert row["std"] == pytest.approx(SCORES[name].std(ddof=1))
    display = _comparison(same_folds=True).plot()
    np.testing.assert_allclose(
        display.frame()["lower"].sort_index(), expected["lower"].sort_index()
    )


def test_other_metrics_have_a_best_of_their_own():
    comparison = _comparison()
    assert comparison.best() == "fusion"
    assert comparison.best("recall") == min(SCORES, key=lambda name: SCORES[name].mean())


def test_a_single_score_has_no_interval():
    pytest.importorskip("pandas")
    frame = ModelComparison({"score": {"a": [[0.5]], "b": [[0.7]]}}).summary()
    assert frame[["std", "lower", "upper", "p_value"]].isna().all(axis=None)
    assert frame["difference"].tolist() == pytest.approx([0.0, -0.2])


def test_html_escapes_the_names_of_models():
    hostile = "<script>alert('x')</script>"
    html = ModelComparison({"score": {hostile: [[0.5, 0.6]], "b": [[0.7, 0.9]]}})._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "0.800" in html


def test_plot_gives_a_display_of_the_metric():
    display = _comparison().plot("recall", reference="fusion")
    assert isinstance(display, ComparisonDisplay)
    assert display.ax_.get_xlabel() == "recall minus that of fusion"
    assert repr(_comparison()) == (
        "ModelComparison(n_models=3, n_seeds=2, n_folds=3, metrics=['accuracy', 'recall'])"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ModelComparison({}), "expected the same models"),
        (lambda: ModelComparison({"a": {"m": [[1.0]], "n": [[1.0, 2.0]]}}), "expected the same"),
        (lambda: ModelComparison({"a": {"m": [[1.0]]}, "b": {"n": [[1.0]]}}), "expected the same"),
        (lambda: _comparison().best("f1"), r"'f1'; this comparison has \['accuracy', 'recall'\]"),
        (lambda: _comparison().summary(reference="mine"), "'mine'; expected 'best', 'first' or"),
        (lambda: _comparison().plot(reference="mine"), "'mine'; expected one of"),
    ],
)
def test_unusable_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_tables_without_pandas_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas"):
        _comparison().to_frame()
    assert "<table>" in _comparison()._repr_html_()
