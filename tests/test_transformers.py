"""ModalityTransformer, alone and in Pipelines."""

import pickle

import numpy as np
import pytest
import torch
from modality_steps import AUDIO, LENGTHS, RAGGED, RNG, TEXT, N, Y, named_table, pd
from scipy import sparse
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skorch.helper import SliceDict

from sklearn_mmfusion import LinearEncoder, MNLClassifier, _transformers
from sklearn_mmfusion._errors import (
    FusionMemoryError,
    InputError,
    InputTypeError,
)
from sklearn_mmfusion._transformers import (
    ModalityConcatenator,
    ModalitySelector,
    ModalityTransformer,
)
from sklearn_mmfusion.data import ModalityFrame


@pytest.fixture
def X():
    return {"text": TEXT, "audio": AUDIO}


def _scaled(steps):
    """Standardise the columns of a matrix by hand."""
    return (steps - steps.mean(axis=0)) / steps.std(axis=0)


# ModalityTransformer -----------------------------------------------------------------------


def test_flat_modality_gets_its_own_transformer_and_others_pass(X):
    out = ModalityTransformer([("audio", StandardScaler())]).fit_transform(X)
    assert isinstance(out, ModalityFrame)
    assert out.columns == ["text", "audio"]
    np.testing.assert_allclose(out["audio"], _scaled(AUDIO))
    assert out["text"] is TEXT


def test_remainder_drop_keeps_named_modalities_only(X):
    transformer = ModalityTransformer([("audio", StandardScaler())], remainder="drop")
    assert transformer.fit_transform(X).columns == ["audio"]
    assert transformer.transform(X).columns == ["audio"]


def test_words_for_transformers(X):
    transformer = ModalityTransformer([("text", "drop"), ("audio", "passthrough")])
    out = transformer.fit_transform(X)
    assert out.columns == ["audio"]
    assert out["audio"] is AUDIO


@pytest.mark.parametrize("container", [dict, ModalityFrame, lambda X: SliceDict(**X)])
def test_every_mapping_gives_the_same(container, X):
    transformer = ModalityTransformer([("text", StandardScaler()), ("audio", PCA(2))])
    expected = clone(transformer).fit(X).transform(X)
    got = transformer.fit(container(X)).transform(container(X))
    assert got == expected


def test_sequence_is_transformed_step_by_step(X):
    out = ModalityTransformer([("text", StandardScaler())]).fit_transform(X)["text"]
    np.testing.assert_allclose(out, _scaled(TEXT.reshape(-1, 3)).reshape(TEXT.shape))
    out = ModalityTransformer([("text", PCA(2))]).fit_transform(X)["text"]
    assert out.shape == (N, 4, 2)
    np.testing.assert_allclose(out.reshape(-1, 2), PCA(2).fit_transform(TEXT.reshape(-1, 3)))


def test_padding_stays_nan_and_counts_for_nothing():
    padded = TEXT.copy()
    for row, length in zip(padded, LENGTHS, strict=True):
        row[length:] = np.nan
    out = ModalityTransformer([("text", StandardScaler())]).fit_transform({"text": padded})["text"]
    expected = _scaled(np.concatenate(RAGGED))
    np.testing.assert_allclose(out[~np.isnan(padded)], expected.ravel())
    np.testing.assert_array_equal(np.isnan(out), np.isnan(padded))


def test_ragged_sequences_stay_ragged():
    out = ModalityTransformer([("text", PCA(2))]).fit_transform({"text": RAGGED})["text"]
    assert out.dtype == object
    assert [row.shape for row in out] == [(length, 2) for length in LENGTHS]
    expected = PCA(2).fit_transform(np.concatenate(RAGGED))
    np.testing.assert_allclose(np.concatenate(out), expected)


def test_missing_rows_stay_missing_and_count_for_nothing():
    audio = AUDIO.copy()
    audio[[2, 7]] = np.nan
    here = ~np.isnan(audio[:, 0])
    for value in (audio, pd.DataFrame(audio), torch.tensor(audio)):
        transformer = ModalityTransformer([("audio", StandardScaler())])
        out = transformer.fit_transform({"audio": value})["audio"]
        np.testing.assert_allclose(out[here], _scaled(AUDIO[here]))
        assert np.isnan(out[~here]).all()
        # Nothing but missing rows: no transformer would take them.
        assert np.isnan(transformer.transform({"audio": audio[[2]]})["audio"]).all()
        assert transformer.transform({"audio": audio[[2]]})["audio"].shape == (1, 5)


