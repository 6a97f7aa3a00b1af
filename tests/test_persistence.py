"""Saving and loading: what comes back, and what a hostile file comes to."""

import copy
import inspect
import json
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
from mutations import edit, mutated
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from skorch.callbacks import EpochTimer
from torch import nn

import sklearn_mmfusion
from sklearn_mmfusion import (
    AdamW,
    Conv2dEncoder,
    EstimatorEncoder,
    FusionError,
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
from sklearn_mmfusion import _atomic_files as atomic_files
from sklearn_mmfusion import _tensor_files as tensor_files
from sklearn_mmfusion._persistence import ESTIMATORS, KIND

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in (
        "sklearn.exceptions.ConvergenceWarning",  # a few epochs are enough for a file
        "sklearn_mmfusion.RelevanceWarning",
    )
]

KEPT = Path(__file__).parent / "data"


def _data(n=40, n_classes=3):
    rng = np.random.default_rng(0)
    X = {"b": rng.normal(size=(n, 3, 5)), "a": rng.normal(size=(n, 4))}
    return X, rng.integers(0, n_classes, n)


def _fitted(name, **params):
    kind = getattr(sklearn_mmfusion, name)
    if not name.startswith("MKL"):
        params = {"max_epochs": 2, "random_state": 0} | params
    if "early_stopping" in inspect.signature(kind).parameters:
        params = {"early_stopping": True} | params  # one fit, where there would be two
    if name.startswith("Unimodal"):
        params = {"modality": "a"} | params
    X, y = _data()
    return kind(**params).fit(X, y if is_classifier(kind()) else np.column_stack([y, 2.5 * y]))


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
    est = _fitted(name)
    X, _ = _data()
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
    X, y = _data()
    est = _fitted("InTenseClassifier")
    est.save(tmp_path / "m")
    loaded = load(tmp_path / "m").fit(X, y)
    np.testing.assert_array_equal(loaded.predict_proba(X), est.predict_proba(X))


def test_loaded_estimator_starts_warm_and_goes_on_with_partial_fit(tmp_path):
    X, y = _data()
    est = _fitted("MNLClassifier", warm_start=True)
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
    X, y = _data()
    generator = np.random.default_rng(0)
    X = {**X, "image": generator.integers(0, 255, size=(len(y), *shape)).astype(dtype)}
    encoders = {"image": Conv2dEncoder(channels=(4, 4), kernel_size=3, output_dim=3)}
    est = MNLClassifier(encoders=encoders, max_epochs=2, random_state=0).fit(X, y)
    est.save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").predict_proba(X), est.predict_proba(X))


def test_loaded_model_of_which_terms_were_removed_has_the_rest(tmp_path):
    X, _ = _data()
    est = _fitted("InTenseClassifier").remove_terms(["a x b"])
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
    X, y = _data()
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
    X, y = _data()
    est = MNLClassifier(max_epochs=2, random_state=0).fit(X, np.asarray(labels)[y])
    est.save(tmp_path / "m")
    assert _same(est.classes_, load(tmp_path / "m").classes_)


