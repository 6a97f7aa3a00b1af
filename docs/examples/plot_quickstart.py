"""
Which views of a handwritten digit does the model rest on?
==========================================================

Six views of the same 2000 handwritten digits, from pixel averages to six numbers that describe the
shape. MNL says how much each view matters; InTense says whether pairs of views add anything to
that. The same four folds serve every model.
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

N_FOLDS = 4
N_JOBS = 2
WEAKEST = ["fou", "mor", "zer"]  # Fourier shape, morphology, Zernike moments: room for pairs


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
    """Return the models by name, the slow ones first."""
    intense = make_pipeline(ModalitySelector(WEAKEST), InTenseClassifier(random_state=0))
    return {
        "InTense, three views": intense,
        "MNL, all views": MNLClassifier(random_state=0),
        "one table, all views": logistic_regression(list(views)),
        "one table, three views": logistic_regression(WEAKEST),
    } | {f"{view} alone": logistic_regression([view]) for view in views}


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


def print_relevance(title, display):
    """Print the relevance of every term, with the interval over the folds."""
    print(f"\n{title:<24}{'relevance':>10}   95 % interval")
    for term in np.argsort(-display.mean, kind="stable"):
        lower, upper = display.interval[term]
        name, mean = display.term_names[term], display.mean[term]
        print(f"{name:<24}{mean:>10.3f}   {lower:.3f} to {upper:.3f}")


def draw(fits):
    """Draw both models side by side and return their displays."""
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(12, 4), layout="constrained")
    names = ("MNL, all views", "InTense, three views")
    displays = {}
    for panel, name in zip(figure.subfigures(1, 2, wspace=0.03), names, strict=True):
        displays[name] = RelevanceDisplay.from_cv_results(fits[name], ax=panel.subplots())
        panel.suptitle(name)
    figure.savefig("relevance.png", dpi=150)
    return displays


# %%
# Relevance is not accuracy alone: ``mor`` is the worst view by itself, and yet needed, since no
# other view has what it holds; ``kar`` is among the best, but much like ``pix``, and gets less.
# Pairs have to earn their place on held-out rows; these don't, and score exactly 0 in every fold.


def main():
    """Compare the models, then show what they rest on."""
    views, y = load_multiple_features(return_X_y=True)
    accuracies, fits = cross_validate_all(models_to_compare(views), ModalityFrame(views), y)
    print_accuracies(accuracies)
    for name, display in draw(fits).items():
        print_relevance(name, display)
    print("\nFigure: relevance.png")


if __name__ == "__main__":
    main()