def test_partly_missing_rows_reach_the_transformer():
    audio = AUDIO.copy()
    audio[3, 1] = np.nan
    out = ModalityTransformer([("audio", SimpleImputer())]).fit_transform({"audio": audio})
    assert out["audio"][3, 1] == pytest.approx(np.nanmean(audio[:, 1]))


# The nets are small and quick; whether they have learned is not the question.
few_epochs = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::sklearn_mmfusion._errors.RelevanceWarning",
)


GAPS = np.array([[30.0], [np.nan], [50.0], [70.0]])


@pytest.mark.parametrize("container", [np.asarray, pd.DataFrame, torch.tensor, np.ndarray.tolist])
def test_absent_rows_of_one_column_are_imputed_where_they_are_to_be_transformed(container):
    impute = ModalityTransformer([("age", SimpleImputer())], absent="transform")
    out = impute.fit_transform({"age": container(GAPS)})["age"]
    np.testing.assert_allclose(np.ravel(out), [30.0, 50.0, 50.0, 70.0])
    # Nothing but absent rows is still something to impute.
    np.testing.assert_allclose(impute.transform({"age": container(GAPS[[1]])})["age"], [[50.0]])


@pytest.mark.parametrize("container", [pd.DataFrame, lambda values: np.array(values, dtype=object)])
def test_absent_category_becomes_one_of_its_own_where_it_is_to_be_transformed(container):
    encode = ModalityTransformer([("ward", OneHotEncoder())], absent="transform")
    out = encode.fit_transform({"ward": container([["A"], [None], ["B"]])})["ward"]
    np.testing.assert_array_equal(out, [[1, 0, 0], [0, 0, 1], [0, 1, 0]])


@few_epochs
def test_absent_rows_are_imputed_in_front_of_an_estimator():
    X = {"age": np.tile(GAPS, (10, 1)), "audio": RNG.normal(size=(40, 2))}
    y = np.tile([0, 1], 20)
    keep = ModalityTransformer([("age", SimpleImputer())])
    estimator = MNLClassifier(max_epochs=2, random_state=0)
    with pytest.raises(InputError, match=r"modality 'age': .* 10 row\(s\).*absent='transform'"):
        make_pipeline(keep, estimator).fit(X, y)
    transform = clone(keep).set_params(absent="transform")
    assert clone(transform).get_params()["absent"] == "transform"
    piped = make_pipeline(transform, estimator).fit(X, y)
    by_hand = X | {"age": SimpleImputer().fit_transform(X["age"])}
    np.testing.assert_array_equal(
        piped.decision_function(X), clone(estimator).fit(by_hand, y).decision_function(by_hand)
    )


@few_epochs
def test_treatment_of_absent_rows_can_be_searched_over():
    X = ModalityFrame({"age": np.tile(GAPS, (10, 1)), "audio": RNG.normal(size=(40, 2))})
    impute = ModalityTransformer([("age", SimpleImputer())])
    pipeline = make_pipeline(impute, MNLClassifier(max_epochs=2, missing="mask", random_state=0))
    grid = {"modalitytransformer__absent": ["keep", "transform"]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, np.tile([0, 1], 20))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("ragged", [False, True], ids=["padded", "ragged"])
def test_missing_steps_are_imputed_and_padding_stays_where_absent_is_transformed(ragged):
    padded = np.array([[1.0, np.nan, 3.0, np.nan], [5.0, 7.0, np.nan, np.nan]])[:, :, None]
    value = [padded[0, :3], padded[1, :2]] if ragged else padded
    impute = ModalityTransformer([("text", SimpleImputer())], absent="transform")
    out = impute.fit_transform({"text": value})["text"]
    expected = padded.copy()
    expected[0, 1] = 4.0  # the mean of 1, 3, 5 and 7
    for got, wanted, length in zip(out, expected, (3, 2), strict=True):
        np.testing.assert_array_equal(got[:length], wanted[:length])
        assert np.isnan(got[length:]).all()


@pytest.mark.parametrize(
    "value",
    [np.array([[[1.0]], [[np.nan]]]), [np.ones((2, 1)), np.full((1, 1), np.nan), np.ones((1, 1))]],
    ids=["padded", "ragged"],
)
def test_sequence_without_a_step_cannot_be_transformed(value):
    impute = ModalityTransformer([("text", SimpleImputer())], absent="transform")
    with pytest.raises(InputError, match=r"modality 'text': .* 1 without any, first in row 1: .*"):
        impute.fit({"text": value})
    # One that passes through is nobody's to fill.
    X = {"text": value, "audio": AUDIO[: len(value)]}
    passing = ModalityTransformer([("audio", SimpleImputer())], absent="transform")
    assert passing.fit_transform(X)["text"] is not None


