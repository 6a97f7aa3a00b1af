import warnings

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer, r2_score
from sklearn.utils import check_random_state

from sklearn_mmfusion import (
    InputError,
    InTenseClassifier,
    MNLRegressor,
    ModalityFrame,
    MulTClassifier,
    RelevanceWarning,
    RoutingClassifier,
)
from sklearn_mmfusion.inspection import perceptual_score
from sklearn_mmfusion.inspection._index_scorer import make_index_scorer
from sklearn_mmfusion.inspection._perceptual_score import _perceptual_score, permutations

COLUMNS = {"text": [0, 3], "audio": [1], "noise": slice(2, 3)}
N = 60


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N, 4))
    return X, np.where(X[:, 0] + 0.5 * X[:, 1] > 0, "yes", "no"), rng.uniform(size=N)


def permutation_of(names, random_state, n_repeats):
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    return permutations(N, n_repeats, seed, names)


def test_scores_are_those_of_a_manual_permutation(data):
    X, y, weight = data
    model = LogisticRegression().fit(X, y)
    found = perceptual_score(
        model,
        X,
        y,
        modalities=COLUMNS,
        subsets=["text", ("noise", "audio")],
        n_repeats=3,
        sample_weight=weight,
        random_state=5,
    )
    assert found.names == ["text", "audio + noise"]
    assert found.sets == [("text",), ("audio", "noise")]
    base = accuracy_score(y, model.predict(X), sample_weight=weight)
    assert found.score == pytest.approx(base)
    for s, columns in enumerate(([0, 3], [1, 2])):
        for r, rows in enumerate(permutation_of(list(found.sets[s]), 5, 3)):
            permuted = X.copy()
            permuted[:, columns] = X[rows][:, columns]
            score = accuracy_score(y, model.predict(permuted), sample_weight=weight)
            assert found.importances[s, r] == pytest.approx(base - score, abs=1e-12)
    assert found.importances_mean == pytest.approx(found.importances.mean(1))
    assert found.importances_std == pytest.approx(found.importances.std(1))


def test_permutation_of_a_set_depends_on_its_names_alone(data):
    X, y, _ = data
    model = LogisticRegression().fit(X, y)
    turned = dict(reversed(COLUMNS.items()))
    first = perceptual_score(model, X, y, modalities=COLUMNS, subsets="all", random_state=1)
    second = perceptual_score(model, X, y, modalities=turned, subsets="all", random_state=1)
    assert len(first.names) == 7
    by_set = dict(zip(map(frozenset, second.sets), second.importances, strict=True))
    for members, importances in zip(first.sets, first.importances, strict=True):
        assert np.array_equal(importances, by_set[frozenset(members)])
    alone = perceptual_score(model, X, y, modalities=COLUMNS, subsets=["audio"], random_state=1)
    assert np.array_equal(alone.importances[0], first.importances[first.names.index("audio")])
    differ = {tuple(rows) for name in COLUMNS for rows in permutation_of([name], 1, 2)}
    assert len(differ) == 6


def test_modality_that_is_not_used_scores_zero(data):
    X, _, _ = data
    y = 3 * X[:, 0] - X[:, 1]
    model = LinearRegression().fit(X, y)
    model.coef_[2] = 0.0
    found = perceptual_score(model, X, y, modalities=COLUMNS, scoring="r2", random_state=0)
    assert found.importances[2].tolist() == [0.0] * 5
    assert found.importances_mean[0] > found.importances_mean[1] > 0.01


def test_linear_regression_loses_twice_the_variance_of_the_modality():
    # E (w x - w x')^2 over permutations is 2 w^2 var(x) n / (n - 1) less fixed points: exactly
    # 2 w^2 var(x) over uniform draws of permutations.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = X @ [2.0, 1.0]
    found = perceptual_score(
        LinearRegression().fit(X, y),
        X,
        y,
        modalities={"a": [0], "b": [1]},
        scoring="neg_mean_squared_error",
        n_repeats=200,
        random_state=0,
    )
    expected = 2 * X.var(0) * [4.0, 1.0]
    error = found.importances_std / np.sqrt(200)
    assert (np.abs(found.importances_mean - expected) < 4 * error).all()
    assert (error < 0.02 * expected).all()


