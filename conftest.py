"""Settings that must stand before scikit-learn, scipy, matplotlib and torch are imported."""

import os

# Without it scikit-learn skips check_array_api_input, and "none skipped" would be untrue.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
# One thread for each of the processes that share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sklearn  # noqa: F401  it sets environment variables, which must not fall to a test
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    left_out = [item for item in items if item.get_closest_marker("gpu")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
