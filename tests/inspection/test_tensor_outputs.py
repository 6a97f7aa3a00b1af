import numpy as np
import pytest
import torch

from sklearn_mmfusion.inspection._products import Product
from sklearn_mmfusion.inspection._tensor_outputs import tensor_function
from sklearn_mmfusion.modules.concatenation import PerceptronFusion, TensorFeatures


@pytest.mark.parametrize("n_layers", [1, 2, 4])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (0, 0, 0), (1, 0, 1)])
def test_network_without_the_product_says_what_the_modules_say(n_layers, axes):
    generator = torch.Generator().manual_seed(0)
    encodings = [torch.randn(9, dim, generator=generator).double() for dim in (2, 4, 3)]
    present = [None, torch.arange(9) > 2, None]
    with torch.random.fork_rng(devices=[]):
        features = TensorFeatures([2, 4, 3], 2).double()
        fusion = PerceptronFusion(27, 5, 2, n_layers=n_layers).double().eval()
    with torch.no_grad():
        for parameter in (*features.parameters(), *fusion.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        rng = np.random.default_rng(0)
        lengths = (4, 3, 5)[: max(axes) + 1]
        rows = Product(lengths, axes, tuple(rng.integers(0, 9, lengths[a]) for a in axes))
        found = tensor_function(features, fusion, encodings, present)[0](rows)
        index = torch.from_numpy(rows.written_out()).T
        chosen = [h[row] for h, row in zip(encodings, index, strict=True)]
        expected = fusion(features(chosen, [None, present[1][index[1]], None]))
    assert found.shape == (*rows.shape, 2)
    assert (found - expected.reshape(found.shape)).abs().max() < 1e-11
    assert expected.std() > 0.1
