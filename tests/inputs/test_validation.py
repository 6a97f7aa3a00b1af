"""X in all its forms.

Bad input is in ``test_bad_input.py``, for every estimator.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from skorch.helper import SliceDict

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs.validation import check_fit_inputs, check_X
from sklearn_mmfusion.data import LazyArray, ModalityFrame

N = 6


class Fusion(ClassifierMixin, BaseEstimator):
    """The part of an estimator that validation looks at."""

    def __init__(self, modalities=None, missing="raise", dtype="auto"):
        self.modalities = modalities
        self.missing = missing
        self.dtype = dtype

    def fit(self, X, y=None, sample_weight=None):
        y = np.arange(N) % 2 if y is None else y
        schema, data, *_ = check_fit_inputs(self, X, y, sample_weight, classifier=True)
        self.schema_, self.data_ = schema, data
        self.n_features_in_ = schema.n_features_in
        if schema.feature_names_in is not None:
            self.feature_names_in_ = schema.feature_names_in
        return self

    def predict(self, X):
        return check_X(X, estimator=self, missing=self.missing, schema=self.schema_)[1]


def good(**changes):
    rng = np.random.default_rng(0)
    return {"text": rng.normal(size=(N, 3, 2)), "audio": rng.normal(size=(N, 4))} | changes


def put(value, *, dtype=float, where=(2, 1)):
    array = np.ones((N, 4), dtype=dtype)
    array[where] = value
    return array


def ragged(*lengths, d=2):
    return [np.full((length, d), float(i)) for i, length in enumerate(lengths)]


NAMED = "modality 'audio': "


# Forms of X: each takes good() and gives it back in its form, with the value of modalities=.


def as_2d(X):
    return np.hstack([v.reshape(N, -1) for v in X.values()])


SPEC = {"text": (slice(0, 6), (3, 2)), "audio": slice(6, 10)}


FORMS = {
    "mapping": lambda X: (X, None),
    "frame": lambda X: (ModalityFrame(X), None),
    "slice-dict": lambda X: (SliceDict(**X), None),
    "names": lambda X: (dict(reversed(X.items())), ["text", "audio"]),
    "array": lambda X: (as_2d(X), SPEC),
    "array-positions": lambda X: (
        as_2d(X)[:, ::-1],
        {"text": ([9, 8, 7, 6, 5, 4], (3, 2)), "audio": range(3, -1, -1)},
    ),
    "array-negative": lambda X: (as_2d(X), {"text": SPEC["text"], "audio": [-4, -3, -2, -1]}),
    "array-mask": lambda X: (as_2d(X), {"text": SPEC["text"], "audio": np.arange(10) > 5}),
    "array-open": lambda X: (as_2d(X), {"text": SPEC["text"], "audio": slice(6, None)}),
    "array-tensor": lambda X: (torch.tensor(as_2d(X)), SPEC),
    "dataframe": lambda X: (
        pd.DataFrame(as_2d(X), columns=list("abcdefghij")),
        {"text": (slice("a", "f"), (3, 2)), "audio": list("ghij")},
    ),
    "dataframe-positions": lambda X: (pd.DataFrame(as_2d(X)), SPEC),
    "tensors": lambda X: ({k: torch.tensor(v, requires_grad=True) for k, v in X.items()}, None),
    "lists": lambda X: ({k: v.tolist() for k, v in X.items()}, None),
    "list-of-arrays": lambda X: ({k: list(v) for k, v in X.items()}, None),
    "list-of-tensors": lambda X: ({k: list(torch.tensor(v)) for k, v in X.items()}, None),
    "objects": lambda X: ({k: v.astype(object) for k, v in X.items()}, None),
    "fortran": lambda X: ({k: np.asfortranarray(v) for k, v in X.items()}, None),
    "strides": lambda X: ({k: v[::-1].copy()[::-1] for k, v in X.items()}, None),
    "big-endian": lambda X: ({k: v.astype(">f8") for k, v in X.items()}, None),
    "values-frame": lambda X: (X | {"audio": pd.DataFrame(X["audio"])}, None),
    "values-nullable": lambda X: (X | {"audio": pd.DataFrame(X["audio"]).astype("Float64")}, None),
}


@pytest.mark.parametrize("form", FORMS)
def test_fit_all_forms_give_identical_blocks(form):
    expected = good()
    X, modalities = FORMS[form](good())
    est = Fusion(modalities=modalities).fit(X)
    for data in (est.data_, est.predict(X)):
        assert data.names == ["text", "audio"]
        assert data.n_samples == N
        for block in data.blocks:
            assert block.values.dtype == np.float64 and block.values.dtype.isnative
            np.testing.assert_array_equal(block.values, expected[block.name])
            assert block.lengths is None and block.present is None
    assert [layout.shape for layout in est.schema_.layouts] == [(3, 2), (4,)]
    assert est.schema_.n_features_in == (2 if est.schema_.form == "mapping" else 10)


def test_fit_multiindex_columns_are_a_mapping_by_first_level():
    X = pd.DataFrame(
        np.arange(N * 3.0).reshape(N, 3),
        columns=pd.MultiIndex.from_tuples([("b", "u"), ("a", "u"), ("b", "v")]),
    )
    est = Fusion().fit(X)
    assert est.schema_.form == "mapping"
    assert list(est.schema_.feature_names_in) == ["b", "a"]
    assert [layout.feature_names for layout in est.schema_.layouts] == [("u", "v"), ("u",)]
    np.testing.assert_array_equal(est.data_.blocks[0].values, X.to_numpy()[:, [0, 2]])
    swapped = X.iloc[:, [2, 1, 0]]
    with pytest.raises(ValueError, match="modality 'b': The feature names should match"):
        est.predict(swapped)


def test_fit_2d_without_modalities_warns_and_is_one_modality():
    with pytest.warns(UserWarning, match="ONE modality"):
        est = Fusion().fit(np.ones((N, 3)))
    assert est.schema_.names == ["X"]
    assert est.schema_.n_features_in == 3
    assert est.schema_.feature_names_in is None
    est.predict(np.ones((1, 3)))  # and only in fit


@pytest.mark.filterwarnings("ignore:X is a 2D array and modalities=None")
def test_predict_2d_has_the_messages_of_scikit_learn():
    frame = pd.DataFrame(np.ones((N, 3)), columns=list("abc"))
    est = Fusion().fit(frame)
    assert est.schema_.form == "dataframe"
    np.testing.assert_array_equal(est.schema_.feature_names_in, list("abc"))
    with pytest.raises(ValueError, match="(?s)feature names should match.*same order"):
        est.predict(frame[["b", "a", "c"]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        est.predict(frame.to_numpy())
    bare = Fusion().fit(frame.to_numpy())
    with pytest.raises(ValueError, match="X has 2 features, but Fusion is expecting 3 features"):
        bare.predict(np.ones((N, 2)))
    with pytest.raises(ValueError, match="fitted on a 2D array with 3 columns, but got a mapping"):
        bare.predict(good())


@pytest.mark.parametrize(
    ("modalities", "pattern"),
    [
        ({"a": ["zz"], "b": slice(1, 10)}, "use positions"),
        ({"a": slice(0, 6), "b": slice(5, 10)}, r"overlap in the columns \[5\]"),
        ({"a": slice(0, 6)}, r"columns \[6, 7, 8, 9\] of X belong to no modality"),
        ({"a": slice(0, 6), "b": slice(6, 12)}, "modality 'b': .*reaches beyond the 10 columns"),
        ({"a": [0, 10], "b": slice(1, 10)}, r"modality 'a': column\(s\) \[10\] do not exist"),
        ({"a": (slice(0, 6), (4, 2)), "b": slice(6, 10)}, r"6 columns cannot take the shape"),
        ({"a": [], "b": slice(0, 10)}, r"modality 'a': 0 feature\(s\)"),
        ({"a": 1.5, "b": slice(0, 10)}, "modality 'a': columns are a slice"),
        ({"a": [True, False], "b": slice(0, 10)}, "a mask of 2 columns"),
        ({"a": [0.5], "b": slice(0, 10)}, "modality 'a': columns are a slice"),
        ({"a.b": slice(0, 10)}, "invalid modality name"),
    ],
)
def test_fit_2d_with_wrong_modalities_raises(modalities, pattern):
    with pytest.raises(ValueError, match=pattern):
        Fusion(modalities=modalities).fit(np.ones((N, 10)))


def test_fit_unknown_column_names_are_listed_with_a_hint():
    X = pd.DataFrame(np.ones((N, 2)), columns=["pitch", "words"])
    with pytest.raises(ValueError, match=r"unknown columns \['pich'\].*did you mean 'pitch'"):
        Fusion(modalities={"audio": ["pich"], "text": "words"}).fit(X)


def test_fit_modalities_of_the_wrong_kind_raise():
    with pytest.raises(TypeError, match="maps each name to its columns"):
        Fusion(modalities=["text"]).fit(np.ones((N, 2)))
    with pytest.raises(TypeError, match="a list of their names"):
        Fusion(modalities={"text": slice(0, 1)}).fit(good())


def test_modalities_of_a_mapping_give_order_and_selection():
    X = good(video=np.ones((N, 1)))
    est = Fusion(modalities=["audio", "text"]).fit(X)
    assert est.schema_.names == est.predict(X).names == ["audio", "text"]
    assert est.schema_.n_features_in == 2
    with pytest.raises(ValueError, match=r"missing: \['txt'\].*did you mean 'text'"):
        Fusion(modalities=["txt"]).fit(X)
    with pytest.raises(ValueError, match=r"got twice: \['text'\]"):
        Fusion(modalities=["text", "text"]).fit(X)


def test_only_reads_one_modality_and_looks_at_no_other():
    X = good(audio=put(np.nan))
    schema, data = check_X(X, estimator=Fusion(), only="text")
    assert (schema.names, schema.n_features_in) == (["text"], 1)
    assert [block.name for block in data.blocks] == ["text"]
    again = check_X(good(more=np.ones((N, 1))), estimator=Fusion(), schema=schema)[1]
    assert [block.name for block in again.blocks] == ["text"]
    table = np.column_stack([X["text"].reshape(N, -1), X["audio"]])
    spec = {"text": (slice(0, 6), (3, 2)), "audio": slice(6, 10)}
    schema, data = check_X(table, estimator=Fusion(), modalities=spec, only="text")
    assert (schema.names, schema.n_features_in) == (["text"], 10)
    np.testing.assert_array_equal(data.blocks[0].values, X["text"])


def test_only_of_an_unknown_name_raises_with_a_hint():
    pattern = "modality 'txt': there is none of this name.*did you mean 'text'"
    with pytest.raises(InputError, match=pattern):
        check_X(good(), estimator=Fusion(), only="txt")
    with pytest.raises(InputError, match="'audio': there is none of this name, only"):
        check_X(good(), estimator=Fusion(), modalities=["text"], only="audio")
    with pytest.raises(InputError, match="'txt': there is none of this name, only"):
        check_X(np.ones((N, 2)), estimator=Fusion(), only="txt")


@pytest.mark.parametrize("checked", ["X", "fit_inputs"])
def test_modality_on_disk_is_read_unless_it_is_to_stay_there(checked, tmp_path):
    np.save(tmp_path / "a.npy", good()["audio"])
    X = {"audio": LazyArray(np.load(tmp_path / "a.npy", mmap_mode="r"))}

    def block(**how):
        if checked == "X":
            return check_X(X, estimator=Fusion(), **how)[1].blocks[0]
        y = np.arange(N)
        return check_fit_inputs(Fusion(), X, y, None, classifier=False, **how)[1].blocks[0]

    assert type(block().values) is np.ndarray
    assert type(block(lazy=True).values) is LazyArray
    np.testing.assert_array_equal(block(lazy=True).read().values, block().values)


def test_predict_any_order_of_names_gives_the_fitted_order():
    est = Fusion().fit(good())
    data = est.predict(dict(reversed(good().items())))
    assert data.names == ["text", "audio"]
    np.testing.assert_array_equal(data.blocks[0].values, good()["text"])


@pytest.mark.parametrize("name", ["keys", "forward", "type", "self", "näme", "a\nb"])
def test_fit_any_other_name_works(name):
    assert Fusion().fit({name: np.ones((N, 2))}).schema_.names == [name]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "bool", "uint8"])
def test_fit_dtype_is_kept(dtype):
    values = np.eye(N, 3).astype(dtype)
    est = Fusion().fit({"a": values})
    assert est.schema_.layouts[0].dtype == dtype
    assert np.shares_memory(est.data_.blocks[0].values, values)
    assert est.predict({"a": values.astype(float)}).blocks[0].values.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, object])
def test_fit_other_real_dtypes_become_float64(dtype):
    assert Fusion().fit({"a": np.ones((N, 2), dtype)}).schema_.layouts[0].dtype == "float64"


def test_fit_frame_of_mixed_columns_takes_the_common_dtype():
    frame = pd.DataFrame({"a": np.ones(N, np.float32), "b": np.eye(N, 1, dtype=bool).ravel()})
    layout = Fusion().fit({"m": frame}).schema_.layouts[0]
    assert layout.dtype == "float32"
    assert layout.feature_names == ("a", "b")


def test_fit_memmap_and_read_only_values_are_not_changed(tmp_path):
    path = tmp_path / "audio.dat"
    values = good()["audio"]
    values.tofile(path)
    mapped = np.memmap(path, mode="r", shape=values.shape, dtype=values.dtype)
    frozen = values.copy()
    frozen.flags.writeable = False
    blocks = Fusion().fit({"a": mapped, "b": frozen}).data_.blocks
    for block in blocks:
        assert type(block.values) is np.ndarray
        np.testing.assert_array_equal(block.values, values)


# Absence


def padded_text():
    text = good()["text"]
    text[0, 1:] = np.nan
    text[3, 2:] = np.nan
    return text


def ragged_text():
    return [row[~np.isnan(row).all(axis=1)] for row in padded_text()]


@pytest.mark.parametrize(
    "build",
    [
        padded_text,
        ragged_text,
        lambda: np.array([*ragged_text(), None], dtype=object)[:-1],
        lambda: pd.Series(ragged_text()),
        lambda: [torch.tensor(row) for row in ragged_text()],
        lambda: [row.tolist() for row in ragged_text()],
        lambda: torch.nested.nested_tensor([torch.tensor(row) for row in ragged_text()]),
    ],
    ids=["padded", "list", "objects", "series", "tensors", "nested-lists", "nested-tensor"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_fit_padded_and_ragged_sequences_are_the_same(build):
    block = Fusion().fit(good(text=build())).data_.blocks[0]
    np.testing.assert_array_equal(block.lengths, [1, 3, 3, 2, 3, 3])
    np.testing.assert_array_equal(block.values, np.nan_to_num(padded_text()))
    assert block.present is None


def test_fit_ragged_float32_stays_float32_and_integers_become_float64():
    rows = ragged(1, 2, 3, 1, 2, 3)
    for dtype, expected in [(np.float32, "float32"), (np.int64, "float64"), (np.uint8, "float64")]:
        X = {"a": [row.astype(dtype) for row in rows]}
        assert Fusion().fit(X).schema_.layouts[0].dtype == expected


def test_predict_sequences_may_have_another_length():
    est = Fusion().fit(good(text=padded_text()))
    block = est.predict({"text": ragged(5, 1), "audio": np.ones((2, 4))}).blocks[0]
    assert block.values.shape == (2, 5, 2)
    np.testing.assert_array_equal(block.lengths, [5, 1])


def test_predict_images_must_have_the_same_shape():
    est = Fusion().fit({"image": np.ones((N, 3, 8, 8), np.uint8)})
    assert est.predict({"image": np.ones((1, 3, 8, 8))}).n_samples == 1
    with pytest.raises(ValueError, match=r"modality 'image': rows have the shape \(3, 8, 9\)"):
        est.predict({"image": np.ones((1, 3, 8, 9))})


@pytest.mark.parametrize("where", [(0, 0), (0, 1, 1)], ids=["leading-step", "single-value"])
def test_fit_nan_inside_a_sequence_raises(where):
    text = good()["text"]
    text[where] = np.nan
    with pytest.raises(ValueError, match="modality 'text': contains NaN .*first in row 0.*impute"):
        Fusion(missing="mask").fit(good(text=text))


def test_fit_missing_rows_are_masked():
    text = padded_text()
    text[5] = np.nan
    X = good(text=text, audio=put(np.nan, where=[1, 5]))
    est = Fusion(missing="mask").fit(X)
    block, sound = est.data_.blocks
    np.testing.assert_array_equal(block.present, [1, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(sound.present, [1, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(block.lengths, [1, 3, 3, 2, 3, 1])
    assert not block.values[5].any() and not sound.values[[1, 5]].any()
    assert np.isnan(text[5]).all()  # the user's array is as it was
    with pytest.raises(ValueError, match=r"(?s)'text'.*missing='mask'.*'audio'.*missing='mask'"):
        Fusion().fit(X)


def test_fit_none_in_a_list_of_sequences_is_a_missing_row():
    rows = ragged_text()
    rows[2] = None
    rows[4] = np.empty((0, 2))
    block = Fusion(missing="mask").fit(good(text=rows)).data_.blocks[0]
    np.testing.assert_array_equal(block.present, [1, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(block.lengths, [1, 3, 1, 2, 1, 3])


def test_predict_all_sequences_missing_takes_the_fitted_shape():
    est = Fusion(missing="mask").fit(good(text=padded_text()))
    block = est.predict({"text": [None, None], "audio": np.ones((2, 4))}).blocks[0]
    assert block.values.shape == (2, 1, 2)
    assert not block.present.any() and not block.values.any()


def test_missing_rows_of_2d_input_follow_the_same_rule():
    X = as_2d(good(text=padded_text(), audio=put(np.nan, where=1)))
    est = Fusion(modalities=SPEC, missing="mask").fit(X)
    np.testing.assert_array_equal(est.data_.blocks[0].lengths, [1, 3, 3, 2, 3, 3])
    np.testing.assert_array_equal(est.data_.blocks[1].present, [1, 0, 1, 1, 1, 1])


def test_fit_modality_missing_everywhere_raises():
    X = good(audio=np.full((N, 4), np.nan))
    with pytest.raises(ValueError, match=NAMED + "missing in every row of the training data"):
        Fusion(missing="mask").fit(X)


def test_fit_rows_of_weight_zero_are_as_if_they_were_not_there():
    X = good(text=padded_text(), audio=put(np.nan, where=5))
    weights = np.array([0, 1, 2, 0, 1, 0.0])
    est = Fusion(missing="mask")
    schema, data, target, encoded, kept = check_fit_inputs(
        est, X, [7, 3, 4, 8, 3, 9], weights, classifier=True
    )
    np.testing.assert_array_equal(target.classes, [3, 4])
    np.testing.assert_array_equal(encoded, [0, 1, 0])
    np.testing.assert_array_equal(kept, [1, 2, 1])
    np.testing.assert_array_equal(data.blocks[1].values, X["audio"][[1, 2, 4]])
    assert data.blocks[0].lengths is None and data.blocks[1].present is None
    assert schema.names == ["text", "audio"]


def test_fit_one_row_with_weight_raises():
    with pytest.raises(ValueError, match="1 class"):
        Fusion().fit(good(), sample_weight=np.eye(N)[0])


@pytest.mark.parametrize("weighted", [False, True])
def test_fit_needs_two_rows_that_count(weighted):
    def fit(n):
        X = good() if weighted else {name: value[:n] for name, value in good().items()}
        y, weights = (np.arange(N), np.arange(N) < n) if weighted else (np.arange(n), None)
        data = check_fit_inputs(Fusion(), X, y, weights, classifier=False)[1]
        return data.n_samples

    assert fit(2) == 2
    text = "n_samples = 1 with a positive weight: " if weighted else "n_samples = 1: "
    with pytest.raises(InputError, match=f"{text}fit needs at least 2 rows"):
        fit(1)


def test_fit_sequences_that_are_full_without_the_rows_of_weight_zero_have_no_lengths():
    text = good()["text"]
    text[0, 1:] = np.nan  # padded, and of weight zero
    text[1] = np.nan  # missing
    weights = np.array([0, 1, 1, 1, 1, 0])
    est = Fusion(missing="mask")
    data = check_fit_inputs(est, {"text": text}, np.arange(N), weights, classifier=False)[1]
    assert data.blocks[0].lengths is None
    np.testing.assert_array_equal(data.blocks[0].present, [False, True, True, True])
    text[2, 2:] = np.nan
    data = check_fit_inputs(est, {"text": text}, np.arange(N), weights, classifier=False)[1]
    np.testing.assert_array_equal(data.blocks[0].lengths, [1, 2, 3, 3])


def test_check_fit_inputs_with_a_schema_goes_on_with_it():
    est = Fusion().fit(good())
    one = {name: value[:1] for name, value in good().items()}
    schema, data, target, encoded, _ = check_fit_inputs(
        est, one, [1], None, classifier=True, schema=est.schema_, classes=[0, 1]
    )
    assert schema is est.schema_
    assert data.n_samples == 1 and target.kind == "binary"
    np.testing.assert_array_equal(encoded, [1])


def test_fit_many_columns_is_fast():
    n_columns = 10**6
    X = np.ones((5, n_columns))
    est = Fusion(modalities={"a": slice(0, 10), "b": slice(10, n_columns)}).fit(X, [0, 1, 0, 1, 0])
    assert est.schema_.layouts[1].shape == (n_columns - 10,)
