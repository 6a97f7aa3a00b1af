"""Saving and loading: what comes back. What a hostile file comes to is in test_hostile_files."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from saved_models import fitted, small_data
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import EpochTimer
from torch import nn

import sklearn_mmfusion
from sklearn_mmfusion import (
    AdamW,
    Conv2dEncoder,
    EstimatorEncoder,
    GRUEncoder,
    InputTypeError,
    InTenseClassifier,
    LateVotingClassifier,
    LinearEncoder,
    MKLClassifier,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
    ModuleEncoder,
    MulTEncoder,
    RoutingClassifier,
    UnsafeFileError,
    load,
)
from sklearn_mmfusion._persistence.files import ESTIMATORS

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in (
        "sklearn.exceptions.ConvergenceWarning",  # a few epochs are enough for a file
        "sklearn_mmfusion.RelevanceWarning",
    )
]

KEPT = Path(__file__).parents[1] / "data"


def _same(left, right):
    """Whether two fitted attributes are the same, to the last bit and the type."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(
            left, right, equal_nan=left.dtype.kind == "f"
        )
    if isinstance(left, dict):
        return list(left) == list(right) and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, (list, tuple)):
        same = len(left) == len(right) and all(map(_same, left, right))
        return type(left) is type(right) and same
    if isinstance(left, float):
        return left == right or (np.isnan(left) and np.isnan(right))
    if isinstance(left, BaseEstimator):
        return repr(left) == repr(right)
    return type(left) is type(right) and left == right


def _public(est):
    return {key: value for key, value in vars(est).items() if not key.startswith("_")}


def _with_slow(names):
    """Return names as parameters; regressors share their code with the classifiers: slow."""
    slow = [
        n for n in names if n.endswith("Regressor") and n not in ("MKLRegressor", "MNLRegressor")
    ]
    return [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in names]


# -- what comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", _with_slow(ESTIMATORS))
def test_loaded_estimator_is_the_one_that_was_saved(name, tmp_path):
    est = fitted(name)
    X, _ = small_data()
    est.save(tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    assert type(loaded) is type(est)
    assert vars(loaded).keys() == vars(est).keys()
    wrong = [key for key, value in _public(est).items() if not _same(value, getattr(loaded, key))]
    assert not wrong
    methods = ("predict", "decision_function", "predict_proba", "contributions", "activations")
    called = [method for method in methods if hasattr(est, method)]
    assert "predict" in called
    for method in called:
        np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(est, method)(X))
    assert repr(clone(loaded)) == repr(clone(est))
    assert loaded.get_params().keys() == est.get_params().keys()


def test_every_estimator_of_the_package_can_be_saved_or_says_how():
    everything = {
        name for name in sklearn_mmfusion.__all__ if name.endswith(("Classifier", "Regressor"))
    }
    assert everything - set(ESTIMATORS) == {"LateVotingClassifier"}


def test_loaded_estimator_fits_again_as_the_saved_one_would(tmp_path):
    X, y = small_data()
    est = fitted("InTenseClassifier")
    est.save(tmp_path / "m")
    loaded = load(tmp_path / "m").fit(X, y)
    np.testing.assert_array_equal(loaded.predict_proba(X), est.predict_proba(X))


def test_loaded_estimator_starts_warm_and_goes_on_with_partial_fit(tmp_path):
    X, y = small_data()
    est = fitted("MNLClassifier", warm_start=True)
    est.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.validation_history_ == est.validation_history_ == est.history_
    for step in ("fit", "partial_fit"):
        getattr(est, step)(X, y)
        getattr(loaded, step)(X, y)
        np.testing.assert_array_equal(loaded.predict_proba(X), est.predict_proba(X))
    est.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.n_iter_ == est.n_iter_
    assert loaded.history_ == est.history_
    assert loaded.validation_history_ == est.validation_history_ == []


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (3, 8, 8)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_model_of_images_comes_back(shape, dtype, tmp_path):
    X, y = small_data()
    generator = np.random.default_rng(0)
    X = {**X, "image": generator.integers(0, 255, size=(len(y), *shape)).astype(dtype)}
    encoders = {"image": Conv2dEncoder(channels=(4, 4), kernel_size=3, output_dim=3)}
    few = {"max_epochs": 2, "early_stopping": True, "polish": False, "random_state": 0}
    est = MNLClassifier(encoders=encoders, **few).fit(X, y)
    est.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").predict_proba(X), est.predict_proba(X))


