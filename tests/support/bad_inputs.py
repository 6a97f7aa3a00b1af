"""The catalogue of bad input: what is given, the error it must raise, and what the error says.

Good input is ``good()``: "text", a sequence of three steps with two features, and "audio", four
features. Every row of a table is one way to spoil it. The number in front is that of the
catalogue; rows that must work are in ``ACCEPTED``.
"""

import datetime

import numpy as np
import pandas as pd
import torch
from scipy import sparse

N = 8
E, T = ValueError, TypeError
NAMED = "modality 'audio': "


def good(**changes):
    rng = np.random.default_rng(0)
    return {"text": rng.normal(size=(N, 3, 2)), "audio": rng.normal(size=(N, 4))} | changes


def matrix():
    return np.hstack([values.reshape(N, -1) for values in good().values()])


# The columns of matrix() by modality.
COLUMNS = {"text": (slice(0, 6), (3, 2)), "audio": slice(6, 10)}


def audio(value):
    """Replace one modality by a value, or by what a function makes."""
    return lambda: good(audio=value() if callable(value) else value)


def put(value, *, dtype=float, where=(2, 1)):
    array = np.ones((N, 4), dtype=dtype)
    array[where] = value
    return array


def masked():
    return np.ma.masked_array(np.ones((N, 4)), mask=np.eye(N, 4, dtype=bool))


def structured():
    return np.zeros(N, dtype=[("a", float), ("b", float)])


def frame(**columns):
    """Return a frame of four columns, some of them as given."""
    return pd.DataFrame({name: np.ones(N) for name in "abcd"} | columns)


def ragged(*lengths, d=2):
    return [np.full((length, d), float(i)) for i, length in enumerate(lengths)]