def test_multilabel_model_comes_back(tmp_path):
    X, y = _data()
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
    est = _fitted("MNLClassifier")
    est.save(tmp_path / "m.safetensors")
    arrays = safetensors.numpy.load_file(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(
        arrays["_results.0.state.fusion.weight"], est._result.state["fusion.weight"]
    )


def test_checkpoint_is_no_part_of_a_file(tmp_path):
    est = _fitted("MNLClassifier", checkpoint=tmp_path / "c")
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
    X, y = _data()
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

    X, y = _data()
    with pytest.raises(InputTypeError, match="Mine"):
        Mine(max_epochs=2, random_state=0).fit(X, y).save(tmp_path / "m")


@pytest.mark.parametrize(
    ("module", "text"),
    [(nn.Linear(4, 2), "class at the top"), (lambda layout: nn.Linear(4, 2), "no import path")],
    ids=["module", "lambda"],
)
def test_encoder_without_an_import_path_is_named(module, text, tmp_path):
    X, y = _data()
    encoders = {"a": ModuleEncoder(module=module)}
    est = MNLClassifier(encoders=encoders, max_epochs=2, random_state=0).fit(X, y)
    with pytest.raises(InputTypeError, match=rf"encoders\.a.*{text}"):
        est.save(tmp_path / "m")


def test_callbacks_can_be_taken_out_before_saving(tmp_path):
    X, _ = _data()
    est = _fitted("MNLClassifier", callbacks=[EpochTimer()])
    with pytest.raises(InputTypeError, match=r"callbacks\.0: a EpochTimer.*set_params"):
        est.save(tmp_path / "m")
    est.set_params(callbacks=None).save(tmp_path / "m")
    np.testing.assert_array_equal(load(tmp_path / "m").predict(X), est.predict(X))


def test_callable_kernel_is_saved_by_its_path_and_loaded_with_trust(tmp_path):
    X, y = _data()
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
    X, y = _data()
    est = MNLClassifier(encoders={"a": encoder}, max_epochs=2, random_state=0).fit(X, y)
    est.save(tmp_path / "m")
    with pytest.raises(UnsafeFileError, match="trust"):
        load(tmp_path / "m", trust=[squared_kernel])
    loaded = load(tmp_path / "m", trust=[trust])
    np.testing.assert_array_equal(loaded.predict_proba(X), est.predict_proba(X))


# -- hostile files -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models():
    """Document and arrays of good files."""
    made = {}
    for name in ("InTenseClassifier", "MKLRegressor"):
        est = _fitted(name)
        path = KEPT / f"never-written-{name}"
        content = {}

        def keep(_, parts, error=None, content=content):
            content["bytes"] = b"".join(parts)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensor_files, "write_atomically", keep)
            est.save(path)
        made[name] = content["bytes"]
    return made


@pytest.fixture
def good(models, tmp_path):
    path = tmp_path / "good"
    path.write_bytes(models["InTenseClassifier"])
    return path


def _forge(source, target, change):
    """Write a changed file with a valid sum: whoever writes a file writes that, too."""
    document, arrays = tensor_files.read_file(source, KIND)
    document = copy.deepcopy(document)
    change(document, arrays)
    tensor_files.write_file(target, KIND, document, arrays)


class _Evil:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.canary}",)


def _set(*path, value):
    def change(document, arrays):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def _delete(*path):
    def change(document, arrays):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def _array(name, value):
    def change(document, arrays):
        made = value(arrays[name])
        del arrays[name]
        if made is not None:
            arrays[name] = made

    return change


def _poisoned(number):
    def poison(value):
        value = value.copy()
        value.reshape(-1)[-1] = number
        return value

    return poison


def _no_change(document, arrays):
    pass


def _extra(document, arrays):
    arrays["extra"] = np.zeros(3)


PLAN = ("fitted", "_results", 0, "plan")
WEIGHT = "_results.0.state.fusion.weight"
MLP = {"object": "MLPEncoder", "content": {}}