def test_normalization_divides_by_the_score_or_by_its_gain_over_a_constant(data):
    X, y, weight = data
    model = LogisticRegression().fit(X, y)

    def run(normalization):
        return perceptual_score(
            model,
            X,
            y,
            modalities=COLUMNS,
            normalization=normalization,
            sample_weight=weight,
            random_state=0,
        )

    plain, by_model, by_task = map(run, (None, "model", "task"))
    assert plain.constant_score is by_model.constant_score is None
    assert by_model.importances == pytest.approx(plain.importances / plain.score)
    counts = {label: weight[y == label].sum() for label in ("no", "yes")}
    majority = max(counts.values()) / weight.sum()
    assert by_task.constant_score == pytest.approx(majority)
    assert by_task.importances == pytest.approx(plain.importances / (plain.score - majority))


def test_task_normalization_of_regression_takes_the_mean_of_y(data):
    X, _, _ = data
    y = 3 * X[:, 0] + X[:, 1] ** 2
    model = LinearRegression().fit(X, y)
    found = perceptual_score(
        model,
        X,
        y,
        modalities=COLUMNS,
        scoring="neg_mean_squared_error",
        normalization="task",
        random_state=0,
    )
    assert found.constant_score == pytest.approx(-y.var())
    plain = perceptual_score(
        model, X, y, modalities=COLUMNS, scoring="neg_mean_squared_error", random_state=0
    )
    gain = y.var() + plain.score
    assert found.importances == pytest.approx(plain.importances / gain)


def test_divisor_that_is_not_positive_warns_and_gives_nan(data):
    X, y, _ = data
    model = DummyClassifier().fit(X, y)
    with pytest.warns(RelevanceWarning, match="no better than that of a constant"):
        found = perceptual_score(
            model, X, y, modalities=COLUMNS, normalization="task", random_state=0
        )
    assert np.isnan(found.importances).all()
    line = LinearRegression().fit(X, X[:, 1])
    with pytest.warns(RelevanceWarning, match="use normalization='task'"):
        perceptual_score(
            line,
            X,
            X[:, 1] ** 2,
            modalities=COLUMNS,
            scoring="neg_mean_squared_error",
            normalization="model",
            random_state=0,
        )


# Estimator, target: outputs of recombined rows are scored as the estimator scores itself.
OURS = [
    (InTenseClassifier(reg=1e-4, polish=False), "yes or no", None),
    (InTenseClassifier(reg=1e-4, polish=False), "yes or no", "roc_auc"),
    (RoutingClassifier(), "three", "neg_log_loss"),
    (MNLRegressor(), "numbers", "r2"),
    (RoutingClassifier(), "labels", "f1_macro"),
]


@pytest.mark.parametrize(
    ("estimator", "kind", "scoring"),
    OURS,
    ids=[f"{type(case[0]).__name__}-{case[1]}-{case[2]}" for case in OURS],
)
def test_cached_scores_are_those_of_the_plain_way(estimator, kind, scoring):
    rng = np.random.default_rng(0)
    X = ModalityFrame({"a": rng.normal(size=(N, 3)), "b": rng.normal(size=(N, 4, 2))})
    signal = X["a"][:, 0] + X["b"][:, 1, 0] * X["a"][:, 1]
    y = {
        "yes or no": np.where(signal > 0, "yes", "no"),
        "three": np.digitize(signal, [-0.5, 0.5]),
        "numbers": np.c_[100 * signal, X["a"][:, 2]],
        "labels": np.c_[signal > 0, X["a"][:, 2] > 0].astype(int),
    }[kind]
    X["b"][:6] = np.nan
    weight = rng.uniform(size=N)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three epochs neither converge nor learn
        model = clone(estimator).set_params(max_epochs=3, missing="mask", random_state=0)
        model.fit(X, y)
    scorers = [
        make_index_scorer(
            model, X, y, modalities=None, scoring=scoring, sample_weight=weight, cached=cached
        )
        for cached in (True, False)
    ]
    assert [scorer.evaluator is None for scorer in scorers] == [False, True]
    before = [scorer.predict() for scorer in scorers]
    cached, plain = (_perceptual_score(scorer, "all", 4, None, None, 3) for scorer in scorers)
    # Predictions of X come from what has been scored, if it has been, and from the estimator.
    scorers[0].scores([np.tile(rng.permutation(N)[:, None], 2)])
    for found in (*before, *(scorer.predict() for scorer in scorers)):
        assert found.dtype == y.dtype or kind == "labels"
        difference = found != model.predict(X) if kind != "numbers" else found - model.predict(X)
        assert np.abs(difference).max() < 1e-9
    assert np.abs(cached.importances - plain.importances).max() < 1e-10
    assert np.abs(plain.importances).max() > 1e-3
    called = perceptual_score(
        model, X, y, subsets="all", scoring=scoring, n_repeats=4, sample_weight=weight,
        random_state=3,
    )  # fmt: skip
    assert np.array_equal(called.importances, cached.importances)


