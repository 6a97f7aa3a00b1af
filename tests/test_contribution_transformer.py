"""ContributionTransformer: its columns against contributions, and scikit-learn's checks."""

from collections import Counter

import numpy as np
import pytest
import sklearn
from joblib import parallel_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.fixes import parse_version

from sklearn_mmfusion import (
    ContributionTransformer,
    EarlyFusionClassifier,
    InTenseClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
    LinearEncoder,
    MKLRegressor,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    ModalityTransformer,
)
from sklearn_mmfusion._errors import InputError, InputTypeError

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
    pytest.mark.filterwarnings("ignore:X is a 2D array and modalities=None:UserWarning"),
]

N = 90
RNG = np.random.default_rng(0)
X = ModalityFrame({"text": RNG.normal(size=(N, 4)), "audio": RNG.normal(size=(N, 3))})
SIGNAL = X["text"][:, 0] + X["audio"][:, 0]
BINARY = SIGNAL > 0
LABELS = np.array(["low", "mid", "high"])[np.digitize(SIGNAL, [-0.5, 0.5])]
QUICK = {"encoders": LinearEncoder(), "max_epochs": 5, "early_stopping": False, "random_state": 0}
# Number of checks by version of scikit-learn.
COUNTS = {"1.9": 55}
VERSION = ".".join(map(str, parse_version(sklearn.__version__).release[:2]))


@pytest.fixture(params=["pandas", "polars"])
def container(request):
    pytest.importorskip(request.param)  # polars sets an environment variable when it is imported
    return request.param


@pytest.mark.slow
@pytest.mark.draws_from_numpy
@pytest.mark.parametrize("cls", [MNLClassifier, MNLRegressor])
def test_checks_of_scikit_learn_pass(cls):
    model = cls(polish=False, **QUICK)
    results = check_estimator(
        ContributionTransformer(model, cv="in_sample"), on_fail=None, on_skip=None
    )
    faults = [f"{r['check_name']}: {r['exception']}" for r in results if r["status"] != "passed"]
    assert not faults
    counts = Counter(r["status"] for r in results)
    assert counts == {"passed": COUNTS.get(VERSION, len(results))}
    assert len(results) >= 45


def test_columns_are_the_contributions_output_by_output():
    model = InTenseClassifier(polish=False, **QUICK)
    transformer = ContributionTransformer(model).fit(X, LABELS)
    fitted = clone(model).fit(X, LABELS)
    found = transformer.transform(X)
    assert found.shape == (N, 3 * 3)
    np.testing.assert_array_equal(found.reshape(N, 3, 3), fitted.contributions(X))
    assert transformer.get_feature_names_out().tolist() == [
        f"{term}: {label}" for term in fitted.term_names_ for label in ("high", "low", "mid")
    ]
    binary = ContributionTransformer(model).fit(X, BINARY)
    assert binary.get_feature_names_out().tolist() == ["text", "audio", "text x audio"]
    targets = ContributionTransformer(MKLRegressor()).fit(X, np.column_stack([SIGNAL, -SIGNAL]))
    assert targets.get_feature_names_out().tolist() == [
        "text: y0", "text: y1", "audio: y0", "audio: y1"
    ]  # fmt: skip


@pytest.mark.parametrize("cv", [None, 3, KFold(4, shuffle=True, random_state=1)])
def test_fit_transform_takes_each_row_from_a_fit_that_has_not_seen_it(cv):
    model = LateFusionClassifier(**QUICK)
    found = ContributionTransformer(model, cv=cv).fit_transform(X, BINARY)
    folds = cv if isinstance(cv, KFold) else StratifiedKFold(5 if cv is None else cv)
    for train, test in folds.split(np.zeros(N), BINARY):
        fitted = clone(model).fit(X.iloc[train], BINARY[train])
        np.testing.assert_array_equal(found[test], fitted.contributions(X.iloc[test])[..., 0])


