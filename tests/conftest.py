"""Guards around every test, and the settings of hypothesis.

The guards wrap the call of the test function alone, inside all other plugins: fixtures may open
and close what they like, and a plugin that seeds the global generators before each test does not
set them off. Workers that run at the same time have a working directory each, so that a file
left in it falls to the test that left it.
"""

import gc
import os
import random
import shutil
import tempfile
import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# Its asserts are those of tests.
pytest.register_assert_rewrite("scenarios")

settings.register_profile(
    "default",
    derandomize=True,
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile("default")

# Threads that belong to a process-wide pool or monitor, which outlives its first user by design.
POOL_THREADS = ("ExecutorManagerThread", "QueueFeederThread", "TMonitor")
ZARR_THREADS = ("zarr_io", "asyncio_")  # the event loop of zarr, and the workers it starts
# scikit-learn's callbacks listen for workers in a thread that its close() does not wake.
LISTENERS = "(_accept)"
SECONDS_TO_END = 5.0


# Run in processes of their own, by tests that name them.
collect_ignore = ["_dask_search.py"]


def _random_states():
    numpy_state = np.random.get_state(legacy=False)["state"]  # noqa: NPY002  what is guarded
    return {
        "random": random.getstate(),
        "numpy.random": (numpy_state["key"].tobytes(), numpy_state["pos"]),
        "torch": torch.default_generator.get_state().numpy().tobytes(),
    }


def _threads():
    return {
        thread
        for thread in threading.enumerate()
        if thread.name not in POOL_THREADS
        and type(thread).__name__ not in POOL_THREADS
        and not thread.name.startswith(ZARR_THREADS)
        and not thread.name.endswith(LISTENERS)
    }


def _threads_left(before):
    """Return threads begun since `before`, after leave to end: joblib does not wait for its own."""
    end = time.monotonic() + SECONDS_TO_END
    while (left := _threads() - before) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def _environment():
    # pytest writes the name of the test there itself, torch its cache at the first optimizer, and
    # the address of a function of its own where it compiles.
    own = (
        "PYTEST_CURRENT_TEST",
        "TORCHINDUCTOR_CACHE_DIR",
        "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR",
    )
    return {key: value for key, value in os.environ.items() if key not in own}


def _files():
    return {name for name in os.listdir() if not name.startswith((".", "__pycache__"))}


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "draws_from_numpy: draws from numpy's global generator, as scikit-learn's checks do",
    )


def pytest_sessionstart(session):
    if hasattr(session.config, "workerinput"):
        session.config.own_directory = tempfile.mkdtemp(prefix="mmfusion-tests-")
        os.chdir(session.config.own_directory)


def pytest_collection_finish(session):
    # What was imported and collected stays until the end: no need to look through it again.
    gc.freeze()


def pytest_sessionfinish(session):
    if directory := getattr(session.config, "own_directory", None):
        os.chdir(session.config.invocation_params.dir)
        shutil.rmtree(directory)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """Fail a test that leaves something behind, or changes a global random state."""
    directory = os.getcwd()
    states, threads, environment, files = _random_states(), _threads(), _environment(), _files()

    result = yield

    faults = []
    if os.getcwd() != directory:
        faults.append(f"changed the working directory to {os.getcwd()}")
        os.chdir(directory)
    changed = [name for name, state in _random_states().items() if state != states[name]]
    if pyfuncitem.get_closest_marker("draws_from_numpy") and "numpy.random" in changed:
        changed.remove("numpy.random")
    if changed:
        faults.append(f"changed the global random state of {', '.join(changed)}")
    if left := _threads_left(threads):
        faults.append(f"left threads running: {sorted(thread.name for thread in left)}")
    if (after := _environment()) != environment:
        names = sorted({key for key, _ in set(after.items()) ^ set(environment.items())})
        faults.append(f"changed environment variables: {names}")
    if new := _files() - files:
        faults.append(f"left files in the working directory: {sorted(new)}")
    if torch.get_num_threads() != 1:
        faults.append(f"set torch to {torch.get_num_threads()} threads")
        torch.set_num_threads(1)
    if faults:
        pytest.fail("The test " + "; ".join(faults) + ".", pytrace=False)
    return result
