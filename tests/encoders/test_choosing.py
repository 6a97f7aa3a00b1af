"""Tests of encoder parameter objects, their choice and nested parameters."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from sklearn_mmfusion._encoders.choosing import (
    SMALL_SAMPLE,
    Conv1dEncoder,
    Conv2dEncoder,
    EncoderByShape,
    EncodersMixin,
    GRUEncoder,
    IdentityEncoder,
    LinearEncoder,
    LSTMEncoder,
    MLPEncoder,
    ModuleEncoder,
    SummaryEncoder,
    TransformerEncoder,
    resolve_encoders,
)
from sklearn_mmfusion._errors import InputError, InputTypeError
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm
from sklearn_mmfusion.modules.dropout import Dropout

FLAT = ModalityLayout("flat", (6,), "float64")
SEQUENCE = ModalityLayout("text", (5, 3), "float32")
CODES = ModalityLayout("genes", (9,), "int64")
IMAGE = ModalityLayout("image", (8, 7), "uint8")
COLOURS_FIRST = ModalityLayout("photo", (3, 8, 7), "float32")
COLOURS_LAST = ModalityLayout("photo", (8, 7, 3), "uint8")
VIDEO = ModalityLayout("video", (4, 3, 8, 7), "uint8")

TAKEN = [
    (LinearEncoder(), FLAT, 6),
    (LinearEncoder(), ModalityLayout("wide", (100,), "float64"), 32),
    (LinearEncoder(output_dim=4, dropout=0.5), FLAT, 4),
    (MLPEncoder(), FLAT, 32),
    (MLPEncoder(hidden_dim=8, n_layers=2, output_dim=5, dropout=0.1, skip=True), FLAT, 5),
    (IdentityEncoder(), FLAT, 6),
    (SummaryEncoder(), FLAT, 6),
    (SummaryEncoder(), SEQUENCE, 15),
    (SummaryEncoder(output_dim=4), SEQUENCE, 4),
    (GRUEncoder(), SEQUENCE, 32),
    (GRUEncoder(hidden_dim=4, bidirectional=True, n_layers=2), SEQUENCE, 8),
    (GRUEncoder(vocabulary_size=4), CODES, 32),
    (LSTMEncoder(hidden_dim=4, output_dim=3), SEQUENCE, 3),
    (LSTMEncoder(vocabulary_size=4, embedding_dim=2), CODES, 32),
    (TransformerEncoder(), SEQUENCE, 32),
    (TransformerEncoder(hidden_dim=8, vocabulary_size=4), CODES, 8),
    (Conv1dEncoder(), SEQUENCE, 32),
    (Conv1dEncoder(channels=(4, 5), kernel_size=(3, 2), pooling="max_mean"), SEQUENCE, 10),
    (Conv1dEncoder(channels=[4], pooling="flatten", vocabulary_size=4), CODES, 36),
    (Conv1dEncoder(channels=4, kernel_size=3, padding="valid", output_dim=7), SEQUENCE, 7),
    (Conv2dEncoder(), IMAGE, 32),
    (Conv2dEncoder(channels=(16, 32), output_dim=None), IMAGE, 32 * 2 * 2),
    (Conv2dEncoder(output_dim=None), ModalityLayout("x", (28, 20), "uint8"), 64 * 4 * 3),
    (Conv2dEncoder(output_dim=None, pooling="mean"), COLOURS_FIRST, 64),
    (Conv2dEncoder(channels=(4,), output_dim=None), COLOURS_LAST, 4 * 4 * 4),
    (Conv2dEncoder(), ModalityLayout("x", (8, 7), "float64"), 32),
]


def example(layout, n=3):
    if layout is CODES:
        return torch.zeros((n, *layout.shape), dtype=torch.int64)
    return torch.ones((n, *layout.shape))


def build(encoder, layout):
    """Build a module with torch's generator seeded as the estimators do."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return encoder.build(layout)


@pytest.mark.parametrize(("encoder", "layout", "width"), TAKEN)
def test_build_makes_module_of_promised_width(encoder, layout, width):
    module = build(encoder, layout).eval()
    assert module.output_dim == width
    assert module(example(layout)).shape == (3, width)
    assert module(example(layout), None, torch.ones(3)).shape == (3, width)


