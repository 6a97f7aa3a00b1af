"""The papers' protocol, on small files of their formats that the tests write."""

import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]


@pytest.fixture(scope="module")
def protocol():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("protocol", BENCHMARKS / "protocol.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
        sys.modules.pop("_common", None)
    return module


def write(folder, data_set):
    """Write a file as MulT distributes it, in which the text says all there is to know."""
    rng = np.random.default_rng(0)
    content = {}
    for split, n in {"train": 90, "valid": 40, "test": 50}.items():
        sentiment = rng.uniform(-3, 3, size=n)
        labels = sentiment.reshape(n, 1, 1)
        if data_set == "mosei_emotions":
            emotions = np.stack([(sentiment > i) * 0.7 for i in range(-3, 3)], 1)
            labels = np.concatenate([labels, emotions[:, None]], 2)
        if data_set == "iemocap":
            present = np.stack([sentiment > i for i in range(-2, 2)], 1).astype(float)
            labels = np.stack([1 - present, present], 2)
        if data_set == "mustard":
            labels = np.sign(labels)
        steps = np.ones((n, 5, 1))
        text = np.concatenate([sentiment[:, None, None] * steps, rng.normal(size=(n, 5, 2))], 2)
        content[split] = {
            "labels": labels,
            "text": text,
            "audio": rng.normal(size=(n, 5, 2)),
            "vision": rng.normal(size=(n, 5, 2)),
            "id": [f"{split}{i}" for i in range(n)],
        }
    path = folder / "data.pkl"
    path.write_bytes(pickle.dumps(content))
    return str(path), content


def task(path, data_set, method, **changes):
    plain = {"path": path, "defaults": True, "max_epochs": 8, "seed": 0}
    return {"data_set": data_set, "method": method, **plain, **changes}


def test_sentiment_is_trained_with_absolute_error_and_stopped_on_the_validation_part(
    protocol, tmp_path
):
    path, content = write(tmp_path, "mosi")
    found = protocol.fit(task(path, "mosi", "lf-concat", max_epochs=25))
    assert found["correlation"] > 0.9
    assert found["MAE"] < 0.6
    assert {"Acc2", "Acc7", "F1"} < set(found)
    estimator = protocol.make(task(path, "mosi", "lf-concat"))
    assert (estimator.loss, estimator.missing, estimator.early_stopping) == (
        "absolute_error",
        "mask",
        True,
    )
    parts, _ = protocol.load("mosi", path)
    for split, (X, y) in parts.items():
        np.testing.assert_array_equal(y, content[split]["labels"].ravel())
        np.testing.assert_allclose(X["audio"], content[split]["audio"], rtol=1e-6)


def test_routing_takes_sentiment_as_seven_classes(protocol, tmp_path):
    path, content = write(tmp_path, "mosei")
    found = protocol.fit(task(path, "mosei", "routing*", max_epochs=30))
    # A class has a sixth of the rows; class 0 counts as negative, so that Acc2 cannot be 1.
    assert found["Acc7"] > 0.3
    assert found["Acc2"] > 0.75
    np.testing.assert_array_equal(
        protocol.seven_classes(np.array([-3.4, -0.6, 0.2, 1.5, 9.0])), [-3, -1, 0, 2, 3]
    )
    assert protocol.make(task(path, "mosei", "routing*")).n_routing_iter == 0


@pytest.mark.parametrize("data_set", ["iemocap", "mosei_emotions"])
def test_emotions_are_multilabel_with_a_score_of_each(protocol, tmp_path, data_set):
    path, content = write(tmp_path, data_set)
    found = protocol.fit(task(path, data_set, "lf-concat"))
    parts, names = protocol.load(data_set, path)
    y = parts["test"][1]
    assert y.shape == (50, len(names))
    if data_set == "mosei_emotions":
        np.testing.assert_array_equal(y, content["test"]["labels"][:, 0, 1:] > 0)
    each = [found[f"accuracy {name}"] for name in names]
    assert found["accuracy"] == pytest.approx(np.mean(each), abs=1e-4)
    assert found["F1"] == pytest.approx(np.mean([found[f"F1 {n}"] for n in names]), abs=1e-4)


def test_other_sets_are_scored_by_accuracy(protocol, tmp_path):
    path, _ = write(tmp_path, "mustard")
    found = protocol.fit(task(path, "mustard", "mnl", max_epochs=30))
    assert found["accuracy"] > 0.9


def test_presets_are_used_where_there_are_some(protocol, tmp_path):
    path, _ = write(tmp_path, "mosi")
    estimator = protocol.make(task(path, "mosi", "intense", defaults=False))
    assert (estimator.reg, estimator.batch_size, estimator.max_epochs) == (0.05, 16, 8)
    found = protocol.fit(task(path, "mosi", "intense", defaults=False, max_epochs=3))
    assert set(found["relevance"]) == {"text", "audio", "vision", "text x vision"}
