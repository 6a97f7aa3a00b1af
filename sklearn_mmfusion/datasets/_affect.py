"""Loaders of the affect data sets, in the files of MultiBench and of the MulT and routing papers.

The files are not distributed with the package, nor downloaded by it: their publishers give pages
to download from by hand, and no checksums to verify a download with.
"""

import os
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions, validate_params

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.datasets._affect_files import read_affect_file
from sklearn_mmfusion.datasets._affect_labels import bunch_of, columns_of, sentiment_of, yes_or_no

__all__ = ["load_iemocap", "load_mosei", "load_mosi", "load_mustard", "load_ur_funny"]

# The order of the columns in the SDK of the data sets' authors.
MOSEI_EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
IEMOCAP_EMOTIONS = ("neutral", "happy", "sad", "angry")

_PARAMETERS = {
    "path": [str, os.PathLike],
    "padding": [StrOptions({"auto", "aligned", "separate", "keep"})],
    "dtype": [StrOptions({"float32", "float64"})],
    "memmap_folder": [str, os.PathLike, None],
}


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def load_mosi(
    path: str | os.PathLike[str],
    *,
    padding: str = "auto",
    dtype: str = "float32",
    memmap_folder: str | os.PathLike[str] | None = None,
) -> Any:
    """Load CMU-MOSI: sentiment of opinions in videos, from -3 to 3.

    Use it for regression on three sequences, with the metrics of
    :func:`~sklearn_mmfusion.metrics.sentiment_scorers`. It reads ``mosi_raw.pkl`` of MultiBench
    [2]_, and ``mosi_data.pkl`` (aligned to words) and ``mosi_data_noalign.pkl`` of MulT [3]_. They
    have to be downloaded by hand from the pages that the two projects name.

    The file is a pickle, but nothing in it is run: see `path`.

    Parameters
    ----------
    path : str or path-like
        The file. Numpy arrays and plain containers are read from it, anything else is refused.
    padding : {"auto", "aligned", "separate", "keep"}, default="auto"
        Which steps are padding. The files pad with steps of zeros, most often at the front;
        such steps at both ends of a sequence are cut off, and the sequence is filled up with NaN
        at its end. ``"aligned"`` cuts off the steps in which all modalities are empty, so that
        step t stays the same word in each; ``"separate"`` cuts each modality for itself;
        ``"auto"`` is ``"aligned"`` if the modalities have the same number of steps, else
        ``"separate"``; ``"keep"`` leaves zeros and steps as they are.
    dtype : {"float32", "float64"}, default="float32"
        Type of the sequences.
    memmap_folder : str or path-like, default=None
        A folder for ``text.npy``, ``audio.npy`` and ``vision.npy``, which are written and used as
        memory maps. Use it if the sequences don't fit into memory. Files of these names are
        overwritten. With None the sequences are in memory.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : dict of str to ndarray of shape (n_samples, n_steps, n_features)
            ``"text"``, ``"audio"`` and ``"vision"``.
        target : ndarray of shape (n_samples,), float64
            The sentiment.
        splits : dict of str to ndarray of int
            The rows of ``"train"``, ``"valid"`` and ``"test"``, which stand in this order.
        ids : ndarray of str of shape (n_samples,) or (n_samples, n_parts), or None
            The names of the rows, as video, begin and end or in one; None if the file has none.
        n_replaced : dict of str to int
            How many values of a modality were NaN or infinite (as the logarithm of the energy of
            silence is) and became 0.
        DESCR : str
            Description and source.

    Raises
    ------
    InputError
        If the file is damaged, holds something else than arrays or lacks an entry.

    Notes
    -----
    MultiBench leaves out the rows without any text. Here they are kept, as rows in which the text
    is missing: fit them with ``missing="mask"``, or leave them out with
    ``~np.isnan(data["text"]).all(axis=(1, 2))``.

    References
    ----------
    .. [1] Zadeh, Zellers, Pincus & Morency (2016), "Multimodal sentiment intensity analysis in
       videos", IEEE Intelligent Systems 31(6).
    .. [2] Liang et al. (2021), "MultiBench: Multiscale benchmarks for multimodal representation
       learning", NeurIPS Datasets and Benchmarks. https://github.com/pliang279/MultiBench
    .. [3] Tsai et al. (2019), "Multimodal Transformer for unaligned multimodal language
       sequences", ACL. https://github.com/yaohungt/Multimodal-Transformer

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_mosi
    >>> mosi = load_mosi("mosi_data.pkl")  # doctest: +SKIP
    >>> rows = mosi.splits["train"]  # doctest: +SKIP
    >>> X_train = {name: values[rows] for name, values in mosi.data.items()}  # doctest: +SKIP
    """
    file = read_affect_file(path, padding=padding, dtype=dtype, memmap_folder=memmap_folder)
    description = "CMU-MOSI: the sentiment, from -3 to 3, of opinions in monologues on video."
    return bunch_of(file, description, sentiment_of(path, file.labels))