@pytest.mark.parametrize(("encoder", "layout", "width"), TAKEN)
def test_encoder_survives_clone_and_pickle(encoder, layout, width):
    loaded = pickle.loads(pickle.dumps(encoder))
    for other in (clone(encoder), loaded):
        assert other.get_params() == encoder.get_params()
        assert build(other, layout).output_dim == width


@pytest.mark.parametrize("encoder", [LinearEncoder(), MLPEncoder(), IdentityEncoder()])
def test_flat_encoder_refuses_sequences(encoder):
    expected = (
        rf"^modality 'text': {type(encoder).__name__} takes 2-D \(n, d\), got shape \(n, 5, 3\) "
        r"\(dim 3\); flatten or encode first \(GRUEncoder, Conv1dEncoder, SummaryEncoder"
    )
    with pytest.raises(InputError, match=expected):
        encoder.build(SEQUENCE)


@pytest.mark.parametrize(
    ("encoder", "layout", "message"),
    [
        (GRUEncoder(), FLAT, r"takes 3-D \(n, T, d\).*got shape \(n, 6\)"),
        (TransformerEncoder(), COLOURS_FIRST, r"takes 3-D .*\(n, 3, 8, 7\) \(dim 4\)"),
        (Conv1dEncoder(vocabulary_size=4), FLAT, r"integer codes .*dtype is float64"),
        (GRUEncoder(vocabulary_size=4), SEQUENCE, r"takes 2-D \(n, T\) integer codes"),
        (GRUEncoder(embedding_dim=4), SEQUENCE, "embedding_dim needs vocabulary_size"),
        (SummaryEncoder(), COLOURS_FIRST, "use Conv2dEncoder"),
        (Conv2dEncoder(), FLAT, r"takes 3-D \(n, H, W\) or 4-D"),
        (Conv2dEncoder(kernel_size=4), IMAGE, "must be odd, got 4"),
        (Conv2dEncoder(kernel_size=(3, 3)), IMAGE, "one integer or one for each"),
        (Conv1dEncoder(channels=()), SEQUENCE, "one integer or one for each"),
        (Conv1dEncoder(channels=(4, 0)), SEQUENCE, "integers of at least 1"),
        (Conv1dEncoder(pool_size=(2.5,)), SEQUENCE, "integers of at least 1"),
        (TransformerEncoder(hidden_dim=30), SEQUENCE, "multiple of n_heads, got 30 and 4"),
        (MLPEncoder(hidden_dim=0), FLAT, "'hidden_dim' parameter of MLPEncoder"),
        (MLPEncoder(activation="softmax"), FLAT, "'activation' parameter of MLPEncoder"),
        (LinearEncoder(dropout=1.5), FLAT, "'dropout' parameter of LinearEncoder"),
        (EncoderByShape(), VIDEO, r"got shape \(n, 4, 3, 8, 7\).*ModuleEncoder"),
        (EncoderByShape(dropout=-1), FLAT, "'dropout' parameter of EncoderByShape"),
    ],
)
def test_build_refuses_and_names_the_modality(encoder, layout, message):
    with pytest.raises(InputError, match=f"^modality {layout.name!r}: .*{message}"):
        encoder.build(layout)


@pytest.mark.parametrize(
    ("shape", "axis", "channels"),
    [
        ((3, 8, 7), "auto", 3),
        ((8, 7, 3), "auto", 3),
        ((4, 4, 4), "auto", 4),
        ((1, 9, 9), "auto", 1),
        ((8, 7, 9), "first", 8),
        ((3, 8, 7), "last", 7),
    ],
)
def test_conv2d_finds_the_axis_of_colours(shape, axis, channels):
    module = build(Conv2dEncoder(channels_axis=axis), ModalityLayout("x", shape, "float32"))
    assert module.convolutions[0].in_channels == channels


def test_takes_codes_says_whether_values_are_symbols():
    assert GRUEncoder(vocabulary_size=4).takes_codes
    assert not GRUEncoder().takes_codes
    assert not LinearEncoder().takes_codes
    assert ModuleEncoder(module=nn.Identity(), codes=True).takes_codes


