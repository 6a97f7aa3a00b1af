"""Parameter descriptions that several estimators share, put into their docstrings once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TypeVar

__all__ = ["fill_docs", "share_parameter_docs"]

T = TypeVar("T", bound=type)

_FIRST = """\
modalities : mapping or list of str, default=None
    For 2-D ``X``: name to slice, list of positions or list of column names, or
    ``(columns, shape)`` for a modality that is not flat; together they cover every column
    exactly once. For a mapping: names to use, in the order of the terms. None takes a mapping
    as it is, and a 2-D ``X`` as one modality.
encoders : "auto", encoder, nn.Module, callable, mapping or list of pairs, default="auto"
    One for all modalities or by name; "auto" (:class:`EncoderByShape`) chooses by shape.
    Nested parameters are reached and searched as ``encoders__text__hidden_dim``.
"""

_JOINT = """\
    :class:`MulTEncoder` reads all modalities together, and encodes every term from the
    cross-modal streams among its members.
"""

_FUSION = """\
p : float, default=1
    Norm parameter, from 1 to infinity. 1 is sparse: terms that carry nothing get a relevance of
    exactly 0 (after the polish). Larger values spread relevance; infinity treats all terms alike.
reg : float or "auto", default="auto"
    Strength of the block-norm penalty, at least 0, relative to the mean loss on standardised
    inputs and targets. More gives fewer terms and smaller weights. "auto" is 0.02 (3 - 2/p)
    divided by the number of outputs to the power 1.5, and less where classes are rare; where the
    exact solution at this strength tells held-out rows apart clearly worse than the trained
    weights, other strengths are tried.
    With "auto", interactions have to earn their place: a model without them is fitted too, and
    kept unless the held-out loss with them is lower by more than 2.5 standard errors. Likewise,
    where every modality is the log-posterior of a classifier (:class:`EstimatorEncoder`), one
    weight per modality in their sum is kept unless a matrix each does better by two. In the end
    held-out rows choose one factor of all weights and, without interactions, a weaker penalty
    for the terms that are left.
polish : bool, default=True
    Solve the convex problem in the fusion weights exactly at the end. With ``reg="auto"`` the
    trained weights stay where every solution tells held-out rows apart clearly worse, by more
    than a fiftieth of a constant's loss. With ``modality_dropout`` they stay in any case: weights
    that are best on whole rows would not do without a modality.
n_bags : int, default=1
    Number of members: the same fit with other initial weights, batches and held-out rows each.
    Predictions and contributions are means over the members, and still add up; relevance scores
    are means with a standard deviation beside them. The first member is the fit with ``n_bags=1``,
    and ``module_``, ``encoders_``, ``n_iter_``, ``history_`` and ``validation_history_`` are its;
    all of them share what an :class:`EstimatorEncoder` has learned. Small networks of flat features
    are trained together, which takes about half the time and leaves each member as it is alone, to
    round-off.
"""

_TRAINING = """\
max_epochs : int or "auto", default="auto"
    Largest number of epochs; "auto" is 200 up to 1000 rows and 100 above.
batch_size : int or "auto", default="auto"
    Rows per step. "auto" is the full batch up to 1000 rows, then a power of two from 32 to 512
    that gives about 30 steps an epoch.
lr : float or "auto", default="auto"
    Learning rate; "auto" is 0.003, and 0.01 for MNL, InTense, RAVEN, and routing to more than ten
    classes up to 1000 rows. The others, and MNL and InTense where their weights are not solved
    for, try 0.03 as well up to 1000 rows, where an encoder has no hidden layer
    (:class:`LinearEncoder`, :class:`IdentityEncoder`, :class:`EstimatorEncoder`), and keep it if
    held-out rows say so.
lr_decay : float, default=0.98
    Factor of the learning rate per epoch, in (0, 1].
optimizer : AdamW, SGD or None, default=None
    Optimiser; None is ``AdamW()``.
weight_decay : float, default=0.01
    Decoupled decay of encoder weights. It never reaches the fusion weights: those have the
    penalty.
early_stopping : bool or "auto", default="auto"
    Hold rows out, stop when their loss no longer falls, and keep the best epoch. "auto" does so
    above 5000 rows; up to there a first fit does, and a second takes all rows for as many epochs.
    False runs all epochs on all rows. A second fit that lags far behind in its training loss is not
    kept, and the first is.