TEXTS = ["a good film", "a bad film", "good good", "bad"]


def test_sparse_output_becomes_an_array():
    words = ModalityTransformer([("text", TfidfVectorizer()), ("ward", OneHotEncoder())])
    X = {"text": TEXTS, "ward": [["A"], ["B"], ["A"], ["C"]]}
    expected = TfidfVectorizer().fit_transform(TEXTS).toarray()
    for out in (words.fit_transform(X), words.transform(X)):
        assert isinstance(out["text"], np.ndarray)
        np.testing.assert_array_equal(out["text"], expected)
        np.testing.assert_array_equal(out["ward"], np.eye(3)[[0, 1, 0, 2]])
    np.testing.assert_array_equal(words.transform(X.copy())["text"], expected)


def test_sparse_output_stays_sparse_where_it_is_asked_for():
    words = ModalityTransformer([("text", TfidfVectorizer())], sparse_output=True)
    out = words.fit_transform({"text": TEXTS})
    assert sparse.issparse(out["text"])
    np.testing.assert_allclose(
        out["text"].toarray(), TfidfVectorizer().fit_transform(TEXTS).toarray()
    )
    pipeline = make_pipeline(
        words, ModalityTransformer([("text", TruncatedSVD(2, random_state=0))])
    )
    assert pipeline.fit_transform({"text": TEXTS})["text"].shape == (4, 2)


def test_sparse_modality_that_passes_through_becomes_an_array_too():
    X = {"text": sparse.csr_array(np.eye(4)), "audio": AUDIO[:4]}
    out = ModalityTransformer([("audio", StandardScaler())]).fit_transform(X)
    np.testing.assert_array_equal(out["text"], np.eye(4))


def test_sparse_output_too_large_for_an_array_is_refused_before_it_is_allocated(monkeypatch):
    monkeypatch.setattr(_transformers, "available_memory", lambda: 2**20)
    X = {"text": sparse.csr_array((1000, 10_000)), "audio": np.zeros((1000, 1))}
    words = ModalityTransformer([("audio", "passthrough")])
    with pytest.raises(FusionMemoryError, match=r"modality 'text'.*76 MiB.*1 MiB.*TruncatedSVD"):
        words.fit_transform(X)
    assert sparse.issparse(clone(words).set_params(sparse_output=True).fit_transform(X)["text"])


def test_texts_and_categories_are_fitted_inside_the_folds():
    y = np.tile([0, 1], 20)
    X = ModalityFrame(
        {"text": [TEXTS[0] if label else TEXTS[1] for label in y], "ward": [["A"], ["B"]] * 20}
    )
    encode = ModalityTransformer([("text", TfidfVectorizer()), ("ward", OneHotEncoder())])
    settings = {"max_epochs": 30, "lr": 0.05, "random_state": 0}
    model = make_pipeline(encode, MNLClassifier(encoders=LinearEncoder(), **settings))
    assert cross_val_score(model, X, y, cv=2).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("gap", [None, float("nan"), pd.NA], ids=["None", "NaN", "NA"])
def test_gaps_among_texts_are_rows_that_lack_them(gap):
    texts = ["good film", gap, "bad film", gap]
    expected = TfidfVectorizer().fit(["good film", "bad film"])
    arrays = np.array(texts, dtype=object)
    for value in (texts, tuple(texts), arrays, pd.Series(texts), pd.DataFrame({"t": texts})["t"]):
        encode = ModalityTransformer([("text", TfidfVectorizer())])
        out = encode.fit_transform({"text": value})["text"]
        assert encode.named_transformers_["text"].vocabulary_ == expected.vocabulary_
        words = expected.transform(["good film", "bad film"]).toarray()
        np.testing.assert_array_equal(out[[0, 2]], words)
        assert np.isnan(out[[1, 3]]).all()


def test_gaps_among_categories_are_rows_that_lack_them_unless_they_are_to_be_transformed():
    wards = [["A"], [None], ["B"], ["A"]]
    kept = ModalityTransformer([("ward", OneHotEncoder())]).fit_transform({"ward": wards})["ward"]
    np.testing.assert_array_equal(kept[[0, 2, 3]], [[1, 0], [0, 1], [1, 0]])
    assert np.isnan(kept[1]).all()
    shown = ModalityTransformer([("ward", OneHotEncoder())], absent="transform")
    out = shown.fit_transform({"ward": wards})["ward"]
    np.testing.assert_array_equal(out, [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])


