"""The bundled digits: size, exact values, shapes and that they are what they claim to be."""

import sys
from importlib import resources

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion.datasets import load_multiple_features

WIDTHS = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}


def test_multiple_features_file_is_small_and_attributed():
    folder = resources.files("sklearn_mmfusion.datasets") / "data"
    assert len((folder / "multiple_features.npz").read_bytes()) < 2_000_000
    attribution = (folder / "multiple_features.txt").read_text(encoding="utf-8")
    for words in ("Duin", "CC BY 4.0", "10.24432/C5HC70", "UCI Machine Learning Repository"):
        assert words in attribution


def test_multiple_features_has_six_views_of_2000_digits():
    digits = load_multiple_features()
    assert {name: view.shape for name, view in digits.data.items()} == {
        name: (2000, width) for name, width in WIDTHS.items()
    }
    for view in digits.data.values():
        assert view.dtype == np.float64
        assert view.flags.c_contiguous
        assert np.isfinite(view).all()
    np.testing.assert_array_equal(np.bincount(digits.target), 200)
    assert digits.target_names == list("0123456789")
    assert {name: len(names) for name, names in digits.feature_names.items()} == WIDTHS
    assert "CC BY 4.0" in digits.DESCR


def test_multiple_features_values_are_the_printed_decimals():
    # The first row of the text files, as printed there.
    first = {
        "fac": [98, 236, 531, 673, 607, 647],
        "fou": [0.065882, 0.19731, 0.10383, 0.27036, 0.61608, 0.035856],
        "kar": [-10.297, -11.667, 11.561, -2.0813, 4.0447, 4.0868],
        "mor": [1, 0, 0, 133.15, 1.3117, 1620.2],
        "pix": [0, 3, 4, 4, 6, 6],
        "zer": [0.011033, 0.83147, 15.352, 75.807, 171.55, 490.16],
    }
    data, _ = load_multiple_features(return_X_y=True)
    for name, values in first.items():
        assert data[name][0, :6].tolist() == values


def test_multiple_features_every_value_has_five_printed_digits_at_most():
    data, _ = load_multiple_features(return_X_y=True)
    for name in ("fou", "kar", "mor", "zer"):
        sample = data[name][::40].ravel()
        assert [float(f"{value:.5g}") for value in sample] == sample.tolist()
    assert set(np.unique(data["pix"])) == set(range(7))
    np.testing.assert_array_equal(data["fac"], np.rint(data["fac"]))


@pytest.mark.slow
def test_multiple_features_weak_views_are_weaker_than_strong_ones():
    data, target = load_multiple_features(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    accuracy = {name: cross_val_score(model, data[name], target, cv=3).mean() for name in WIDTHS}
    assert min(accuracy["kar"], accuracy["pix"]) > 0.93
    assert 0.6 < accuracy["mor"] < 0.78
    assert max(accuracy["fou"], accuracy["zer"]) < 0.88


def test_multiple_features_turned_digits_are_told_apart_only_by_strong_views():
    data, target = load_multiple_features(return_X_y=True)
    rows = np.isin(target, [6, 9])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for name, low, high in [("kar", 0.98, 1.0), ("mor", 0.3, 0.7), ("zer", 0.3, 0.7)]:
        accuracy = cross_val_score(model, data[name][rows], target[rows], cv=5).mean()
        assert low <= accuracy <= high, name


def test_multiple_features_calls_share_no_memory():
    first, _ = load_multiple_features(return_X_y=True)
    first["mor"][:] = -1
    second, _ = load_multiple_features(return_X_y=True)
    assert second["mor"].min() >= 0


def test_multiple_features_as_frame_has_modality_and_feature_columns():
    pytest.importorskip("pandas")
    arrays = load_multiple_features()
    frames = load_multiple_features(as_frame=True)
    assert frames.data.shape == (2000, 649)
    assert list(frames.data.columns.unique("modality")) == list(WIDTHS)
    assert frames.data["zer"].columns[0] == "zer1"
    for name, view in arrays.data.items():
        np.testing.assert_array_equal(frames.data[name].to_numpy(), view)
    np.testing.assert_array_equal(frames.target.to_numpy(), arrays.target)
    assert frames.target.name == "digit"


def test_multiple_features_as_frame_without_pandas_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas"):
        load_multiple_features(as_frame=True)


def test_multiple_features_bad_argument_raises():
    with pytest.raises(ValueError, match="'return_X_y' parameter"):
        load_multiple_features(return_X_y="yes")