FORGED = {
    "class os.system": _set("class", value="os.system"),
    "class Pipeline": _set("class", value="sklearn.pipeline.Pipeline"),
    "class not an estimator": _set("class", value="ModalityFrame"),
    "class no text": _set("class", value=["MNLClassifier"]),
    "another class": _set("class", value="RoutingClassifier"),
    "unknown parameter": _set("params", "typo", value=1),
    "dunder parameter": _set("params", "__class__", value="os.system"),
    "init parameter": _set("params", "__init__", value=None),
    "checkpoint of the file's choice": _set("params", "checkpoint", value="/tmp/x"),
    "parameter of the wrong type": _set("params", "max_epochs", value="many"),
    "parameter out of range": _set("params", "p", value=0.5),
    "nested unknown": _set("params", "optimizer", value={"object": "AdamW", "content": {"x": 1}}),
    "nested bad": _set("params", "optimizer", value={"object": "AdamW", "content": {"eps": -1}}),
    "foreign object": _set("params", "optimizer", value={"object": "os.system", "content": {}}),
    "foreign function": _set("params", "optimizer", value={"trusted": "os.system"}),
    "foreign kind": _set("params", "optimizer", value={"reduce": "os.system"}),
    "fitted dunder": _set("fitted", "__class__", value={}),
    "fitted unknown": _set("fitted", "predict", value=1),
    "missing part": _delete("fitted", "_results"),
    "missing field": _delete(*PLAN, "n_outputs"),
    "allocation by encoder": _set(
        *PLAN, "encoders", 0, value={"object": "MLPEncoder", "content": {"hidden_dim": 10**9}}
    ),
    "allocation by width": _set(
        *(*PLAN, "encoders", 0),
        value={"object": "MLPEncoder", "content": {"hidden_dim": 4000, "n_layers": 3}},
    ),
    "allocation by layers": _set(
        *PLAN, "encoders", 0, value={"object": "MLPEncoder", "content": {"n_layers": 10**9}}
    ),
    "allocation by many layers": _set(
        *PLAN, "encoders", 0, value={"object": "MLPEncoder", "content": {"n_layers": 4000}}
    ),
    "allocation by head": _set(*PLAN, "head", "content", "latent_dim", value=10**9),
    "allocation by shape": _set(*PLAN, "layouts", 0, "shape", value=[2**31 - 1]),
    "allocation by outputs": _set(*PLAN, "n_outputs", value=10**9),
    "joint encoder": _set(*PLAN, "encoders", value=[{"object": "MulTEncoder", "content": {}}]),
    "encoder that is none": _set(*PLAN, "encoders", 0, value={"object": "AdamW", "content": {}}),
    "head that is none": _set(*PLAN, "head", value=MLP),
    "terms out of range": _set(*PLAN, "terms", 0, value=[7]),
    "scaling by zero": _array("_results.0.plan.scalings.0.1", lambda v: 0 * v),
    "NaN in weights": _array(WEIGHT, _poisoned(np.nan)),
    "infinity in weights": _array(WEIGHT, _poisoned(np.inf)),
    "NaN in a scaling": _array("_results.0.plan.scalings.0.0", _poisoned(np.nan)),
    "NaN in the units": _array("_results.0.target_scale.scale", _poisoned(np.nan)),
    "missing array": _array(WEIGHT, lambda v: None),
    "extra array": _extra,
    "shape of an array": _array(WEIGHT, lambda v: v[:, 1:]),
    "float16": _array(WEIGHT, lambda v: v.astype(np.float16)),
    "float32": _array(WEIGHT, lambda v: v.astype(np.float32)),
    "integers": _array(WEIGHT, lambda v: v.astype(np.int64)),
    "newer version": _set("version", value=2),
    "version of text": _set("version", value="1"),
    "version zero": _set("version", value=0),
    "version true": _set("version", value=True),
    "unknown entry": _set("code", value="import os"),
    "kind of target": _set("fitted", "_target", "kind", value="os"),
    "names of modalities": _set("fitted", "_schema", "layouts", 0, "name", value="a.b__c"),
    "history of numbers": _set("fitted", "history_", value=[1, 2]),
}


