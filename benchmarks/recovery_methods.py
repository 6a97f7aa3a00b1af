"""Relevance against the truth, method by method, and why normalisation matters.

Tasks of make_recovery, of which the share of every term is known. A method is asked for a share of
each term up to order 3; what it has no word for counts as 0. Routing classifies: it gets the
classification variant of the same task, whose logit is the same sum of terms. Readings of a trained
network from outside (permutation, functional ANOVA, Shapley values) are of a tensor fusion network.
An explainable boosting machine takes part where the package interpret is installed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from recovery import TASKS, UNBALANCED
from sklearn.inspection import permutation_importance
from torch import nn

from sklearn_mmfusion import (
    InTenseRegressor,
    MKLRegressor,
    MNLRegressor,
    ModalityFrame,
    MRORegressor,
    RoutingClassifier,
    TensorFusionRegressor,
)
from sklearn_mmfusion import functional as F
from sklearn_mmfusion.datasets import make_recovery

try:
    from interpret.glassbox import ExplainableBoostingRegressor
except ImportError:
    ExplainableBoostingRegressor = None

Shares = dict[str, float]

KINDS = [
    {"task": "two modalities", "tokens": "shared", "balance": "balanced"},
    {"task": "orders 1 to 3", "tokens": "shared", "balance": "unbalanced"},
    {"task": "no single effects", "tokens": "separate", "balance": "balanced"},
]
N_BACKGROUND = 24  # rows of each modality in the table of all their combinations
NORMALISATIONS = ("none", "VBN", "IterBN")
# Tokens of very different frequency, so that features differ in scale; and modalities that say the
# same in part, so that products repeat what single ones say: a x c and b x c carry nothing there.
NORMALISED = {
    "unbalanced, independent": {"balance": "unbalanced", "correlation": 0.0},
    "balanced, correlation 0.5": {"balance": "balanced", "correlation": 0.5},
}


def data_of(task: dict[str, Any], target: str = "regression") -> Any:
    """Return a task of make_recovery, with three modalities at least."""
    coefficients = TASKS[task["task"]]
    names = {name for term in coefficients for name in term}
    chances = {name: UNBALANCED[name] for name in names}
    return make_recovery(
        task["n_samples"],
        coefficients,
        tokens=task["tokens"],
        balance=chances if task["balance"] == "unbalanced" else 0.5,
        correlation=task.get("correlation", 0.0),
        n_noise_modalities=3 - len(names),
        task=target,
        random_state=task["seed"],
    )


def term_of(*names: str) -> str:
    """Return the name of a term, its modalities in alphabetical order."""
    return " x ".join(sorted(names))


def shares(sizes: Shares) -> Shares:
    """Return sizes over their sum."""
    total = sum(sizes.values()) or 1.0
    return {term_of(*term.split(" x ")): size / total for term, size in sizes.items()}


def spreads(estimator: Any) -> Shares:
    """Return the share of each term in the standard deviations of the contributions."""
    return shares(
        dict(zip(estimator.term_names_, estimator.contribution_std_.mean(1), strict=True))
    )


# -- methods: task and seed to readings, each a share per term, and the fit to the signal ----------


def by_intense(task: dict[str, Any]) -> tuple[dict[str, Shares], float]:
    """InTense with interactions up to order 3."""
    data = data_of(task)
    est = InTenseRegressor(interactions=3, random_state=task["seed"]).fit(data.data, data.target)
    return {"InTense": shares(est.relevance_scores_)}, est.score(data.data, data.signal)


def by_mnl(task: dict[str, Any]) -> tuple[dict[str, Shares], float]:
    """MNL: single modalities."""
    data = data_of(task)
    est = MNLRegressor(random_state=task["seed"]).fit(data.data, data.target)
    return {"MNL": shares(est.relevance_scores_)}, est.score(data.data, data.signal)


def by_routing(task: dict[str, Any]) -> tuple[dict[str, Shares], float]:
    """Routing of the classification variant: its relevance, and the size of its contributions."""
    data = data_of(task, "classification")
    est = RoutingClassifier(interactions=3, random_state=task["seed"]).fit(data.data, data.target)
    fit = np.corrcoef(est.decision_function(data.data), data.signal)[0, 1] ** 2
    found = {"Routing": shares(est.relevance_scores_), "Routing, contributions": spreads(est)}
    return found, float(fit)


def by_mro(task: dict[str, Any]) -> tuple[dict[str, Shares], float]:
    """Residual optimisation: the spread of the contributions."""
    data = data_of(task)
    est = MRORegressor(interactions=3, random_state=task["seed"]).fit(data.data, data.target)
    return {"MRO": spreads(est)}, est.score(data.data, data.signal)


def by_mkl(task: dict[str, Any]) -> tuple[dict[str, Shares], float]:
    """Multiple kernel learning with products of kernels, p = 1."""
    data = data_of(task)
    est = MKLRegressor(interactions=3).fit(data.data, data.target)
    return {"MKL": shares(est.relevance_scores_)}, est.score(data.data, data.signal)


def by_inspection(task: dict[str, Any]) -> tuple[dict[str, Shares], float]:
    """Look at a tensor fusion network from outside."""
    data = data_of(task)
    est = TensorFusionRegressor(random_state=task["seed"]).fit(data.data, data.target)
    frame, names = ModalityFrame(data.data), list(data.data)
    importance = permutation_importance(
        est, frame, data.target, n_repeats=5, random_state=task["seed"]
    )
    # The loss of R2 is a variance, the truth a share of standard deviation.
    alone = np.sqrt(np.maximum(importance.importances_mean, 0))
    parts = decompose(est.predict, frame, task["seed"])
    anova = {term_of(*(names[m] for m in term)): float(f.std()) for term, f in parts.items()}
    shapley = {
        name: float(sum(f / len(term) for term, f in parts.items() if m in term).std())
        for m, name in enumerate(names)
    }
    found = {
        "TFN, permutation": shares(dict(zip(names, alone.tolist(), strict=True))),
        "TFN, functional ANOVA": shares(anova),
        "TFN, Shapley values": shares(shapley),
    }
    return found, est.score(frame, data.signal)


def decompose(
    predict: Callable[[Any], np.ndarray], frame: ModalityFrame, seed: int
) -> dict[tuple[int, ...], np.ndarray]:
    """Return the parts of the functional ANOVA over all combinations of some rows.

    Modalities are independent there, so that a part is the mean over all others less the parts
    of fewer modalities.
    """
    rng = np.random.default_rng(seed)
    names, n = list(frame), N_BACKGROUND
    cells = np.array(list(product(range(n), repeat=len(names))))
    rows = [rng.choice(len(frame), n, replace=False) for _ in names]
    mixed = {name: frame[name][rows[m][cells[:, m]]] for m, name in enumerate(names)}
    table = predict(mixed).reshape([n] * len(names))
    axes = range(len(names))
    parts: dict[tuple[int, ...], np.ndarray] = {}
    for term in chain.from_iterable(combinations(axes, k) for k in range(len(names) + 1)):
        mean = table.mean(tuple(m for m in axes if m not in term), keepdims=True)
        parts[term] = mean - sum(f for inner, f in parts.items() if set(inner) < set(term))
    whole = np.broadcast_to(0.0, table.shape)
    return {term: part + whole for term, part in parts.items() if term}


def by_boosting(task: dict[str, Any]) -> tuple[dict[str, Shares], float]:
    """Explainable boosting: its terms of one and two features, added up by modality."""
    data = data_of(task)
    X = np.concatenate(list(data.data.values()), axis=1)
    owner = np.repeat(list(data.data), [v.shape[1] for v in data.data.values()])
    est = ExplainableBoostingRegressor(
        interactions=12, outer_bags=4, random_state=task["seed"], n_jobs=1
    ).fit(X, data.target)
    values = est.eval_terms(X)
    groups: dict[str, np.ndarray] = {}
    for column, features in zip(values.T, est.term_features_, strict=True):
        term = term_of(*{str(owner[f]) for f in features})
        groups[term] = groups.get(term, 0.0) + column
    found = {term: float(value.std()) for term, value in groups.items()}
    return {"EBM": shares(found)}, est.score(X, data.signal)


METHODS: dict[str, Callable[[dict[str, Any]], tuple[dict[str, Shares], float]]] = {
    "InTense": by_intense,
    "MNL": by_mnl,
    "Routing": by_routing,
    "MRO": by_mro,
    "MKL": by_mkl,
    "inspection": by_inspection,
}
if ExplainableBoostingRegressor is not None:
    METHODS["EBM"] = by_boosting


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Run one method, and compare its readings with the truth."""
    if task["method"] == "normalisation":
        return fit_normalised(task)
    data = data_of(task)
    truth = {term_of(*term.split(" x ")): share for term, share in data.relevance.items()}
    readings, fitted = METHODS[task["method"]](task)
    terms = [term_of(*t) for k in (1, 2, 3) for t in combinations(sorted(data.data), k)]
    return {
        "R2": float(fitted),
        "readings": {
            name: {
                "error": float(
                    np.mean([abs(found.get(t, 0.0) - truth.get(t, 0.0)) for t in terms])
                ),
                "mass on nothing": float(
                    sum(share for t, share in found.items() if not truth.get(t))
                ),
                "shares": {t: round(float(found.get(t, 0.0)), 4) for t in terms},
            }
            for name, found in readings.items()
        },
        "truth": {t: round(float(truth.get(t, 0.0)), 4) for t in terms},
    }


