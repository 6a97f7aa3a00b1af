"""Tests of what NaN and extreme values in a modality mean."""

import numpy as np
import pytest

from sklearn_mmfusion import InputError
from sklearn_mmfusion._inputs.absence import make_block


@pytest.mark.parametrize("extreme", [1e39, -1e39])
def test_values_that_float32_cannot_hold_are_refused_where_it_is_asked_for(extreme):
    values = np.ones((4, 2))
    values[2, 1] = extreme
    with pytest.raises(InputError, match=r"too large for dtype\('float32'\).*first in row 2"):
        make_block("a", values, missing="raise", dtype="float32")
    assert make_block("a", values, missing="raise", dtype="float64").values[2, 1] == extreme
    limit = float(np.finfo(np.float32).max)
    held = make_block("a", np.full((2, 1), limit), missing="raise", dtype="float32")
    assert (held.values == limit).all()


def test_full_sequences_have_no_lengths_and_padded_ones_do():
    values = np.ones((3, 4, 2))
    values[0] = np.nan
    assert make_block("a", values, missing="mask").lengths is None
    values[1, 3] = np.nan
    np.testing.assert_array_equal(make_block("a", values, missing="mask").lengths[1:], [3, 4])
