"""The real data sets: modalities, splits and the settings of the baselines.

The files are read from the folder that the environment variable MMFUSION_DATA names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from sklearn_mmfusion import ModalityFrame, ModalityTransformer

__all__ = ["SETS", "RealSet", "load_arrays", "load_set", "prepare", "summarise"]

Split = tuple[np.ndarray, np.ndarray]


@dataclass
class RealSet:
    """One data set as all methods see it.

    Attributes
    ----------
    X : dict of str to ndarray
        Modalities.
    y : ndarray
        Labels.
    splits : list of (train rows, test rows)
        Given splits.
    C : float
        Inverse penalty of the logistic regressions.
    sequences : bool
        Whether the baselines see (n, T, d) as mean, std, min, max and last - first of each
        feature; else flattened.
    preprocess : ModalityTransformer or None
        What is fitted on the training rows before any method, ours and baselines.
    fusion_params : dict
        Parameters of our estimators that the data ask for.
    additive : bool
        Whether the truth has no interaction, so that MNL is held to the target.
    """

    X: dict[str, np.ndarray]
    y: np.ndarray
    splits: list[Split]
    C: float
    sequences: bool = False
    preprocess: ModalityTransformer | None = None
    fusion_params: dict[str, Any] | None = None
    additive: bool = True


def load_arrays(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file; half precision becomes single."""
    folder = os.environ.get("MMFUSION_DATA")
    if not folder:
        raise SystemExit("set the environment variable MMFUSION_DATA to the folder of the data")
    with np.load(Path(folder) / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return {
        key: value.astype(np.float32) if value.dtype == np.float16 else value
        for key, value in arrays.items()
    }


def _modalities(arrays: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: arrays[f"X_{name}"] for name in names}


def _official(arrays: dict[str, np.ndarray]) -> list[Split]:
    return [(arrays["train_idx"], arrays["test_idx"])]


def _stratified(y: np.ndarray) -> list[Split]:
    return list(StratifiedKFold(5, shuffle=True, random_state=0).split(y, y))


def _grouped(y: np.ndarray, groups: np.ndarray) -> list[Split]:
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return list(folds.split(y, y, groups))


def _mosi_clean() -> RealSet:
    arrays = load_arrays("mosi")
    X = _modalities(arrays, "text_lsa", "audio")
    return RealSet(X, arrays["y"], _official(arrays), C=0.05)


def _mosi_clean_cv() -> RealSet:
    arrays = load_arrays("mosi")
    X = _modalities(arrays, "text_lsa", "audio")
    return RealSet(X, arrays["y"], _grouped(arrays["y"], arrays["groups"]), C=0.05)


def _mosi_all() -> RealSet:
    # The CNN features of text and video have seen the labels of the training rows.
    arrays = load_arrays("mosi")
    X = _modalities(arrays, "text_cnn", "audio", "video_cnn")
    return RealSet(X, arrays["y"], _official(arrays), C=0.01)


def _mustard() -> RealSet:
    arrays = load_arrays("mustard")
    fold = arrays["fold_id"]
    splits = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)]
    X = _modalities(arrays, "utterance", "context", "speaker")
    return RealSet(X, arrays["y"], splits, C=0.003)


def _wiki() -> RealSet:
    arrays = load_arrays("wiki")
    return RealSet(_modalities(arrays, "image", "text"), arrays["y"], _official(arrays), C=0.3)


def _avmnist() -> RealSet:
    arrays = load_arrays("avmnist_fsdd")
    # The images are of rank 4: their four components hold all there is.
    components = ModalityTransformer([("image", PCA(4, random_state=0))])
    X = _modalities(arrays, "image", "audio")
    return RealSet(X, arrays["y"], _official(arrays), C=0.01, preprocess=components)


def _avdigits() -> RealSet:
    arrays = load_arrays("avdigits_xor")
    X = _modalities(arrays, "image", "audio")
    return RealSet(X, arrays["y"], _official(arrays), C=0.01, additive=False)


def _cogload(splits: str = "official") -> RealSet:
    arrays = load_arrays("cogload")
    X = _modalities(arrays, "gsr", "hr", "rr", "temp", "acc")
    by_subject = splits == "subject"
    given = _grouped(arrays["y"], arrays["groups"]) if by_subject else _official(arrays)
    # Two segments have no acceleration.
    return RealSet(X, arrays["y"], given, C=0.1, sequences=True, fusion_params={"missing": "mask"})


def _cogload_cv() -> RealSet:
    return _cogload("subject")


def _zuco() -> RealSet:
    arrays = load_arrays("zuco_ner")
    X = _modalities(arrays, "text", "gaze", "eeg")
    return RealSet(X, arrays["y"], _grouped(arrays["y"], arrays["groups"]), C=0.1)


def _mfeat() -> RealSet:
    arrays = load_arrays("mfeat")
    X = _modalities(arrays, "fac", "fou", "kar", "mor", "pix", "zer")
    return RealSet(X, arrays["y"], _stratified(arrays["y"]), C=0.1)


def _dermatology() -> RealSet:
    arrays = load_arrays("dermatology")
    X = _modalities(arrays, "clinical", "histopathology")
    # Eight patients have no age.
    ages = ModalityTransformer([("clinical", SimpleImputer(strategy="median"))])
    return RealSet(X, arrays["y"], _stratified(arrays["y"]), C=0.1, preprocess=ages)


SETS: dict[str, Callable[[], RealSet]] = {
    "mosi_clean": _mosi_clean,
    "mosi_all": _mosi_all,
    "mustard": _mustard,
    "wiki": _wiki,
    "avmnist_fsdd": _avmnist,
    "avdigits_xor": _avdigits,
    "cogload": _cogload,
    "zuco_ner": _zuco,
    "mfeat": _mfeat,
    "dermatology": _dermatology,
}
"""Sets with their given splits; those of the last two are ours (stratified, 5 folds)."""

_MORE_SPLITS = {"mosi_clean_cv": _mosi_clean_cv, "cogload_cv": _cogload_cv}


@lru_cache(maxsize=2)
def load_set(name: str) -> RealSet:
    """Return a set of SETS, or "mosi_clean_cv" and "cogload_cv" in five folds by group."""
    return {**SETS, **_MORE_SPLITS}[name]()


def prepare(data: RealSet, train: np.ndarray, test: np.ndarray) -> tuple[ModalityFrame, ...]:
    """Return training and test rows after the preprocessing of the set."""
    frame = ModalityFrame(data.X)
    parts = frame.iloc[train], frame.iloc[test]
    if data.preprocess is None:
        return parts
    transformer = clone(data.preprocess).fit(parts[0])
    return transformer.transform(parts[0]), transformer.transform(parts[1])


def summarise(values: np.ndarray) -> np.ndarray:
    """Return mean, std, min, max and last - first over the steps, (n, T, d) to (n, 5 d)."""
    parts = [values.mean(1), values.std(1), values.min(1), values.max(1)]
    return np.concatenate([*parts, values[:, -1] - values[:, 0]], axis=1)