# -- the same model without normalisation, with VBN alone and with IterBN --------------------------


class TermModel(nn.Module):
    """Linear maps, products of their results, and a block-linear layer, in plain torch."""

    def __init__(
        self, terms: list[tuple[int, ...]], n_features: int, kind: str, seed: int, width: int = 4
    ) -> None:
        super().__init__()
        self.terms, self.kind = terms, kind
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(n_features, width, bias=False) for _ in term) for term in terms
        )
        self.weights = nn.ParameterList(torch.zeros(width ** len(term)) for term in terms)
        self.bias = nn.Parameter(torch.zeros(()))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for linear in chain.from_iterable(self.maps):
                linear.weight.normal_(0.0, n_features**-0.5, generator=generator)
            for weight in self.weights:
                weight.normal_(0.0, 0.01, generator=generator)
        self.double()

    def features(self, x: list[torch.Tensor], t: int) -> torch.Tensor:
        """Return the features of a term, (n, width ** order)."""
        us = [linear(x[m]) for m, linear in zip(self.terms[t], self.maps[t], strict=True)]
        if self.kind != "none":
            us = [F.vector_batch_norm(u, None, 1e-5)[0] for u in us]
        if len(us) == 1:
            return us[0]
        constants = {}
        if self.kind == "IterBN":
            constants = F.interaction_constants(F.interaction_moments(us, centred=True), len(us))
        z = F.interaction_features(us, constants).flatten(1)
        return z if self.kind == "none" else F.vector_batch_norm(z, None, 1e-5)[0]

    def forward(self, x: list[torch.Tensor]) -> torch.Tensor:
        """Return the predictions, (n,)."""
        parts = [self.features(x, t) @ w for t, w in enumerate(self.weights)]
        return self.bias + torch.stack(parts).sum(0)


