"""Where a fit trains and where new rows are encoded, as far as that can be seen without a GPU."""

from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch

from sklearn_mmfusion import InTenseClassifier, MLPEncoder
from sklearn_mmfusion import _fitted as fitted
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._fitting import stacked_training as stacked_training
from sklearn_mmfusion._inputs.validation import check_fit_inputs
from sklearn_mmfusion._training import devices as devices
from sklearn_mmfusion._training import loop as training
from sklearn_mmfusion._training.devices import (
    count_values,
    prediction_device,
    training_device,
    whole_float32,
)
from sklearn_mmfusion.inspection import modality_shapley
from sklearn_mmfusion.modules.network import FusionNetwork

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(40, 4)), "b": RNG.normal(size=(40, 3))}
Y = np.arange(40) % 2


PARAMS = {"encoders": MLPEncoder(), "max_epochs": 2, "random_state": 0}


def _fit(**changes):
    return InTenseClassifier(**(PARAMS | changes)).fit(X, Y)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_values_are_counted_over_modalities_and_steps():
    assert count_values(10, [(3,), (5, 2)]) == 130


def test_auto_is_a_gpu_for_large_data_alone(two_gpus):
    assert training_device("auto", devices._AUTO_VALUES - 1) == "cpu"
    assert training_device("auto", devices._AUTO_VALUES) == "cuda"
    assert prediction_device("auto", devices._AUTO_VALUES - 1) == CPU
    assert prediction_device("auto", devices._AUTO_VALUES) == torch.device("cuda")


def test_auto_is_the_cpu_where_there_is_no_gpu(no_gpu):
    assert training_device("auto", 10**12) == "cpu"
    assert prediction_device("auto", 10**12) == CPU


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_a_device_that_is_here_is_the_users_word(two_gpus, device):
    assert training_device(device, 1) == device
    assert prediction_device(device, 1) == torch.device(device)


@pytest.mark.parametrize("device", ["cuda:2", "cuda:7"])
def test_a_number_too_high_is_refused_in_training_with_how_many_there_are(two_gpus, device):
    with pytest.raises(InputError, match=rf"{device}.*only 2 device.*device='cpu'"):
        training_device(device, 1)
    assert prediction_device(device, 1) == CPU


def test_a_model_of_a_gpu_predicts_where_there_is_none(no_gpu):
    assert prediction_device("cuda", 1) == CPU


def test_an_accelerator_without_float64_is_refused_with_the_remedy():
    with pytest.raises(InputError, match="'mps' has no float64.*device='cpu' or 'auto'"):
        _fit(device="mps")
    assert prediction_device("mps", 1) == CPU


@pytest.mark.parametrize("device", ["meta", "meta:0", "xla"])
def test_a_device_that_holds_no_numbers_is_refused_before_training(device):
    expected = rf"device='{device}': expected one that holds numbers.*device='cpu', 'cuda' or"
    with pytest.raises(InputError, match=expected) as caught:
        _fit(device=device)
    assert caught.value.__cause__ is not None
    assert "\n" not in str(caught.value)
    assert prediction_device(device, 1) == CPU


def test_a_fitted_estimator_survives_a_device_that_holds_no_numbers():
    est = _fit()
    before = est.decision_function(X)
    with pytest.raises(InputError, match="device='meta'"):
        est.set_params(device="meta").fit(X, Y)
    assert np.array_equal(est.decision_function(X), before)


@pytest.mark.parametrize("function", [training_device, prediction_device])
def test_an_unknown_device_is_refused(function):
    with pytest.raises(InputError, match="'gpuu' is not a torch device"):
        function("gpuu", 1)


@pytest.mark.parametrize(
    ("dtype", "device", "expected"),
    [
        ("auto", "cpu", torch.float64),
        ("auto", "cuda", torch.float32),
        ("float64", "cuda", torch.float64),
        ("bfloat16", "cpu", torch.float32),
    ],
)
def test_float64_data_train_in_float64_on_a_cpu_and_in_float32_elsewhere(dtype, device, expected):
    est = InTenseClassifier(dtype=dtype)
    _, data, *_ = check_fit_inputs(est, X, Y, None, classifier=True)
    assert est._training_dtype(data, device) == expected


def test_encoders_that_are_elsewhere_encode_there_and_their_encodings_come_back(monkeypatch):
    est = _fit(missing="mask")
    network, seen = est.module_, []
    expected = est.decision_function(X)

    def recorded(self, batch, present):
        seen.append([value.device for value in batch.values])
        return encode(self, batch, present)

    encode = FusionNetwork._encode
    monkeypatch.setattr(FusionNetwork, "_encode", recorded)
    # A CPU stands for the other device: all that differs is the way there and back.
    network.encoders_on = CPU
    np.testing.assert_array_equal(est.decision_function(X), expected)
    assert seen == [[CPU, CPU]]


def test_a_copy_of_a_module_is_placed_once_and_the_module_itself_stays(monkeypatch):
    est = _fit()
    placed = []
    monkeypatch.setattr(FusionNetwork, "place_encoders", lambda self, device: placed.append(self))
    there = torch.device("cuda")
    first = est._cache.on(est.module_, there)
    assert est._cache.on(est.module_, there) is first
    assert placed == [first]
    assert first is not est.module_
    assert est._cache.on(est.module_, CPU) is est.module_