def test_target_is_repeated_for_each_step(X):
    labelled = ModalityTransformer([("text", SelectKBest(k=1)), ("audio", SelectKBest(k=2))])
    out = labelled.fit_transform(X, Y)
    by_hand = SelectKBest(k=1).fit_transform(TEXT.reshape(-1, 3), np.repeat(Y, 4))
    np.testing.assert_array_equal(out["text"], by_hand.reshape(N, 4, 1))
    np.testing.assert_array_equal(out["audio"], SelectKBest(k=2).fit_transform(AUDIO, Y))


def test_transform_takes_any_key_order_and_returns_that_of_fit(X):
    transformer = ModalityTransformer([("audio", StandardScaler())]).fit(X)
    assert transformer.transform(dict(reversed(X.items()))) == transformer.transform(X)
    assert transformer.transform(dict(reversed(X.items()))).columns == ["text", "audio"]


def test_fit_transform_equals_fit_then_transform_and_leaves_the_input_alone(X):
    before = ModalityFrame(X).copy()
    transformer = ModalityTransformer([("text", StandardScaler()), ("audio", PCA(2))])
    first = transformer.fit_transform(X)
    second = transformer.transform(X)
    np.testing.assert_allclose(first["audio"], second["audio"])
    np.testing.assert_array_equal(first["text"], second["text"])
    assert before == X
    assert not hasattr(transformer.transformers[1][1], "components_")


def test_fitted_attributes(X):
    transformer = ModalityTransformer([("audio", PCA(2))]).fit(X)
    assert [name for name, _ in transformer.transformers_] == ["text", "audio"]
    assert transformer.named_transformers_["audio"].components_.shape == (2, 5)
    assert transformer.modality_names_ == ["text", "audio"]
    assert transformer.n_features_in_ == 2
    assert list(transformer.feature_names_in_) == ["text", "audio"]


def test_parameters_reach_into_the_transformers():
    transformer = ModalityTransformer([("text", StandardScaler()), ("audio", PCA(8))])
    assert transformer.get_params()["audio__n_components"] == 8
    transformer.set_params(audio__n_components=2, text=PCA(1), remainder="drop")
    assert dict(transformer.transformers)["audio"].n_components == 2
    assert isinstance(dict(transformer.transformers)["text"], PCA)
    assert clone(transformer).get_params()["text__n_components"] == 1
    with pytest.raises(ValueError, match="Invalid parameter 'typo'"):
        transformer.set_params(typo=1)


def test_clone_and_pickle(X):
    transformer = ModalityTransformer([("audio", PCA(2))]).fit(X)
    with pytest.raises(NotFittedError):
        clone(transformer).transform(X)
    assert pickle.loads(pickle.dumps(transformer)).transform(X) == transformer.transform(X)
    assert "PCA" in repr(transformer)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_nested_search_over_a_pipeline(X, n_jobs):
    pipeline = make_pipeline(
        ModalityTransformer([("text", StandardScaler()), ("audio", PCA())]),
        ModalityConcatenator(),
        LogisticRegression(),
    )
    grid = {
        "modalitytransformer__audio__n_components": [1, 3],
        "modalitytransformer__text": ["drop", StandardScaler()],
    }
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs, error_score="raise")
    search.fit(ModalityFrame(X), Y)
    assert search.cv_results_["mean_test_score"].shape == (4,)
    np.testing.assert_array_equal(search.predict(X), search.predict(ModalityFrame(X)))


def test_pandas_output_leaves_the_frame_alone(X):
    transformer = ModalityTransformer([("audio", StandardScaler())])
    with config_context(transform_output="pandas"):
        out = transformer.fit_transform(X)
    assert isinstance(out, ModalityFrame)
    assert transformer.get_feature_names_out().tolist() == list(X)
    np.testing.assert_allclose(out["audio"], _scaled(AUDIO))


def test_columns_keep_their_names_through_a_pipeline():
    X = ModalityFrame({"clinical": named_table(), "text": np.arange(12.0).reshape(6, 2)})
    pipeline = make_pipeline(
        ModalityTransformer([("clinical", StandardScaler()), ("text", PCA(1))]),
        ModalitySelector(["text", "clinical"]),
        ModalityConcatenator(),
        LogisticRegression(),
    ).set_output(transform="pandas")
    pipeline.fit(X, [0, 1] * 3)
    names = ["text__pca0", "clinical__b", "clinical__a"]
    assert pipeline[-1].feature_names_in_.tolist() == names
    assert pipeline[:-1].get_feature_names_out().tolist() == names
    assert pipeline[:-1].transform(X).columns.tolist() == names
    twin = clone(pipeline).set_output(transform="default").fit(X, [0, 1] * 3)
    np.testing.assert_array_equal(twin.predict_proba(X), pipeline.predict_proba(X))


