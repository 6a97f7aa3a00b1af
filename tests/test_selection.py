"""ModalitySelector, ModalityConcatenator, and what they share with ModalityTransformer."""

import numpy as np
import pytest
from modality_steps import AUDIO, LENGTHS, RAGGED, TEXT, N, Y, named_table, pd
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from sklearn_mmfusion._errors import (
    FusionError,
    InputError,
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


# What all three share ----------------------------------------------------------------------

ALL = [
    ModalityTransformer([("audio", StandardScaler())]),
    ModalitySelector(["audio"]),
    ModalityConcatenator(),
]


IDS = [type(transformer).__name__ for transformer in ALL]


@pytest.mark.parametrize("transformer", ALL, ids=IDS)
def test_unfitted_transform_is_refused(transformer, X):
    with pytest.raises(NotFittedError):
        clone(transformer).transform(X)


@pytest.mark.parametrize("transformer", ALL, ids=IDS)
@pytest.mark.parametrize("bad", [AUDIO, [TEXT, AUDIO], None, {}])
def test_anything_but_a_mapping_with_modalities_is_refused(transformer, bad):
    with pytest.raises(FusionError, match="mapping of modality names|at least one modality"):
        clone(transformer).fit(bad)


@pytest.mark.parametrize("transformer", [ALL[0], ALL[2]], ids=[IDS[0], IDS[2]])
def test_other_names_in_transform_are_one_error(transformer, X):
    fitted = clone(transformer).fit(X)
    with pytest.raises(InputError, match=r"missing: \['audio'\], unexpected: \['smell'\]"):
        fitted.transform({"text": TEXT, "smell": AUDIO})


@pytest.mark.parametrize(
    "transformer",
    [ModalityConcatenator(), ModalityTransformer([("text", StandardScaler())])],
    ids=["concatenator", "modality that passes through"],
)
def test_columns_are_those_of_fit(transformer):
    X = {"table": named_table(), "text": np.arange(12.0).reshape(6, 2)}
    fitted = clone(transformer).fit(X)
    swapped = X | {"table": X["table"][["a", "b"]]}
    with pytest.raises(InputError, match="modality 'table': .*must be in the same order"):
        fitted.transform(swapped)
    with pytest.raises(InputError, match=r"modality 'table': .*unseen: \['c'\], missing: \['b'\]"):
        fitted.transform(X | {"table": X["table"].rename(columns={"b": "c"})})
    # As in scikit-learn, an array has no names that could differ.
    out = fitted.transform(X | {"table": X["table"].to_numpy()})
    pairs = out.items() if isinstance(out, ModalityFrame) else [("all", out)]
    named = fitted.transform(X)
    for name, value in pairs:
        expected = named[name] if isinstance(named, ModalityFrame) else named
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("transformer", ALL, ids=IDS)
def test_dataframe_of_two_levels_is_a_mapping_of_its_tables(transformer):
    tables = {
        "text": pd.DataFrame(TEXT[:, 0], columns=list("abc")),
        "audio": pd.DataFrame(AUDIO, columns=list("pqrst")),
    }
    both = pd.concat(tables, axis=1).iloc[:, ::-1]  # in another order, and each still whole
    turned = {name: tables[name].iloc[:, ::-1] for name in ("audio", "text")}
    got = clone(transformer).fit_transform(both)
    expected = clone(transformer).fit_transform(turned)
    if not isinstance(got, ModalityFrame):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
        return
    assert got.columns == expected.columns
    for name in got:
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("transformer", ALL, ids=IDS)
def test_tags_say_mappings(transformer):
    tags = get_tags(transformer)
    assert tags.input_tags.dict
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required
    assert tags.transformer_tags is not None


# ModalitySelector --------------------------------------------------------------------------


def test_selector_keeps_the_asked_modalities_in_the_asked_order(X):
    X["video"] = AUDIO[:, :2]
    out = ModalitySelector(["video", "text"]).fit_transform(X)
    assert out.columns == ["video", "text"]
    assert out["text"] is TEXT
    assert ModalitySelector("text").fit_transform(X).columns == ["text"]


def test_selector_needs_the_selected_modalities_only(X):
    fitted = ModalitySelector(["audio"]).fit(X)
    assert fitted.transform({"audio": AUDIO}).columns == ["audio"]
    assert fitted.modality_names_ == ["text", "audio"]
    with pytest.raises(InputError, match=r"unknown: \['audio'\]"):
        fitted.transform({"text": TEXT})


def test_selector_can_be_searched_over(X):
    pipeline = make_pipeline(
        ModalitySelector(["text"]), ModalityConcatenator(), LogisticRegression()
    )
    grid = {"modalityselector__names": [["text"], ["audio"], ["text", "audio"]]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(ModalityFrame(X), Y)
    assert search.best_params_["modalityselector__names"] == ["text", "audio"]


@pytest.mark.parametrize("names", [[], ["audio", "audio"], ["smell"], "smell"])
def test_selector_refuses_names_that_select_nothing(X, names):
    with pytest.raises(InputError, match="names: expected different names"):
        ModalitySelector(names).fit(X)


def test_selector_checks_its_parameter(X):
    with pytest.raises(ValueError, match="'names' parameter"):
        ModalitySelector(3).fit(X)


# ModalityConcatenator ----------------------------------------------------------------------


def test_concatenator_puts_flattened_modalities_side_by_side(X):
    out = ModalityConcatenator().fit_transform(X)
    np.testing.assert_array_equal(out, np.hstack([TEXT.reshape(N, -1), AUDIO]))


def test_concatenator_keeps_the_order_of_fit(X):
    fitted = ModalityConcatenator().fit(X)
    np.testing.assert_array_equal(
        fitted.transform(dict(reversed(X.items()))), fitted.transform(X)
    )  # fmt: skip
    assert fitted.layout_ == {"text": (slice(0, 12), (4, 3)), "audio": slice(12, 17)}


def test_early_fusion_baseline_equals_one_on_the_matrix(X):
    pipeline = make_pipeline(ModalityConcatenator(), StandardScaler(), LogisticRegression())
    matrix = np.hstack([TEXT.reshape(N, -1), AUDIO])
    expected = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), matrix, Y)
    np.testing.assert_array_equal(cross_val_score(pipeline, ModalityFrame(X), Y), expected)


