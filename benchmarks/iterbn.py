"""Theorem 2 of InTense: E[dX_S / du_I] = 0 for every proper subset I of S, checked by autograd.

The means over the batch are those that the features were centred with. Orders 2 to 5, latent
sizes 1 to 4, correlated modalities, with and without row weights, float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from _common import Report, make_parser, run_tasks, seeds_of
from torch import Tensor
from torch.func import jacfwd

from sklearn_mmfusion.functional import (
    interaction_constants,
    interaction_features,
    interaction_moments,
    vector_batch_norm,
)

BOUND = 1e-10
_CHUNK_VALUES = 2_000_000


def correlated_vectors(
    order: int, latent_dim: int, n_rows: int, weight: Tensor | None, generator: torch.Generator
) -> list[Tensor]:
    """Return latent vectors with a skewed common part, normalised as the estimators do."""
    options = {"dtype": torch.float64, "generator": generator}
    common = torch.randn(n_rows, latent_dim, **options).exp()
    mixed = [common + torch.randn(n_rows, latent_dim, **options) for _ in range(order)]
    maps = [torch.randn(latent_dim, latent_dim, **options) for _ in range(order)]
    raw = [h @ a for h, a in zip(mixed, maps, strict=True)]
    return [vector_batch_norm(h, weight)[0] for h in raw]


def mean_derivatives(us: Sequence[Tensor], share: Tensor) -> dict[tuple[int, ...], Tensor]:
    """Return E[dX_S / du_I] by I, without the whole of S; the empty I is the mean itself.

    A shift that all rows share has as its derivative the mean of the rows' own derivatives. The
    batch's moments are constants.
    """
    order, d = len(us), us[0].shape[1]
    moments = interaction_moments(us, share)
    constants = interaction_constants(moments, order)

    def mean_feature(rows: slice, *shifts: Tensor) -> Tensor:
        shifted = [u[rows] + shift for u, shift in zip(us, shifts, strict=True)]
        features = interaction_features(shifted, constants)
        return torch.einsum("b,b...->...", share[rows], features)

    zeros = [torch.zeros(d, dtype=torch.float64) for _ in us]
    found = {}
    for size in range(order):
        for subset in combinations(range(order), size):
            step = max(1, _CHUNK_VALUES // d ** (order + size))
            total: Any = 0.0
            for start in range(0, len(share), step):
                rows = slice(start, start + step)

                def of_rows(*shifts: Tensor, rows: slice = rows) -> Tensor:
                    return mean_feature(rows, *shifts)

                for m in subset:
                    of_rows = jacfwd(of_rows, argnums=m)
                total = total + of_rows(*zeros)
            found[subset] = total
    return found


def check(task: dict[str, Any]) -> dict[str, Any]:
    """Return the largest mean derivative of one order and latent size."""
    generator = torch.Generator().manual_seed(task["seed"])
    n_rows, weight = task["n_rows"], None
    if task["weighted"]:
        weight = torch.rand(n_rows, dtype=torch.float64, generator=generator)
        weight[: n_rows // 8] = 0
    us = correlated_vectors(task["order"], task["latent_dim"], n_rows, weight, generator)
    ones = torch.ones(n_rows, dtype=torch.float64)
    share = ones / n_rows if weight is None else weight / weight.sum()
    derivatives = mean_derivatives(us, share)
    products = us[0]
    for u in us[1:]:
        products = torch.einsum("bi,bj->bij", products, u).flatten(1)
    return {
        "largest": max(float(value.abs().max()) for value in derivatives.values()),
        # What would be there without centring: the mean of the plain product.
        "uncentred": float((share @ products).abs().max()),
        "subsets": len(derivatives),
    }


def _rows(order: int) -> int:
    """Return the batch size; the property holds for any, order 5 takes minutes."""
    return 200 if order < 5 else 50


def main() -> None:
    """Run."""
    args = make_parser(__doc__, seeds=3).parse_args()
    tasks = [
        {
            "order": order,
            "latent_dim": d,
            "weighted": w,
            "n_rows": _rows(order),
            "seed": seed,
        }
        for order in ((2, 3) if args.quick else (2, 3, 4, 5))
        for d in range(1, 5)
        for w in (False, True)
        for seed in seeds_of(args)
    ]
    results = run_tasks(check, tasks, name="iterbn", args=args)
    report = Report("iterbn", "IterBN: mean derivatives over the batch", args)
    largest = max(r["largest"] for r in results)
    report.targets(
        [("largest |E[dX_S / du_I]|", f"{largest:.1e}", f"< {BOUND:g}", largest < BOUND)]
    )
    rows = []
    for order in dict.fromkeys(r["order"] for r in results):
        for d in dict.fromkeys(r["latent_dim"] for r in results):
            mine = [r for r in results if r["order"] == order and r["latent_dim"] == d]
            rows.append(
                {
                    "order": order,
                    "latent_dim": d,
                    "subsets": mine[0]["subsets"],
                    "largest": f"{max(r['largest'] for r in mine):.1e}",
                    "largest, weighted rows": (
                        f"{max(r['largest'] for r in mine if r['weighted']):.1e}"
                    ),
                    "mean of the plain product": max(r["uncentred"] for r in mine),
                }
            )
    report.table("By order and latent size, largest over seeds", rows)
    report.text(
        "Forward-mode derivatives of interaction_features with respect to a shift of u_m that all "
        "rows share; 200 rows (50 at order 5) of latent vectors with a common skewed part; moments "
        "held constant."
    )
    report.write()


if __name__ == "__main__":
    main()
