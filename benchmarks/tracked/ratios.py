"""The main figures of speed, each a ratio of CPU times that one run measured in turns.

Less is better everywhere. The functions are those of the benchmark scripts, with smaller data.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import epoch_speed
import explain_speed
import footprint
import inspection_speed
import iterbn_growth

from sklearn_mmfusion._training.devices import intra_op_threads

N_ROWS, REPETITIONS = 2000, 5

EPOCHS = {
    "tabular, order 2, batch 64": ("tabular", 2, 64),
    "tabular, order 3, batch 512": ("tabular", 3, 512),
    "sequences, order 3, batch 64": ("sequences", 3, 64),
}


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median of (reference, ours) as ours by reference."""
    return float(np.median([ours / reference for reference, ours in pairs]))


class Epoch:
    """One epoch against a bare loop over the same module, and the module against a plain one."""

    timeout = 1200
    unit = "ratio"
    params: ClassVar[Any] = [list(EPOCHS)]
    param_names: ClassVar[Any] = ["case"]

    def setup_cache(self) -> dict[str, dict[str, float]]:
        found = {}
        with intra_op_threads(1):
            for name, (kind, order, size) in EPOCHS.items():
                loops = epoch_speed.make_loops(kind, N_ROWS, order, size)
                times = epoch_speed.measure(loops, REPETITIONS, 1)
                found[name] = {
                    "bare": float(np.median(times["ours"] / times["bare"])),
                    "plain": float(np.median(times["bare"] / times["plain"])),
                }
        return found

    setup_cache.timeout = 1200

    def track_ours_by_bare(self, found: dict[str, dict[str, float]], case: str) -> float:
        return found[case]["bare"]

    def track_module_by_plain(self, found: dict[str, dict[str, float]], case: str) -> float:
        return found[case]["plain"]


class Explaining:
    """``explain_local`` against ``predict``, 15 terms."""

    timeout = 600
    unit = "ratio"

    def track_local_by_predict(self) -> float:
        task = {
            "estimator": "InTenseClassifier",
            "K": 2,
            "n": N_ROWS,
            "rounds": REPETITIONS,
            "seed": 0,
        }
        return float(np.median(explain_speed.measure(task)["local"]))


class Inspecting:
    """EMAP and the perceptual score from cached encodings against repeated prediction."""

    timeout = 600
    unit = "ratio"
    params: ClassVar[Any] = [["MLP", "GRU"]]
    param_names: ClassVar[Any] = ["encoder"]

    def setup(self, encoder: str) -> None:
        self.X, self.y = inspection_speed.make_data(encoder, N_ROWS // 10, 2)
        self.model = inspection_speed.fitted("InTense", encoder, self.X, self.y)

    def track_emap_by_plain(self, encoder: str) -> float:
        options = {"max_evaluations": 10**9, "n_draws": 20}
        with intra_op_threads(1):
            found = inspection_speed.time_emap(
                self.model, self.X, "exact", 500, REPETITIONS, **options
            )
        return 1 / float(found["times faster"])

    def track_perceptual_score_by_plain(self, encoder: str) -> float:
        with intra_op_threads(1):
            found = inspection_speed.time_scores(self.model, self.X, self.y, REPETITIONS)
        return 1 / float(found["times faster"])


class Starting:
    """Import against that of skorch; one row against the module; a pickle by rows of the fit."""

    timeout = 300
    unit = "ratio"

    def track_import_by_skorch(self) -> float:
        return median_ratio(footprint.import_pairs(REPETITIONS))

    def track_one_row_by_forward(self) -> float:
        with intra_op_threads(1):
            return median_ratio(footprint.one_row(REPETITIONS, 100))


class Interactions:
    """The interaction features of one term against the plain recursion, forward and backward."""

    timeout = 300
    unit = "ratio"
    params: ClassVar[Any] = [[2, 3, 4], [2, 8]]
    param_names: ClassVar[Any] = ["order", "latent_dim"]

    def track_layer_by_recursion(self, order: int, latent_dim: int) -> float:
        us = iterbn_growth.make_vectors(order, latent_dim, 256)
        with intra_op_threads(1):
            pairs = [
                (iterbn_growth.timed("recursion", us), iterbn_growth.timed("ours", us))
                for _ in range(REPETITIONS + 1)
            ]
        return median_ratio(pairs[1:])