def _raw(header, payload=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + payload


def _header(**entries):
    return {"__metadata__": {"sklearn_mmfusion": f"{KIND}\n\n{{}}"}, **entries}


def _entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def _raw_files(content, canary):
    length = struct.unpack("<Q", content[:8])[0]
    header, payload = content[8 : 8 + length], content[8 + length :]
    half = b'"__metadata__"'
    assert half in header
    return {
        "pickle": pickle.dumps(_Evil(canary)),
        "pickle of protocol 0": pickle.dumps(_Evil(canary), 0),
        "empty": b"",
        "seven bytes": b"1234567",
        "random": random.Random(0).randbytes(64),
        "header of 2^60": struct.pack("<Q", 2**60) + b"{}",
        "header of 2^64 - 1": b"\xff" * 8 + b"{}",
        "header longer than the file": struct.pack("<Q", 5000) + b"{}",
        "header over 1 MB": _raw(b"{" + b" " * 2**20 + b"}"),
        "truncated": content[:-1],
        "half": content[: len(content) // 2],
        "header only": content[: 8 + length],
        "extra byte": content + b"\0",
        "flipped weight": content[:-1] + bytes([content[-1] ^ 1]),
        "flipped header": content.replace(b"InTenseClassifier", b"InTenseRegressor_"),
        "no metadata": _raw({"x": _entry()}, b"\0" * 8),
        "metadata of another kind": _raw(
            {"__metadata__": {"format": "pt"}, "x": _entry()}, b"\0" * 8
        ),
        "overlapping arrays": _raw(_header(x=_entry(), y=_entry()), b"\0" * 8),
        "out of range": _raw(_header(x=_entry(offsets=(8, 16))), b"\0" * 8),
        "backwards": _raw(_header(x=_entry(offsets=(8, 0))), b"\0" * 8),
        "negative": _raw(_header(x=_entry(offsets=(-8, 0))), b"\0" * 8),
        "shape of 2^62": _raw(_header(x=_entry(shape=(2**62,))), b"\0" * 8),
        "shape that wraps around": _raw(_header(x=_entry(shape=(2**31, 2**33 + 1))), b"\0" * 8),
        "many axes": _raw(_header(x=_entry(shape=(2**61,) * 10000)), b"\0" * 8),
        "negative shape": _raw(_header(x=_entry(shape=(-1,))), b"\0" * 8),
        "shape of floats": _raw(_header(x=_entry(shape=(1.0,))), b"\0" * 8),
        "unknown dtype": _raw(_header(x=_entry(dtype="O")), b"\0" * 8),
        "object dtype": _raw(_header(x=_entry(dtype="|O")), b"\0" * 8),
        "key twice": _raw(header.replace(b"{", b'{"__metadata__":{},', 1), payload),
        "NaN literal": _raw(b'{"x": NaN}'),
        "infinite literal": _raw(b'{"x": 1e999}'),
        "long number": _raw(b'{"x": ' + b"9" * 100_000 + b"}"),
        "depth": _raw(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "quotes without end": _raw(b'{"x":"' + b'\\"' * 400_000),
        "lone surrogate": _raw(b'{"__metadata__": {"sklearn_mmfusion": "\\ud800"}}'),
        "byte order mark": _raw(b"\xef\xbb\xbf" + header, payload),
        "not UTF-8": _raw(b'{"x": "\xff"}'),
        "a list": _raw(b"[1, 2]"),
        "zip": b"PK\x03\x04" + bytes(100),
    }


@pytest.fixture(scope="module")
def attacks(models, tmp_path_factory):
    """All hostile files of the table by name, in a directory; and the canary's path."""
    directory = tmp_path_factory.mktemp("attacks")
    canary = directory / "canary"
    good = directory / "good"
    good.write_bytes(models["InTenseClassifier"])
    paths = {}
    for name, change in FORGED.items():
        paths[name] = directory / f"{len(paths)}"
        _forge(good, paths[name], change)
    for name, content in _raw_files(models["InTenseClassifier"], canary).items():
        paths[name] = directory / f"{len(paths)}"
        paths[name].write_bytes(content)
    return paths, canary


def test_forging_without_a_change_gives_a_good_file(good, tmp_path):
    _forge(good, tmp_path / "forged", _no_change)
    assert (tmp_path / "forged").read_bytes() == good.read_bytes()
    load(tmp_path / "forged")


NAMES = [*FORGED, *_raw_files(_raw({"__metadata__": 0}), "")]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_file_is_refused(name, attacks):
    paths, canary = attacks
    with pytest.raises(UnsafeFileError) as raised:
        load(paths[name])
    assert repr(str(paths[name])) in str(raised.value)
    assert len(str(raised.value)) < 2000
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("newer version", "update the package"),
        ("NaN in weights", "fusion.weight.*not finite"),
        ("shape of an array", "fusion.weight.*expected shape"),
        ("float16", "fusion.weight.*expected dtype float64, got float16"),
        ("missing array", "fusion.weight"),
        ("extra array", "extra"),
        ("flipped weight", "SHA-256"),
        ("class os.system", "no estimator 'os.system'"),
        ("allocation by layers", "1000000000 is more than the file has weights for"),
        ("allocation by width", "larger than the weights"),
        ("unknown parameter", "typo"),
    ],
)
def test_refusal_says_why(name, text, attacks):
    with pytest.raises(UnsafeFileError, match=text):
        load(attacks[0][name])


def _many_arrays(document, arrays):
    for i in range(4):
        arrays[f"{i}" * 41] = np.zeros(1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_set("version", value="v" * 41), f"its format version is '{'v' * 40}'"),
        (_set("class", value="c" * 41), f"there is no estimator '{'c' * 40}'"),
        (_set("params", "p" * 41, value=1), rf"has no parameters \['{'p' * 40}'\]"),
        (_many_arrays, rf"nothing uses: {[f'{i}' * 40 for i in range(3)]}".replace("[", r"\[")),
    ],
    ids=["version", "class", "parameter", "arrays"],
)
def test_refusal_shows_the_first_forty_letters_of_a_name(change, text, good, tmp_path):
    _forge(good, tmp_path / "m", change)
    with pytest.raises(UnsafeFileError, match=text):
        load(tmp_path / "m")


