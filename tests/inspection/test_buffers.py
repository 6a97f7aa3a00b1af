import pytest
import torch

from sklearn_mmfusion.inspection._buffers import Buffers


def test_memory_of_a_name_is_the_same_for_every_block_that_fits():
    buffers = Buffers()
    first = buffers.take("a", 3, 4)
    assert (first.shape, first.dtype, first.is_contiguous()) == ((3, 4), torch.float64, True)
    assert buffers.take("a", 2, 2).data_ptr() == first.data_ptr()
    larger = buffers.take("a", 4, 4)
    assert larger.shape == (4, 4)
    assert buffers.take("a", 3, 4).data_ptr() == larger.data_ptr() != first.data_ptr()


@pytest.mark.parametrize("name", ["b", ("a", 0)])
def test_memory_of_another_name_is_another(name):
    buffers = Buffers()
    zeros = buffers.take("a", 5).zero_()
    buffers.take(name, 5).fill_(1.0)
    assert (zeros == 0).all()
