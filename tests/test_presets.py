"""The papers' settings: they name parameters that exist, and the values that are published."""

import inspect

import numpy as np
import pytest

from sklearn_mmfusion import (
    GAMClassifier,
    InputError,
    InTenseRegressor,
    MNLClassifier,
    MulTClassifier,
    MulTRegressor,
    RoutingClassifier,
)
from sklearn_mmfusion.presets import available_presets, describe_preset, get_preset

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

ESTIMATORS = {
    "intense": InTenseRegressor,
    "mnl": MNLClassifier,
    "mult": MulTRegressor,
    "routing": RoutingClassifier,
    "routing*": RoutingClassifier,
    "gam": GAMClassifier,
}


def estimator(method, data_set, **changes):
    cls = MulTClassifier if (method, data_set) == ("mult", "iemocap") else ESTIMATORS[method]
    return cls(**get_preset(method, data_set) | changes)


@pytest.mark.parametrize(("method", "data_set"), available_presets())
def test_preset_fits_its_estimator(method, data_set):
    rng = np.random.default_rng(0)
    X = {"text": (30, 4, 3), "audio": (30, 4, 2), "vision": (30, 4, 2)}
    X = {name: rng.normal(size=shape) for name, shape in X.items()}
    several = data_set in ("iemocap", "mosei_emotions")
    est = estimator(method, data_set, max_epochs=1, random_state=0)
    y = rng.integers(0, 2, size=(30, 3)) if several else np.tile([0, 1, 2], 10)
    y = y.astype(float) if isinstance(est, InTenseRegressor | MulTRegressor) else y
    # One step of a small net is enough to see that every parameter is understood.
    small = {"encoders__hidden_dim": 8, "encoders__n_heads": 2, "encoders__n_layers": 1}
    if "encoders__hidden_dim" in est.get_params():
        est.set_params(**small)
    assert est.fit(X, y, X_val=X, y_val=y).predict(X).shape == y.shape


@pytest.mark.parametrize(("method", "data_set"), available_presets())
def test_preset_is_new_each_time_and_described(method, data_set):
    first, second = get_preset(method, data_set), get_preset(method, data_set)
    assert first.keys() == second.keys() <= set(inspect.signature(
        type(estimator(method, data_set))
    ).parameters)  # fmt: skip
    assert first["encoders"] is not second["encoders"]
    text = describe_preset(method, data_set)
    assert text.startswith(f"{method} on {data_set}: ")
    assert "What differs" in text


def test_values_are_those_of_the_sources():
    # MulT, table 5: batch, learning rate, heads, dropout of attention, clip, epochs.
    table = {
        "mosei": (16, 1e-3, 8, 0.1, 1.0, 20),
        "mosi": (128, 1e-3, 10, 0.2, 0.8, 100),
        "iemocap": (32, 2e-3, 10, 0.25, 0.8, 30),
    }
    for data_set, row in table.items():
        found = get_preset("mult", data_set)
        encoder, (clipping,) = found["encoders"], found["callbacks"]
        assert (encoder.hidden_dim, encoder.n_layers) == (40, 4)
        assert row == (
            found["batch_size"],
            found["lr"],
            encoder.n_heads,
            encoder.dropout,
            clipping.gradient_clip_value,
            found["max_epochs"],
        )
    assert (
        get_preset("routing", "mosei")["lr"] == 10 * get_preset("routing", "mosei_emotions")["lr"]
    )
    assert get_preset("routing", "mosei")["n_routing_iter"] == 1
    assert get_preset("routing*", "iemocap")["n_routing_iter"] == 0
    assert get_preset("intense", "mosi")["interactions"] == [("text", "vision")]


def test_unknown_preset_raises_and_names_those_that_there_are():
    with pytest.raises(InputError, match="no preset for 'intense' on 'mosii'.*instead of"):
        get_preset("intense", "mosii")
    with pytest.raises(InputError, match="no preset for 'intense' on 'enrico'.*mult on mosi"):
        describe_preset("intense", "enrico")