def test_rows_that_lack_a_table_leave_it_a_table():
    X = {"clinical": named_table(absent=[1, 4]), "text": np.ones((6, 2))}
    transformer = ModalityTransformer([("clinical", StandardScaler()), ("text", "drop")])
    with pytest.raises(NotFittedError):
        transformer.get_feature_names_out()
    out = transformer.set_output(transform="pandas").fit_transform(X)["clinical"]
    assert out.columns.tolist() == ["b", "a"]
    assert out.index.equals(X["clinical"].index)
    expected = ModalityTransformer([("clinical", StandardScaler())]).fit_transform(X)["clinical"]
    np.testing.assert_array_equal(out, expected)
    assert np.isnan(expected[[1, 4]]).all()
    assert transformer.get_feature_names_out().tolist() == ["clinical"]
    again = transformer.set_output(transform="default").transform(X)["clinical"]
    np.testing.assert_array_equal(again, expected)
    assert isinstance(again, np.ndarray)
    with pytest.raises(InputError, match="input_features"):
        transformer.get_feature_names_out(["text"])


class _Halver(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return X[::2]


@pytest.mark.parametrize(
    ("transformers", "error", "pattern"),
    [
        ([("smell", StandardScaler())], InputError, r"\['text', 'audio'\], got \['smell'\]"),
        ([("audio", 3)], InputTypeError, "modality 'audio': .* got 3"),
        ([("audio", PCA)], InputTypeError, "modality 'audio': expected an instance"),
        ([("audio", "pass")], InputTypeError, "'passthrough' or 'drop', got 'pass'"),
        ([StandardScaler()], InputTypeError, "expected pairs such as"),
        ([("audio", PCA(2)), ("audio", PCA(1))], ValueError, "not unique"),
        ([("remainder", PCA(2))], ValueError, "conflict with constructor arguments"),
        ([("text", "drop"), ("audio", "drop")], InputError, "'drop' for all"),
        ([("audio", PCA(9))], InputError, "modality 'audio', PCA: n_components=9"),
        ([("audio", _Halver())], InputError, "modality 'audio': .* keeps the 30 rows"),
        ({"audio": PCA(2)}, ValueError, "'transformers' parameter"),
    ],
)
def test_bad_transformers_are_errors(X, transformers, error, pattern):
    with pytest.raises(error, match=pattern):
        ModalityTransformer(transformers).fit(X)


def test_vectorizer_of_a_table_is_told_to_take_a_column():
    table = pd.DataFrame({"said": ["good film", "bad film", "film"]})
    transformer = ModalityTransformer([("text", TfidfVectorizer())])
    with pytest.raises(InputError, match=r"keeps the 3 rows or steps, got 1\. .* frame\['name'\]"):
        transformer.fit_transform({"text": table})
    assert transformer.fit_transform({"text": table["said"]})["text"].shape == (3, 3)


def test_error_of_type_in_a_transformer_stays_one(X):
    def fail(values):
        raise TypeError("no")

    with pytest.raises(InputTypeError, match="modality 'audio', FunctionTransformer: no"):
        ModalityTransformer([("audio", FunctionTransformer(fail))]).fit(X)


def test_failed_fit_keeps_the_fitted_state(X):
    transformer = ModalityTransformer([("audio", PCA(2))]).fit(X)
    expected = transformer.transform(X)
    infinite = AUDIO.copy()
    infinite[0, 0] = np.inf
    with pytest.raises(InputError, match="modality 'audio', PCA: .*infinity"):
        transformer.fit({"text": TEXT, "audio": infinite})
    assert transformer.transform(X) == expected


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        (np.zeros((3, 2, 4, 4)), r"expected shape \(n, d\) or \(n, T, d\), got \(3, 2, 4, 4\)"),
        (np.zeros((3, 0)), "0 feature"),
        ([np.ones((2, 3)), np.ones((1, 4))], "different length"),
    ],
)
def test_shapes_that_are_no_steps_are_errors(value, pattern):
    with pytest.raises(InputError, match=f"modality 'image': .*{pattern}"):
        ModalityTransformer([("image", StandardScaler())]).fit({"image": value})
