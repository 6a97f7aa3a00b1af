"""
Which views of a handwritten digit does the model rest on?
==========================================================

Six views of the same 2000 handwritten digits, from pixel averages to six numbers that describe the
shape, are fused by four models in the same five folds. Then the relevance of every view, and of
every pair of views, over the folds.
"""

import numpy as np
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    InTenseClassifier,
    MNLClassifier,
    ModalityConcatenator,
    ModalityFrame,
    ModalitySelector,
)
from sklearn_mmfusion.datasets import load_multiple_features
from sklearn_mmfusion.plotting import RelevanceDisplay

N_FOLDS = 5
N_JOBS = 2


# %%
# The baselines are scikit-learn's logistic regression: on each view alone, and on all of them in
# one table.


def logistic_regression(views):
    """Return the baseline on the given views, side by side in one table."""
    return make_pipeline(
        ModalitySelector(views),
        ModalityConcatenator(),
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=1000),
    )


def models_to_compare(views):
    """Return the models by name."""
    return {f"{view} alone": logistic_regression([view]) for view in views} | {
        "all views in one table": logistic_regression(list(views)),
        "MNL": MNLClassifier(random_state=0),
        "InTense": InTenseClassifier(random_state=0),
    }


# %%
# Every (model, fold) is a task of its own, so that a bar can follow them over two processes.


def progress(tasks, total):
    """Yield from `tasks`, with a bar if tqdm is installed and lines otherwise."""
    try:
        from tqdm import tqdm
    except ImportError:
        for done, task in enumerate(tasks, start=1):
            print(f"{done} of {total} fits", flush=True)
            yield task
    else:
        yield from tqdm(tasks, total=total, unit="fit")


def cross_validate_all(models, X, y):
    """Return the accuracies and the fitted models of all folds, by name of the model."""
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(np.zeros(len(y)), y))
    tasks = [(name, fold) for name in models for fold in folds]
    results = Parallel(n_jobs=N_JOBS, return_as="generator")(
        delayed(cross_validate)(models[name], X, y, cv=[fold], return_estimator=True)
        for name, fold in tasks
    )
    accuracies = {name: [] for name in models}
    fits = {name: [] for name in models}
    for (name, _), result in zip(tasks, progress(results, len(tasks)), strict=True):
        accuracies[name].extend(result["test_score"])
        fits[name].extend(result["estimator"])
    return accuracies, fits


def print_accuracies(accuracies):
    """Print mean and standard deviation over the folds."""
    print(f"\n{'model':<24}{'accuracy':>9}{'std':>8}")
    for name, values in sorted(accuracies.items(), key=lambda item: np.mean(item[1])):
        print(f"{name:<24}{np.mean(values):>9.4f}{np.std(values, ddof=1):>8.4f}")


def print_relevance(display, n_terms=10):
    """Print the terms of largest relevance, with the interval over the folds."""
    print(f"\n{'term':<14}{'relevance':>10}   95 % interval")
    for term in np.argsort(-display.mean, kind="stable")[:n_terms]:
        lower, upper = display.interval[term]
        name, mean = display.term_names[term], display.mean[term]
        print(f"{name:<14}{mean:>10.3f}   {lower:.3f} to {upper:.3f}")


# %%
# The interval is wide where views stand in for one another: they all come from one image.


def main():
    """Compare the models, then show what InTense rests on."""
    views, y = load_multiple_features(return_X_y=True)
    accuracies, fits = cross_validate_all(models_to_compare(views), ModalityFrame(views), y)
    print_accuracies(accuracies)

    display = RelevanceDisplay.from_cv_results(fits["InTense"], max_terms=12)
    print_relevance(display)
    display.figure_.savefig("relevance.png", dpi=150)
    print("\nFigure: relevance.png")


if __name__ == "__main__":
    main()
