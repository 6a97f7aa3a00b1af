"""SynthGene and SynthGene-tri: nucleotide sequences with planted motifs ([IT] 4.1, appendix C).

Array letters: ``n`` samples, ``T`` steps of a sequence, 4 nucleotides in the order ``ACGT``.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._errors import InputError

__all__ = ["make_synthgene", "make_synthgene_tri"]

Encoding = Literal["onehot", "codes"]

_ALPHABET = "ACGT"
# Row c is the motif that stands for class (or bit) c; [IT] appendix C.
_MOTIFS = ("GATGTAC", "ACGTAGC")
_MOTIF_CODES = np.array(
    [[_ALPHABET.index(letter) for letter in motif] for motif in _MOTIFS], np.int8
)
_MOTIF_LENGTH = _MOTIF_CODES.shape[1]

_COMMON_CONSTRAINTS: dict[str, list[Any]] = {
    "n_samples": [Interval(Integral, 1, None, closed="left")],
    "length": [Interval(Integral, _MOTIF_LENGTH, None, closed="left")],
    "encoding": [StrOptions({"onehot", "codes"})],
    "return_X_y": ["boolean"],
    "random_state": ["random_state"],
}


@validate_params(
    {
        **_COMMON_CONSTRAINTS,
        "n_modalities": [Interval(Integral, 1, None, closed="left")],
        "probabilities": ["array-like"],
    },
    prefer_skip_nested_validation=True,
)
def make_synthgene(
    n_samples: int = 10_000,
    n_modalities: int = 10,
    length: int = 100,
    probabilities: Sequence[float] = (0.9, 0.75, 0.6),
    *,
    encoding: Encoding = "onehot",
    return_X_y: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    r"""Make sequences of which the first few carry a class motif, the others nothing.

    An additive task with a known order of modalities: use it to see whether relevance scores
    rank informative modalities and leave the others at zero. Every sequence is uniform noise
    over ``ACGT``. With probability ``probabilities[m]`` modality m shows the motif of the row's
    class (``GATGTAC`` for 0, ``ACGTAGC`` for 1) at a uniform place. Classes are balanced.

    Parameters
    ----------
    n_samples : int, default=10_000
        Number of rows; the classes differ by at most one row.
    n_modalities : int, default=10
        Number of sequences per row, named ``"m1"``, ``"m2"``, ...
    length : int, default=100
        Steps per sequence, at least 7, the length of a motif.
    probabilities : array-like of float in [0, 1], default=(0.9, 0.75, 0.6)
        Chance that modality 1, 2, ... shows the motif; 0 for the modalities beyond the list,
        which must not be longer than `n_modalities`.
    encoding : {"onehot", "codes"}, default="onehot"
        ``"onehot"`` gives float32 arrays (n_samples, length, 4); ``"codes"`` gives int8 arrays
        (n_samples, length) with 0 to 3 for A, C, G, T, a sixteenth of the memory. The sequences
        are the same for the same `random_state`.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    random_state : int, RandomState instance or None, default=None
        Seed of the sequences; give an int for the same data at each call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : dict of str to ndarray
            The sequences by modality name.
        target : ndarray of shape (n_samples,), int64
            The class, 0 or 1.
        motif_positions : dict of str to ndarray of shape (n_samples,), int64
            First step of the planted motif, -1 where none was planted.
        probabilities : dict of str to float
            Chance of a motif by modality name.
        motifs : tuple of str
            The motif of class 0 and that of class 1.
        bayes_accuracy : float
            Accuracy of the best rule given the planted motifs,
            :math:`1 - \frac12 \prod_m (1 - p_m)`. Motifs that arise by chance (about
            ``length / 4 ** 7`` per motif and sequence) are not counted.
        feature_names : list of str
            The nucleotide of each code.
        DESCR : str
            Description.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    ValueError
        If there are more probabilities than modalities, or one lies outside [0, 1].

    References
    ----------
    .. [1] Varshneya et al. (2024), "Interpretable Tensor Fusion", section 4.1 and appendix C,
       https://arxiv.org/abs/2405.04671

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import make_synthgene
    >>> genes = make_synthgene(100, n_modalities=4, random_state=0)
    >>> list(genes.data), genes.data["m1"].shape
    (['m1', 'm2', 'm3', 'm4'], (100, 100, 4))
    >>> round(genes.bayes_accuracy, 3)
    0.995
    """
    chances = _check_probabilities(probabilities, n_modalities)
    rng = check_random_state(random_state)
    target = rng.permutation(np.arange(n_samples, dtype=np.int64) % 2)
    codes, positions = {}, {}
    for index, chance in enumerate(chances):
        name = f"m{index + 1}"
        shown = rng.uniform(size=n_samples) < chance
        codes[name], positions[name] = _plant(rng, target, shown, length)
    X = _encode(codes, encoding)
    if return_X_y:
        return X, target
    bayes_accuracy = float(1 - 0.5 * np.prod(1 - chances))
    description = (
        f"SynthGene ([IT] 4.1): {n_samples} rows of {n_modalities} sequences of {length} steps "
        f"over {_ALPHABET}. Class 0 plants {_MOTIFS[0]}, class 1 plants {_MOTIFS[1]}, at a "
        "uniform place, in modality m with probability p_m. Only the planted motifs tell the "
        f"class, each by itself: the task is additive. Bayes accuracy {bayes_accuracy:.4f}."
    )
    return Bunch(
        data=X,
        target=target,
        motif_positions=positions,
        probabilities=dict(zip(codes, chances.tolist(), strict=True)),
        motifs=_MOTIFS,
        bayes_accuracy=bayes_accuracy,
        feature_names=list(_ALPHABET),
        DESCR=description,
    )


@validate_params(
    {
        **_COMMON_CONSTRAINTS,
        "variant": [StrOptions({"two_motifs", "presence"})],
        "n_noise_modalities": [Interval(Integral, 0, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def make_synthgene_tri(
    n_samples: int = 10_000,
    length: int = 100,
    variant: Literal["two_motifs", "presence"] = "two_motifs",
    n_noise_modalities: int = 1,
    *,
    encoding: Encoding = "onehot",
    return_X_y: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    """Make sequences whose class is the exclusive or of modalities 1 and 2.

    A pure interaction: no modality alone says anything, so that the relevance of ``"m1 x m2"``
    should be one and every other zero. Modality 1 and modality 2 each hold a fair coin's bit as
    a motif at a uniform place; the other modalities are uniform noise over ``ACGT``.

    Parameters
    ----------
    n_samples : int, default=10_000
        Number of rows.
    length : int, default=100
        Steps per sequence, at least 7, the length of a motif.
    variant : {"two_motifs", "presence"}, default="two_motifs"
        ``"two_motifs"``: the bit chooses the motif, ``GATGTAC`` or ``ACGTAGC``, one of which is
        always there; class 1 if modalities 1 and 2 hold different ones (as the paper's authors
        generate it). ``"presence"``: the bit says whether ``ACGTAGC`` is there at all; class 1
        if both or none hold it (as the paper's text has it). The second is much harder to learn.
    n_noise_modalities : int, default=1
        Number of modalities after the first two that hold no motif.
    encoding : {"onehot", "codes"}, default="onehot"
        As in :func:`make_synthgene`.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    random_state : int, RandomState instance or None, default=None
        Seed of the sequences; give an int for the same data at each call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As :func:`make_synthgene` returns it, less ``probabilities``, and with

        bits : dict of str to ndarray of shape (n_samples,), int64
            The bits of modalities 1 and 2.
        relevance : dict of str to float
            The truth, ``{"m1 x m2": 1.0}``; every other term is zero.
        bayes_accuracy : float
            1.0: the planted motifs decide the class. Chance motifs are not counted; with
            ``"presence"`` they cost about ``(length - 6) / 4 ** 7``, 0.006 at length 100.
    (data, target) : tuple if `return_X_y` is True

    References
    ----------
    .. [1] Varshneya et al. (2024), "Interpretable Tensor Fusion", section 4.1 and appendix C,
       https://arxiv.org/abs/2405.04671

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import make_synthgene_tri
    >>> genes = make_synthgene_tri(100, length=20, encoding="codes", random_state=0)
    >>> genes.data["m3"].shape
    (100, 20)
    >>> bool(((genes.bits["m1"] != genes.bits["m2"]) == genes.target).all())
    True
    """
    rng = check_random_state(random_state)
    bits = {name: rng.randint(0, 2, size=n_samples).astype(np.int64) for name in ("m1", "m2")}
    unequal = bits["m1"] ^ bits["m2"]
    target = unequal if variant == "two_motifs" else 1 - unequal
    codes, positions = {}, {}
    for index in range(2 + n_noise_modalities):
        name = f"m{index + 1}"
        bit = bits.get(name, np.zeros(n_samples, np.int64))
        shown = np.full(n_samples, name in bits)
        if variant == "presence":
            shown &= bit == 1
        codes[name], positions[name] = _plant(rng, bit, shown, length)
    X = _encode(codes, encoding)
    if return_X_y:
        return X, target
    rule = (
        f"each hold {_MOTIFS[0]} (bit 0) or {_MOTIFS[1]} (bit 1); class 1 if the bits differ."
        if variant == "two_motifs"
        else f"each hold {_MOTIFS[1]} (bit 1) or no motif (bit 0); class 1 if the bits are equal."
    )
    description = (
        f"SynthGene-tri ([IT] 4.1), variant {variant!r}: {n_samples} rows of {len(codes)} "
        f"sequences of {length} steps over {_ALPHABET}. Modalities m1 and m2 {rule} The others "
        "are noise. The task is a pure interaction of m1 and m2."
    )
    return Bunch(
        data=X,
        target=target,
        bits=bits,
        motif_positions=positions,
        motifs=_MOTIFS,
        relevance={"m1 x m2": 1.0},
        bayes_accuracy=1.0,
        feature_names=list(_ALPHABET),
        DESCR=description,
    )


def _check_probabilities(probabilities: Sequence[float], n_modalities: int) -> NDArray[np.float64]:
    """Return the chance of a motif for each modality, zeros where the user gave none."""
    given = np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 1 or len(given) > n_modalities:
        raise InputError(
            f"probabilities: expected a list of at most n_modalities={n_modalities} numbers, "
            f"got shape {given.shape}. Give more modalities or fewer probabilities."
        )
    if not ((given >= 0) & (given <= 1)).all():
        raise InputError(f"probabilities: expected numbers in [0, 1], got {given.tolist()}.")
    return np.concatenate([given, np.zeros(n_modalities - len(given))])


def _plant(
    rng: np.random.RandomState, bit: NDArray[np.int64], shown: NDArray[np.bool_], length: int
) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """Draw noise sequences (n, T) and write motif ``bit[i]`` into the rows that are `shown`.

    Also returns the first step of each motif, -1 where none was planted.
    """
    n_samples = len(bit)
    codes = rng.randint(0, len(_ALPHABET), size=(n_samples, length), dtype=np.int8)
    start = rng.randint(0, length - _MOTIF_LENGTH + 1, size=n_samples)
    rows = np.flatnonzero(shown)
    steps = start[rows, None] + np.arange(_MOTIF_LENGTH)
    codes[rows[:, None], steps] = _MOTIF_CODES[bit[rows]]
    return codes, np.where(shown, start, -1).astype(np.int64)


def _encode(codes: dict[str, NDArray[np.int8]], encoding: Encoding) -> dict[str, NDArray[Any]]:
    """Return the codes as they are, or one-hot as (n, T, 4) float32."""
    if encoding == "codes":
        return dict(codes)
    letters = np.eye(len(_ALPHABET), dtype=np.float32)
    return {name: letters.take(values, axis=0) for name, values in codes.items()}
