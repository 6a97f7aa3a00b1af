"""MulT modules whose weights are all different, and padded sequences for them."""

import torch
from conformance import seeded

from sklearn_mmfusion.modules.mult import MulTModule

ALL = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
DIMS = (3, 2, 4)


def build(terms=ALL, dims=DIMS, seed=0, noise=0.3, **options):
    """Return a module in float64 whose weights, norms and biases are all different."""
    options = {"n_heads": 2, "n_layers": 3, "feedforward_dim": 5, **options}
    module = seeded(MulTModule, dims, terms, 6, seed=seed, **options).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in module.parameters():
            draw = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(noise * draw)
    return module.eval()


def draw(n=5, n_steps=(4, 4, 4), dims=DIMS, seed=2):
    """Return padded values and lengths; rows 0 and 1 have the most steps and one."""
    generator = torch.Generator().manual_seed(seed)
    values, lengths = [], []
    for longest, d in zip(n_steps, dims, strict=True):
        x = torch.randn(n, longest, d, generator=generator, dtype=torch.float64)
        length = torch.randint(1, longest + 1, (n,), generator=generator)
        length[0], length[1] = longest, 1
        valid = torch.arange(longest) < length[:, None]
        values.append(x * valid[:, :, None])
        lengths.append(length)
    return values, lengths


def assert_equal(features, expected, tolerance=1e-10):
    for ours, theirs in zip(features, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


NOTHING = [None] * 3


def absent_case():
    values, lengths = draw(6, (4, 6, 3))
    present = [None, torch.tensor([True, False, True, True, False, True]), torch.ones(6).bool()]
    present[2][[1, 3]] = False
    for m in (1, 2):
        values[m][~present[m]] = 0
        lengths[m][~present[m]] = 0
    return values, lengths, present