@pytest.mark.parametrize("entry", ["params", "fitted"])
def test_entries_that_are_lists_are_refused_as_such(entry, good, tmp_path):
    _forge(good, tmp_path / "m", _set(entry, value=[]))
    with pytest.raises(UnsafeFileError, match="entries are of the wrong type"):
        load(tmp_path / "m")


def test_refusal_of_a_newer_file_names_both_versions(good, tmp_path):
    def of_tomorrow(document, arrays):
        document.update(version=7, package="9" * 41)

    _forge(good, tmp_path / "m", of_tomorrow)
    text = (
        f"format version 7 by sklearn-mmfusion {'9' * 40}, this is {sklearn_mmfusion.__version__}"
    )
    with pytest.raises(UnsafeFileError, match=f"{text}, which reads up to 1: update the package"):
        load(tmp_path / "m")


def test_refusal_names_the_first_five_of_many_unknown_parameters(good, tmp_path):
    def invent(document, arrays):
        document["params"].update(dict.fromkeys("fedcba", 1))

    _forge(good, tmp_path / "m", invent)
    with pytest.raises(UnsafeFileError, match=r"no parameters \['a', 'b', 'c', 'd', 'e'\]"):
        load(tmp_path / "m")


def test_saving_removes_what_a_save_left_an_hour_ago_and_nothing_younger(tmp_path, monkeypatch):
    est = _fitted("MKLClassifier")
    now = 1e9
    monkeypatch.setattr(atomic_files, "time", SimpleNamespace(time=lambda: now))
    for name, age in [("younger", 3599.5), ("old enough", 3600.5)]:
        path = tmp_path / f".m.{name:-<16}{atomic_files._SUFFIX}"
        path.touch()
        os.utime(path, (now - age, now - age))
    est.save(tmp_path / "m")
    left = [path.name for path in tmp_path.iterdir()]
    assert sorted(left) == [f".m.younger---------{atomic_files._SUFFIX}", "m"]


