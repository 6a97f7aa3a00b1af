"""Each neural method against the same model written out in plain torch, at the same budget.

Flat modalities and one hidden layer per encoder on both sides; AdamW, learning rate, batches,
epochs, a fifth of the training rows held out, patience and the best epoch as in the package. The
plain models have neither skorch nor the polish of the package, nor its exact statistics.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import torch
from _common import Report, make_parser, mean_std, run_tasks, seeds_of
from _real_sets import load_set, prepare
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as nnf

from sklearn_mmfusion import (
    EarlyFusionClassifier,
    GAMClassifier,
    InTenseClassifier,
    LateFusionClassifier,
    MLPEncoder,
    MNLClassifier,
    MROClassifier,
    RoutingClassifier,
    TensorFusionClassifier,
)

SETS = ("mosi_clean", "dermatology")
WIDTH, CODE, LATENT = 64, 32, 8  # of the encoders' hidden layer, of what they return, of products
EPOCHS, PATIENCE, LR, LR_DECAY, DECAY, DROPOUT = 100, 12, 0.003, 0.98, 0.01, 0.2
REG = 1e-3  # of the block-norm penalty, on both sides
POINTS = 2.0


def mlp(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Return a network with one hidden layer."""
    return nn.Sequential(
        nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(n_hidden, n_out)
    )


def unit(h: Tensor) -> Tensor:
    """Return a centred batch whose mean squared norm is 1."""
    h = h - h.mean(0)
    return h / (h.square().sum(1).mean() + 1e-5).sqrt()


class Encoded(nn.Module):
    """One encoder per modality."""

    def __init__(self, dims: list[int]) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(mlp(d, WIDTH, CODE) for d in dims)
        m = range(len(dims))
        self.terms = [t for k in (1, 2) for t in combinations(m, k)]

    def encode(self, x: list[Tensor]) -> list[Tensor]:
        """Return the encodings."""
        return [encoder(part) for encoder, part in zip(self.encoders, x, strict=True)]

    def penalty(self) -> Tensor:
        """Return what is added to the loss."""
        return torch.zeros(())


