"""The training loop of the plain models, as one writes it without a package around it.

AdamW, a learning rate that decays, a part of the rows held out, and the weights of the epoch that
did best on them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as nnf

__all__ = [
    "CODE",
    "DROPOUT",
    "HELD_OUT",
    "LATENT",
    "LR",
    "REG",
    "WIDTH",
    "Budget",
    "fit_plain",
    "mlp",
]

WIDTH, CODE, LATENT = 64, 32, 8  # of the encoders' hidden layer, of what they return, of products
LR, LR_DECAY, DECAY, DROPOUT, HELD_OUT = 0.003, 0.98, 0.01, 0.2, 0.2
REG = 1e-3  # of the block-norm penalty, on both sides


@dataclass(frozen=True)
class Budget:
    """Epochs, epochs without a better one, rows of a batch and first learning rate."""

    epochs: int
    patience: int
    batch: int
    lr: float = LR


def mlp(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    """Return a network with one hidden layer."""
    return nn.Sequential(
        nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(n_hidden, n_out)
    )


def fit_plain(
    make: Callable[[list[int], int], Any],
    X: Sequence[np.ndarray],
    y: np.ndarray,
    seed: int,
    budget: Budget,
) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """Train a plain model; return what predicts.

    Modalities are (n, d), or (n, T, d) with NaN where a row has fewer steps; `make` gets their
    shapes without n and the number of classes.
    """
    axes = [tuple(range(v.ndim - 1)) for v in X]
    means = [np.nanmean(v, a) for v, a in zip(X, axes, strict=True)]
    scales = [np.maximum(np.nanstd(v, a), 1e-8) for v, a in zip(X, axes, strict=True)]

    def scaled(values: Sequence[np.ndarray]) -> list[Tensor]:
        parts = zip(values, means, scales, strict=True)
        return [torch.tensor((v - m) / s, dtype=torch.float32) for v, m, s in parts]

    rows = np.arange(len(y))
    kept, held = train_test_split(rows, test_size=HELD_OUT, stratify=y, random_state=seed)
    x, target = scaled(X), torch.tensor(y)
    # Plain code seeds globally; the fork keeps this to itself.
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)  # noqa: TID251 that is how a plain script does it
        model = make([v.shape[1:] for v in X], int(y.max()) + 1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=budget.lr, weight_decay=DECAY)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, LR_DECAY)
        best, state, waited = np.inf, None, 0
        for _ in range(budget.epochs):
            model.train()
            for some in torch.tensor(kept)[torch.randperm(len(kept))].split(budget.batch):
                if len(some) < 2:
                    continue
                optimizer.zero_grad()
                model.loss([v[some] for v in x], target[some]).backward()
                optimizer.step()
            scheduler.step()
            model.eval()
            with torch.no_grad():
                value = float(nnf.cross_entropy(model([v[held] for v in x]), target[held]))
            waited += 1
            if value < best:
                best, state, waited = value, copy.deepcopy(model.state_dict()), 0
            if waited >= budget.patience:
                break
    model.load_state_dict(state)

    @torch.no_grad()
    def predict(values: Sequence[np.ndarray]) -> np.ndarray:
        # Batch statistics of the flat models stand in for running ones: all rows at a time.
        found: np.ndarray = model.eval()(scaled(values)).argmax(1).numpy()
        return found

    return predict
