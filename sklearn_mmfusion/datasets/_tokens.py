"""Tokens of +1 and -1: their joint distribution, draws from it, and the ANOVA of a signal."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .._errors import InputError
from ._anova import finite_functional_anova

__all__ = ["Term", "TokenBlock", "anova_truth", "draw_tokens", "joint_distribution"]

Term = tuple[str, ...]

# A table has 2 ** modalities states; beyond this the decomposition would take minutes.
_MAX_MODALITIES = 10
# Parts with a standard deviation below this share of the largest coefficient are round-off.
_ROUND_OFF = 1e-9


@dataclass
class TokenBlock:
    """Terms that use the same tokens, one per modality; blocks are independent of each other."""

    name: str
    modalities: list[str]
    terms: dict[Term, float]


def _quantile_intervals(chances: list[float]) -> Iterator[tuple[float, NDArray[np.bool_]]]:
    """Yield the width of each interval of the common variable and who is +1 there."""
    for low, high in pairwise([0.0, *sorted(set(chances)), 1.0]):
        yield high - low, np.array([chance > low for chance in chances])


def joint_distribution(chances: list[float], correlation: float) -> NDArray[np.float64]:
    """Return the probability of each state of the tokens: (2, ..., 2), index 1 being +1.

    Given the common variable, tokens are independent: +1 with chance ``copy * [the variable is
    below the modality's chance] + (1 - copy) * that chance``, ``copy = sqrt(correlation)``.
    """
    copy = np.sqrt(correlation)
    joint = np.zeros((2,) * len(chances))
    for width, below in _quantile_intervals(chances):
        table = np.array(width)
        for chance, one in zip(chances, below, strict=True):
            plus = copy * one + (1 - copy) * chance
            table = np.multiply.outer(table, np.array([1 - plus, plus]))
        joint += table
    return joint


def draw_tokens(
    rng: np.random.RandomState,
    modalities: list[str],
    chances: dict[str, float],
    correlation: float,
    n_samples: int,
) -> dict[str, NDArray[np.float64]]:
    """Draw a token (n_samples,) per modality with the distribution of `joint_distribution`."""
    common = rng.uniform(size=n_samples)
    tokens = {}
    for name in modalities:
        copies = rng.uniform(size=n_samples) < np.sqrt(correlation)
        quantile = np.where(copies, common, rng.uniform(size=n_samples))
        tokens[name] = np.where(quantile < chances[name], 1.0, -1.0)
    return tokens


def anova_truth(
    blocks: list[TokenBlock], chances: dict[str, float], correlation: float
) -> tuple[dict[Term, float], float, float]:
    """Return the standard deviation of each ANOVA part, and the signal's mean and std.

    Parts come for the terms of the blocks and for every other term whose part is not zero, by
    size and then in the order of `chances`. Blocks are independent: the parts of their sum are
    the sums of their parts, and variances add up.
    """
    mean, variance = 0.0, 0.0
    given = {term: a for block in blocks for term, a in block.terms.items()}
    variances = dict.fromkeys(given, 0.0)
    for block in blocks:
        table = _signal_table(block)
        joint = joint_distribution([chances[name] for name in block.modalities], correlation)
        block_mean = float((joint * table).sum())
        mean += block_mean
        variance += float((joint * (table - block_mean) ** 2).sum())
        for axes, part in finite_functional_anova(table, joint).items():
            if axes:
                term = tuple(block.modalities[axis] for axis in axes)
                variances[term] = variances.get(term, 0.0) + float((joint * part**2).sum())
    floor = _ROUND_OFF * max(abs(a) for a in given.values())
    stds = {term: float(np.sqrt(v)) for term, v in variances.items()}
    kept = {term: std if std > floor else 0.0 for term, std in stds.items()}
    names = list(chances)
    order = sorted(kept, key=lambda term: (len(term), [names.index(name) for name in term]))
    truth = {term: kept[term] for term in order if term in given or kept[term] > 0}
    return truth, mean, float(np.sqrt(variance))


def _signal_table(block: TokenBlock) -> NDArray[np.float64]:
    """Return the block's signal in each state of its tokens, (2, ..., 2)."""
    n_modalities = len(block.modalities)
    if n_modalities > _MAX_MODALITIES:
        raise InputError(
            f"coefficients: expected at most {_MAX_MODALITIES} modalities that share tokens or a "
            f'term, got {n_modalities}. Use tokens="separate", or fewer modalities.'
        )
    states = np.meshgrid(*[[-1.0, 1.0]] * n_modalities, indexing="ij")
    table = np.zeros((2,) * n_modalities)
    for term, a in block.terms.items():
        table += a * np.prod([states[block.modalities.index(name)] for name in term], axis=0)
    return table
