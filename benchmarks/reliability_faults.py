"""Fits that are killed by SIGKILL at random moments: nothing torn, nothing left, the same model."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from _common import Report, make_parser, run_tasks, seeds_of

from sklearn_mmfusion import (
    InTenseClassifier,
    LinearEncoder,
    MNLRegressor,
    MROClassifier,
    RoutingClassifier,
)
from sklearn_mmfusion._state.tensor_files import read_file
from sklearn_mmfusion._training import checkpoint as checkpoints

ESTIMATORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "InTenseClassifier": (InTenseClassifier, {"reg": 0.01}),
    "MNLRegressor": (MNLRegressor, {"early_stopping": True, "reg": 0.01}),
    "MROClassifier": (MROClassifier, {"schedule": "sequential"}),
    "RoutingClassifier": (RoutingClassifier, {"modality_dropout": 0.2}),
}


def fit(name: str, checkpoint: Path | None, result: Path, *, often: bool) -> None:
    """Fit and save; in a process of its own."""
    if often:
        checkpoints._SHARE = 0.0  # write after every epoch: most kills fall into a write
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(60, 4)), "b": rng.normal(size=(60, 3))}
    y = X["a"][:, 0] + X["b"][:, 0] + rng.normal(size=60)
    kind, params = ESTIMATORS[name]
    common = {"encoders": LinearEncoder(dropout=0.2), "max_epochs": 6, "batch_size": 16}
    est = kind(random_state=0, checkpoint=checkpoint, **common, **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est.fit(X, y if kind is MNLRegressor else y > 0).save(result)


def trial(task: dict[str, Any]) -> dict[str, Any]:
    """Kill a fit several times, then let it end; look at the files in between."""
    # A fork of this process has everything loaded: the kills fall into the fit itself.
    context = multiprocessing.get_context("fork")
    rng = np.random.default_rng(task["seed"])
    name, often = task["estimator"], task["often"]
    torn = kills = 0
    with tempfile.TemporaryDirectory() as directory:
        whole, place = Path(directory) / "whole", Path(directory) / "place"
        place.mkdir()
        begin = time.monotonic()
        process = context.Process(target=fit, args=(name, None, whole), kwargs={"often": False})
        process.start()
        process.join()
        seconds = time.monotonic() - begin
        checkpoint, result = place / "c", place / "model"
        ends = same = left = 0

        def look_at_the_end(process: Any) -> None:
            nonlocal ends, same, left
            process.join()
            # The parameter `checkpoint` is no part of the file: equal files are equal models.
            is_same = process.exitcode == 0 and result.read_bytes() == whole.read_bytes()
            ends, same, left = ends + 1, same + is_same, left + len(os.listdir(place)) - 1

        while kills < task["kills"]:
            process = context.Process(
                target=fit, args=(name, checkpoint, result), kwargs={"often": often}
            )
            process.start()
            time.sleep(float(rng.uniform(0.02, 0.35)) * seconds)
            if process.exitcode is not None:  # it was faster; the next one begins anew
                look_at_the_end(process)
                continue
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            kills += 1
            if checkpoint.exists():
                try:
                    read_file(checkpoint, checkpoints.KIND)
                except Exception:
                    torn += 1
        process = context.Process(
            target=fit, args=(name, checkpoint, result), kwargs={"often": often}
        )
        process.start()
        look_at_the_end(process)
    return {"kills": kills, "torn": torn, "left": left, "ends": ends, "same": same}


def main() -> None:
    """Run."""
    args = make_parser(__doc__, seeds=5).parse_args()
    names = ["InTenseClassifier"] if args.quick else list(ESTIMATORS)
    tasks = [
        {"estimator": name, "often": bool(seed % 2), "kills": 3 if args.quick else 10, "seed": seed}
        for seed in seeds_of(args)
        for name in names
    ]
    results = run_tasks(trial, tasks, name="reliability_faults", args=args)
    report = Report("reliability_faults", "Fits that are killed", args)
    kills, torn, left = (sum(r[key] for r in results) for key in ("kills", "torn", "left"))
    same, ends = (sum(r[key] for r in results) for key in ("same", "ends"))
    trials = sum(r["same"] == r["ends"] for r in results)
    report.targets(
        [
            ("kills by SIGKILL", kills, "at least 200", kills >= 200),
            ("torn checkpoints", torn, "0", torn == 0),
            ("temporary files after the restart", left, "0", left == 0),
            (
                "trials that end in the model of a fit that was not killed, to the last bit",
                f"{trials} of {len(results)}",
                "20 of 20",
                trials == len(results) >= 20,
            ),
            ("models equal to the last bit", f"{same} of {ends}", "all", same == ends),
        ]
    )
    report.table(
        "Trials",
        [
            {
                "estimator": r["estimator"],
                "writes": "every epoch" if r["often"] else "a twentieth of the time",
                "seed": r["seed"],
                "kills": r["kills"],
                "torn": r["torn"],
                "left": r["left"],
                "ended": r["ends"],
                "same model": r["same"],
            }
            for r in results
        ],
    )
    report.text(
        "A trial kills a fit at random moments again and again, and then lets it end. (A fit that "
        "ends before its kill is looked at too, and the next begins anew.) The saved "
        "model is compared byte by byte with that of a fit that was never killed."
    )
    report.write()


if __name__ == "__main__":
    main()