class Late(Encoded):
    """Concatenation and a linear layer."""

    def __init__(self, dims: list[int], k: int) -> None:
        super().__init__(dims)
        self.out = nn.Linear(CODE * len(dims), k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        return self.out(torch.cat(self.encode(x), 1))


class Early(Encoded):
    """One encoder on all features."""

    def __init__(self, dims: list[int], k: int) -> None:
        super().__init__([sum(dims)])
        self.out = nn.Linear(CODE, k)

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        return self.out(self.encoders[0](torch.cat(x, 1)))


class Tensors(Encoded):
    """A network on the tensor product."""

    def __init__(self, dims: list[int], k: int) -> None:
        super().__init__(dims)
        self.maps = nn.ModuleList(nn.Linear(CODE, LATENT) for _ in dims)
        self.out = nn.Sequential(
            nn.Linear((1 + LATENT) ** len(dims), 64), nn.ReLU(), nn.Dropout(DROPOUT),
            nn.Linear(64, 64), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(64, k),
        )  # fmt: skip

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        product = torch.ones(len(x[0]), 1)
        for h, linear in zip(self.encode(x), self.maps, strict=True):
            one = nnf.pad(linear(h), (1, 0), value=1.0)
            product = torch.einsum("bi,bj->bij", product, one).flatten(1)
        return self.out(product)


class Residual(nn.Module):
    """Order by order on what is left over, each with encoders of its own."""

    def __init__(self, dims: list[int], k: int) -> None:
        super().__init__()
        self.orders = nn.ModuleList(Encoded(dims) for _ in range(2))
        terms = self.orders[0].terms
        self.nets = nn.ModuleList(mlp(CODE * len(t), WIDTH, k) for t in terms)
        self.terms = terms

    def by_order(self, x: list[Tensor]) -> list[Tensor]:
        """Return what each order adds."""
        codes = [order.encode(x) for order in self.orders]
        parts: list[list[Tensor]] = [[], []]
        for term, net in zip(self.terms, self.nets, strict=True):
            o = len(term) - 1
            parts[o].append(net(torch.cat([codes[o][m] for m in term], 1)))
        return [sum(part) for part in parts]

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        return sum(self.by_order(x))

    def loss(self, x: list[Tensor], y: Tensor) -> Tensor:
        """Return the loss of every order, those below it without gradient."""
        first, second = self.by_order(x)
        return nnf.cross_entropy(first, y) + nnf.cross_entropy(first.detach() + second, y)


class Activated(Encoded):
    """Features f and activations p of single modalities and pairs, added up (GAM) or routed."""

    def __init__(self, dims: list[int], k: int, *, routed: bool, d: int = 64) -> None:
        super().__init__(dims)
        self.routed, self.d, self.k = routed, d, k
        self.nets = nn.ModuleList(
            nn.Sequential(
                nn.Linear(CODE * len(t), d), nn.ReLU(), nn.Dropout(0.5), nn.Linear(d, d + 1)
            )
            for t in self.terms
        )
        self.votes = nn.Parameter(torch.randn(len(self.terms), d, k, d) * d**-0.5)
        self.out = nn.Parameter(torch.randn(k, d) * d**-0.5)
        self.bias = nn.Parameter(torch.zeros(k))

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        codes = [unit(h) * CODE**0.5 for h in self.encode(x)]
        found = [
            net(torch.cat([codes[m] for m in t], 1))
            for t, net in zip(self.terms, self.nets, strict=True)
        ]
        stacked = torch.stack(found, 1)
        f, p = stacked[..., :-1], stacked[..., -1].sigmoid()
        if not self.routed:
            return self.bias + torch.einsum("bt,btd,kd->bk", p, f, self.out)
        v = torch.einsum("btd,tdjc->btjc", f, self.votes)
        r = torch.full(v.shape[:3], 1 / self.k)
        c = torch.einsum("bt,btj,btjc->bjc", p, r, v)
        r = torch.einsum("btjc,bjc->btj", v, c).mul(self.d**-0.5).softmax(2)
        c = nnf.dropout(torch.einsum("bt,btj,btjc->bjc", p, r, v), 0.5, self.training)
        return self.bias + torch.einsum("bjc,jc->bj", c, self.out)


class Blocks(Encoded):
    """Normalised blocks under a linear layer with the block-norm penalty; IterBN of pairs."""

    def __init__(self, dims: list[int], k: int, *, pairs: bool) -> None:
        super().__init__(dims)
        self.terms = [t for t in self.terms if pairs or len(t) == 1]
        self.maps = nn.ModuleList(
            nn.ModuleList(nn.Linear(CODE, LATENT, bias=False) for _ in t) for t in self.terms
        )
        sizes = [LATENT ** len(t) for t in self.terms]
        self.weights = nn.ParameterList(torch.randn(k, s) * 0.1 for s in sizes)
        self.bias = nn.Parameter(torch.zeros(k))

    def forward(self, x: list[Tensor]) -> Tensor:
        """Return logits."""
        h = self.encode(x)
        total = self.bias
        for term, maps, weight in zip(self.terms, self.maps, self.weights, strict=True):
            us = [unit(linear(h[m])) for m, linear in zip(term, maps, strict=True)]
            z = us[0] if len(us) == 1 else unit(torch.einsum("bi,bj->bij", *us).flatten(1))
            total = total + z @ weight.T
        return total

    def penalty(self) -> Tensor:
        """Return the squared sum of the block norms (p = 1)."""
        return REG * torch.stack([w.norm() for w in self.weights]).sum().square()


# Method -> the plain model, and the package's estimator with the parameters that it shares.
METHODS: dict[str, tuple[Callable[[list[int], int], nn.Module], type, dict[str, Any]]] = {
    "LF-Concat": (Late, LateFusionClassifier, {}),
    "EF": (Early, EarlyFusionClassifier, {}),
    "TFN": (Tensors, TensorFusionClassifier, {"dropout": DROPOUT}),
    "MRO": (Residual, MROClassifier, {"dropout": DROPOUT}),
    "GAM": (lambda d, k: Activated(d, k, routed=False), GAMClassifier, {}),
    "Routing": (lambda d, k: Activated(d, k, routed=True), RoutingClassifier, {}),
    "MNL": (lambda d, k: Blocks(d, k, pairs=False), MNLClassifier, {"reg": REG}),
    "InTense": (lambda d, k: Blocks(d, k, pairs=True), InTenseClassifier, {"reg": REG}),
}


def fit_plain(make: Any, X: list[np.ndarray], y: np.ndarray, seed: int) -> Callable[[Any], Any]:
    """Train a plain model; return what predicts."""
    means, scales = [v.mean(0) for v in X], [np.maximum(v.std(0), 1e-8) for v in X]

    def scaled(values: list[np.ndarray]) -> list[Tensor]:
        parts = zip(values, means, scales, strict=True)
        return [torch.tensor((v - m) / s, dtype=torch.float32) for v, m, s in parts]

    kept, held = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed)
    x, target = scaled(X), torch.tensor(y)
    # Plain code seeds globally; the fork keeps this to itself.
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)  # noqa: TID251 that is how a plain script does it
        model = make([v.shape[1] for v in X], int(y.max()) + 1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, LR_DECAY)
        best, state, waited = np.inf, None, 0
        batch = 32 if len(y) > 1000 else len(kept)
        patience = PATIENCE if len(y) > 1000 else EPOCHS
        for _ in range(EPOCHS if len(y) > 1000 else 2 * EPOCHS):
            model.train()
            for rows in torch.tensor(kept)[torch.randperm(len(kept))].split(batch):
                if len(rows) < 2:
                    continue
                some, labels = [v[rows] for v in x], target[rows]
                if hasattr(model, "loss"):
                    loss = model.loss(some, labels)
                else:
                    loss = nnf.cross_entropy(model(some), labels) + model.penalty()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            scheduler.step()
            model.eval()
            with torch.no_grad():
                value = float(nnf.cross_entropy(model([v[held] for v in x]), target[held]))
            if value < best:
                best, state, waited = value, copy.deepcopy(model.state_dict()), 0
            waited += 1
            if waited > patience:
                break
    model.load_state_dict(state)
    # Batch statistics stand in for running ones: all rows are predicted at a time.
    return lambda values: model.eval()(scaled(values)).argmax(1).numpy()


