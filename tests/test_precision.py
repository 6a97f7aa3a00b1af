"""bfloat16 in the encoders, float32 and float64 everywhere else; TF32 is the user's choice."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from skorch.callbacks import Callback

from sklearn_mmfusion import (
    Conv1dEncoder,
    GRUEncoder,
    InTenseClassifier,
    LinearEncoder,
    LSTMEncoder,
    MLPEncoder,
    MulTClassifier,
    MulTEncoder,
    RAVENClassifier,
    RAVENEncoder,
    TransformerEncoder,
)
from sklearn_mmfusion.modules.batchnorm import WeightedBatchNorm

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]

N = 80
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
FLAT = {name: RNG.normal(size=(N, 6)) + Y[:, None] for name in "ab"}
STEPS = {name: RNG.normal(size=(N, 5, 4)) + Y[:, None, None] for name in "ab"}
for _i, _length in enumerate(RNG.integers(2, 6, N)):
    STEPS["a"][_i, _length:] = np.nan


class Dtypes(Callback):
    """Dtypes of what trains, and of what the encoders' linear maps compute."""

    def on_train_begin(self, net, **kwargs):
        self.seen, self.products = set(), set()
        # The hooks see the encoders' linear maps one by one only where they are no group.
        self.hooks = [
            child.register_forward_hook(self.note)
            for child in net.module_.encoders.modules()
            if isinstance(child, torch.nn.Linear)
        ]
        self.features = net.module_.features.register_forward_hook(self.note_features)

    def note(self, module, inputs, output):
        self.products.add((module.training, output.dtype))

    def note_features(self, module, inputs, output):
        self.seen |= {output.dtype, *(encoding.dtype for encoding in inputs[0])}

    def on_batch_end(self, net, loss=None, training=False, **kwargs):
        tensors = [*net.module_.state_dict().values()]
        for state in net.optimizer_.state.values():
            tensors += state.values()
        if training:
            self.seen |= {t.dtype for t in tensors if t.is_floating_point()} | {loss.dtype}

    def on_train_end(self, net, **kwargs):
        for hook in (*self.hooks, self.features):
            hook.remove()


def _fit(dtype, X=FLAT, cls=InTenseClassifier, **changes):
    params = {"encoders": LinearEncoder(), "batch_size": 32, "max_epochs": 3, "random_state": 0}
    return cls(dtype=dtype, **(params | changes)).fit(X, Y)


def test_only_products_of_encoders_in_training_are_in_bfloat16():
    watch = Dtypes()
    est = _fit("bfloat16", callbacks=[watch], early_stopping=True)
    # Means and scales of inputs are kept in float64 whatever the training is in.
    assert watch.seen <= {torch.float32, torch.float64}
    assert torch.float32 in watch.seen
    assert watch.products == {(True, torch.bfloat16), (False, torch.float32)}
    assert {v.dtype for v in est._result.state.values() if v.dtype.kind == "f"} == {
        np.dtype(np.float64)
    }
    assert est.decision_function(FLAT).dtype == np.float64


def test_float32_computes_nothing_in_bfloat16():
    watch = Dtypes()
    _fit("float32", callbacks=[watch], early_stopping=True)
    assert watch.products == {(True, torch.float32), (False, torch.float32)}


@pytest.mark.parametrize(
    "encoder",
    [
        MLPEncoder(),
        GRUEncoder(batch_norm=True),
        LSTMEncoder(bidirectional=True),
        Conv1dEncoder(),
        TransformerEncoder(hidden_dim=4, n_heads=1, n_layers=1),
    ],
    ids=str,
)
def test_encoders_train_in_bfloat16_close_to_float32(encoder):
    X = FLAT if isinstance(encoder, MLPEncoder) else STEPS
    one, other = (
        _fit(dtype, X, encoders=encoder, early_stopping=True) for dtype in ("float32", "bfloat16")
    )
    pair = one.predict_proba(X), other.predict_proba(X)
    # Eight bits: something has changed, and not much of it.
    assert 0 < np.abs(pair[0] - pair[1]).max() < 0.03


@pytest.mark.parametrize(
    "cls, encoder",
    [
        (MulTClassifier, MulTEncoder(hidden_dim=4, n_heads=1, n_layers=1)),
        (RAVENClassifier, RAVENEncoder(hidden_dim=4)),
    ],
)
def test_joint_encoders_train_in_bfloat16(cls, encoder):
    one, other = (_fit(dtype, STEPS, cls, encoders=encoder) for dtype in ("float32", "bfloat16"))
    pair = one.predict_proba(STEPS), other.predict_proba(STEPS)
    assert 0 < np.abs(pair[0] - pair[1]).max() < 0.03


def test_statistics_of_batch_norms_keep_the_digits_that_bfloat16_has_not():
    # 256 + 1 is 256 in bfloat16: a mean over such values needs more digits than they have.
    x = torch.tensor([[256.0], [258.0], [256.0]]).bfloat16()
    for weight in (None, torch.ones(3)):
        norm = WeightedBatchNorm(1, momentum=1.0)
        assert norm(x, weight).dtype == torch.float32
        np.testing.assert_allclose(norm.running_mean, [770 / 3], rtol=1e-6)
        np.testing.assert_allclose(norm.running_var, [8 / 9], rtol=1e-4)


@pytest.mark.slow
def test_bfloat16_is_as_accurate_as_float32():
    values, y = make_classification(
        2400, 20, n_informative=8, n_redundant=0, class_sep=1.5, random_state=0
    )
    X, X_test = ({"a": v[:, :10], "b": v[:, 10:]} for v in (values[:1200], values[1200:]))
    scores = [
        InTenseClassifier(dtype=dtype, max_epochs=30, random_state=0)
        .fit(X, y[:1200])
        .score(X_test, y[1200:])
        for dtype in ("float32", "bfloat16")
    ]
    assert min(scores) > 0.85
    assert abs(scores[0] - scores[1]) < 0.01


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_a_fit_leaves_the_precision_of_products_to_the_user(precision):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        _fit("float32", max_epochs=1)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