def test_loaded_model_of_which_terms_were_removed_has_the_rest(tmp_path):
    X, _ = small_data()
    est = fitted("InTenseClassifier").remove_terms(["a x b"])
    est.set_params(p=4)  # after the fit: the scores stay those of p at the fit
    est.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.term_names_ == ["b", "a"]
    assert loaded.relevance_scores_ == est.relevance_scores_
    np.testing.assert_array_equal(loaded.contributions(X), est.contributions(X))


@pytest.mark.parametrize(
    "params",
    [
        {"encoders": {"a": MLPEncoder(n_quantiles=None), "b": GRUEncoder(hidden_dim=3)}},
        {"encoders": [("a", LinearEncoder())], "optimizer": AdamW(betas=(0.8, 0.9)), "p": np.inf},
        {"class_weight": {"x": 1.0, "y": np.float64(2.0), "z ü\n": 3}, "reg": np.float32(0.5)},
        {"random_state": np.random.RandomState(3), "missing": "mask", "modality_dropout": 0.25},
        {"modalities": ["a", "b"], "net_params": {"gradient_clip_value": 1.0}},
    ],
    ids=["encoders", "pairs", "class_weight", "random_state", "modalities"],
)
def test_parameters_come_back_equal(params, tmp_path):
    X, y = small_data()
    labels = np.array(["x", "y", "z ü\n"])[y]
    est = InTenseClassifier(max_epochs=2, **params)
    if "random_state" not in params:
        est.set_params(random_state=1)
    params.pop("net_params", None)
    est.set_params(net_params=None).fit(X, labels)
    est.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    for key, value in est.get_params().items():
        if key == "random_state" and not isinstance(value, int):
            assert value.randint(10**6) == loaded.random_state.randint(10**6)
        else:
            assert _same(value, loaded.get_params()[key]) or value == loaded.get_params()[key]
    assert _same(est.classes_, loaded.classes_)
    np.testing.assert_array_equal(loaded.predict(X), est.predict(X))


@pytest.mark.parametrize(
    "labels",
    [["x", "y", "z"], [-5, 0, 2**40], [0.0, 1.0, 7.0], np.array(["p", "q", "r"], object)],
    ids=["text", "integers", "floats", "objects"],
)
def test_labels_of_every_kind_come_back(labels, tmp_path):
    X, y = small_data()
    est = MNLClassifier(max_epochs=2, random_state=0).fit(X, np.asarray(labels)[y])
    est.save(tmp_path / "m")
    assert _same(est.classes_, load(tmp_path / "m").classes_)


def test_multilabel_model_comes_back(tmp_path):
    X, y = small_data()
    encoders = MulTEncoder(hidden_dim=8, n_heads=2)
    est = RoutingClassifier(max_epochs=2, random_state=0, encoders=encoders)
    est.fit(X, np.eye(3, dtype=int)[y])
    est.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").predict(X), est.predict(X))


