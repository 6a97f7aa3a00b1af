"""Checks that every form of the same modalities gives the same model."""

import tempfile
from pathlib import Path
from unittest import SkipTest

import numpy as np
import torch
from skorch.helper import SliceDict

from sklearn_mmfusion.data import ModalityFrame
from sklearn_mmfusion.utils._check_helpers import (
    assert_same,
    expect_error,
    fit,
    make_data,
    outputs,
    with_layout,
)

__all__ = ["INPUT_CHECKS"]


def _check_form(estimator, make_form, what, atol=None):
    """Fit and predict with another form of the data, and compare with a dict."""
    X, y = make_data(estimator)
    expected = outputs(fit(estimator, X, y), X)
    form = make_form(X)
    assert_same(outputs(fit(estimator, form, y), form), expected, what, atol)


def _check_matrix(estimator, make_matrix, modalities, what):
    """Fit and predict with a matrix and a spec, and compare with a dict."""
    X, y = make_data(estimator)
    expected = outputs(fit(estimator, X, y), X)
    matrix = make_matrix(X)
    model = with_layout(estimator, modalities(X)).fit(matrix, y)
    assert_same(outputs(model, matrix), expected, what)


def _pandas():
    try:
        import pandas
    except ImportError as error:
        raise SkipTest("pandas is not installed") from error
    return pandas


def check_modality_frame(estimator):
    """Check that a ModalityFrame gives the bits of a dict."""
    _check_form(estimator, ModalityFrame, "between ModalityFrame and dict")


def check_slice_dict(estimator):
    """Check that a SliceDict of skorch gives the bits of a dict."""
    _check_form(estimator, lambda X: SliceDict(**X), "between SliceDict and dict")


def check_matrix_with_modalities(estimator):
    """Check that a 2-D array with ``modalities`` gives the bits of a dict."""
    _check_matrix(
        estimator,
        lambda X: ModalityFrame(X).to_2d(),
        lambda X: ModalityFrame(X).layout(),
        "between a 2-D array with modalities= and dict",
    )


def check_dataframe_with_modalities(estimator):
    """Check that a DataFrame whose columns are named in ``modalities`` gives the bits of a dict."""
    pandas = _pandas()

    def names(X):
        return {name: [f"{name}_{j}" for j in range(X[name].shape[1])] for name in X}

    def frame(X):
        columns = [column for group in names(X).values() for column in group]
        return pandas.DataFrame(ModalityFrame(X).to_2d(), columns=columns)

    _check_matrix(estimator, frame, names, "between a DataFrame with modalities= and dict")


def check_multiindex_dataframe(estimator):
    """Check that a DataFrame with (modality, feature) columns gives the bits of a dict."""
    pandas = _pandas()

    def frame(X):
        columns = [(name, f"f{j}") for name in X for j in range(X[name].shape[1])]
        index = pandas.MultiIndex.from_tuples(columns, names=["modality", "feature"])
        return pandas.DataFrame(ModalityFrame(X).to_2d(), columns=index)

    _check_form(estimator, frame, "between a DataFrame with MultiIndex columns and dict")


def check_torch_tensors(estimator):
    """Check that tensors give the bits of arrays."""

    def tensors(X):
        return {name: torch.tensor(value) for name, value in X.items()}

    _check_form(estimator, tensors, "between torch tensors and arrays")


def check_fortran_order(estimator):
    """Check that arrays in Fortran order give the bits of arrays in C order."""

    def fortran(X):
        return {name: np.asfortranarray(value) for name, value in X.items()}

    _check_form(estimator, fortran, "between Fortran and C order")


def check_read_only(estimator):
    """Check that arrays that cannot be written give the bits of others."""

    def read_only(X):
        for value in X.values():
            value.setflags(write=False)
        return X

    _check_form(estimator, read_only, "with read-only arrays")


def check_memory_map(estimator):
    """Check that read-only memory maps give the bits of arrays."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:

        def mapped(X):
            maps = {}
            for name, value in X.items():
                path = Path(directory) / f"{name}.npy"
                np.save(path, value)
                maps[name] = np.load(path, mmap_mode="r")
            return maps

        _check_form(estimator, mapped, "between memory maps and arrays")


def check_float32(estimator):
    """Check that float32 modalities are fitted, and predictions are finite."""
    X, y = make_data(estimator)
    X = {name: value.astype(np.float32) for name, value in X.items()}
    for method, values in outputs(fit(estimator, X, y), X).items():
        if np.asarray(values).dtype.kind == "f":
            assert np.isfinite(values).all(), f"{method} is not finite with float32"


def check_integer_and_boolean(estimator):
    """Check that integers and booleans give the model of the same numbers in float64, to 1e-6.

    One modality stays float64, so that both fits compute in the same precision.
    """
    X, y = make_data(estimator)
    X["audio"], X["video"] = np.rint(2 * X["audio"]).astype(np.int64), X["video"] > 0
    as_float = {name: value.astype(np.float64) for name, value in X.items()}
    expected = outputs(fit(estimator, as_float, y), as_float)
    assert_same(outputs(fit(estimator, X, y), X), expected, "between dtypes", atol=1e-6)


def check_key_order_in_predict(estimator):
    """Check that another order of the keys in predict gives the same bits."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    assert_same(
        outputs(model, dict(reversed(X.items()))),
        outputs(model, X),
        "with reversed keys in predict",
    )


def check_key_order_in_fit(estimator):
    """Check that another order of the keys in fit gives the same model, to 1e-6.

    Terms may be added up in another order, so that the last digits differ.
    """
    X, y = make_data(estimator)
    model = fit(estimator, dict(reversed(X.items())), y)
    expected = outputs(fit(estimator, X, y), X)
    assert_same(outputs(model, X), expected, "with reversed keys in fit", atol=1e-6)


def check_feature_count(estimator):
    """Check that another number of features in predict is an error that names the modality."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    wider = X | {"audio": np.hstack([X["audio"], X["audio"]])}
    expect_error(lambda: model.predict(wider), ["audio", "3", "6"], "6 features instead of 3")


def check_modality_names(estimator):
    """Check that missing and unexpected modalities in predict are one error that names them."""
    X, y = make_data(estimator)
    model = fit(estimator, X, y)
    fewer = {name: value for name, value in X.items() if name != "audio"}
    more = X | {"smell": X["video"]}
    expect_error(lambda: model.predict(fewer), ["audio"], "a missing modality")
    expect_error(lambda: model.predict(more), ["smell"], "an unexpected modality")
    both = fewer | {"smell": X["video"]}
    expect_error(lambda: model.predict(both), ["audio", "smell"], "a renamed modality")


def check_different_rows(estimator):
    """Check that modalities with different numbers of rows are an error that names them."""
    X, y = make_data(estimator)
    X["audio"] = X["audio"][1:]
    expect_error(lambda: fit(estimator, X, y), ["audio", "39", "40"], "39 rows instead of 40")


INPUT_CHECKS = (
    check_modality_frame,
    check_slice_dict,
    check_matrix_with_modalities,
    check_dataframe_with_modalities,
    check_multiindex_dataframe,
    check_torch_tensors,
    check_fortran_order,
    check_read_only,
    check_memory_map,
    check_float32,
    check_integer_and_boolean,
    check_key_order_in_predict,
    check_key_order_in_fit,
    check_feature_count,
    check_modality_names,
    check_different_rows,
)