def test_concatenator_pads_ragged_sequences_to_the_longest_of_fit():
    fitted = ModalityConcatenator().fit({"text": RAGGED})
    longest = max(LENGTHS)
    short = [row[:1] for row in RAGGED]
    out = fitted.transform({"text": short})
    assert out.shape == (N, 3 * longest)
    np.testing.assert_array_equal(out[:, :3], np.concatenate(short))
    assert np.isnan(out[:, 3:]).all()
    imputed = make_pipeline(ModalityConcatenator(), SimpleImputer(), LogisticRegression())
    assert imputed.fit({"text": RAGGED}, Y).predict({"text": short}).shape == (N,)


@pytest.mark.parametrize(
    ("value", "pattern"),
    [
        (TEXT[:, :3], r"modality 'text': expected rows of shape \(4, 3\) as in fit, got \(3, 3\)"),
        (TEXT[:, :, :2], r"got \(4, 2\)"),
        ([np.ones((5, 3)), np.ones((1, 3))], r"got \(5, 3\)"),
        ([np.ones((2, 2)), np.ones((1, 2))], r"got \(2, 2\)"),
    ],
)
def test_concatenator_refuses_other_shapes(value, pattern):
    fitted = ModalityConcatenator().fit({"text": TEXT})
    with pytest.raises(InputError, match=pattern):
        fitted.transform({"text": value})


def test_concatenator_names_its_columns():
    table = pd.DataFrame({"pitch": [1.0, 2.0], "volume": [3.0, 4.0]})
    X = {"text": np.zeros((2, 2, 2)), "audio": table, "age": np.array([30, 40])}
    concatenator = ModalityConcatenator().set_output(transform="pandas")
    out = concatenator.fit_transform(X)
    names = ["text__0_0", "text__0_1", "text__1_0", "text__1_1"]
    names += ["audio__pitch", "audio__volume", "age__0"]
    assert list(out.columns) == names
    assert list(concatenator.get_feature_names_out(["text", "audio", "age"])) == names
    np.testing.assert_array_equal(out["age__0"], [30, 40])
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        concatenator.get_feature_names_out(["a"])
