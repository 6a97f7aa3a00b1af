"""Tests of the statistics of torch's batch norms within modules of a user's own."""

import copy

import numpy as np
import pytest
import torch
from conformance import seeded
from torch import nn

from sklearn_mmfusion import MNLClassifier, ModuleEncoder
from sklearn_mmfusion.modules.encoders import UserModule
from sklearn_mmfusion.modules.torch_norms import recompute_torch_norms, trained_norms


def chain():
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3),
        nn.BatchNorm1d(3),
    )  # fmt: skip


class Kept(nn.Module):
    """Keeps its first norm in evaluation mode, as for a part that was trained elsewhere."""

    def __init__(self):
        super().__init__()
        self.net = chain()

    def train(self, mode=True):
        super().train(mode)
        self.net[1].eval()
        return self

    def forward(self, values):
        return self.net(values)


def rows(n, *shape):
    values = np.random.default_rng(0).gamma(2.0, size=(n, *shape))
    return torch.as_tensor(values)


def exact(module, x):
    """Return a copy that has seen all rows as one batch, with a momentum of 1."""
    whole = copy.deepcopy(module).eval()
    for norm in whole.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.train()
            norm.momentum = 1.0
    with torch.no_grad():
        whole(x)
    return whole.eval()


def recompute(module, x, size):
    norms = trained_norms(module.train())
    module.eval()
    recompute_torch_norms(norms, lambda: [module(part) for part in x.split(size)])
    return norms


@pytest.mark.parametrize("size", [50, 64])
def test_one_batch_of_all_rows_leaves_what_a_momentum_of_one_leaves(size):
    module, x = seeded(chain).double(), rows(50, 4)
    expected = exact(module, x)
    assert len(recompute(module, x, size)) == 2
    for name, value in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-12, atol=0)
        else:
            assert value == 0
    assert not any(child.training for child in module.modules())


@pytest.mark.parametrize("size", [7, 24])  # the last of 49 rows by itself, too
@pytest.mark.parametrize("make", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
def test_statistics_of_a_norm_do_not_depend_on_the_batches(make, size):
    module = make(4).double()
    x = rows(49, 4, *[3, 2, 2][: {"1": 1, "2": 2, "3": 3}[make.__name__[-2]]])
    expected = exact(module, x)
    recompute(module, x, size)
    torch.testing.assert_close(module.running_mean, expected.running_mean)
    torch.testing.assert_close(module.running_var, expected.running_var)


def test_a_chain_in_batches_is_near_that_of_one_batch():
    module, x = seeded(chain).double(), rows(2048, 4)
    expected = exact(module, x)
    recompute(module, x, 512)
    torch.testing.assert_close(module(x), expected(x), rtol=0, atol=0.02)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_rows_leave_the_averages_as_they_are(n):
    module = nn.BatchNorm1d(4)
    before = copy.deepcopy(module.state_dict())
    recompute(module, rows(n, 4).float(), 5)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_an_error_in_the_pass_leaves_no_hook_and_no_training_mode():
    module = nn.BatchNorm1d(4)
    norms = trained_norms(module.train())
    module.eval()

    def run_pass():
        module(torch.ones(3, 4))
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        recompute_torch_norms(norms, run_pass)
    assert not module.training and not module._forward_pre_hooks
    assert module.num_batches_tracked == 0


def without_training(norm):
    norm.requires_grad_(False)
    return norm


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4, track_running_stats=False),
        nn.BatchNorm1d(4, momentum=0.0),
        without_training(nn.BatchNorm1d(4)),
        nn.InstanceNorm1d(4, track_running_stats=True),
        nn.SyncBatchNorm(4),
    ],
    ids=["none", "momentum", "frozen", "instance", "sync"],
)
def test_averages_that_the_user_keeps_are_left_alone(norm):
    assert trained_norms(nn.Sequential(norm).train()) == []


def test_norms_of_a_frozen_module_or_kept_in_evaluation_mode_are_left_alone():
    assert UserModule(seeded(chain), (4,), trainable=False).trained_norms() == []
    module = UserModule(seeded(Kept), (4,)).eval()
    assert module.trained_norms() == [module.module.net[5]]
    assert not module.training and not module.module.net[5].training


X = {"a": rows(120, 4).numpy(), "b": rows(120, 3).numpy()[::-1].copy()}
Y = (X["a"][:, 0] + X["b"][:, 0] > 4).astype(int)


def fitted(module, **changes):
    encoders = {"a": ModuleEncoder(module=module, **changes), "b": "auto"}
    est = MNLClassifier(encoders=encoders, max_epochs=8, random_state=0)
    return est.fit(X, Y)


pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion.RelevanceWarning"),
]


def test_fit_leaves_statistics_of_the_training_rows():
    network = fitted(lambda layout: chain()).module_
    values = network.scalers[0](torch.as_tensor(X["a"]), None, None, torch.float64)
    module = network.encoders[0].module
    torch.testing.assert_close(module(values), exact(module, values)(values))


@pytest.mark.parametrize("trainable", [True, False])
def test_fit_leaves_the_module_of_the_user_as_it_was(trainable):
    module = seeded(chain)
    with torch.no_grad():
        module[1].running_mean.fill_(0.3)
    before = copy.deepcopy(module.state_dict())
    est = fitted(module, trainable=trainable)
    found = est.module_.encoders[0].module.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    kept = [torch.equal(value.float(), before[name].float()) for name, value in found.items()]
    assert all(kept) is not trainable


def test_a_stream_keeps_running_averages():
    encoders = {"a": ModuleEncoder(module=lambda layout: nn.BatchNorm1d(4)), "b": "auto"}
    est = MNLClassifier(encoders=encoders, random_state=0).partial_fit(X, Y)
    norm = est.module_.encoders[0].module
    n_steps = int(norm.num_batches_tracked)
    share = torch.full((4,), 0.9**n_steps, dtype=torch.float64)
    torch.testing.assert_close(norm.running_var, share + (1 - share) * 120 / 119, rtol=1e-4, atol=0)