validation_fraction : float or "auto", default="auto"
    Share of the rows to hold out, in (0, 1); "auto" is 0.2 up to 5000 rows and 0.1 above. Up to
    5000 rows they are held out of a first fit only, which chooses the number of epochs and
    ``reg``; the second fit takes all rows. With ``early_stopping=True`` a number has to leave two
    rows on either side.
n_iter_no_change : int, default=12
    Epochs without a better held-out loss after which to stop.
"""

_LAST = """\
missing : {"raise", "mask"}, default="raise"
    What a row of NaN in a modality is: an error, or a row in which every term that holds the
    modality contributes exactly 0 and enters no statistic.
modality_dropout : float, default=0
    Probability, in [0, 1), with which a modality counts as missing in a training row; trains for
    missing modalities.
device : str, default="auto"
    Device to train on, and to encode the rows of ``predict`` on. "auto" is the GPU for large data
    where there is one, else the CPU. Fitted state is numpy and remembers no device: where a named
    GPU is not there, prediction is on the CPU.
distributed : {None, "auto"}, default=None
    "auto": the processes that ``torchrun`` started train one model together, each on its share of
    every batch; the fit is that of one process, which is what there is without ``torchrun``.
dtype : {"auto", "float32", "float64", "bfloat16"}, default="auto"
    Training precision; "auto" is float64 on the CPU when a modality is float64. "bfloat16"
    computes the matrix products of the encoders in it and everything else, weights, statistics,
    penalty and loss among it, in float32: for large encoders on hardware that has it. Prediction
    is always float64.
n_threads : int or None, default=1
    torch's threads within one operation while fitting and predicting; one is fastest for small
    networks. None leaves torch's setting.
compile : {False, True, "cudagraphs"}, default=False
    The same fit up to round-off, faster. "cudagraphs" records a step on a GPU once and replays
    it, without a compiler or a warm-up to speak of; networks of small layers train several times
    faster so, flat data in batches of 512 eleven times. It changes nothing on a CPU, for modules
    of the user's own and for several processes. True trains through ``torch.compile``, after a
    warm-up of seconds to minutes for each network: for long fits. It needs a C++ compiler (triton
    on a GPU).
warm_start : bool, default=False
    Start ``fit`` from the last fit's weights.
callbacks : list of skorch callbacks, default=None
    Passed to the training loop; see skorch. One that takes or monitors a score of held-out rows, as
    ``EpochScoring`` and ``EarlyStopping`` do by default, makes ``early_stopping="auto"`` hold rows
    out of the only fit, however many there are. Scorers get the target as it is trained on:
    classes as their numbers, regression targets in standard units.
net_params : dict, default=None
    Further parameters of the skorch net, for experts.
checkpoint : str or path-like, default=None
    File in which ``fit`` keeps where it is, after whole epochs. If the process dies, the same
    ``fit`` called again goes on from there, to the same result; see the user guide. The file is
    removed at the end of the fit.
random_state : int, RandomState instance or None, default=None
    Seed of initial weights, shuffling, dropout and held-out rows.
verbose : int, default=0
    1 prints a line per epoch.
"""

_ATTRIBUTES = """\
relevance_scores_ : dict of str to float
    Relevance of each term; their p-norm is 1. From the norms of the smallest weights that make the
    same contributions over the training rows, which with one output are their standard deviations
    (after ``partial_fit`` from the norms of the weights as they are). With ``n_bags`` above 1 the
    mean over the members, scaled to that norm (at ``p=1`` it has it).
relevance_std_ : dict of str to float
    Standard deviation of the relevance of each term over the members; NaN with one. It shows
    the noise of training alone: every member has seen the same rows.
contribution_std_ : ndarray of shape (n_terms, n_outputs)
    Standard deviation of each contribution over the training rows, in units of the output; of
    several members the mean.
fusion_norm_ : float
    Sum of the block norms: near 0, the model is a constant and the scores say nothing. Of
    several members the mean.
reg_ : float
    Strength of the penalty that chose the terms; of several members the mean.
relaxed_reg_ : float
    Strength of the penalty behind the final weights: ``reg_``, or less where ``reg`` is "auto" and
    held-out rows say that weak effects were shrunken too far (with interactions at ``p=1`` only).
    Of several members the mean.
calibration_factor_ : float
    What all fusion weights were multiplied by at the end: with ``reg="auto"`` the factor that fits
    held-out rows best, else 1. It changes no share. Of several members the mean.
