"""Image digits and spoken digits: an exclusive or, a sum, and the same digit twice.

avdigits_xor `y` needs the interaction of image and audio, `y_additive` must not show one, and
avmnist_fsdd is additive in log-posteriors, so that a large interaction would be an artefact.
Data from the folder that the environment variable MMFUSION_DATA names; official splits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import Check, Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import load_arrays
from sklearn.decomposition import PCA

from sklearn_mmfusion import (
    Conv1dEncoder,
    Conv2dEncoder,
    InTenseClassifier,
    InTenseRegressor,
    MLPEncoder,
    MNLClassifier,
    MNLRegressor,
)

AUDIO_ENCODERS = {"conv2d": Conv2dEncoder, "conv1d": Conv1dEncoder}
TASKS = ("avdigits_xor y", "avdigits_xor y_additive", "avmnist_fsdd")
TERM = "image x audio"
# Per task: lowest score, and bounds of the relevance of the interaction.
TARGETS = {
    "avdigits_xor y": (0.94, 0.9, 1.0),
    "avdigits_xor y_additive": (0.85, 0.0, 0.05),
    "avmnist_fsdd": (0.83, 0.0, 0.10),
}


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one task with one seed."""
    arrays = load_arrays(task["task"].split()[0])
    train, test = arrays["train_idx"], arrays["test_idx"]
    audio_encoder = AUDIO_ENCODERS[task["audio"]]()
    if task["task"] == "avmnist_fsdd":
        # Images of rank 4: their components are flat features.
        components = PCA(4, random_state=0).fit(arrays["X_image"][train])
        image = components.transform(arrays["X_image"])
        encoders = {"image": MLPEncoder(), "audio": audio_encoder}
    else:
        image = arrays["X_image"]
        encoders = {"image": Conv2dEncoder(), "audio": audio_encoder}
    X = {"image": image, "audio": arrays["X_audio"]}
    additive = task["task"].endswith("y_additive")
    y = arrays["y_additive"].astype(float) if additive else arrays["y"]
    kinds = (MNLRegressor, InTenseRegressor) if additive else (MNLClassifier, InTenseClassifier)
    estimator = kinds[task["method"] == "InTense"](encoders=encoders, random_state=task["seed"])
    estimator.fit({name: values[train] for name, values in X.items()}, y[train])
    return {
        "score": estimator.score({name: values[test] for name, values in X.items()}, y[test]),
        "relevance": {term: round(s, 4) for term, s in estimator.relevance_scores_.items()},
        "contribution std": estimator.contribution_std_,
        "gain": estimator.validation_gain_,
        "polish_gap": estimator.polish_gap_,
        "epochs": estimator.n_iter_,
    }


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--audio", choices=AUDIO_ENCODERS, default="conv2d", help="audio encoder")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    args = parser.parse_args()
    tasks = [
        {"task": task, "method": method, "audio": args.audio, "seed": seed}
        for task in args.tasks
        for method in ("MNL", "InTense")
        for seed in seeds_of(args)
        if not (args.quick and method == "MNL")
    ]
    results = run_tasks(fit, tasks, name="avdigits", args=args)

    report = Report(
        "avdigits",
        "Image and spoken digits: interaction where there is one",
        args,
        is_part=len(args.tasks) < len(TASKS),
    )
    checks, rows, terms = [], [], []
    for task in args.tasks:
        for method in ("MNL", "InTense"):
            fits = [r for r in results if r["task"] == task and r["method"] == method]
            if not fits:
                continue
            score = [r["score"] for r in fits]
            metric = "R2" if task.endswith("y_additive") else "accuracy"
            rows.append(
                {
                    "task": task,
                    "method": method,
                    "metric": metric,
                    "score": mean_std(score),
                    "lowest": min(score),
                    "epochs": float(np.mean([r["epochs"] for r in fits])),
                    "CPU s": float(np.mean([r["cpu_s"] for r in fits])),
                    "polished": sum(not np.isnan(r["polish_gap"]) for r in fits),
                    "relevance warnings": sum("RelevanceWarning" in r["warnings"] for r in fits),
                }
            )
            terms += [
                {
                    "task": task,
                    "method": method,
                    "term": term,
                    "relevance": mean_std(r["relevance"][term] for r in fits),
                    "std of contribution, mean of outputs": mean_std(
                        float(np.mean(r["contribution std"][i])) for r in fits
                    ),
                }
                for i, term in enumerate(fits[0]["relevance"])
            ]
            if method == "InTense":
                checks += _checks(task, metric, fits)
    report.targets(checks)
    report.table("Scores on the official test rows, mean ± std over seeds", rows)
    report.table("Relevance, mean ± std over seeds", terms)
    report.text(
        f"avdigits_xor: Conv2dEncoder for the image (28, 28), {args.audio} for the audio (32, 20); "
        "avmnist_fsdd: MLPEncoder for the four components of the image. All else at defaults. "
        "MNL has no interaction and must stay at chance on avdigits_xor y."
    )
    report.write()


def _checks(task: str, metric: str, fits: list[dict[str, Any]]) -> list[Check]:
    """Return the rows of the table of targets for InTense on one task."""
    lowest, low, high = TARGETS[task]
    score = float(np.mean([r["score"] for r in fits]))
    interaction = float(np.mean([r["relevance"][TERM] for r in fits]))
    bound = f">= {low}" if high == 1 else f"<= {high}"
    return [
        (f"{task}: {metric}", score, f">= {lowest}", score >= lowest),
        (f"{task}: relevance of {TERM}", interaction, bound, low <= interaction <= high),
    ]


if __name__ == "__main__":
    main()