@pytest.mark.slow  # an import of torch; that each of them is refused is in the fast part
def test_hostile_files_take_little_time_and_memory_and_import_nothing(attacks, tmp_path):
    # In a process of its own, whose memory is that of loading alone.
    paths, canary = attacks
    names = tmp_path / "names"
    names.write_text(json.dumps({name: str(path) for name, path in paths.items()}))
    script = """
import json, resource, sys, time
import sklearn_mmfusion
names = json.load(open(sys.argv[1]))
sklearn_mmfusion.load(sys.argv[2])  # what a first load imports belongs to the package
before = set(sys.modules)
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = {}
for name, path in names.items():
    begin = time.process_time()
    try:
        sklearn_mmfusion.load(path)
        raise SystemExit(name + " was loaded")
    except sklearn_mmfusion.UnsafeFileError:
        pass
    report[name] = time.process_time() - begin
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
print(json.dumps([max(report.values()), grown / 1024, sorted(set(sys.modules) - before)]))
"""
    good = paths["newer version"].parent / "good"
    done = subprocess.run(
        [sys.executable, "-c", script, str(names), str(good)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds, mebibytes, imported = json.loads(done.stdout)
    assert seconds < 1
    assert mebibytes < 200
    assert imported == []
    assert not canary.exists()


def test_path_that_is_no_regular_file_is_refused(tmp_path, good):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", "/dev/zero", "/etc/passwd"):
        with pytest.raises(UnsafeFileError):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    (tmp_path / "good link").symlink_to(good)
    load(tmp_path / "good link")


def test_hostile_text_is_escaped_where_it_is_shown(tmp_path, good):
    text = "<script>\n\x1b[31m"

    def invent(document, arrays):
        document["params"]["optimizer"] = {"object": text, "content": {}}

    _forge(good, tmp_path / "m", invent)
    with pytest.raises(UnsafeFileError) as raised:
        load(tmp_path / "m")
    assert "\x1b" not in str(raised.value)


# -- fuzzing -----------------------------------------------------------------------------------


def _outcome(path, expected, X):
    """Load a mutated file: equal predictions, or an error of ours."""
    try:
        loaded = load(path)
        found = loaded.predict(X)
    except FusionError:
        return "refused"
    if expected is not None:
        np.testing.assert_array_equal(found, expected)
    return "loaded"


def _fuzz_bytes(content, n, seed, path):
    X, _ = _data()
    path.write_bytes(content)
    expected = load(path).predict(X)
    generator = random.Random(seed)
    outcomes = []
    for _ in range(n):
        path.write_bytes(mutated(content, generator))
        outcomes.append(_outcome(path, expected, X))
    return outcomes


def _fuzz_documents(content, n, seed, path):
    X, _ = _data()
    path.write_bytes(content)
    document, arrays = tensor_files.read_file(path, KIND)
    generator = random.Random(seed)
    outcomes = []
    for _ in range(n):
        edited = copy.deepcopy(document)
        edit(edited, generator)
        tensor_files.write_file(path, KIND, edited, arrays)
        # With a valid sum it may be another model, one with a kernel width of 1e308, say.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            outcomes.append(_outcome(path, None, X))
    return outcomes


@pytest.mark.parametrize("name", ["InTenseClassifier", "MKLRegressor"])
def test_mutated_file_predicts_the_same_or_is_refused(name, models, tmp_path):
    assert "refused" in _fuzz_bytes(models[name], 100, 0, tmp_path / "m")


@pytest.mark.parametrize("name", ["InTenseClassifier", "MKLRegressor"])
def test_mutated_document_with_a_valid_sum_raises_no_foreign_error(name, models, tmp_path):
    assert {"loaded", "refused"} == set(_fuzz_documents(models[name], 50, 1, tmp_path / "m"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["InTenseClassifier", "MKLRegressor"])
def test_many_mutated_files_predict_the_same_or_are_refused(name, seed, models, tmp_path):
    assert "refused" in _fuzz_bytes(models[name], 1250, 2 + seed, tmp_path / "m")
    _fuzz_documents(models[name], 500, 12 + seed, tmp_path / "m")


# -- skops -------------------------------------------------------------------------------------


def test_skops_asks_to_trust_classes_of_this_package_alone(tmp_path):
    sio = pytest.importorskip("skops.io")
    X, _ = _data()
    est = _fitted("InTenseClassifier")
    content = sio.dumps(est)
    unknown = sio.get_untrusted_types(data=content)
    assert unknown
    assert [t for t in unknown if not t.startswith("sklearn_mmfusion.")] == []
    with pytest.raises(Exception, match="Untrusted types"):
        sio.loads(content)
    loaded = sio.loads(content, trusted=unknown)
    np.testing.assert_array_equal(loaded.predict_proba(X), est.predict_proba(X))