polish_gap_ : float
    Duality gap of the fusion weights, before their factor, relative to the loss of a constant, the
    largest of the members; NaN where the weights are those of the last step of training
    (``reg=0`` among others), or those of a sum of log-posteriors.
"""

_ATTRIBUTES_ACTIVATED = """\
activations_ : ndarray of shape (n_terms,)
    Mean activation :math:`p_i` of each term over the training rows in which it is present.
activation_intervals_ : ndarray of shape (n_terms, 2)
    95 % intervals of these means.
relevance_scores_ : dict of str to float
    Relevance of each term, see the notes; they sum to 1.
contribution_shares_ : dict of str to float
    Share of each term in the mean absolute contribution to the logits; they sum to 1.
contribution_std_ : ndarray of shape (n_terms, n_outputs)
    Standard deviation of each contribution over the training rows.
"""

_ATTRIBUTES_FIT = """\
validation_gain_ : float
    Share of the loss of the best constant that the model takes away on rows it has not seen: those
    held out for early stopping or, without them, by a first fit.
    The same rows chose epochs, ``reg`` and interactions, so that it is a little optimistic: take
    test rows for a figure to report. NaN below 10 rows and after ``partial_fit``. Models that
    explain warn unless it is above two standard errors (``RelevanceWarning``, which names both).
validation_gain_error_ : float
    Standard error of ``validation_gain_``, from the losses of the held-out rows, for classes from
    their spread within each class (class weights make no rows of one), for numbers the smaller
    of those of a difference and of a ratio; of several members the mean of theirs.
term_names_ : list of str
    Names of the terms, such as ``"text x audio"``.
term_modalities_ : list of tuple of str
    Modalities of each term.
modality_names_ : list of str
    Modalities in the order of the terms.
encoders_ : dict of str to encoder
    Encoder that was used for each modality.
representations_ : dict of str to FittedRepresentation
    Fitted estimators of the modalities whose encoder is an :class:`EstimatorEncoder`; else empty.
intercept_ : ndarray of shape (n_outputs,)
    Intercept; with the contributions it adds up to the output.
n_iter_ : int
    Epochs run.
history_ : list of dict
    Training loss, held-out loss and learning rate of each epoch.
validation_history_ : list of dict
    The same of the fit that had the held-out rows of ``validation_gain_``: that of ``history_``,
    or the first of two; empty without held-out rows.
module_ : FusionNetwork
    The fitted torch module, rebuilt on demand in float64.
n_features_in_ : int
    Modalities of a mapping, columns of a 2-D ``X``.
feature_names_in_ : ndarray of str
    Names of the modalities of a mapping, or of the columns of a DataFrame.
"""


_TERM_ENTRIES = _ATTRIBUTES_FIT[
    _ATTRIBUTES_FIT.index("term_names_ :") : _ATTRIBUTES_FIT.index("modality_names")
]

_PARTS = {
    "first": _FIRST,
    "first_joint": _FIRST + _JOINT,
    "fusion": _FUSION,
    "training": _TRAINING,
    "last": _LAST,
    "attributes": _ATTRIBUTES + _ATTRIBUTES_FIT,
    "attributes_activated": _ATTRIBUTES_ACTIVATED,
    "attributes_fit": _ATTRIBUTES_FIT,
    "attributes_fit_joint": _ATTRIBUTES_FIT.replace(_TERM_ENTRIES, ""),
}


def share_parameter_docs(cls: T) -> T:
    """Fill the marks of a docstring, such as ``{first}``, with shared descriptions.

    Parameters
    ----------
    cls : type
        Class whose docstring holds these marks, each on a line of its own.

    Returns
    -------
    type
        The class.
    """
    return fill_docs(cls, _PARTS)


def fill_docs(cls: T, parts: Mapping[str, str]) -> T:
    """Put passages in the place of their marks in a docstring.

    Parameters
    ----------
    cls : type
        Class whose docstring holds marks, such as ``{first}``, each on a line of its own.
    parts : mapping of str to str
        The passage of each mark.

    Returns
    -------
    type
        The class.
    """
    doc = inspect.cleandoc(cls.__doc__ or "")  # without indentation, as from Python 3.13 on
    for name, text in parts.items():
        doc = doc.replace("{" + name + "}", text.rstrip("\n"))
    cls.__doc__ = doc
    return cls
