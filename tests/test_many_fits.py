"""Many fits at once: dask's workers give the scores of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("_dask_search.py")


@pytest.mark.slow
def test_a_search_on_a_dask_cluster_has_the_scores_of_one_process(tmp_path):
    # In a process of its own: dask draws from the global generator, and leaves a thread behind.
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone, together = json.loads(done.stdout.splitlines()[-1])
    assert together == alone
