import numpy as np
import pytest
import torch

from sklearn_mmfusion.inspection._products import listed
from sklearn_mmfusion.inspection._routed_terms import routed_terms
from sklearn_mmfusion.modules.routing import Routing
from sklearn_mmfusion.modules.term_vectors import TermVectors

TERMS = [(0,), (1,), (0, 1)]


@pytest.fixture(scope="module")
def network():
    """Features and fusion with weights drawn at random, and their encodings."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        features = TermVectors([2, 4], TERMS, 3, 5).double().eval()
        fusion = Routing(3, 3, 2, 4).double().eval()
    with torch.no_grad():
        for parameter in (*features.parameters(), *fusion.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    encodings = [torch.randn(9, dim, generator=generator).double() for dim in (2, 4)]
    return features, fusion, encodings


@pytest.mark.parametrize("t", range(3))
@pytest.mark.parametrize("is_masked", [False, True])
def test_term_says_of_listed_rows_what_the_modules_say(network, t, is_masked):
    features, fusion, encodings = network
    present = [torch.arange(9) > 2 if is_masked else None, None]
    index = np.random.default_rng(0).integers(0, 9, (20, 2))
    with torch.no_grad():
        term = routed_terms(features, fusion, encodings, present)[t]
        found = term.said(listed(index).of(TERMS[t]))
        rows = torch.from_numpy(index).T
        chosen = [h[row] for h, row in zip(encodings, rows, strict=True)]
        there = [None if mask is None else mask[rows[m]] for m, mask in enumerate(present)]
        features_of_term = features(chosen, there)[:, t]
        votes = features_of_term[:, :-1] @ fusion.weight[t]
        p = features_of_term[:, -1:].sigmoid()
        read = (votes.view(-1, 2, 4) * fusion.readout).sum(2)
    assert np.ptp(votes.numpy()) > 1
    expected = torch.cat([p, read, votes], 1)
    assert (found - expected).abs().max() < 1e-12
    assert term.read.shape == (6, 3)
    assert term.votes.shape == (6, 2, 4)