@validate_params(
    {**_PARAMETERS, "target": [StrOptions({"sentiment", "emotions"})]},
    prefer_skip_nested_validation=True,
)
def load_mosei(
    path: str | os.PathLike[str],
    *,
    target: str = "sentiment",
    padding: str = "auto",
    dtype: str = "float32",
    memmap_folder: str | os.PathLike[str] | None = None,
) -> Any:
    """Load CMU-MOSEI: sentiment from -3 to 3, or six emotions, of sentences in videos.

    Use it for regression (sentiment) or multilabel classification (emotions) on three sequences.
    It reads ``mosei_raw.pkl`` of MultiBench, ``mosei_senti_data.pkl`` and
    ``mosei_senti_data_noalign.pkl`` of MulT, and the file with six emotions of the routing paper
    [2]_. They have to be downloaded by hand from the pages that the projects name. Set
    `memmap_folder` for the file of 12 GB that is not aligned.

    Parameters
    ----------
    path : str or path-like
        The file. Numpy arrays and plain containers are read from it, anything else is refused.
    target : {"sentiment", "emotions"}, default="sentiment"
        Which labels to return. A file may have one column (the sentiment), six (the emotions) or
        seven (the sentiment, then the emotions).
    padding : {"auto", "aligned", "separate", "keep"}, default="auto"
        Which steps are padding, see :func:`load_mosi`.
    dtype : {"float32", "float64"}, default="float32"
        Type of the sequences.
    memmap_folder : str or path-like, default=None
        A folder for the sequences as memory maps, see :func:`load_mosi`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As that of :func:`load_mosi`, but for

        target : ndarray of shape (n_samples,), float64, or (n_samples, 6), int64
            The sentiment; or 1 where an emotion is present in any degree, else 0.
        target_names : list of str
            The emotions, with ``target="emotions"``. The order is the one of the data set's own
            SDK; the routing paper's file does not name its columns.

    Raises
    ------
    InputError
        If the file is damaged, holds something else than arrays, or lacks an entry or the labels
        that `target` asks for.

    References
    ----------
    .. [1] Zadeh, Liang, Poria, Cambria & Morency (2018), "Multimodal language analysis in the
       wild: CMU-MOSEI dataset and interpretable dynamic fusion graph", ACL.
    .. [2] Tsai, Ma, Yang, Salakhutdinov & Morency (2020), "Multimodal Routing: Improving local
       and global interpretability of multimodal language analysis", EMNLP.
       https://github.com/martinmamql/multimodal_routing

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_mosei
    >>> mosei = load_mosei(
    ...     "mosei_senti_data_noalign.pkl", memmap_folder="mosei"
    ... )  # doctest: +SKIP
    """
    file = read_affect_file(path, padding=padding, dtype=dtype, memmap_folder=memmap_folder)
    description = "CMU-MOSEI: sentiment, or emotions, of sentences in monologues on video."
    if target == "sentiment":
        return bunch_of(file, description, sentiment_of(path, file.labels))
    columns = columns_of(path, file.labels, (6, 7))[:, -6:]
    return bunch_of(file, description, (columns > 0).astype(np.int64), MOSEI_EMOTIONS)


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def load_ur_funny(
    path: str | os.PathLike[str],
    *,
    padding: str = "auto",
    dtype: str = "float32",
    memmap_folder: str | os.PathLike[str] | None = None,
) -> Any:
    """Load UR-FUNNY: whether a passage of a talk makes the audience laugh.

    Use it for binary classification on three sequences. It reads ``humor.pkl`` of MultiBench,
    which has to be downloaded by hand from the page that the project names.

    Parameters
    ----------
    path : str or path-like
        The file. Numpy arrays and plain containers are read from it, anything else is refused.
    padding : {"auto", "aligned", "separate", "keep"}, default="auto"
        Which steps are padding, see :func:`load_mosi`.
    dtype : {"float32", "float64"}, default="float32"
        Type of the sequences.
    memmap_folder : str or path-like, default=None
        A folder for the sequences as memory maps, see :func:`load_mosi`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As that of :func:`load_mosi`, but for

        target : ndarray of shape (n_samples,), int64
            1 for humour, else 0.
        target_names : list of str
            ``["serious", "humorous"]``.

    Raises
    ------
    InputError
        If the file is damaged, holds something else than arrays or lacks an entry.

    References
    ----------
    .. [1] Hasan et al. (2019), "UR-FUNNY: A multimodal language dataset for understanding
       humor", EMNLP. https://github.com/ROC-HCI/UR-FUNNY

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_ur_funny
    >>> talks = load_ur_funny("humor.pkl")  # doctest: +SKIP
    """
    file = read_affect_file(path, padding=padding, dtype=dtype, memmap_folder=memmap_folder)
    description = "UR-FUNNY: humour in talks."
    return bunch_of(file, description, yes_or_no(path, file.labels), ("serious", "humorous"))


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def load_mustard(
    path: str | os.PathLike[str],
    *,
    padding: str = "auto",
    dtype: str = "float32",
    memmap_folder: str | os.PathLike[str] | None = None,
) -> Any:
    """Load MUStARD: sarcasm in dialogues of television series.

    Use it for binary classification on three sequences, with only a few hundred rows. It reads
    ``sarcasm.pkl`` of MultiBench, which has to be downloaded by hand from the page that the
    project names.

    Parameters
    ----------
    path : str or path-like
        The file. Numpy arrays and plain containers are read from it, anything else is refused.
    padding : {"auto", "aligned", "separate", "keep"}, default="auto"
        Which steps are padding, see :func:`load_mosi`.
    dtype : {"float32", "float64"}, default="float32"
        Type of the sequences.
    memmap_folder : str or path-like, default=None
        A folder for the sequences as memory maps, see :func:`load_mosi`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As that of :func:`load_mosi`, but for

        target : ndarray of shape (n_samples,), int64
            1 for sarcasm, else 0.
        target_names : list of str
            ``["sincere", "sarcastic"]``.

    Raises
    ------
    InputError
        If the file is damaged, holds something else than arrays or lacks an entry.

    References
    ----------
    .. [1] Castro et al. (2019), "Towards multimodal sarcasm detection (an _Obviously_ perfect
       paper)", ACL. https://github.com/soujanyaporia/MUStARD

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_mustard
    >>> dialogues = load_mustard("sarcasm.pkl")  # doctest: +SKIP
    """
    file = read_affect_file(path, padding=padding, dtype=dtype, memmap_folder=memmap_folder)
    description = "MUStARD: sarcasm in dialogues of television series."
    return bunch_of(file, description, yes_or_no(path, file.labels), ("sincere", "sarcastic"))