def test_dropout_and_batch_norm_are_our_own():
    encoders = [
        (MLPEncoder(dropout=0.1, input_dropout=0.2), FLAT),
        (GRUEncoder(dropout=0.1), SEQUENCE),
        (TransformerEncoder(), SEQUENCE),
        (Conv1dEncoder(dropout=0.1, batch_norm=True), SEQUENCE),
        (Conv2dEncoder(dropout=0.1), IMAGE),
    ]
    foreign = (nn.Dropout, nn.BatchNorm1d, nn.BatchNorm2d)
    for encoder, layout in encoders:
        children = list(build(encoder, layout).modules())
        assert any(isinstance(child, Dropout) for child in children)
        assert not any(isinstance(child, foreign) for child in children)
    assert any(isinstance(child, WeightedBatchNorm) for child in children)


# -- user modules -----------------------------------------------------------------------------


class Net(nn.Module):
    """A factory by its class: built with the layout."""

    def __init__(self, layout):
        super().__init__()
        self.linear = nn.Linear(layout.shape[-1], 4)

    def forward(self, values):
        return self.linear(values)


class Summing(nn.Module):
    """A module with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((), 2.0))

    def forward(self, values):
        return self.scale * values.sum(1, keepdim=True)


def test_module_encoder_builds_a_copy_with_the_same_weights():
    own = Summing()
    module = ModuleEncoder(module=own).build(FLAT)
    assert module.module is not own
    assert module.output_dim == 1
    assert torch.equal(module(torch.ones(2, 6)), torch.full((2, 1), 12.0))


def test_module_encoder_frozen_leaves_the_module_of_the_user_trainable():
    own = Summing()
    module = ModuleEncoder(module=own, trainable=False).build(FLAT)
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert own.scale.requires_grad


def test_module_encoder_calls_factory_with_layout():
    assert build(ModuleEncoder(module=Net), FLAT).output_dim == 4


def test_module_encoder_reports_whose_module_failed():
    broken = ModuleEncoder(module=lambda layout: Net(FLAT))
    message = r"^modality 'text': the encoder module Net failed on zeros of shape \(2, 5, 3\)"
    with pytest.raises(InputError, match=message):
        build(broken, SEQUENCE)
    with pytest.raises(InputTypeError, match="factory must return a torch.nn.Module, got int"):
        ModuleEncoder(module=lambda layout: 3).build(FLAT)


def test_module_encoder_of_another_width_names_the_modality():
    module = ModuleEncoder(module=nn.ZeroPad1d(1), output_dim=5).build(FLAT)
    with pytest.raises(InputError, match="^modality 'flat': .*output_dim=5.* got 8; give output_d"):
        module(torch.zeros(2, 6))


# -- choice -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "few", "many"),
    [
        (FLAT, MLPEncoder, MLPEncoder),
        (SEQUENCE, SummaryEncoder, GRUEncoder),
        (IMAGE, Conv2dEncoder, Conv2dEncoder),
        (COLOURS_FIRST, Conv2dEncoder, Conv2dEncoder),
    ],
)
def test_choice_follows_shape_and_rows(layout, few, many):
    assert type(EncoderByShape().resolve(layout, SMALL_SAMPLE)) is few
    assert type(EncoderByShape().resolve(layout, SMALL_SAMPLE + 1)) is many


def test_choice_for_flat_features_is_a_perceptron_with_quantiles_and_a_linear_part():
    flat = MLPEncoder(hidden_dim=128, skip=True, dropout=0.5, input_dropout=0.2, n_quantiles=32)
    for n_samples in (10, 10_000):
        chosen = EncoderByShape().resolve(FLAT, n_samples)
        assert chosen.get_params() == flat.get_params()
    few = EncoderByShape().resolve(SEQUENCE, SMALL_SAMPLE)
    assert few.head.get_params() == flat.get_params()


@pytest.mark.parametrize("layout", [FLAT, SEQUENCE, IMAGE, COLOURS_LAST])
@pytest.mark.parametrize("n_samples", [100, 10_000])
def test_choice_hands_on_what_was_given(layout, n_samples):
    encoder = EncoderByShape(output_dim=7, dropout=0.25).resolve(layout, n_samples)
    chosen = encoder.head if isinstance(encoder, SummaryEncoder) else encoder
    assert chosen.output_dim == 7
    assert chosen.dropout == 0.25
    assert build(encoder, layout).output_dim == 7
    hidden = EncoderByShape(hidden_dim=12).resolve(layout, n_samples)
    assert getattr(hidden, "hidden_dim", None) == 12 or hidden.channels == (3, 6, 12)


def names(encoders, layouts=(FLAT, SEQUENCE), n_samples=5000):
    return [type(e).__name__ for e in resolve_encoders(encoders, layouts, n_samples)]


def test_resolve_takes_every_form():
    text = GRUEncoder(hidden_dim=5)
    assert names("auto") == ["MLPEncoder", "GRUEncoder"]
    assert names(SummaryEncoder()) == ["SummaryEncoder", "SummaryEncoder"]
    assert names({"text": LSTMEncoder()}) == ["MLPEncoder", "LSTMEncoder"]
    assert names([("text", SummaryEncoder()), ("flat", "auto")]) == ["MLPEncoder", "SummaryEncoder"]
    assert names({"flat": nn.Identity(), "text": Net}) == ["ModuleEncoder", "ModuleEncoder"]
    assert names(nn.Flatten()) == ["ModuleEncoder", "ModuleEncoder"]
    assert names({}) == ["MLPEncoder", "GRUEncoder"]
    assert names(EncoderByShape(), n_samples=10) == ["MLPEncoder", "SummaryEncoder"]
    resolved = resolve_encoders({"text": text}, [SEQUENCE, FLAT], 10)
    assert resolved[0].hidden_dim == 5
    assert resolved[0] is not text


def test_resolve_reports_unknown_and_repeated_names():
    with pytest.raises(InputError, match="no modality 'txt'; did you mean 'text'"):
        resolve_encoders({"txt": "auto"}, [FLAT, SEQUENCE], 10)
    pairs = [("text", "auto"), ("text", "auto"), ("zzz", "auto")]
    with pytest.raises(InputError, match=r"'text' is named twice\n.*'zzz'; The modalities are"):
        resolve_encoders(pairs, [FLAT, SEQUENCE], 10)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("gru", "got 'gru'"),
        (GRUEncoder, r"an instance is needed: GRUEncoder\(\)"),
        (3, "got int 3"),
        (BaseEstimator(), "got BaseEstimator"),
        (None, "got NoneType"),
    ],
)
def test_resolve_refuses_what_is_no_encoder(wrong, message):
    for encoders in (wrong, {"text": wrong}):
        with pytest.raises(InputTypeError, match=f"modality .*expected an encoder.*{message}"):
            resolve_encoders(encoders, [SEQUENCE], 10)


def test_resolve_refuses_list_without_pairs():
    with pytest.raises(InputTypeError, match="pairs"):
        resolve_encoders([GRUEncoder()], [SEQUENCE], 10)


def test_resolve_collects_the_faults_of_all_modalities():
    other = ModalityLayout("film", (2, 3, 4, 5), "float32")
    with pytest.raises(InputError, match="(?s)modality 'video'.*modality 'film'"):
        resolve_encoders("auto", [VIDEO, FLAT, other], 10)


# -- nested parameters ------------------------------------------------------------------------


class Estimator(EncodersMixin, ClassifierMixin, BaseEstimator):
    """A classifier whose score is the hidden width of the text encoder."""

    def __init__(self, *, encoders="auto", reg=0.1):
        self.encoders = encoders
        self.reg = reg

    def fit(self, X, y):
        layouts = [SEQUENCE, ModalityLayout("my audio", (6,), "float64")]
        self.resolved_ = resolve_encoders(self.encoders, layouts, 5000)
        return self

    def score(self, X, y):
        return -abs(self.resolved_[0].hidden_dim - 48)


CONTAINERS = [
    lambda: {"text": GRUEncoder(hidden_dim=8), "my audio": MLPEncoder()},
    lambda: [("text", GRUEncoder(hidden_dim=8)), ("my audio", MLPEncoder())],
]


@pytest.mark.parametrize("container", CONTAINERS)
def test_get_params_reaches_into_containers(container):
    estimator = Estimator(encoders=container())
    params = estimator.get_params()
    assert params["encoders"] is estimator.encoders
    assert params["encoders__text"] is dict(estimator.encoders)["text"]
    assert params["encoders__text__hidden_dim"] == 8
    assert params["encoders__my audio__skip"] is False
    assert set(estimator.get_params(deep=False)) == {"encoders", "reg"}


@pytest.mark.parametrize("container", CONTAINERS)
def test_set_params_reaches_into_containers(container):
    encoders = container()
    before = copy.copy(encoders)
    estimator = Estimator(encoders=encoders)
    assert estimator.set_params(**{"encoders__my audio__hidden_dim": 16, "reg": 1}) is estimator
    assert estimator.reg == 1
    assert dict(estimator.encoders)["my audio"].hidden_dim == 16
    assert type(estimator.encoders) is type(before)
    assert list(dict(estimator.encoders)) == ["text", "my audio"]
    replacement = LSTMEncoder()
    estimator.set_params(encoders__text=replacement)
    assert dict(estimator.encoders)["text"] is replacement
    assert encoders == before  # the user's container
    assert estimator.encoders is not encoders


def test_set_params_replaces_before_it_sets():
    estimator = Estimator(encoders={"text": GRUEncoder()})
    estimator.set_params(encoders__text__n_heads=2, encoders__text=TransformerEncoder())
    assert estimator.encoders["text"].n_heads == 2
    estimator.set_params(encoders__text__hidden_dim=3, encoders={"text": LSTMEncoder()})
    assert estimator.encoders["text"].hidden_dim == 3


@pytest.mark.parametrize("start", ["auto", {}, {"text": "auto"}, {"my audio": MLPEncoder()}, []])
def test_set_params_names_what_was_auto(start):
    estimator = Estimator(encoders=start).set_params(encoders__text__hidden_dim=64)
    chosen = dict(estimator.encoders)["text"]
    assert isinstance(chosen, EncoderByShape)
    assert chosen.hidden_dim == 64
    assert start in ("auto", {}, {"text": "auto"}, []) or list(start) == ["my audio"]


def test_set_params_of_one_encoder_for_all_is_that_of_scikit_learn():
    estimator = Estimator(encoders=GRUEncoder()).set_params(encoders__hidden_dim=5)
    assert estimator.encoders.hidden_dim == 5
    assert estimator.get_params()["encoders__hidden_dim"] == 5


@pytest.mark.parametrize(
    ("encoders", "wrong"),
    [
        ("auto", {"encoders__hidden_dim": 3}),
        ("auto", {"encoders__text__hiden_dim": 3}),
        ("auto", {"encoder__text": "auto"}),
        ({"text": GRUEncoder()}, {"encoders__text__hiden_dim": 3}),
        ({"text": GRUEncoder()}, {"encoders__text": GRUEncoder}),
        ({"text": Summing()}, {"encoders__text__hidden_dim": 3}),
        (GRUEncoder(), {"encoders__text__hidden_dim": 3}),
        (Summing(), {"encoders__text__hidden_dim": 3}),
    ],
)
def test_set_params_refuses_typos(encoders, wrong):
    estimator = Estimator(encoders=encoders)
    with pytest.raises(ValueError, match="Invalid parameter"):
        estimator.set_params(**wrong)
    assert estimator.encoders is encoders


def comparable(params):
    return {key: repr(value) for key, value in params.items()}


@pytest.mark.parametrize("container", [*CONTAINERS, lambda: "auto", GRUEncoder, Summing])
def test_clone_is_equal_and_independent(container):
    estimator = Estimator(encoders=container())
    copied = clone(estimator)
    assert comparable(copied.get_params()) == comparable(estimator.get_params())
    if "encoders__text__hidden_dim" in copied.get_params():
        copied.set_params(encoders__text__hidden_dim=99)
        assert estimator.get_params()["encoders__text__hidden_dim"] == 8


@pytest.mark.parametrize("container", [*CONTAINERS, lambda: "auto"])
def test_grid_search_finds_nested_parameter(container):
    X, y = np.zeros((12, 1)), np.tile([0, 1], 6)
    estimator = Estimator(encoders=container())
    before = comparable(estimator.get_params())
    grid = {"encoders__text__hidden_dim": [16, 48, 64]}
    search = GridSearchCV(estimator, grid, cv=2).fit(X, y)
    assert search.best_params_ == {"encoders__text__hidden_dim": 48}
    assert search.best_estimator_.resolved_[0].hidden_dim == 48
    assert comparable(estimator.get_params()) == before


def test_grid_search_over_encoders():
    X, y = np.zeros((12, 1)), np.tile([0, 1], 6)
    grid = {"encoders__text": [GRUEncoder(hidden_dim=4), LSTMEncoder(hidden_dim=47)]}
    search = GridSearchCV(Estimator(), grid, cv=2).fit(X, y)
    assert isinstance(search.best_estimator_.resolved_[0], LSTMEncoder)