def test_outputs_are_called_by_the_columns_of_a_frame_in_the_folds_too(container):
    frames = pytest.importorskip(container)
    labels = np.column_stack([BINARY, SIGNAL > 0.5]).astype(int)
    y = frames.DataFrame({"ill": labels[:, 0], "worse": labels[:, 1]})
    transformer = ContributionTransformer(LateFusionClassifier(**QUICK), cv=3)
    found = transformer.fit_transform(X, y)
    names = ["text: ill", "text: worse", "audio: ill", "audio: worse"]
    assert transformer.get_feature_names_out().tolist() == names
    np.testing.assert_allclose(found, clone(transformer).fit_transform(X, labels), rtol=1e-6)


def test_other_rows_come_from_the_fit_on_all_rows():
    model = LateFusionRegressor(**QUICK)
    transformer = ContributionTransformer(model, cv=2)
    transformer.fit_transform(X, SIGNAL)
    expected = clone(model).fit(X, SIGNAL).contributions(X)[..., 0]
    np.testing.assert_array_equal(transformer.transform(X), expected)


def test_contributions_of_training_rows_mislead_and_those_out_of_fold_do_not():
    # No signal at all: in-sample contributions agree with y, out-of-fold ones do not.
    rng = np.random.default_rng(1)
    noise = {"a": rng.normal(size=(60, 40)), "b": rng.normal(size=(60, 40))}
    y = rng.normal(size=60)
    model = LateFusionRegressor(**QUICK | {"max_epochs": 60, "lr": 0.01})
    explained = {}
    for cv in ("in_sample", 5):
        features = ContributionTransformer(model, cv=cv).fit_transform(noise, y)
        explained[cv] = Ridge().fit(features, y).score(features, y)
    assert explained["in_sample"] > 0.8
    assert explained[5] < 0.3


def test_in_sample_equals_fit_then_transform():
    transformer = ContributionTransformer(LateFusionRegressor(**QUICK), cv="in_sample")
    found = transformer.fit_transform(X, SIGNAL)
    np.testing.assert_array_equal(found, transformer.fit(X, SIGNAL).transform(X))


def test_processes_change_nothing():
    one = ContributionTransformer(LateFusionRegressor(**QUICK), cv=3)
    two = ContributionTransformer(LateFusionRegressor(**QUICK), cv=3, n_jobs=2)
    with parallel_config("threading"):
        parallel = two.fit_transform(X, SIGNAL)
    np.testing.assert_array_equal(parallel, one.fit_transform(X, SIGNAL))


def test_set_output_gives_data_frames_with_the_names(container):
    transformer = ContributionTransformer(LateFusionClassifier(**QUICK), cv=3)
    plain = transformer.fit_transform(X, LABELS)
    transformer.set_output(transform=container)
    for frame, values in (
        (transformer.fit_transform(X, LABELS), plain),
        (transformer.transform(X), transformer.set_output(transform="default").transform(X)),
    ):
        assert type(frame).__module__.split(".")[0] == container
        assert list(frame.columns) == transformer.get_feature_names_out().tolist()
        np.testing.assert_array_equal(np.asarray(frame), values)


def test_pipelines_and_searches_inside_and_around():
    inner = make_pipeline(
        ModalityTransformer([("text", StandardScaler())]), LateFusionClassifier(**QUICK)
    )
    search = GridSearchCV(inner, {"latefusionclassifier__lr": [0.01, 0.05]}, cv=2)
    for model in (inner, search):
        transformer = ContributionTransformer(model, cv=2).fit(X, BINARY)
        assert transformer.transform(X).shape == (N, 2)
    stacked = make_pipeline(ContributionTransformer(inner, cv=2), LogisticRegression())
    assert cross_val_score(stacked, X, BINARY, cv=2).min() > 0.5


def test_weights_reach_the_estimator_and_its_folds():
    weight = np.arange(N) % 3
    model = LateFusionRegressor(**QUICK)
    found = ContributionTransformer(model, cv=3).fit_transform(X, SIGNAL, sample_weight=weight)
    for train, test in KFold(3).split(np.zeros(N)):
        fitted = clone(model).fit(X.iloc[train], SIGNAL[train], sample_weight=weight[train])
        np.testing.assert_array_equal(found[test], fitted.contributions(X.iloc[test])[..., 0])
    piped = ContributionTransformer(make_pipeline(model), cv="in_sample")
    expected = clone(model).fit(X, SIGNAL, sample_weight=weight).contributions(X)[..., 0]
    np.testing.assert_array_equal(piped.fit_transform(X, SIGNAL, weight), expected)
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True)
        np.testing.assert_array_equal(piped.fit_transform(X, SIGNAL, weight), expected)


