"""Several processes that train one model: the fit of one process."""

import numpy as np
import pytest
import torch
from torchrun_fit import run_one, run_two

from sklearn_mmfusion import LateFusionClassifier, LinearEncoder
from sklearn_mmfusion._training.distributed import DataParallel, join_processes
from sklearn_mmfusion.modules.network import FusionBatch


def test_without_torchrun_the_fit_is_that_of_one_process():
    assert join_processes("auto") is None
    assert join_processes(None) is None
    rng = np.random.default_rng(0)
    X, y = {"a": rng.normal(size=(40, 3))}, np.arange(40) % 2
    states = []
    for distributed in (None, "auto"):
        estimator = LateFusionClassifier(
            max_epochs=2, encoders=LinearEncoder(), random_state=0, distributed=distributed
        )
        with pytest.warns(UserWarning):
            states.append(estimator.fit(X, y)._result.state)
    for name, value in states[0].items():
        np.testing.assert_array_equal(states[1][name], value)


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="'distributed' parameter"):
        LateFusionClassifier(distributed="all").fit({"a": np.zeros((4, 1))}, [0, 1, 0, 1])


def _place(rank, world):
    place = DataParallel.__new__(DataParallel)
    place.rank, place.world = rank, world
    return place


@pytest.mark.parametrize("n", [7, 2, 1])
def test_shares_are_each_row_of_a_batch_once_and_masks_those_of_the_whole_batch(n):
    rows = torch.arange(n)
    batch = FusionBatch([rows], [None], [None], rows.float())
    seen, masks = [], []
    for rank in range(3):
        place = _place(rank, 3)
        ((part, target),) = place.shares([(batch, rows)])
        assert torch.equal(part.values[0], target)
        seen.append(target)
        shape = (len(target), 4)
        masks.append(place.draw(shape, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.cat(seen), rows)
    whole = torch.rand((n, 4), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(masks), whole)


def test_rows_that_are_several_per_sample_draw_together():
    # Steps of sequences, flattened sample by sample.
    rows, masks = torch.arange(5), []
    for rank in range(2):
        place = _place(rank, 2)
        ((_, target),) = place.shares([(FusionBatch([rows], [None], [None]), rows)])
        masks.append(place.draw((3 * len(target), 2), torch.Generator().manual_seed(0)))
    whole = torch.rand((15, 2), generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat(masks), whole)


@pytest.mark.slow
def test_two_processes_fit_the_model_of_one(tmp_path):
    printed, first, second = run_two(tmp_path)
    assert first == second
    refusal = first.pop("refusal")
    assert "BatchNorm1d" in refusal
    assert "distributed=None" in refusal
    # The table of epochs comes from one of them, that of each of the two fits.
    for title in ("training on a part of the rows", "training on all rows"):
        assert printed.count(title) == 1
    assert printed.count("train_loss") == 2
    alone = run_one()
    for name, expected in alone.items():
        assert len(first[name]["probabilities"]) == 1103
        for key in ("losses", "probabilities"):
            np.testing.assert_allclose(first[name][key], expected[key], rtol=0, atol=1e-6)
