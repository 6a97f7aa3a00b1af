"""Time of EMAP and perceptual scores from cached encodings against plain repeated prediction.

The plain way puts rows together anew and calls the estimator's own ``decision_function`` on them,
in large chunks. Process CPU time of one thread; the two take turns, and each round gives one ratio.
Plain EMAP runs on a part of the evaluations, and its time is scaled up.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _common import Check, Report, make_parser

from sklearn_mmfusion import (
    Conv1dEncoder,
    GRUEncoder,
    InTenseClassifier,
    MLPEncoder,
    MNLClassifier,
    MROClassifier,
    RoutingClassifier,
    TensorFusionClassifier,
)
from sklearn_mmfusion._training.devices import intra_op_threads
from sklearn_mmfusion.inspection import emap, perceptual_score
from sklearn_mmfusion.inspection._evaluator import make_evaluator
from sklearn_mmfusion.inspection._expectations import estimate
from sklearn_mmfusion.inspection._index_scorer import make_index_scorer
from sklearn_mmfusion.inspection._perceptual_score import _perceptual_score

ENCODERS = {"MLP": MLPEncoder(), "GRU": GRUEncoder(), "Conv1d": Conv1dEncoder()}
# InTense keeps its interactions: a fit that leaves them out would be MNL.
ESTIMATORS = {
    "MNL": MNLClassifier(),
    "InTense": InTenseClassifier(reg=1e-3, polish=False),
    "MRO": MROClassifier(),
    "Routing": RoutingClassifier(),
    "TensorFusion": TensorFusionClassifier(),
}
STEPS, DIMS = 20, {"text": 300, "audio": 74, "video": 35}
EMAP_BOUND, SCORE_BOUND, SAME = 20.0, 5.0, 1e-10
N_DRAWS, N_REPEATS = 100, 5


def make_data(encoder: str, n: int, n_modalities: int) -> tuple[dict[str, Any], Any]:
    """Return standard normal modalities, and labels by a sum and a product of two of them."""
    rng = np.random.default_rng(0)
    names = list(DIMS)[:n_modalities]
    shape = (n,) if encoder == "MLP" else (n, STEPS)
    X = {name: rng.normal(size=(*shape, DIMS[name])) for name in names}
    text, audio = (X[name].reshape(n, -1)[:, 0] for name in ("text", "audio"))
    return X, (text + text * audio > 0).astype(int)


def fitted(estimator: str, encoder: str, X: Any, y: Any) -> Any:
    """Fit for a few epochs: the time of inspection does not depend on what was learned."""
    model = ESTIMATORS[estimator].set_params(
        encoders=ENCODERS[encoder], max_epochs=2, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs neither converge nor learn
        return model.fit(X, y)


def seconds(function: Callable[[], Any]) -> float:
    """Return CPU seconds."""
    start = time.process_time()
    function()
    return time.process_time() - start


def matrix_rate(width: int) -> float:
    """Return floating-point operations per second in products of matrices, of one thread."""
    a, b = torch.rand(4096, width).double(), torch.rand(width, width).double()
    with intra_op_threads(1):
        return 2 * 4096 * width**2 / min(seconds(lambda: a @ b) for _ in range(50))


def in_turns(
    plain: Callable[[], Any], ours: Callable[[], Any], factor: float, repetitions: int
) -> dict[str, float]:
    """Return median seconds of both, the plain ones scaled up, and the ratios."""
    pairs = []
    for repetition in range(repetitions):
        if repetition % 2:
            ours_s, plain_s = seconds(ours), seconds(plain)
        else:
            plain_s, ours_s = seconds(plain), seconds(ours)
        pairs.append((plain_s * factor, ours_s))
    plain_s, ours_s = np.median(pairs, axis=0)
    ratios = [a / b for a, b in pairs]
    return {
        "plain, s": float(plain_s),
        "cached, s": float(ours_s),
        "times faster": float(np.median(ratios)),
        "lowest": min(ratios),
        "highest": max(ratios),
    }


def projection(model: Any, X: Any, *, cached: bool, method: str) -> Any:
    """Return EMAP by the given way, with the same draws for both."""
    evaluator = make_evaluator(model, X, cached=cached)
    quantity = {1 << m: 1.0 for m in range(len(X))} | {0: 1.0 - len(X)}
    return estimate(
        evaluator,
        [quantity],
        method=method,
        n_draws=20,
        max_evaluations=10**7,
        rng=lambda: np.random.default_rng(0),
    )


def time_emap(
    model: Any, X: Any, method: str, part: int, repetitions: int, **options: Any
) -> dict[str, Any]:
    """Return times of EMAP on all rows, and the largest difference on the first 12 rows."""
    found = emap(model, X, method=method, random_state=0, **options)
    n, n_modalities = len(X["text"]), len(X)
    # A model without parts: the evaluations that the plain way needs.
    n_plain = n**n_modalities if method == "exact" else N_DRAWS * (n_modalities * n + 1)
    index = np.random.default_rng(1).integers(0, n, (min(part, n_plain), n_modalities))
    plain = make_evaluator(model, X, cached=False)
    times = in_turns(
        lambda: plain.evaluate(index),
        lambda: emap(model, X, method=method, random_state=0, **options),
        n_plain / len(index),
        repetitions,
    )
    few = {name: values[:12] for name, values in X.items()}
    same = [projection(model, few, cached=cached, method=method) for cached in (True, False)]
    difference = np.abs(same[0].values - same[1].values).max()
    cached = make_evaluator(model, X)
    outputs = np.abs(cached.evaluate(index) - plain.evaluate(index)).max()
    return {
        "modalities": n_modalities,
        "rows": n,
        "method": method,
        "evaluations": n_plain,
        "timed of them": len(index),
        **times,
        "largest difference": f"{max(difference, outputs):.1e}",
        "largest standard error / sd": float(found.standard_error.max() / found.projection.std()),
    }


def time_scores(model: Any, X: Any, y: Any, repetitions: int) -> dict[str, Any]:
    """Return times of perceptual scores, and the largest difference."""
    scorer = make_index_scorer(
        model, X, y, modalities=None, scoring=None, sample_weight=None, cached=False
    )
    found: dict[str, Any] = {}

    def plain() -> None:
        found["plain"] = _perceptual_score(scorer, None, N_REPEATS, None, None, 0)

    def ours() -> None:
        found["ours"] = perceptual_score(model, X, y, n_repeats=N_REPEATS, random_state=0)

    times = in_turns(plain, ours, 1.0, repetitions)
    encoding = [seconds(lambda: make_evaluator(model, X)) for _ in range(repetitions)]
    difference = np.abs(found["plain"].importances - found["ours"].importances).max()
    return {
        "rows": len(y),
        "scores": 1 + N_REPEATS * len(X),
        **times,
        "encoding, s": float(np.median(encoding)),
        "largest difference": f"{difference:.1e}",
    }


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=1)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--part", type=int, default=2500, help="plain evaluations that are timed")
    parser.add_argument("--long", type=int, default=2000, help="rows of the longer score")
    args = parser.parse_args()
    n, n_exact, n_long = (40, 12, 200) if args.quick else (500, 60, args.long)
    part = 400 if args.quick else args.part
    report = Report("inspection_speed", "EMAP and perceptual scores from cached encodings", args)
    n_units = 0
    emaps: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    with intra_op_threads(1):
        for encoder in ENCODERS:
            for estimator in ESTIMATORS:
                who = {"encoder": encoder, "estimator": estimator}
                X, y = make_data(encoder, n_long, 2)
                two = {name: values[:n] for name, values in X.items()}
                model = fitted(estimator, encoder, two, y[:n])
                options = {"max_evaluations": 10**9, "n_draws": N_DRAWS}
                timed = time_emap(model, two, "exact", part, args.repetitions, **options)
                emaps.append({**who, **timed})
                scores.append({**who, **time_scores(model, two, y[:n], args.repetitions)})
                scores.append({**who, **time_scores(model, X, y, 1)})
                X, y = make_data(encoder, n, 3)
                model = fitted(estimator, encoder, X, y)
                if estimator == "Routing":
                    n_units = model.module_.features.hidden_dim + 1  # with a constant
                some = {name: values[:n_exact] for name, values in X.items()}
                for rows, method in ((some, "exact"), (X, "sampled")):
                    timed = time_emap(model, rows, method, part, args.repetitions, **options)
                    emaps.append({**who, **timed})
                print(f"{encoder} {estimator} done", flush=True)
    report.targets(_checks(emaps, scores, n_long))
    report.table("EMAP", emaps, 4)
    report.table("Perceptual scores", scores, 4)
    report.text(
        f"Sequences have {STEPS} steps; features per step or row: {DIMS}; encoders at their "
        f"defaults, float64. Plain EMAP is timed on as many evaluations as the column says, drawn "
        f"at random, and scaled up. Exact EMAP of our additive estimators needs fewer "
        "combinations than that, since each term has its own expectations; these times are of the "
        "whole call, encoding included. Differences: projections by both ways on 12 rows (all "
        "combinations, or 20 draws), and outputs of the timed combinations. The last "
        f"column is the largest standard error of {N_DRAWS} draws, relative to the standard "
        "deviation of the projection over the rows. Perceptual scores are accuracies, "
        f"{N_REPEATS} repeats: the plain way asks scikit-learn's scorer for each of them, ours "
        "asks it once and counts the others, as long as both say the same. Encoding is what "
        "comes before any score of ours."
    )
    report.text(_bound(emaps, n_units))
    report.write()


def _bound(emaps: list[dict[str, Any]], n_units: int) -> str:
    """Say what sampled EMAP of routing on three modalities cannot do without."""
    (row,) = (
        row
        for row in emaps
        if (row["encoder"], row["estimator"], row["method"]) == ("MLP", "Routing", "sampled")
    )
    n_pairs = 3  # two interactions with each other and themselves
    n_operations = N_DRAWS * row["rows"] * row["modalities"] * n_pairs * 2 * n_units**2
    rate = matrix_rate(n_units)
    return (
        f"What bounds routing: sampled EMAP of {row['modalities']} modalities compares, for every "
        f"draw, row and modality, the two interactions that have it, by {n_pairs} forms of "
        f"{n_units} units, {n_operations / 1e9:.1f}e9 floating-point operations in all. One thread "
        f"makes {rate / 1e9:.0f}e9 a second here, in products of matrices that lie in a cache: "
        f"{n_operations / rate:.3f} s, {row['plain, s'] * rate / n_operations:.0f} times less than "
        "the plain way with MLP encoders, before a hidden layer is made."
    )


def _checks(emaps: list[dict[str, Any]], scores: list[dict[str, Any]], n_long: int) -> list[Check]:
    checks = []
    for encoder in ENCODERS:
        for group in (("MNL", "InTense"), tuple(ESTIMATORS)):
            who = "MNL, InTense" if len(group) == 2 else "all estimators"
            mine = [row for row in emaps if row["encoder"] == encoder and row["estimator"] in group]
            checks.append(_check(f"emap, {encoder}, {who}: times faster, lowest", mine, EMAP_BOUND))
            for is_long in (False, True):
                mine = [
                    row
                    for row in scores
                    if row["encoder"] == encoder
                    and row["estimator"] in group
                    and (row["rows"] == n_long) is is_long
                ]
                what = f"perceptual_score, {encoder}, {who}, {mine[0]['rows']} rows"
                checks.append(_check(f"{what}: times faster, lowest", mine, SCORE_BOUND))
    largest = max(float(row["largest difference"]) for row in emaps + scores)
    checks.append(("largest difference of all", f"{largest:.1e}", f"<= {SAME}", largest <= SAME))
    return checks


def _check(what: str, rows: list[dict[str, Any]], bound: float) -> Check:
    """Return the row that is least faster, beside the bound."""
    least = min(rows, key=lambda row: row["times faster"])
    ratio = least["times faster"]
    return what, ratio, f">= {bound:.0f}", ratio >= bound, [least["lowest"], least["highest"]]


if __name__ == "__main__":
    main()