@validate_params(_PARAMETERS, prefer_skip_nested_validation=True)
def load_iemocap(
    path: str | os.PathLike[str],
    *,
    padding: str = "auto",
    dtype: str = "float32",
    memmap_folder: str | os.PathLike[str] | None = None,
) -> Any:
    """Load IEMOCAP: four emotions in acted dialogues, each present or not.

    Use it for multilabel classification on three sequences, with the metrics of
    :func:`~sklearn_mmfusion.metrics.emotion_scorers`. It reads ``iemocap_data.pkl`` and
    ``iemocap_data_noalign.pkl`` of MulT [2]_, which have to be downloaded by hand from the page
    that the project names.

    Parameters
    ----------
    path : str or path-like
        The file. Numpy arrays and plain containers are read from it, anything else is refused.
    padding : {"auto", "aligned", "separate", "keep"}, default="auto"
        Which steps are padding, see :func:`load_mosi`.
    dtype : {"float32", "float64"}, default="float32"
        Type of the sequences.
    memmap_folder : str or path-like, default=None
        A folder for the sequences as memory maps, see :func:`load_mosi`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As that of :func:`load_mosi`, but for

        target : ndarray of shape (n_samples, 4), int64
            1 where an emotion is present. The file has (n_samples, 4, 2), absent and present.
        target_names : list of str
            ``["neutral", "happy", "sad", "angry"]``.

    Raises
    ------
    InputError
        If the file is damaged, holds something else than arrays or lacks an entry.

    References
    ----------
    .. [1] Busso et al. (2008), "IEMOCAP: Interactive emotional dyadic motion capture database",
       Language Resources and Evaluation 42.
    .. [2] Tsai et al. (2019), "Multimodal Transformer for unaligned multimodal language
       sequences", ACL. https://github.com/yaohungt/Multimodal-Transformer

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import load_iemocap
    >>> dialogues = load_iemocap("iemocap_data.pkl")  # doctest: +SKIP
    """
    file = read_affect_file(path, padding=padding, dtype=dtype, memmap_folder=memmap_folder)
    labels = file.labels
    shape = labels.shape[1:]
    if shape != (4, 2) or not ((labels >= 0) & (labels.sum(axis=2, keepdims=True) == 1)).all():
        raise InputError(
            f"{path}: labels: expected four emotions as pairs (absent, present) of 0 and 1, got "
            f"shape {labels.shape}. Labels of another release have to be converted first."
        )
    description = "IEMOCAP: emotions in acted dialogues."
    return bunch_of(file, description, labels.argmax(axis=2).astype(np.int64), IEMOCAP_EMOTIONS)