# Mappings that neither fit nor a method of a fitted estimator takes: id, build, error, pattern.
BAD = [
    ("01-empty", dict, E, "at least one modality"),
    ("02-none", lambda: None, E, "X is None"),
    ("03-str", lambda: "audio.csv", T, "mapping of modalities or 2D array, got str"),
    ("03-int", lambda: 3, T, "mapping of modalities or 2D array, got int"),
    ("03-generator", lambda: (i for i in ()), T, "2D array, got generator"),
    ("04-list-of-arrays", lambda: [np.ones((N, 2)), np.ones((N, 3))], T, "name the modalities"),
    ("04-tuple", lambda: (torch.ones(N, 2), torch.ones(N, 2)), T, "name the modalities"),
    ("05-key", lambda: {0: np.ones((N, 2))}, T, "modality names must be str, got 0"),
    ("06-empty-name", lambda: {"": np.ones((N, 2))}, E, "invalid modality name"),
    ("06-dot", lambda: {"a.b": np.ones((N, 2))}, E, "invalid modality name"),
    ("06-dunder", lambda: {"a__b": np.ones((N, 2))}, E, "invalid modality name"),
    ("06-cross", lambda: {"a x b": np.ones((N, 2))}, E, "invalid modality name"),
    ("13-rows", audio(np.ones((N - 1, 4))), E, "text: 8, audio: 7"),
    ("17-1d", audio(np.ones(N)), E, NAMED + "Expected 2D array, got 1D array.*Reshape your data"),
    ("18-0d", audio(np.ones(())), E, NAMED + "Expected 2D array, got scalar"),
    ("20-rows", lambda: {name: x[:0] for name, x in good().items()}, E, NAMED + r".*0 sample\(s\)"),
    (
        "21-columns",
        audio(np.ones((N, 0))),
        E,
        NAMED + r"0 feature\(s\) \(shape=\(8, 0\)\) while a minimum of 1 is required",
    ),
    ("23-nan", audio(put(np.nan)), E, NAMED + r"contains NaN \(1 value\(s\), first in row 2\)"),
    ("23-row", audio(put(np.nan, where=3)), E, NAMED + "contains NaN.*row 3.*missing='mask'"),
    ("24-inf", audio(put(np.inf)), E, NAMED + r"contains infinity or a .*row 2.*; clip it, or"),
    ("24-minus-inf", audio(put(-np.inf)), E, NAMED + "contains infinity or a value too large"),
    ("24-longdouble", audio(put("1e400", dtype=np.longdouble)), E, NAMED + "contains infinity"),
    ("24-huge-int", audio(put(10**400, dtype=object)), E, NAMED + "contains infinity"),
    ("26-complex", audio(put(1j, dtype=complex)), E, NAMED + "Complex data not supported"),
    ("26-object", audio(put(1j, dtype=object)), E, NAMED + "Complex data not supported"),
    ("27-sparse", audio(sparse.eye(N, 4, format="csr")), T, NAMED + "Sparse data was.*dense"),
    ("27-X", lambda: sparse.dok_array((N, 3)), T, "Sparse data was passed for X.*dense"),
    ("27-torch", audio(lambda: torch.eye(N).to_sparse()), T, NAMED + "Sparse data was passed"),
    (
        "28-pandas-sparse",
        audio(lambda: frame(a=pd.arrays.SparseArray(np.ones(N)))),
        T,
        NAMED + "Sparse data was passed",
    ),
    ("29-text", audio(put("abc", dtype=object)), E, NAMED + "could not convert string to float"),
    ("29-frame", audio(lambda: frame(a=list("abcdefgh"))), E, NAMED + "could not convert"),
    ("29-path", audio("audio.csv"), E, NAMED + "could not convert string to float"),
    ("30-numeric-text", audio(np.ones((N, 4)).astype(str)), E, NAMED + ".*strings"),
    ("30-numeric-object", audio(put("1", dtype=object)), E, NAMED + ".*strings"),
    ("31-bytes", audio(np.ones((N, 4)).astype("S")), E, NAMED + "could not convert string"),
    ("32-datetime", audio(np.zeros((N, 4), "M8[s]")), T, NAMED + "datetime"),
    (
        "32-frame",
        audio(lambda: frame(a=pd.date_range("2020-01-01", periods=N))),
        T,
        NAMED + "datetime",
    ),
    ("32-object", audio(put(datetime.date(2020, 1, 1), dtype=object)), T, NAMED + "datetime"),
    ("33-masked", audio(masked), E, NAMED + "masked"),
    ("35-dict", audio(put({}, dtype=object)), T, NAMED + ".*must be a string or a real number"),
    ("35-none", audio(put(None, dtype=object)), T, NAMED + ".*must be a string or a real number"),
    ("36-na", audio(put(pd.NA, dtype=object)), E, NAMED + "contains NaN"),
    (
        "36-na-frame",
        audio(lambda: frame(a=pd.array([1, pd.NA] * (N // 2), dtype="Int64"))),
        E,
        NAMED + "contains NaN",
    ),
    ("37-ragged", audio([[1, 2]] * (N - 1) + [[1]]), E, NAMED + "rows of different length"),
    ("37-widths", audio([*ragged(*range(1, N)), np.ones((2, 3))]), E, r"features: \[2, 3\]"),
    ("38-matrix", audio(lambda: np.ones((N, 4)).view(np.matrix)), T, "np.matrix is not supported"),
    ("39-structured", audio(structured), E, NAMED + "Expected 2D"),
    ("42-meta", audio(torch.ones(N, 4, device="meta")), T, NAMED + r".*'meta'.*\.cpu\(\)\.float"),
    ("42-bfloat16", audio(torch.ones(N, 4).bfloat16()), T, NAMED + r".*bfloat16.*\.cpu\(\)\.float"),
    (
        "44-duplicates",
        audio(lambda: pd.DataFrame(np.ones((N, 4)), columns=list("aabc"))),
        E,
        NAMED + r"duplicate columns \['a'\]",
    ),
    ("nested", audio({"a": 1}), T, NAMED + "expected an array, got a mapping"),
    ("none-value", audio(None), T, NAMED + ".*NoneType"),
    # Several faults are one message.
    (
        "several",
        lambda: good(text=np.ones(N), audio=put(np.inf)),
        E,
        r"modality 'text': Expected 2D.*\n.*modality 'audio': contains infinity",
    ),
    (
        "several-types",
        lambda: {"text": sparse.eye(N), "audio": np.zeros((N, 1), "M8[s]")},
        T,
        r"'text': Sparse.*\n.*'audio': datetime",
    ),
    (
        "several-rows",
        lambda: good(text=np.ones((N - 1, 3, 2)), audio=put(np.nan)),
        E,
        r"'audio': contains NaN",
    ),
]

# Mappings that fit alone refuses.
BAD_AT_FIT = [
    ("22-one-row", lambda: {name: x[:1] for name, x in good().items()}, E, "n_samples = 1"),
    ("37-no-sequence", audio([None] * N), E, NAMED + "no row has a value"),
]

# Faults at a method of an estimator that was fitted on good().
BAD_AT_PREDICT = [
    ("08-missing", lambda: {"audio": np.ones((N, 4))}, E, r"missing: \['text'\].*\['text', 'aud"),
    ("09-unexpected", lambda: good(video=np.ones((N, 1))), E, r"unexpected: \['video'\]"),
    (
        "10-both",
        lambda: {"audio": np.ones((N, 4)), "txt": np.ones((N, 3, 2))},
        E,
        r"missing: \['text'\], unexpected: \['txt'\].*did you mean 'txt' instead of 'text'",
    ),
    ("12-array", matrix, E, r"fitted on modalities \['text', 'audio'\], but got an array"),
    ("15-count", audio(np.ones((N, 5))), E, NAMED + "X has 5 features, but .* is expecting 4"),
    (
        "15-steps",
        lambda: good(text=np.ones((N, 9, 3))),
        E,
        "modality 'text': X has 3 features per step, but .* is expecting 2",
    ),
    ("15-axes", audio(np.ones((N, 4, 1))), E, NAMED + "has 3 axes"),
    ("37-no-sequence", lambda: good(text=[None] * N), E, "modality 'text': contains NaN in all"),
    (
        "several",
        lambda: good(text=np.ones((N, 9, 3)), audio=np.ones((N, 5))),
        E,
        r"modality 'text': X has 3 features.*\n.*modality 'audio': X has 5 features",
    ),
]

# Matrices that fit refuses, with or without modalities=.
BAD_2D = [
    ("17-1d", lambda: np.ones(N), E, "Expected 2D array, got 1D array.*Reshape your data"),
    ("18-0d", lambda: np.array(1.0), E, "Expected 2D array, got scalar"),
    ("19-3d", lambda: np.ones((N, 2, 2)), E, "dim 3"),
    ("20-rows", lambda: np.ones((0, 10)), E, r"0 sample\(s\)"),
    ("21-columns", lambda: np.ones((N, 0)), E, r"0 feature\(s\) \(shape=\(8, 0\)\) while a min"),
    ("22-one-row", lambda: np.ones((1, 10)), E, "n_samples = 1"),
    ("23-nan", lambda: put_2d(np.nan), E, "contains NaN"),
    ("24-inf", lambda: put_2d(np.inf), E, "contains infinity"),
    ("26-complex", lambda: put_2d(1j, dtype=complex), E, "Complex data not supported"),
    ("27-sparse", lambda: sparse.eye(N, 10, format="csr"), T, "Sparse data was passed"),
    ("29-text", lambda: put_2d("a", dtype=object), E, "could not convert string to float"),
    ("30-numeric-text", lambda: put_2d("1", dtype=object), E, "strings"),
    ("35-dict", lambda: put_2d({}, dtype=object), T, "must be a string or a real number"),
    ("37-ragged", lambda: [[1, 2], [3]] * (N // 2), E, "rows of different length"),
    ("38-matrix", lambda: np.ones((N, 10)).view(np.matrix), T, "np.matrix is not supported"),
    (
        "44-duplicates",
        lambda: pd.DataFrame(np.ones((N, 10)), columns=list("aabcdefghi")),
        E,
        r"duplicate columns \['a'\]",
    ),
    (
        "mixed-names",
        lambda: pd.DataFrame(np.ones((N, 10)), columns=["a", *range(9)]),
        T,
        "only supported if all input features have string names",
    ),
    (
        "three-levels",
        lambda: pd.DataFrame(np.ones((N, 1)), columns=pd.MultiIndex.from_tuples([("a", "b", "c")])),
        E,
        "3 levels",
    ),
]


def put_2d(value, *, dtype=float):
    array = matrix().astype(dtype)
    array[2, 7] = value
    return array


# Targets: id, y of the classifier, y of the regressor (None: not for them), error, pattern.
Y_CLASS, Y_REAL = np.arange(N) % 2, np.arange(N) / 2
BAD_TARGETS = [
    ("14-rows", Y_CLASS[1:], Y_REAL[1:], E, "X has 8 samples, y has 7"),
    ("47-none", "None", "None", E, "requires y to be passed, but the target y is None"),
    ("48-continuous", Y_REAL + 0.1, None, E, "Unknown label type"),
    ("49-one-class", np.zeros(N), None, E, "1 class"),
    ("50-nan", np.where(Y_CLASS, np.nan, 0), np.where(Y_CLASS, np.nan, 0), E, "y contains NaN"),
    ("50-inf", np.where(Y_CLASS, np.inf, 0), np.where(Y_CLASS, np.inf, 0), E, "y contains inf"),
    ("53-mixed", ["a", 1] * (N // 2), ["a", 1] * (N // 2), T, "mixed types"),
    ("3d", np.zeros((N, 1, 1)), np.zeros((N, 1, 1)), E, "y should be a 1d array, got an array of"),
    ("complex", Y_CLASS * 1j, Y_REAL * 1j, E, "Complex data not supported"),
    ("text", None, np.array(list("abcdefgh"), dtype=object), E, "could not convert string"),
]
MULTILABEL = np.column_stack([Y_CLASS, 1 - Y_CLASS, np.arange(N) > 2]).astype(int)

BAD_WEIGHTS = [
    ("56-length", np.ones(N - 1), r"expected \(8,\)"),
    ("56-axes", np.ones((N, 2)), "1D"),
    ("56-negative", np.r_[-1.0, np.ones(N - 1)], "Negative values.*row 0"),
    ("56-nan", np.r_[np.nan, np.ones(N - 1)], "NaN"),
    ("56-inf", np.r_[np.inf, np.ones(N - 1)], "infinity"),
    ("56-zero", np.zeros(N), "at least one non-zero"),
    ("56-text", np.array(["a"] * N), "could not convert string"),
]

# Parameters: id, their values (X is matrix() where modalities= is one), error, pattern. A row is
# for the estimators that have all of its parameters.
BAD_PARAMETERS = [
    ("57-unknown", {"modalities": {"a": ["x"], "b": slice(0, 10)}}, E, "no column names.*'x'"),
    ("57-outside", {"modalities": {"a": [10], "b": slice(0, 10)}}, E, r"\[10\] do not exist"),
    ("58-overlap", {"modalities": {"a": slice(0, 6), "b": slice(5, 10)}}, E, r"overlap.*\[5\]"),
    ("58-unused", {"modalities": {"a": slice(0, 6), "b": slice(6, 9)}}, E, r"\[9\].*no modality"),
    ("58-shape", {"modalities": {"a": (slice(0, 6), (4, 2)), "b": slice(6, 10)}}, E, r"\(4, 2\)"),
    ("58-names", {"modalities": ["text"]}, T, "maps each name to its columns"),
    ("59-order", {"interactions": 3}, E, "interactions=3 is more than the 2 modalities"),
    ("59-unknown", {"interactions": [("text", "audoi")]}, E, "did you mean 'audio'"),
    ("60-large", {"interactions": 2, "latent_dim": 10_000}, E, r"'text x audio' needs 100_000_000"),
    ("61-p", {"p": 0.5}, E, "'p' parameter.*must be a float in the range"),
    ("61-nan", {"p": float("nan")}, E, "'p' parameter"),
    ("61-text", {"p": "1"}, E, "'p' parameter"),
    ("64-cuda", {"device": "cuda:77"}, E, "cuda.*not available"),
    ("64-unknown", {"device": "abacus"}, E, "'abacus' is not a torch device"),
    ("65-text", {"random_state": "a"}, E, "'random_state' parameter"),
    ("65-generator", {"random_state": np.random.default_rng(0)}, E, "'random_state' parameter"),
    ("missing", {"missing": "drop"}, E, "'missing' parameter"),
    ("epochs", {"max_epochs": 0}, E, "'max_epochs' parameter"),
    ("lr", {"lr": 0.0}, E, "'lr' parameter"),
    ("callbacks", {"callbacks": 3}, E, "'callbacks' parameter"),
]