def fit_normalised(task: dict[str, Any], reg: float = 0.02, n_steps: int = 500) -> dict[str, Any]:
    """Fit the model with one kind of normalisation; relevance at p = 1 from its block norms."""
    data = data_of(task)
    names = list(data.data)
    x = [torch.tensor((v - v.mean(0)) / v.std(0)) for v in data.data.values()]
    y = torch.tensor((data.target - data.target.mean()) / data.target.std())
    terms = [t for k in (1, 2, 3) for t in combinations(range(len(names)), k)]
    model = TermModel(terms, x[0].shape[1], task["normalisation"], task["seed"])
    encoders = {"params": list(model.maps.parameters()), "weight_decay": 0.01}
    layer = {"params": [*model.weights.parameters(), model.bias], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([encoders, layer], lr=0.01)
    for step in range(n_steps):
        optimizer.zero_grad()
        norms = torch.stack([w.norm() for w in model.weights])
        # The penalty comes in slowly, or interactions die before their maps have found anything.
        strength = reg * min(1.0, step / (n_steps / 2))
        error = (model(x) - y).square().mean()
        (error + strength * F.block_norm_penalty(norms, 1.0)).backward()
        optimizer.step()
    with torch.no_grad():
        norms = torch.stack([w.norm() for w in model.weights])
        found = F.relevance(norms, 1.0).tolist()
        r2 = float(1 - (model(x) - y).square().mean())
    truth = {term_of(*term.split(" x ")): share for term, share in data.relevance.items()}
    labels = [term_of(*(names[m] for m in term)) for term in terms]
    return {
        "R2": r2,
        "error": float(
            np.mean([abs(b - truth.get(t, 0.0)) for t, b in zip(labels, found, strict=True)])
        ),
        "mass on nothing": sum(
            b for t, b in zip(labels, found, strict=True) if not truth.get(t, 0.0)
        ),
        "shares": dict(zip(labels, found, strict=True)),
        "truth": {t: float(truth.get(t, 0.0)) for t in labels},
    }


# -- tables and the figure -------------------------------------------------------------------------


def draw(errors: dict[str, float], normal: list[dict[str, Any]], path: Any) -> None:
    """Draw the error of every reading, and the terms' shares under each normalisation."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, *panels) = plt.subplots(
        1, 1 + len(NORMALISED), figsize=(15, 4), layout="constrained", width_ratios=[1, 1.4, 1.4]
    )
    order = sorted(errors, key=errors.__getitem__, reverse=True)
    left.barh(order, [errors[name] for name in order], color="tab:blue")
    left.set_xlabel("mean absolute error of the shares")
    for panel, data in zip(panels, NORMALISED, strict=True):
        found = [r for r in normal if r["data"] == data]
        terms = list(found[0]["truth"])
        place = np.arange(len(terms))
        truth = [np.mean([r["truth"][t] for r in found]) for t in terms]
        panel.bar(place - 0.3, truth, 0.2, color="black", label="truth")
        for i, kind in enumerate(NORMALISATIONS):
            mine = [r for r in found if r["normalisation"] == kind]
            values = np.array([[r["shares"][t] for t in terms] for r in mine])
            panel.bar(
                place - 0.1 + 0.2 * i,
                values.mean(0),
                0.2,
                yerr=values.std(0),
                label=f"{kind} (error {np.mean([r['error'] for r in mine]):.3f})",
            )
        panel.set_xticks(place, terms, rotation=30, ha="right")
        panel.set_ylabel("relevance")
        panel.set_title(f"one model, three normalisations: {data}", size=10)
        panel.set_ylim(0, 1.3 * panel.get_ylim()[1])
        panel.legend(ncols=2, loc="upper center", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def report_all(results: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Write tables and figure."""
    normal = [r for r in results if r["method"] == "normalisation"]
    others = [r for r in results if r["method"] != "normalisation"]
    report = Report("recovery_methods", "Relevance against the truth, method by method", args)
    names = list(dict.fromkeys(name for r in others for name in r["readings"]))
    rows, errors = [], {}
    for name in names:
        mine = [r for r in others if name in r["readings"]]
        found = [r["readings"][name] for r in mine]
        by_kind = {
            kind["task"]: mean_std(
                r["readings"][name]["error"] for r in mine if r["task"] == kind["task"]
            )
            for kind in KINDS
        }
        errors[name] = float(np.mean([f["error"] for f in found]))
        rows.append(
            {
                "reading": name,
                "error": errors[name],
                **by_kind,
                "mass on nothing": float(np.mean([f["mass on nothing"] for f in found])),
                "R2": float(np.mean([r["R2"] for r in mine])),
                "CPU s": float(np.mean([r["cpu_s"] for r in mine])),
            }
        )
    rows.sort(key=lambda row: row["error"])
    first = [
        min(names, key=lambda n, k=kind: np.mean(
            [r["readings"][n]["error"] for r in others if n in r["readings"]
             and r["task"] == k["task"]]
        ))
        for kind in KINDS
    ]  # fmt: skip
    report.targets(
        [
            (f"first in error: {kind['task']}", winner, "InTense", winner == "InTense")
            for kind, winner in zip(KINDS, first, strict=True)
        ]
    )
    report.table("Error of the shares, mean (± over seeds)", rows)
    terms = []
    for kind in KINDS:
        mine = [r for r in others if r["task"] == kind["task"]]
        for term in mine[0]["truth"]:
            row = {**kind, "term": term, "truth": mine[0]["truth"][term]}
            for name in names:
                shown = [r["readings"][name]["shares"][term] for r in mine if name in r["readings"]]
                row[name] = float(np.mean(shown))
            terms.append(row)
    report.table("Terms, mean over seeds", terms)
    rows = []
    for data in NORMALISED:
        found = [r for r in normal if r["data"] == data]
        truth = {t: float(np.mean([r["truth"][t] for r in found])) for t in found[0]["truth"]}
        rows.append({"data": data, "normalisation": "(truth)", **truth})
        for kind in NORMALISATIONS:
            mine = [r for r in found if r["normalisation"] == kind]
            cells = {k: mean_std(r[k] for r in mine) for k in ("error", "mass on nothing", "R2")}
            each = {t: float(np.mean([r["shares"][t] for r in mine])) for t in truth}
            rows.append({"data": data, "normalisation": kind, **cells, **each})
    report.table("One model, three normalisations", rows)
    report.text(
        f"{args.n_samples} rows. Error: mean over all terms up to order 3 of |share - truth|; the "
        "truth is a share of standard deviation. MNL, permutation and Shapley values have no word "
        "for interactions. R2 on the noise-free signal of the training rows; for routing the "
        "squared correlation of its logit with it. CPU time is of one fit, all of its readings "
        "together. EBM: 12 pairs of features, 4 outer bags. Normalisation: linear maps of width 4 "
        "per (term, modality), 500 full-batch steps, reg 0.02, p = 1; orders 1 to 3. Of correlated "
        "tokens the truth is the hierarchically orthogonal one."
    )
    report.write()
    draw(errors, normal, report.output / f"{report.name}.png")


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=2)
    parser.add_argument("--n-samples", type=int, default=1500)
    args = parser.parse_args()
    if args.quick:
        args.n_samples = 300
    rest = {"n_samples": args.n_samples}
    tasks = [
        {"method": method, **kind, **rest, "seed": seed}
        for kind in KINDS
        for method in METHODS
        for seed in seeds_of(args)
    ]
    tasks += [
        {
            **{"method": "normalisation", "task": "orders 1 to 3", "tokens": "shared"},
            **{"normalisation": n, "data": name, **data, **rest, "seed": seed},
        }
        for name, data in NORMALISED.items()
        for n in NORMALISATIONS
        for seed in seeds_of(args)
    ]
    report_all(run_tasks(fit, tasks, name="recovery_methods", args=args), args)


if __name__ == "__main__":
    main()
