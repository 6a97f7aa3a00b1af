"""Explanations of every additive estimator against what its other methods return."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    GAMClassifier,
    InTenseClassifier,
    InTenseRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    LateVotingClassifier,
    LinearEncoder,
    MKLClassifier,
    MKLRegressor,
    MNLClassifier,
    MNLRegressor,
    ModalityTransformer,
    MROClassifier,
    MRORegressor,
    RoutingClassifier,
    load,
)
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.inspection import emap
from sklearn_mmfusion.plotting import ContributionDisplay

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

CLASSIFIERS = [
    MNLClassifier,
    InTenseClassifier,
    MROClassifier,
    LateFusionClassifier,
    LateVotingClassifier,
    MKLClassifier,
    RoutingClassifier,
    GAMClassifier,
]
REGRESSORS = [MNLRegressor, InTenseRegressor, MRORegressor, LateFusionRegressor, MKLRegressor]
SCORED = (MNLClassifier, InTenseClassifier, MKLClassifier, MNLRegressor, InTenseRegressor)
N = 60
RNG = np.random.default_rng(0)
X = {"text": RNG.normal(size=(N, 4)), "audio": RNG.normal(size=(N, 3))}
SIGNAL = X["text"][:, 0] + 0.5 * X["audio"][:, 0]
LABELS = np.array(["low", "mid", "high"])[np.digitize(SIGNAL, [-0.5, 0.5])]
TARGETS = {"one": 100 + 20 * SIGNAL, "two": np.column_stack([100 + 20 * SIGNAL, X["audio"][:, 0]])}


def quick(cls, **changes):
    settings = {
        "random_state": 0,
        "max_epochs": 3,
        "encoders": LinearEncoder(),
        "early_stopping": False,
        "polish": False,
        "feature_dim": 8,
        "concept_dim": 8,
        "hidden_dim": 8,
    }
    return cls(**{k: v for k, v in settings.items() if k in cls().get_params()}, **changes)


def some(rows):
    return {name: values[rows] for name, values in X.items()}


def decisions(est, rows):
    found = est.decision_function(rows) if hasattr(est, "classes_") else est.predict(rows)
    return found.reshape(len(found), -1)


# -- local -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSIFIERS)
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_local_explanation_of_a_classifier_adds_up_to_its_decision(cls, kind):
    y = LABELS if kind == "multiclass" else LABELS == "high"
    est = quick(cls).fit(X, y)
    rows = some(slice(5, 25))
    explanation = est.explain_local(rows, y[5:25])
    data = explanation.data
    np.testing.assert_allclose(data["contributions"], est.contributions(rows), rtol=1e-12)
    np.testing.assert_allclose(data["decision"], decisions(est, rows), rtol=1e-9, atol=1e-12)
    assert explanation.deviation < 1e-10
    assert "add up to the decision" in str(explanation)
    np.testing.assert_array_equal(data["predicted"], est.predict(rows))
    np.testing.assert_array_equal(data["y"], y[5:25])
    expected = list(est.classes_[1:] if kind == "binary" else est.classes_)
    assert data["output_names"] == expected
    assert data["term_modalities"] == est.term_modalities_
    if hasattr(est, "predict_proba"):
        np.testing.assert_allclose(data["probabilities"], est.predict_proba(rows), atol=1e-12)
    else:
        assert "probabilities" not in data


@pytest.mark.parametrize("cls", REGRESSORS)
@pytest.mark.parametrize("kind", ["one", "two"])
def test_local_explanation_of_a_regressor_adds_up_to_its_prediction(cls, kind):
    y = TARGETS[kind]
    est = quick(cls).fit(X, y)
    explanation = est.explain_local(some(slice(0, 9)), y[:9])
    data = explanation.data
    np.testing.assert_allclose(data["predicted"], est.predict(some(slice(0, 9))), rtol=1e-12)
    np.testing.assert_allclose(
        data["contributions"].sum(1) + est.intercept_, data["decision"], rtol=1e-10
    )
    assert data["output_names"] == (["y"] if kind == "one" else ["y0", "y1"])
    assert explanation.deviation < 1e-8
    assert "add up to the prediction" in explanation._repr_html_()


def test_multilabel_targets_have_an_output_per_label():
    y = np.column_stack([SIGNAL > 0, X["audio"][:, 1] > 0]).astype(int)
    est = quick(MNLClassifier).fit(X, y)
    explanation = est.explain_local(X, y)
    assert explanation.data["output_names"] == [0, 1]
    np.testing.assert_array_equal(explanation.data["predicted"], est.predict(X))
    assert explanation.label_text(0, "y") == (
        ", ".join(str(k) for k in np.flatnonzero(y[0])) or "none"
    )


def test_deviation_is_measured_and_not_made():
    # Decisions come from the network's own forward pass: with a wrong intercept they disagree.
    est = quick(InTenseClassifier).fit(X, LABELS == "high")
    est.intercept_ = est.intercept_ + 0.5
    explanation = est.explain_local(X)
    assert explanation.deviation == pytest.approx(0.5)
    assert "do NOT add up" in str(explanation)


def test_removed_terms_are_not_explained_and_the_rest_adds_up():
    est = quick(InTenseClassifier).fit(X, LABELS == "high").remove_terms(["text x audio"])
    explanation = est.explain_local(X)
    assert explanation.data["term_names"] == ["text", "audio"]
    assert explanation.deviation < 1e-12
    assert est.explain_global().data["contribution_std"].shape == (2, 1)


def test_a_missing_modality_contributes_exactly_zero():
    partial = {name: values.copy() for name, values in X.items()}
    partial["audio"][::3] = np.nan
    est = quick(InTenseClassifier, missing="mask").fit(partial, LABELS == "high")
    explanation = est.explain_local(partial)
    holds = ["audio" in term for term in explanation.data["term_modalities"]]
    assert (explanation.data["contributions"][::3][:, holds] == 0).all()
    assert explanation.deviation < 1e-12


@pytest.mark.parametrize("cls", [InTenseRegressor, MROClassifier, MKLClassifier])
def test_other_forms_of_the_rows_are_explained_alike(cls):
    y = TARGETS["one"] if cls is InTenseRegressor else LABELS
    est = quick(cls).fit(X, y)
    expected = est.explain_local(X).data["contributions"]
    found = est.explain_local(ModalityFrame(X)).data["contributions"]
    np.testing.assert_array_equal(found, expected)
    flat = np.hstack(list(X.values()))
    by_column = quick(cls, modalities={"text": slice(0, 4), "audio": slice(4, 7)}).fit(flat, y)
    found = by_column.explain_local(flat).data["contributions"]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


# -- global ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", CLASSIFIERS + REGRESSORS)
def test_global_explanation_of_rows_is_that_of_their_contributions(cls):
    y = LABELS if cls in CLASSIFIERS else TARGETS["two"]
    est = quick(cls).fit(X, y)
    rows = some(slice(10, 50))
    data = est.explain_global(rows).data
    parts = est.contributions(rows)
    np.testing.assert_allclose(data["contribution_std"], parts.std(0), rtol=1e-9, atol=1e-12)
    size = np.abs(parts)
    np.testing.assert_allclose(data["mean_absolute_contribution"], size.mean(0), rtol=1e-9)
    half = np.diff(data["mean_absolute_intervals"], axis=-1)[..., 0] / 2
    expected = 1.959964 * size.std(0, ddof=1) / np.sqrt(40)
    np.testing.assert_allclose(half, expected, rtol=1e-5, atol=1e-12)
    units = 1.0 if cls in CLASSIFIERS else y.std(axis=0)
    sizes = np.linalg.norm(parts.std(0) / units, axis=1)
    np.testing.assert_allclose(data["std_share"], sizes / sizes.sum(), rtol=1e-9)
    assert data["n_samples"] == 40


@pytest.mark.parametrize("cls", CLASSIFIERS + REGRESSORS)
def test_global_explanation_without_rows_is_that_of_the_training_set(cls):
    y = LABELS if cls in CLASSIFIERS else TARGETS["two"]
    est = quick(cls).fit(X, y)
    if cls is LateVotingClassifier:
        with pytest.raises(InputError, match="explain_global of LateVotingClassifier needs X"):
            est.explain_global()
        return
    explanation = est.explain_global()
    np.testing.assert_array_equal(explanation.data["contribution_std"], est.contribution_std_)
    np.testing.assert_allclose(est.contribution_std_, est.contributions(X).std(0), rtol=1e-9)
    assert explanation.data["n_samples"] == N
    assert explanation.data["std_share"].sum() == pytest.approx(1)
    kind = {RoutingClassifier: "routing", GAMClassifier: "activation"}.get(cls)
    assert explanation.kind == (kind or ("relevance" if cls in SCORED else explanation.kind))
    if cls in SCORED:
        scores = est.relevance_scores_
        np.testing.assert_array_equal(explanation.data["relevance"], list(scores.values()))
    elif kind is None:
        assert explanation.kind == ("relevance" if cls is MKLRegressor else "contribution")


def test_mkl_weighs_the_rows_of_its_spread():
    weight = np.random.default_rng(1).integers(1, 4, N).astype(float)
    est = MKLRegressor().fit(X, TARGETS["one"], sample_weight=weight)
    repeated = np.repeat(est.contributions(X), weight.astype(int), axis=0)
    np.testing.assert_allclose(est.contribution_std_, repeated.std(0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls", [InTenseRegressor, RoutingClassifier])
def test_chunks_change_nothing(cls, monkeypatch):
    est = quick(cls).fit(X, TARGETS["two"] if cls is InTenseRegressor else LABELS)
    local, whole = est.explain_local(X).data, est.explain_global(X).data
    monkeypatch.setattr("sklearn_mmfusion._fitted._PREDICT_VALUES", 1)
    for name in ("contributions", "decision"):
        found = est.explain_local(X).data[name]
        np.testing.assert_allclose(found, local[name], rtol=1e-10, atol=1e-12)
    parts = est.explain_global(X).data
    assert parts["n_samples"] == N
    for name in ("contribution_std", "mean_absolute_contribution", "mean_absolute_intervals"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-10, atol=1e-12)


# -- both ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [MNLClassifier, MKLRegressor, LateVotingClassifier, MRORegressor])
def test_nothing_is_explained_before_fit(cls):
    for call in (cls().explain_global, cls().explain_local):
        with pytest.raises(NotFittedError):
            call(X)


def test_targets_of_other_rows_are_refused():
    est = quick(MNLRegressor).fit(X, TARGETS["one"])
    with pytest.raises(InputError, match="y: expected 60 labels, one per row of X, got 3"):
        est.explain_local(X, TARGETS["one"][:3])


def test_models_that_are_no_sum_of_terms_are_not_explained():
    assert not hasattr(EarlyFusionClassifier, "explain_local")


# -- names of outputs -------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [InTenseClassifier, RoutingClassifier, InTenseRegressor])
def test_columns_of_a_target_name_the_outputs_everywhere(cls, tmp_path):
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(60, 3)), "b": rng.normal(size=(60, 2))}
    y = pd.DataFrame({"joy": x["a"][:, 0], "fear": x["b"][:, 0]})
    if cls is not InTenseRegressor:
        y = (y > 0).astype(int)
    few = {"max_epochs": 3, "early_stopping": True, "random_state": 0}
    est = cls(encoders=LinearEncoder(), **few).fit(x, y)
    est.save(tmp_path / "m")
    for fitted in (est, load(tmp_path / "m")):
        assert fitted.explain_local(x).to_frame()["output"].unique().tolist() == ["joy", "fear"]
        assert fitted.explain_global(x).data["output_names"] == ["joy", "fear"]
        assert emap(fitted, x).output_names == ["joy", "fear"]
    bare = clone(est).fit(x, y.to_numpy())
    expected = ["y0", "y1"] if cls is InTenseRegressor else [0, 1]
    assert bare.explain_global(x).data["output_names"] == expected
    unnamed = clone(est).fit(x, y.set_axis([0, 1], axis=1))
    assert unnamed.explain_global(x).data["output_names"] == expected


@pytest.mark.parametrize("labels", [["low", "most"], [0, 1], ["low", None]])
def test_labels_that_fit_has_not_seen_are_refused(labels):
    est = quick(MNLClassifier).fit(X, LABELS)
    with pytest.raises(InputError, match="y: fit has seen no .*the labels are"):
        est.explain_local(some(slice(0, 2)), np.array(labels, dtype=object))


def test_target_of_another_shape_than_in_fit_is_refused():
    est = quick(MNLRegressor).fit(X, TARGETS["two"])
    with pytest.raises(InputError, match=r"y: expected the shape \(9, 2\), as in fit, got \(9,\)"):
        est.explain_local(some(slice(0, 9)), np.zeros(9))
    several = np.column_stack([SIGNAL > 0, SIGNAL < 0]).astype(int)
    est = quick(MNLClassifier).fit(X, several)
    with pytest.raises(InputError, match=r"y: fit has seen no \[2\]; the labels are \[0, 1\]"):
        est.explain_local(X, 2 * several)
    est = quick(MNLClassifier).fit(X, SIGNAL > 0)
    column = (SIGNAL > 0)[:, None]
    np.testing.assert_array_equal(est.explain_local(X, column).data["y"], SIGNAL > 0)


# -- labels of rows --------------------------------------------------------------------------

CALLED = [f"id{i}" for i in range(N)]


def tables(index, columns=("text", "audio")):
    return {name: pd.DataFrame(X[name], index=index).add_prefix("c") for name in columns}


@pytest.mark.parametrize(
    "form",
    [
        dict,
        ModalityFrame,
        lambda rows: pd.concat(rows, axis=1),
        lambda rows: {"text": rows["text"], "audio": rows["audio"].to_numpy()},
        lambda rows: {"text": rows["text"], "audio": rows["audio"].reset_index(drop=True)},
    ],
    ids=["dict", "frame", "two levels", "beside an array", "beside row numbers"],
)
def test_samples_are_named_by_the_index_and_taken_by_position(form):
    rows = form(tables(CALLED))
    est = quick(MNLClassifier).fit(rows, LABELS)
    explanation = est.explain_local(rows)[[7, 3]]
    assert explanation.sample_names == ["id7", "id3"]
    assert explanation.data["sample_index"].tolist() == [7, 3]
    frame = explanation.to_frame()
    assert list(dict.fromkeys(frame["sample"])) == ["id7", "id3"]
    assert "<td>id7</td>" in explanation._repr_html_()
    display = explanation.plot()
    assert [ax.get_title("left").split("\n")[0] for ax in display.axes_] == [
        "sample id7",
        "sample id3",
    ]
    assert list(dict.fromkeys(display.frame()["sample"])) == ["id7", "id3"]
    plt.close("all")


@pytest.mark.parametrize(
    "index",
    [
        pd.MultiIndex.from_product([["a", "b"], range(N // 2)]),
        pd.date_range("2020", periods=N, tz="UTC"),
        np.arange(N) + 100,
    ],
    ids=["two levels", "dates", "numbers"],
)
def test_labels_of_any_kind_are_a_column_of_the_table(index):
    rows = tables(index)
    est = quick(MNLClassifier).fit(rows, LABELS)
    explanation = est.explain_local(rows)
    frame = explanation.to_frame("decision")
    expected = list(pd.Index(index)) if not isinstance(index, pd.MultiIndex) else list(index)
    assert list(dict.fromkeys(frame["sample"])) == expected
    display = ContributionDisplay.from_estimator(est, rows, samples=[2])
    assert display.ax_.get_title("left").startswith("sample " + str(expected[2])[:9])
    assert list(display.frame()["sample"].unique()) == [expected[2]]
    plt.close("all")


def test_labels_survive_a_pipeline_that_drops_them():
    rows = ModalityFrame(tables(CALLED))
    steps = ModalityTransformer([("text", StandardScaler()), ("audio", StandardScaler())])
    est = make_pipeline(steps, quick(MNLClassifier)).fit(rows, LABELS)
    for samples, names in (([4, 2], ["id4", "id2"]), (None, CALLED[:5])):
        display = ContributionDisplay.from_estimator(est, rows.iloc[:5], samples=samples)
        assert display.explanation.sample_names == names
        plt.close("all")


def test_rows_without_labels_and_explanations_from_before_are_numbered():
    est = quick(MNLClassifier).fit(X, LABELS)
    explanation = est.explain_local(some(slice(4)))
    assert explanation.sample_names == [0, 1, 2, 3]
    del explanation.data["sample_labels"]  # as one that was pickled before there were labels
    assert explanation.to_frame("decision")["sample"].unique().tolist() == [0, 1, 2, 3]
    assert explanation[[2]].sample_names == [2]