def test_groups_reach_the_splitter_and_stay_together():
    groups = np.arange(N) % 7
    model = LateFusionRegressor(**QUICK)
    transformer = ContributionTransformer(model, cv=GroupKFold(2))
    found = transformer.fit_transform(X, SIGNAL, groups=groups)
    for train, test in GroupKFold(2).split(np.zeros(N), groups=groups):
        fitted = clone(model).fit(X.iloc[train], SIGNAL[train], groups=groups[train])
        np.testing.assert_array_equal(found[test], fitted.contributions(X.iloc[test])[..., 0])
    whole = clone(model).fit(X, SIGNAL, groups=groups).contributions(X)[..., 0]
    np.testing.assert_array_equal(transformer.fit(X, SIGNAL, groups=groups).transform(X), whole)
    with pytest.raises(InputError, match="'groups' parameter should not be None"):
        transformer.fit_transform(X, SIGNAL)
    with pytest.raises(InputError, match="groups: expected one label for each of"):
        transformer.fit_transform(X, SIGNAL, groups=groups[:-1])


def test_groups_go_through_pipelines_with_and_without_routing():
    groups = np.arange(N) % 7
    transformer = ContributionTransformer(LateFusionRegressor(**QUICK), cv=GroupKFold(2))
    direct = Ridge().fit(transformer.fit_transform(X, SIGNAL, groups=groups), SIGNAL).coef_
    named = {"contributiontransformer__groups": groups}
    plain = make_pipeline(clone(transformer), Ridge()).fit(X, SIGNAL, **named)
    np.testing.assert_array_equal(plain[-1].coef_, direct)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = make_pipeline(transformer, Ridge()).fit(X, SIGNAL, groups=groups)
    np.testing.assert_array_equal(routed[-1].coef_, direct)


def test_tables_keep_their_columns():
    pd = pytest.importorskip("pandas")
    flat = pd.DataFrame(X["text"], columns=list("abcd"))
    model = LateFusionRegressor(modalities={"first": ["a", "b"], "second": ["c", "d"]}, **QUICK)
    transformer = ContributionTransformer(model, cv=2).set_output(transform="pandas")
    frame = transformer.fit_transform(flat.set_index(flat.index + 7), SIGNAL)
    assert frame.columns.tolist() == ["first", "second"]
    assert frame.index[0] == 7
    assert transformer.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="input_features"):
        transformer.get_feature_names_out(["a", "b"])


def test_unusable_estimators_and_folds_are_refused():
    with pytest.raises(InputTypeError, match="LogisticRegression has no contributions"):
        ContributionTransformer(LogisticRegression()).fit(X, BINARY)  # which it could not fit
    with pytest.raises(InputTypeError, match="LogisticRegression has no contributions"):
        search = GridSearchCV(make_pipeline(LogisticRegression()), {})
        ContributionTransformer(search).fit(X, BINARY)
    with pytest.raises(InputTypeError, match="EarlyFusionClassifier has no contributions"):
        ContributionTransformer(EarlyFusionClassifier(**QUICK)).fit(X, BINARY)
    model = LateFusionClassifier(**QUICK)
    with pytest.raises(InputError, match="every one of the 90 rows exactly once, got 10 rows"):
        ContributionTransformer(model, cv=[(np.arange(10, 90), np.arange(10))]).fit_transform(
            X, BINARY
        )
    order = np.argsort(LABELS, kind="stable")
    folds = [(order[30:], order[:30]), (order[:30], order[30:])]
    with pytest.raises(
        InputError, match="use folds that hold every class|at least 2 classes|class"
    ):
        ContributionTransformer(model, cv=folds).fit_transform(X, LABELS)
    with pytest.raises(NotFittedError):
        ContributionTransformer(model).transform(X)
    with pytest.raises(NotFittedError):
        ContributionTransformer(model).get_feature_names_out()
