"""What the two SynthGene benchmarks share."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from sklearn_mmfusion import Conv1dEncoder, ModalityFrame

__all__ = ["gene_encoder", "grouped", "split_rows"]

TEST_SIZE = 0.25


def gene_encoder() -> Conv1dEncoder:
    """Return the encoder of every sequence of every SynthGene task: one setting for all."""
    return Conv1dEncoder()


def split_rows(X: dict[str, np.ndarray], y: np.ndarray, seed: int) -> list[Any]:
    """Return training and test modalities, training and test labels; three to one."""
    return train_test_split(ModalityFrame(X), y, test_size=TEST_SIZE, random_state=seed, stratify=y)


def grouped(
    results: list[dict[str, Any]], *keys: str
) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """Return results by the values of some keys."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault(tuple(result[key] for key in keys), []).append(result)
    return groups
