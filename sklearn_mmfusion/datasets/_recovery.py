"""Recovery tasks: sums of products of tokens, with the relevance of every term known exactly.

Array letters: ``n`` samples, ``k`` tokens of a modality, ``d`` features of its embedding.
"""

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from .._errors import InputError
from ._tokens import Term, TokenBlock, anova_truth, draw_tokens

__all__ = ["make_recovery"]


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "coefficients": [Mapping, None],
        "tokens": [StrOptions({"shared", "separate"})],
        "balance": [Interval(Real, 0, 1, closed="neither"), Mapping],
        "correlation": [Interval(Real, 0, 1, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "noise": [Interval(Real, 0, None, closed="left")],
        "target_noise": [Interval(Real, 0, None, closed="left")],
        "task": [StrOptions({"regression", "classification"})],
        "logit_scale": [Interval(Real, 0, None, closed="neither")],
        "n_noise_modalities": [Interval(Integral, 0, None, closed="left")],
        "duplicate": [str, None],
        "return_X_y": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_recovery(
    n_samples: int = 4000,
    coefficients: Mapping[Term, float] | None = None,
    *,
    tokens: Literal["shared", "separate"] = "shared",
    balance: float | Mapping[str, float] = 0.5,
    correlation: float = 0.0,
    n_features: int = 8,
    noise: float = 0.3,
    target_noise: float = 0.0,
    task: Literal["regression", "classification"] = "regression",
    logit_scale: float = 3.0,
    n_noise_modalities: int = 0,
    duplicate: str | None = None,
    return_X_y: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    r"""Make a task of which the relevance of every term is known exactly.

    Each modality hides tokens, +1 or -1, and the signal is

    .. math:: s = \sum_S a_S \prod_{m \in S} t_m .

    The relevance that a model should find for a term is the share of standard deviation of its
    functional-ANOVA part, :math:`\beta_S = \sigma_S / \sum_T \sigma_T`. For balanced,
    independent tokens that is :math:`|a_S| / \sum_T |a_T|`.

    Parameters
    ----------
    n_samples : int, default=4000
        Number of rows.
    coefficients : mapping of tuple of str to float, default=None
        :math:`a_S` by the names of the modalities of the term, as ``{("a",): 1.0, ("a", "b"):
        -0.5}``. Modalities come in the order of their first mention. None is
        ``{("a",): 1.0, ("b",): 0.5, ("a", "b"): 0.5}``.
    tokens : {"shared", "separate"}, default="shared"
        ``"shared"``: one token per modality, used by every term that holds it (at most 10
        modalities). ``"separate"``: a token of its own for each term that a modality takes part
        in, so that a model needs a map of its own for each term and modality.
    balance : float in (0, 1) or mapping of str to float, default=0.5
        Chance of +1, for all modalities or by name (0.5 for those not named). Away from 0.5 a
        product holds lower-order parts too, which appear in `relevance`.
    correlation : float in [0, 1), default=0.0
        Dependence between the modalities' tokens: each token takes the modality's own quantile
        of a variable common to all with chance ``sqrt(correlation)``, else of one of its own.
        It is Pearson's correlation where the balances are equal, else a share of the largest
        that the balances allow. Separate tokens are correlated within a term, not across terms.
    n_features : int, default=8
        Features d of each modality's embedding, at least its number of tokens.
    noise : float, default=0.3
        Standard deviation of the normal noise added to each embedded token. At 0.3, 4 in 10,000
        tokens are misread by their sign; the linear reading keeps a correlation of
        :math:`1 / \sqrt{1 + noise^2}` (0.958) with the token.
    target_noise : float, default=0.0
        Standard deviation of the normal noise added to the signal, in the signal's units.
    task : {"regression", "classification"}, default="regression"
        ``"regression"``: the target is the signal, in the coefficients' units.
        ``"classification"``: the target is 0 or 1, drawn with the logit
        ``logit_scale * (s - mean) / std``; relevance then refers to the logit.
    logit_scale : float, default=3.0
        Standard deviation of the logit; only used for classification. Larger is less noisy.
    n_noise_modalities : int, default=0
        Number of further modalities ``"noise1"``, ... of normal noise alone.
    duplicate : str, default=None
        Name of a modality of which a second view is added, ``"<name>_copy"``: the same tokens in
        an embedding of its own. Its terms can stand in for the original's, so the truth holds for
        the sums of relevance over terms that differ only in which of the two views they use.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    random_state : int, RandomState instance or None, default=None
        Seed; give an int for the same data at each call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the attributes

        data : dict of str to ndarray of shape (n_samples, n_features), float64
            The embeddings by modality name.
        target : ndarray of shape (n_samples,), float64 or int64
            The signal plus noise, or the class.
        signal : ndarray of shape (n_samples,), float64
            The signal s without noise.
        tokens : dict of str to ndarray of shape (n_samples, n_tokens), int8
            The tokens of each modality.
        token_terms : dict of str to list of str
            The term that each token belongs to; ``["all"]`` for shared tokens.
        coefficients : dict of str to float
            :math:`a_S` by term name, ``"a x b"``.
        component_std : dict of str to float
            Standard deviation :math:`\sigma_S` of each functional-ANOVA part, for every term of
            `coefficients` and every lower-order term that unbalance or correlation creates.
        relevance : dict of str to float
            :math:`\sigma_S` over their sum, in the same order (by size, then by modality).
        intercept : float
            Mean of the signal over its distribution.
        DESCR : str
            Description.
    (data, target) : tuple if `return_X_y` is True

    Raises
    ------
    ValueError
        If a term is no tuple of distinct names, a name is unknown or taken, there are more tokens
        than features, or more than 10 modalities share tokens.

    Notes
    -----
    The truth is computed from the exact distribution of the tokens, not from the sample. With
    correlated tokens **it is not unique**: what two modalities both say can be booked to either.
    `relevance` is then the hierarchically orthogonal decomposition [2]_, in which each part is
    uncorrelated with every function of fewer of its modalities; its variances do not add up to
    that of the signal.

    An embedding is :math:`x = Q [t + noise\,\varepsilon; u] + b` with a random rotation Q,
    nuisance directions u and a shift b, both standard normal, so that no single feature is a
    token, and a linear map finds all of them.

    References
    ----------
    .. [1] Varshneya et al. (2024), "Interpretable Tensor Fusion", section 4.1 and appendix C,
       https://arxiv.org/abs/2405.04671
    .. [2] Chastaing, Gamboa and Prieur (2012), "Generalized Hoeffding-Sobol decomposition for
       dependent variables", Electronic Journal of Statistics 6.

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import make_recovery
    >>> task = make_recovery(100, {("a",): 1.0, ("a", "b"): -3.0}, random_state=0)
    >>> {term: round(share, 3) for term, share in task.relevance.items()}
    {'a': 0.25, 'a x b': 0.75}
    """
    if coefficients is None:
        coefficients = {("a",): 1.0, ("b",): 0.5, ("a", "b"): 0.5}
    names = _modality_names(coefficients)
    weights = {tuple(sorted(term, key=names.index)): float(a) for term, a in coefficients.items()}
    weights = dict(sorted(weights.items(), key=lambda item: _term_order(item[0], names)))
    chances = _chances(balance, names)
    blocks = _blocks(weights, names, shared=tokens == "shared")
    columns = _token_columns(blocks, names)
    _check_embedding(columns, names, n_features, n_noise_modalities, duplicate)
    stds, mean, std = anova_truth(blocks, chances, correlation)

    rng = check_random_state(random_state)
    drawn = [draw_tokens(rng, b.modalities, chances, correlation, n_samples) for b in blocks]
    signal = np.zeros(n_samples)
    for block, values in zip(blocks, drawn, strict=True):
        for term, a in block.terms.items():
            signal += a * np.prod([values[name] for name in term], axis=0)
    hidden = {
        name: np.stack([drawn[i][name] for i in columns[name]], axis=1).astype(np.int8)
        for name in names
    }
    X = {name: _embed(rng, values, n_features, noise) for name, values in hidden.items()}
    if duplicate is not None:
        X[f"{duplicate}_copy"] = _embed(rng, hidden[duplicate], n_features, noise)
    for index in range(n_noise_modalities):
        X[f"noise{index + 1}"] = rng.standard_normal((n_samples, n_features))
    target: NDArray[Any] = signal + target_noise * rng.standard_normal(n_samples)
    if task == "classification":
        logit = logit_scale * (target - mean) / (std or 1.0)
        # A sigmoid that cannot overflow.
        chance = 0.5 * (1 + np.tanh(0.5 * logit))
        target = (rng.uniform(size=n_samples) < chance).astype(np.int64)
    if return_X_y:
        return X, target
    total = sum(stds.values())
    formula = " ".join(f"{a:+g} {' x '.join(term)}" for term, a in weights.items())
    return Bunch(
        data=X,
        target=target,
        signal=signal,
        tokens=hidden,
        token_terms={name: [blocks[i].name for i in columns[name]] for name in names},
        coefficients={" x ".join(term): a for term, a in weights.items()},
        component_std={" x ".join(term): part for term, part in stds.items()},
        relevance={" x ".join(t): part / total if total else 0.0 for t, part in stds.items()},
        intercept=mean,
        DESCR=(
            f"Recovery {task}: {n_samples} rows; signal {formula} of {tokens} +-1 tokens "
            f"(chance of +1: {chances}, correlation {correlation:g}), embedded in {n_features} "
            f"features with noise {noise:g}. True relevance: shares of standard deviation of "
            "the functional-ANOVA parts, hierarchically orthogonal if tokens are correlated."
        ),
    )


def _modality_names(coefficients: Mapping[Term, float]) -> list[str]:
    """Return the modalities in the order of their first mention, after checking the terms."""
    if not coefficients:
        raise InputError("coefficients: expected at least one term, got an empty mapping.")
    seen: set[frozenset[str]] = set()
    for term, value in coefficients.items():
        named = isinstance(term, tuple) and term and all(isinstance(m, str) for m in term)
        if not named or len(set(term)) != len(term):
            raise InputError(
                f"coefficients: expected tuples of distinct modality names, got {term!r}. "
                'Write {("a",): 1.0, ("a", "b"): 0.5}.'
            )
        if frozenset(term) in seen:
            raise InputError(f"coefficients: the term {term!r} is there twice, in two orders.")
        if not isinstance(value, Real) or not np.isfinite(value):
            raise InputError(f"coefficients: expected a finite number for {term!r}, got {value!r}.")
        seen.add(frozenset(term))
    return list(dict.fromkeys(name for term in coefficients for name in term))


def _term_order(term: Term, names: list[str]) -> tuple[int, list[int]]:
    return len(term), [names.index(name) for name in term]


def _chances(balance: float | Mapping[str, float], names: list[str]) -> dict[str, float]:
    """Return P(+1) by modality name."""
    if not isinstance(balance, Mapping):
        return dict.fromkeys(names, float(balance))
    for name, chance in balance.items():
        if name not in names:
            raise InputError(f"balance: unknown modality {name!r}, expected one of {names}.")
        if not 0 < chance < 1:
            raise InputError(f"balance: expected a number in (0, 1) for {name!r}, got {chance!r}.")
    return {name: float(balance.get(name, 0.5)) for name in names}


def _blocks(weights: dict[Term, float], names: list[str], *, shared: bool) -> list[TokenBlock]:
    """Return one block for all terms, or one for each."""
    if not shared:
        return [TokenBlock(" x ".join(term), list(term), {term: a}) for term, a in weights.items()]
    return [TokenBlock("all", names, weights)]


def _token_columns(blocks: list[TokenBlock], names: list[str]) -> dict[str, list[int]]:
    """Return the blocks in which each modality has a token."""
    return {name: [i for i, b in enumerate(blocks) if name in b.modalities] for name in names}


def _check_embedding(
    columns: dict[str, list[int]],
    names: list[str],
    n_features: int,
    n_noise_modalities: int,
    duplicate: str | None,
) -> None:
    """Raise if tokens do not fit into the features, or an added modality's name is taken."""
    for name, tokens in columns.items():
        if len(tokens) > n_features:
            raise InputError(
                f"{name}: {len(tokens)} tokens do not fit into n_features={n_features}. "
                f"Give at least {len(tokens)} features."
            )
    added = [f"noise{index + 1}" for index in range(n_noise_modalities)]
    if duplicate is not None:
        if duplicate not in names:
            raise InputError(f"duplicate: unknown modality {duplicate!r}, expected one of {names}.")
        added.append(f"{duplicate}_copy")
    taken = sorted({name for name in added if added.count(name) > 1 or name in names})
    if taken:
        raise InputError(f"coefficients: the names {taken} are needed for added modalities.")


def _embed(
    rng: np.random.RandomState, tokens: NDArray[np.int8], n_features: int, noise: float
) -> NDArray[np.float64]:
    """Hide tokens (n, k) in a rotated, shifted embedding (n, d) with nuisance directions."""
    n_samples, n_tokens = tokens.shape
    noisy = tokens + noise * rng.standard_normal((n_samples, n_tokens))
    nuisance = rng.standard_normal((n_samples, n_features - n_tokens))
    rotation, triangle = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    # With the signs of the triangle's diagonal the rotation is uniform (Haar).
    rotation *= np.sign(np.diag(triangle))
    embedded: NDArray[np.float64] = np.hstack([noisy, nuisance]) @ rotation.T
    return embedded + rng.standard_normal(n_features)