def test_encoders_on_a_cpu_are_where_everything_else_is():
    network = _fit().module_
    network.place_encoders(CPU)
    assert network.encoders_on is None


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_prediction_asks_for_the_device_of_as_many_values_as_there_are(monkeypatch, device):
    est, asked = _fit().set_params(device=device), []

    def answer(device, n_values):
        asked.append((device, n_values))
        return CPU

    monkeypatch.setattr(fitted, "prediction_device", answer)
    est.predict(X)
    assert asked == [(device, 40 * 7)]


@pytest.mark.parametrize("n_bags", [1, 2])
@pytest.mark.parametrize("method", ["predict", "explain_global", "explain_local"])
def test_chunks_of_one_data_set_go_where_all_of_it_goes(monkeypatch, method, n_bags):
    est = _fit(device="auto", n_bags=n_bags)
    sizes, asked = [], []
    take_batch = est._batch

    def watched(data, rows):
        batch = take_batch(data, rows)
        sizes.append(len(batch))
        return batch

    def answer(device, n_values):
        asked.append((device, n_values))
        return CPU

    monkeypatch.setattr(est, "_batch", watched)
    monkeypatch.setattr(fitted, "prediction_device", answer)
    monkeypatch.setattr(fitted, "_PREDICT_VALUES", 1)  # 16 rows at a time
    getattr(est, method)(X)
    assert set(sizes) == {1, 16, 8}  # the first row says how much one holds
    assert set(asked) == {("auto", 40 * 7)}


@pytest.fixture
def cudnn_flags():
    """What torch's flags say, as they are before a test and after it."""
    backends = torch.backends.cudnn, torch.backends.cudnn.conv, torch.backends.cudnn.rnn

    def read():
        return [b.fp32_precision for b in backends], torch.get_float32_matmul_precision()

    before, allowed = read(), torch.backends.cudnn.allow_tf32
    yield read
    torch.set_float32_matmul_precision(before[1])
    torch.backends.cudnn.allow_tf32 = allowed
    assert read() == before


@pytest.mark.parametrize("allowed", [True, False])
def test_cudnn_computes_in_float32_for_the_time_of_a_fit(cudnn_flags, allowed):
    torch.backends.cudnn.allow_tf32 = allowed
    before = cudnn_flags()
    with pytest.raises(ZeroDivisionError), whole_float32("cuda:1"):
        assert torch.backends.cudnn.allow_tf32 is False
        raise ZeroDivisionError
    assert torch.backends.cudnn.allow_tf32 is allowed
    assert cudnn_flags() == before


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_cudnn_may_use_what_products_use(cudnn_flags, precision):
    torch.set_float32_matmul_precision(precision)
    with whole_float32("cuda"):
        assert torch.backends.cudnn.allow_tf32 is True


def test_fits_on_the_cpu_do_not_touch_the_flag(cudnn_flags):
    with whole_float32("cpu"):
        assert torch.backends.cudnn.allow_tf32 is True


def test_flags_of_torchs_newer_kind_are_left_as_they_are_chosen(cudnn_flags):
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    chosen = cudnn_flags()
    with whole_float32("cuda"):
        assert cudnn_flags() == chosen
    assert cudnn_flags() == chosen


def test_the_last_of_the_fits_at_a_time_puts_the_flag_back(cudnn_flags):
    one, other = whole_float32("cuda"), whole_float32("cuda")
    with ExitStack() as first:
        first.enter_context(one)
        second = ExitStack()
        second.enter_context(other)
    assert torch.backends.cudnn.allow_tf32 is False
    second.close()
    assert torch.backends.cudnn.allow_tf32 is True


@pytest.mark.parametrize("n_bags", [1, 3])
@pytest.mark.slow
def test_training_asks_for_it_by_its_device(monkeypatch, n_bags):
    asked = []

    @contextmanager
    def note(device):
        asked.append(str(device))
        yield

    for module in (training, stacked_training):
        monkeypatch.setattr(module, "whole_float32", note)
    _fit(n_bags=n_bags)
    assert asked
    assert set(asked) == {"cpu"}


CONTEXTS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", CONTEXTS)
@pytest.mark.slow
def test_a_fit_is_the_same_in_whatever_block_of_torch_it_is_called(name):
    usual = _fit()
    with CONTEXTS[name]():
        est = _fit()
        found = est.predict_proba(X), est.explain_local(X).to_frame()
        shapley = modality_shapley(est, X).shapley_values
        grown = InTenseClassifier(**PARAMS).partial_fit(X, Y)
        assert torch.is_grad_enabled() is (name == "default device")
    np.testing.assert_array_equal(found[0], usual.predict_proba(X))
    assert found[1].equals(usual.explain_local(X).to_frame())
    np.testing.assert_array_equal(shapley, modality_shapley(usual, X).shapley_values)
    expected = InTenseClassifier(**PARAMS).partial_fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(grown.predict_proba(X), expected)
    # The module can be differentiated outside too.
    est.module_.requires_grad_(True)


def test_predictions_are_those_of_evaluation_whatever_was_done_to_the_module():
    est = _fit(encoders=MLPEncoder(dropout=0.5))
    expected = est.predict_proba(X)
    est.module_.train()
    np.testing.assert_array_equal(est.predict_proba(X), expected)