def test_2d_input_and_many_column_names_come_back(tmp_path):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 100)), columns=[f"column {i} é" for i in range(100)])
    spec = {"a": slice(0, 60), "b": ["column 60 é", *(f"column {i} é" for i in range(61, 100))]}
    est = MNLRegressor(modalities=spec, max_epochs=2, random_state=0).fit(frame, frame.iloc[:, 0])
    est.save(tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert _same(est.feature_names_in_, loaded.feature_names_in_)
    np.testing.assert_array_equal(loaded.predict(frame), est.predict(frame))


def test_file_is_safetensors_for_other_programs(tmp_path):
    est = fitted("MNLClassifier")
    est.save(tmp_path / "m.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(
        arrays["_results.0.state.fusion.weight"], est._result.state["fusion.weight"]
    )


def test_checkpoint_is_no_part_of_a_file(tmp_path):
    est = fitted("MNLClassifier", checkpoint=tmp_path / "c")
    est.save(tmp_path / "m")
    assert load(tmp_path / "m").checkpoint is None
    assert b"checkpoint" not in (tmp_path / "m").read_bytes()


def test_file_of_format_version_1_loads():
    # Made by tests/data/make_model.py with version 0.1 of the package; never to be made again.
    loaded = load(KEPT / "model_v1.safetensors")
    expected = json.loads((KEPT / "model_v1.json").read_text())
    X = {name: np.array(value) for name, value in expected["X"].items()}
    np.testing.assert_allclose(loaded.predict_proba(X), expected["proba"], rtol=1e-9, atol=1e-12)
    assert loaded.relevance_scores_ == pytest.approx(expected["relevance"], rel=1e-12)


# -- what cannot be saved ----------------------------------------------------------------------


def test_unfitted_estimator_cannot_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        MNLClassifier().save(tmp_path / "m")


@pytest.mark.parametrize("kind", [EstimatorEncoder(LogisticRegression()), "late"])
def test_fitted_estimators_of_others_are_left_to_skops(kind, tmp_path):
    X, y = small_data()
    est = LateVotingClassifier(random_state=0)
    if kind != "late":
        est = MNLClassifier(encoders={"a": kind}, max_epochs=2, random_state=0)
    est.fit(X, y)
    with pytest.raises(InputTypeError, match="skops"):
        est.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_subclass_of_the_users_own_cannot_be_saved(tmp_path):
    class Mine(MNLClassifier):
        pass

    X, y = small_data()
    with pytest.raises(InputTypeError, match="Mine"):
        Mine(max_epochs=2, random_state=0).fit(X, y).save(tmp_path / "m")


@pytest.mark.parametrize(
    ("module", "text"),
    [(nn.Linear(4, 2), "class at the top"), (lambda layout: nn.Linear(4, 2), "no import path")],
    ids=["module", "lambda"],
)
def test_encoder_without_an_import_path_is_named(module, text, tmp_path):
    X, y = small_data()
    encoders = {"a": ModuleEncoder(module=module)}
    est = MNLClassifier(encoders=encoders, max_epochs=2, random_state=0).fit(X, y)
    with pytest.raises(InputTypeError, match=rf"encoders\.a.*{text}"):
        est.save(tmp_path / "m")


def test_callbacks_can_be_taken_out_before_saving(tmp_path):
    X, _ = small_data()
    est = fitted("MNLClassifier", callbacks=[EpochTimer()])
    with pytest.raises(InputTypeError, match=r"callbacks\.0: a EpochTimer.*set_params"):
        est.save(tmp_path / "m")
    est.set_params(callbacks=None).save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").predict(X), est.predict(X))


def test_callable_kernel_is_saved_by_its_path_and_loaded_with_trust(tmp_path):
    X, y = small_data()
    est = MKLClassifier(kernel=squared_kernel).fit(X, y)
    est.save(tmp_path / "m")
    with pytest.raises(UnsafeFileError, match=r"squared_kernel.*trust"):
        load(tmp_path / "m")
    loaded = load(tmp_path / "m", trust=[squared_kernel])
    np.testing.assert_array_equal(loaded.decision_function(X), est.decision_function(X))


def squared_kernel(rows, others):
    """Kernel of a user."""
    return (1.0 + rows @ others.T) ** 2


def two_wide(layout):
    """Encoder factory of a user."""
    return nn.Linear(layout.shape[0], 2)


class WidthEncoder(BaseEstimator):
    """Encoder specification of a user."""

    takes_codes = False

    def __init__(self, *, width=2):
        self.width = width

    def build(self, layout):
        module = nn.Linear(layout.shape[0], self.width)
        return ModuleEncoder(module=module, output_dim=self.width).build(layout)


@pytest.mark.parametrize(
    ("encoder", "trust"),
    [(ModuleEncoder(module=two_wide), two_wide), (WidthEncoder(width=3), WidthEncoder)],
    ids=["factory", "specification"],
)
def test_encoders_of_the_users_own_need_trust(encoder, trust, tmp_path):
    X, y = small_data()
    est = MNLClassifier(encoders={"a": encoder}, max_epochs=2, random_state=0).fit(X, y)
    est.save(tmp_path / "m")
    with pytest.raises(UnsafeFileError, match="trust"):
        load(tmp_path / "m", trust=[squared_kernel])
    loaded = load(tmp_path / "m", trust=[trust])
    np.testing.assert_array_equal(loaded.predict_proba(X), est.predict_proba(X))


# -- skops -------------------------------------------------------------------------------------


def test_skops_asks_to_trust_classes_of_this_package_alone(tmp_path):
    sio = pytest.importorskip("skops.io")
    X, _ = small_data()
    est = fitted("InTenseClassifier")
    content = sio.dumps(est)
    unknown = sio.get_untrusted_types(data=content)
    assert unknown
    assert [t for t in unknown if not t.startswith("sklearn_mmfusion.")] == []
    with pytest.raises(Exception, match="Untrusted types"):
        sio.loads(content)
    loaded = sio.loads(content, trusted=unknown)
    np.testing.assert_array_equal(loaded.predict_proba(X), est.predict_proba(X))