def test_scorer_of_the_user_and_joint_encoders_take_the_plain_way():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(N, 3)), "b": rng.normal(size=(N, 2))}
    y = X["a"][:, 0] > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs do not converge
        own = InTenseClassifier(max_epochs=2, reg=1e-4, polish=False, random_state=0).fit(X, y)
        joint = MulTClassifier(max_epochs=2, random_state=0).fit(X, y)

    def spread_of_inputs(model, X, y):
        return float(np.corrcoef(X["a"][:, 0], X["b"][:, 0])[0, 1])

    for model, scoring in ((own, spread_of_inputs), (joint, None)):
        scorer = make_index_scorer(
            model, X, y, modalities=None, scoring=scoring, sample_weight=None
        )
        assert scorer.evaluator is None
    found = perceptual_score(own, X, y, scoring=spread_of_inputs, n_repeats=2, random_state=0)
    rows = permutation_of(["a"], 0, 2)[1]
    expected = np.corrcoef(X["a"][rows, 0], X["b"][:, 0])[0, 1]
    assert found.score - found.importances[0, 1] == pytest.approx(expected)
    scorer = make_scorer(r2_score)
    assert perceptual_score(
        joint, X, y, scoring=scorer, n_repeats=1, random_state=0
    ).importances.shape == (2, 1)


def test_parallel_jobs_change_nothing(data):
    X, y, _ = data
    model = LogisticRegression().fit(X, y)
    with parallel_config("threading"):
        one, two = (
            perceptual_score(model, X, y, modalities=COLUMNS, n_jobs=n_jobs, random_state=0)
            for n_jobs in (None, 2)
        )
    assert np.array_equal(one.importances, two.importances)


def test_labels_without_probabilities_are_enough(data):
    X, y, _ = data

    class Plain(DummyClassifier):
        predict_proba = decision_function = None

        def __getattribute__(self, name):
            if name in ("predict_proba", "decision_function"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    found = perceptual_score(Plain().fit(X, y), X, y, modalities=COLUMNS, random_state=0)
    assert not found.importances.any()


def test_to_frame_and_errors(data):
    X, y, _ = data
    model = LogisticRegression().fit(X, y)
    frame = perceptual_score(model, X, y, modalities=COLUMNS, random_state=0).to_frame()
    assert list(frame) == ["modalities", "importance", "std"]
    assert frame["modalities"].tolist() == list(COLUMNS)
    with pytest.raises(InputError, match="normalization must be one of"):
        perceptual_score(model, X, y, modalities=COLUMNS, normalization="gain")
    with pytest.raises(InputError, match="n_repeats"):
        perceptual_score(model, X, y, modalities=COLUMNS, n_repeats=0)
    with pytest.raises(InputError, match="did you mean 'text'"):
        perceptual_score(model, X, y, modalities=COLUMNS, subsets=["txt"])
    with pytest.raises(InputError, match="y: expected 60"):
        perceptual_score(model, X, y[:9], modalities=COLUMNS)