def fit(task: dict[str, Any]) -> dict[str, Any]:
    """Fit one method, plain or of the package, on one split."""
    data = load_set(task["set"])
    train, test = data.splits[task["split"]]
    X_train, X_test = prepare(data, train, test)
    make, cls, params = METHODS[task["method"]]
    classes, y = np.unique(data.y[train], return_inverse=True)
    if task["plain"]:
        predict = fit_plain(make, list(dict(X_train).values()), y, task["seed"])
        found = classes[predict(list(dict(X_test).values()))]
    else:
        encoder = MLPEncoder(hidden_dim=WIDTH, output_dim=CODE, dropout=DROPOUT)
        estimator = cls(encoders=encoder, random_state=task["seed"], **params)
        found = estimator.fit(X_train, data.y[train]).predict(X_test)
    return {"accuracy": float(np.mean(found == data.y[test]))}


def main() -> None:
    """Run."""
    parser = make_parser(__doc__, seeds=5)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--splits", type=int, default=5, help="splits of each set to use (5)")
    args = parser.parse_args()
    tasks = [
        {"set": name, "method": method, "plain": plain, "split": split, "seed": seed}
        for name in args.sets
        for method in args.methods
        for plain in (True, False)
        for seed in seeds_of(args)
        for split in range(1 if args.quick else min(args.splits, len(load_set(name).splits)))
    ]
    results = run_tasks(fit, tasks, name="plain_torch", args=args)
    is_part = (args.sets, args.methods) != (list(SETS), list(METHODS))
    report = Report("plain_torch", "Against the same models in plain torch", args, is_part=is_part)

    def accuracies(name: str, method: str, plain: bool) -> list[float]:
        mine = [r for r in results if (r["set"], r["method"], r["plain"]) == (name, method, plain)]
        seeds = sorted({r["seed"] for r in mine})
        return [float(np.mean([r["accuracy"] for r in mine if r["seed"] == s])) for s in seeds]

    rows = []
    for name in args.sets:
        for method in args.methods:
            plain, ours = (accuracies(name, method, which) for which in (True, False))
            rows.append(
                {
                    "set": name,
                    "method": method,
                    "plain torch": mean_std(plain),
                    "package": mean_std(ours),
                    "difference, points": 100 * (float(np.mean(ours)) - float(np.mean(plain))),
                }
            )
    report.targets(
        [
            (f"{r['method']} on {r['set']}, points", r["difference, points"], f">= -{POINTS}",
             r["difference, points"] >= -POINTS)
            for r in rows
        ]
    )  # fmt: skip
    report.table("Accuracy, mean over splits (± over seeds)", rows)
    counts = {name: len(load_set(name).splits[0][1]) for name in args.sets}
    report.text(
        f"Test rows of the first split: {counts}, {args.splits} split(s) of each set at most. The "
        "plain MNL and InTense map every encoding to 8 features first; the package's MNL takes it "
        "as it is. Up to 1000 rows the package fits all rows again, for the epochs that did best."
    )
    report.write()


if __name__ == "__main__":
    main()
