"""What an explanation costs: ``explain_local`` and ``explain_global`` against one ``predict``.

10,000 samples of five modalities with 20 features each, all 15 terms up to pairs (late fusion has
the five modalities alone), default encoders, few epochs: how well the model fits does not change
what it costs. Process CPU time of one thread; the calls take turns, and each round gives one ratio.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from _common import Report, Result, Task, make_parser, mean_std, run_tasks, seeds_of

from sklearn_mmfusion import (
    GAMClassifier,
    InTenseClassifier,
    InTenseRegressor,
    LateFusionClassifier,
    MKLClassifier,
    MROClassifier,
    RoutingClassifier,
)

ESTIMATORS = {
    cls.__name__: cls
    for cls in (
        InTenseClassifier,
        InTenseRegressor,
        RoutingClassifier,
        GAMClassifier,
        MROClassifier,
        LateFusionClassifier,
        MKLClassifier,
    )
}
N_TRAIN, N_MODALITIES, N_FEATURES = 400, 5, 20
BOUND = 2.0


def cpu_time(call: Callable[[], Any]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(task: Task) -> Result:
    """Return ratios to the time of ``predict``, one per round, after a round to warm up."""
    rng = np.random.default_rng(task["seed"])
    X = {f"m{i}": rng.normal(size=(task["n"], N_FEATURES)) for i in range(N_MODALITIES)}
    signal = X["m0"][:, 0] + X["m1"][:, 0] * X["m2"][:, 0]
    cls = ESTIMATORS[task["estimator"]]
    y = signal if cls is InTenseRegressor else np.digitize(signal, [0.0, 0.7][: task["K"] - 1])
    wanted = {
        "random_state": task["seed"],
        "interactions": 2,
        "max_epochs": 3,
        "early_stopping": False,
        "polish": False,
    }
    est = cls(**{k: v for k, v in wanted.items() if k in cls().get_params()})
    est.fit({name: values[:N_TRAIN] for name, values in X.items()}, y[:N_TRAIN])
    predict, local, whole = [], [], []
    for _ in range(task["rounds"] + 1):
        predict.append(cpu_time(lambda: est.predict(X)))
        local.append(cpu_time(lambda: est.explain_local(X)))
        whole.append(cpu_time(lambda: est.explain_global(X)))
    reference = np.array(predict[1:])
    return {
        "terms": len(est.term_names_),
        "predict": reference,
        "local": np.array(local[1:]) / reference,
        "global": np.array(whole[1:]) / reference,
        "deviation": est.explain_local(X).deviation,
    }


def main() -> None:
    args = make_parser(__doc__, seeds=1).parse_args()
    n, rounds = (1000, 2) if args.quick else (10_000, 5)
    tasks = [
        {"estimator": name, "K": k, "n": n, "rounds": rounds, "seed": seed}
        for seed in seeds_of(args)
        for name in ESTIMATORS
        for k in ((1,) if name == "InTenseRegressor" else (2, 3))
    ]
    results = run_tasks(measure, tasks, name="explain_speed", args=args)
    report = Report("explain_speed", "Explanations against one predict, CPU time", args)
    slowest = max((result["local"] for result in results), key=np.median)
    worst = float(np.median(slowest))
    deviation = max(result["deviation"] for result in results)
    report.targets(
        [
            (
                f"explain_local of {n} samples / predict, worst median",
                worst,
                "< 2",
                worst < BOUND,
                slowest,
            ),
            (
                "intercept plus contributions against decision",
                deviation,
                "< 1e-9",
                deviation < 1e-9,
            ),
        ]
    )
    report.table(
        "Ratios of CPU time, median over rounds",
        [
            {
                "estimator": result["estimator"],
                "classes": result["K"] if result["K"] > 1 else None,
                "terms": result["terms"],
                "seed": result["seed"],
                "predict, s": mean_std(result["predict"]),
                "explain_local / predict": float(np.median(result["local"])),
                "explain_global / predict": float(np.median(result["global"])),
                "largest deviation": result["deviation"],
            }
            for result in results
        ],
    )
    report.write()


if __name__ == "__main__":
    main()
