"""Which interactions a fit keeps, and what held-out rows say of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import kstest

from sklearn_mmfusion import InTenseClassifier, InTenseRegressor, LinearEncoder
from sklearn_mmfusion._fitting.data import FitInput
from sklearn_mmfusion._fitting.held_fit import HeldFit, HeldParts
from sklearn_mmfusion._fitting.held_outputs import held_fit as held_fit_of
from sklearn_mmfusion._fitting.interaction_choice import _error, choose_interactions
from sklearn_mmfusion._fitting.looks import Looks
from sklearn_mmfusion._fitting.runs import _split
from sklearn_mmfusion._fitting.shadows import shadow
from sklearn_mmfusion._rows.row_errors import RowErrors
from sklearn_mmfusion._rows.splitting import Split
from sklearn_mmfusion.data._blocks import ModalityBlock, ModalityData
from sklearn_mmfusion.datasets import make_recovery

SINGLE = ((0,), (1,), (2,))
PAIRS = ((0, 1), (0, 2), (1, 2))


# -- evidence of interactions ------------------------------------------------------------------


def held_fit(single, joint, target, loss_name, losses=None, **errors):
    n = len(target)
    share = torch.full((n,), 1 / n, dtype=torch.float64)
    losses = np.ones(n) if losses is None else losses
    known = RowErrors(share, n, **errors)
    single, joint = np.asarray(single), np.asarray(joint)
    nothing = np.zeros((*joint.shape[:2], 0, joint.shape[2]))
    return HeldFit(losses, known, HeldParts(loss_name, target, single, joint, nothing))


def test_evidence_of_numbers_is_that_of_a_partial_correlation():
    rng = np.random.default_rng(0)
    n = 400
    a, b = rng.normal(size=(2, n))
    product = a * b + 0.3 * a
    y = a + 0.2 * product + rng.normal(size=n)
    fit = held_fit(a[:, None], product[:, None, None], y[:, None], "squared_error")
    each, together = fit.evidence()
    design = np.column_stack([np.ones(n), a])

    def left(values):
        return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]

    scores = left(product) * left(y)
    expected = scores.mean() / (scores.std() / np.sqrt(n))
    assert each == pytest.approx(together) == pytest.approx(expected, rel=1e-6)


def labels(rng, logits):
    return (rng.uniform(size=logits.shape) < expit(logits)).astype(np.int64)


def drawn(kind, rng, effect, n=200):
    """Single and joint contributions of a right model of the main effect, and a target."""
    a, b = rng.normal(size=(2, n))
    signal = a + effect * a * b
    single, joint = a[:, None], (a * b)[:, None, None]
    if kind == "binary":
        return single, joint, labels(rng, signal)
    if kind == "multilabel":
        y = labels(rng, np.column_stack([signal, -signal]))
        return single * [1, -1], joint * [1, -1], y
    if kind == "multiclass":
        logits = signal[:, None] * [1, 0, -1]
        return single * [1, 0, -1], joint * [1, 0, -1], (logits + rng.gumbel(size=(n, 3))).argmax(1)
    return single, joint, (signal + rng.normal(size=n))[:, None]


KINDS = ["binary", "multilabel", "multiclass", "squared_error"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_evidence_of_nothing_is_standard_normal(kind):
    rng = np.random.default_rng(1)
    found = [held_fit(*drawn(kind, rng, 0.0), kind).evidence()[0] for _ in range(300)]
    assert abs(np.mean(found)) < 0.2
    assert np.std(found) == pytest.approx(1.0, abs=0.12)
    assert kstest(found, "norm").pvalue > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_is_surer_than_a_difference_of_losses(kind):
    # At z standard errors, log-likelihoods differ by z^2 / 2 with a standard deviation of z.
    rng = np.random.default_rng(2)
    found, differences = [], []
    for _ in range(40):
        single, joint, y = drawn(kind, rng, 0.5)
        found.append(held_fit(single, joint, y, kind).evidence()[0])
        if kind == "binary":
            gain = np.logaddexp(0, single[:, 0]) - np.logaddexp(
                0, single[:, 0] + joint[:, 0, 0] / 2
            )
            gain += y * joint[:, 0, 0] / 2
            differences.append(gain.mean() / (gain.std() / np.sqrt(len(gain))))
    assert np.mean(found) > 2.2
    if differences:
        assert np.mean(found) == pytest.approx(2 * np.mean(differences), rel=0.2)


def test_evidence_of_each_is_beside_the_others():
    rng = np.random.default_rng(3)
    single, joint, y = drawn("binary", rng, 1.0, n=1000)
    noise = rng.normal(size=joint.shape)
    same, other, together = held_fit(single, np.hstack([joint, noise]), y, "binary").evidence()
    assert same > 6
    assert abs(other) < 3
    assert together > 4
    twice = held_fit(single, np.hstack([joint, joint]), y, "binary").evidence()
    assert max(twice[:2]) < 1e-3  # neither says more than the other
    assert twice[2] > 6


def test_another_fit_without_interactions_is_among_the_others():
    # What this fit books to an interaction, but is an effect of one modality, is no evidence.
    rng = np.random.default_rng(4)
    a = rng.normal(size=500)
    bent = a**2 - 1
    y = labels(rng, bent)
    fit = held_fit(0 * a[:, None], bent[:, None, None], y, "binary")
    additive = held_fit(bent[:, None], np.zeros((500, 0, 1)), y, "binary")
    assert fit.evidence()[0] > 8
    assert abs(fit.evidence(additive)[0]) < 1e-6


def test_interactions_without_contributions_have_no_evidence():
    rng = np.random.default_rng(5)
    single, joint, y = drawn("binary", rng, 0.0)
    assert held_fit(single, 0 * joint, y, "binary").evidence() == [-np.inf, -np.inf]
    assert HeldFit(np.ones(5), RowErrors(torch.full((5,), 0.2), 5)).evidence() == [-np.inf]


def test_rows_of_a_group_are_one_piece_of_evidence():
    rng = np.random.default_rng(6)
    single, joint, y = drawn("binary", rng, 1.0, n=60)
    repeated = [np.repeat(part, 10, axis=0) for part in (single, joint, y)]
    alone = held_fit(single, joint, y, "binary").evidence()[0]
    taken_as_new = held_fit(*repeated, "binary").evidence()[0]
    group = torch.arange(60).repeat_interleave(10)
    assert taken_as_new == pytest.approx(alone * np.sqrt(10), rel=1e-3)
    grouped = held_fit(*repeated, "binary", group=group).evidence()[0]
    assert grouped == pytest.approx(alone, rel=0.02)


# -- what an interaction says of one modality ----------------------------------------------------


def product_of(related, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    a, own = rng.normal(size=(2, n))
    b = related * a + np.sqrt(1 - related**2) * own
    return torch.tensor(a)[:, None], torch.tensor(a * b)[:, None]


def even(n):
    return torch.full((n,), 1 / n, dtype=torch.float64)


def test_product_of_related_modalities_has_a_square_in_it():
    latent, product = product_of(0.6)
    new, _ = product_of(0.6, seed=1)
    found = shadow(latent, product, even(4000), new)
    expected = 0.6 * (new.square() - 1)  # E(ab | a)
    assert float((found - expected).std()) < 0.1 * float(expected.std())


def test_product_of_unrelated_modalities_has_nothing_of_either():
    latent, product = product_of(0.0)
    assert float(shadow(latent, product, even(4000), latent).std()) < 0.06


def test_shadow_reads_the_leading_directions_of_long_latent_vectors():
    latent, product = product_of(0.6)
    rng = np.random.default_rng(2)
    wide = torch.cat([3 * latent, torch.tensor(rng.normal(size=(4000, 20)))], 1)
    found = shadow(wide, product, even(4000), wide)
    assert np.corrcoef(found[:, 0], latent[:, 0] ** 2)[0, 1] > 0.97


def test_shadow_of_what_does_not_vary_is_zero():
    latent = torch.zeros(30, 4, dtype=torch.float64)
    product = torch.ones(30, 2, dtype=torch.float64)
    assert not shadow(latent, product, even(30), latent).any()


def test_shadows_are_no_evidence():
    rng = np.random.default_rng(8)
    common, *own = rng.normal(size=(3, 1500))
    a, b = (0.8 * common + 0.6 * part for part in own)
    y = labels(rng, 1.5 * (a**2 - 1))
    product = (a * b)[:, None, None]
    fit = held_fit(np.zeros((1500, 1)), product, y, "binary")
    assert fit.evidence()[0] > 6
    fit.parts.shadows = np.stack([a**2, b**2], axis=1)[:, None, :, None]
    assert abs(fit.evidence()[0]) < 3


def test_fit_says_what_interactions_are_of_each_modality():
    rng = np.random.default_rng(9)
    common, *own = rng.normal(size=(3, 600))
    a, b = (0.8 * common + 0.6 * part for part in own)
    X = {"a": a[:, None], "b": b[:, None], "c": rng.normal(size=(600, 2))}
    y = a * b + 0.2 * rng.normal(size=600)
    X["b"][::5] = np.nan
    seen = {}

    def keep(network, rows, held, *more):
        seen["fit"], seen["held"] = held_fit_of(network, rows, held, *more), held
        return seen["fit"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklearn_mmfusion._fitting.finishing.held_fit", keep)
        settings = {"encoders": LinearEncoder(), "reg": 0.003, "early_stopping": True}
        InTenseRegressor(missing="mask", random_state=0, **settings).fit(X, y)
    parts, present = seen["fit"].parts, seen["held"].batch.present[1].numpy()
    assert parts.joint.shape[1:] == (3, 1)
    assert parts.shadows.shape == (len(present), 3, 2, 1)
    assert not parts.shadows[~present, 0].any()
    of_a = seen["held"].batch.values[0].numpy()[present, 0]
    square = np.square(of_a - of_a.mean())
    assert np.corrcoef(parts.shadows[present, 0, 0, 0], square)[0, 1] > 0.9


# -- other parts of the rows ---------------------------------------------------------------------


def rows(n, weight=None, groups=None, seed=0):
    rng = np.random.default_rng(seed)
    blocks = [ModalityBlock("a", rng.normal(size=(n, 2)))]
    target = rng.integers(0, 2, n)
    return FitInput(ModalityData(blocks), target, weight, "binary", groups=groups)


def numbers(part):
    return part.data.blocks[0].values[:, 0].tolist()


def all_looks(whole, fraction=0.2):
    first = _split(whole, fraction, 1)
    looks = Looks(whole, first, fraction, 1, _split)
    parts = [(whole.take(first.kept), whole.take(first.held))]
    while len(parts) < looks.n_parts:
        parts.append(looks.next())
    return parts


def test_looks_at_nothing_are_correlated():
    # A fit to noise: the direction of the mean of all other parts; judged by this one.
    rng = np.random.default_rng(7)
    parts = rng.normal(size=(20_000, 5, 40))
    others = parts.sum(axis=1, keepdims=True) - parts
    looks = np.einsum("npd,npd->np", parts, others) / np.linalg.norm(others, axis=2)
    assert looks[:, 0].std() == pytest.approx(1.0, abs=0.03)
    for n in (2, 3, 5):
        assert looks[:, :n].sum(axis=1).std() == pytest.approx(_error(n, 5), rel=0.04)


@pytest.mark.parametrize("fraction", [0.2, 0.3, 0.5])
def test_each_look_holds_out_rows_that_none_before_did(fraction):
    whole = rows(60)
    parts = all_looks(whole, fraction)
    assert len(parts) == int(1 / fraction)
    held = [value for _, part in parts for value in numbers(part)]
    assert len(set(held)) == len(held)
    if fraction != 0.3:
        assert sorted(held) == sorted(numbers(whole))
    for kept, part in parts:
        assert sorted(numbers(kept) + numbers(part)) == sorted(numbers(whole))
        assert abs(len(numbers(part)) - fraction * 60) <= 2


def test_looks_hold_out_whole_groups():
    groups = np.repeat(np.arange(15), 4)
    seen = []
    for kept, held in all_looks(rows(60, groups=groups)):
        assert not set(kept.groups) & set(held.groups)
        seen += sorted(set(held.groups))
    assert len(seen) == len(set(seen))


def test_looks_of_weights_are_those_of_repetitions():
    weight = np.random.default_rng(3).integers(1, 4, 60).astype(float)
    plain = rows(60, weight)
    repeated = plain.take(np.repeat(np.arange(60), weight.astype(int)))
    repeated.weight = None
    for (kept, held), (kept_more, held_more) in zip(
        all_looks(plain), all_looks(repeated), strict=True
    ):
        for part, more in ((kept, kept_more), (held, held_more)):
            assert sorted(np.repeat(numbers(part), part.weight.astype(int))) == sorted(
                numbers(more)
            )


def test_no_look_where_rows_are_too_few():
    whole = rows(12)
    looks = Looks(whole, Split(np.arange(4), np.arange(4, 12)), 0.2, 0, lambda *_: None)
    assert looks.next() is None


# -- the choice ----------------------------------------------------------------------------------


class Scripted:
    """Fits whose interactions have a given evidence, one look after the other."""

    def __init__(self, *looks, better=0.0):
        self.looks, self.better, self.asked = list(looks), better, []

    def run(self, plan, kept, held):
        yield
        terms = plan.terms
        self.asked.append(terms[3:])
        joint = terms[3:]
        found = {}
        if joint:
            found = self.looks.pop(0) if self.looks else self.last
            self.last = found
        each = [found.get(term, -np.inf) for term in joint]
        fit = SimpleNamespace(
            losses=np.full(2, 1.0 - self.better * bool(joint)),
            evidence=lambda additive=None: [*each, max(each, default=-np.inf) - 1],
            beats=lambda other, margin, **how: (
                self.better < -margin if not joint else self.better > margin
            ),
        )
        sizes = [1.0] * 3 + [float(term in found) for term in joint]
        return Result(plan, fit, {"norms": np.array(sizes)})


class Result(SimpleNamespace):
    def __init__(self, plan, held, readings):
        training = SimpleNamespace(interrupted=False)
        super().__init__(plan=plan, held=held, readings=readings, training=training)


def plan_of(terms):
    return SimpleNamespace(terms=terms)


def chosen(scripted, monkeypatch, n_parts=5):
    monkeypatch.setattr(
        "sklearn_mmfusion._fitting.interaction_choice.replace", lambda plan, terms: plan_of(terms)
    )
    looks = SimpleNamespace(n_parts=n_parts, next=lambda: ("kept", "held"))
    steps = choose_interactions(scripted.run, plan_of(SINGLE + PAIRS), "kept", "held", looks)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value.plan.terms[3:]


def test_interactions_with_evidence_stay_and_others_go(monkeypatch):
    scripted = Scripted({(0, 1): 5.0, (0, 2): 1.0})
    assert chosen(scripted, monkeypatch) == ((0, 1),)
    assert scripted.asked == [PAIRS, (), ((0, 1),)]


def test_interactions_that_all_have_evidence_are_fitted_once(monkeypatch):
    scripted = Scripted({(0, 1): 5.0, (0, 2): 4.0, (1, 2): 3.0})
    assert chosen(scripted, monkeypatch) == PAIRS
    assert scripted.asked == [PAIRS, ()]


def test_hope_asks_other_rows_until_they_have_said_enough(monkeypatch):
    scripted = Scripted({(0, 1): 3.0, (0, 2): 2.6}, {(0, 1): 2.5, (0, 2): 0.0}, {(0, 1): 4.0})
    assert chosen(scripted, monkeypatch) == ((0, 1),)
    # Of the second no hope is left after two looks: it would have to reach 3.6 on average.
    assert scripted.asked == [PAIRS, (), ((0, 1), (0, 2)), ((0, 1),), ((0, 1),)]


def test_hope_ends(monkeypatch):
    scripted = Scripted({(0, 1): 3.0}, {(0, 1): 0.5})
    assert chosen(scripted, monkeypatch) == ()
    assert scripted.asked == [PAIRS, (), ((0, 1),)]


@pytest.mark.parametrize(("n_parts", "n_looks", "z"), [(2, 2, 2.9), (5, 3, 2.4)])
def test_no_more_looks_than_there_are_rows(n_parts, n_looks, z, monkeypatch):
    scripted = Scripted({(0, 1): z})
    assert chosen(scripted, monkeypatch, n_parts=n_parts) == ()
    assert scripted.asked == [PAIRS, ()] + [((0, 1),)] * (n_looks - 1)


def test_no_hope_no_other_rows(monkeypatch):
    scripted = Scripted({(0, 1): 1.0, (1, 2): -3.0})
    assert chosen(scripted, monkeypatch) == ()
    assert scripted.asked == [PAIRS, ()]


def test_much_lower_loss_is_evidence_of_all_together(monkeypatch):
    scripted = Scripted({(0, 1): 1.0, (0, 2): 1.1, (1, 2): 0.9}, better=3.0)
    assert chosen(scripted, monkeypatch) == PAIRS


def test_higher_loss_speaks_against_evidence(monkeypatch):
    assert chosen(Scripted({(0, 1): 5.0}, better=-2.0), monkeypatch) == ()


# -- whole fits ----------------------------------------------------------------------------------


def interactions_of(est):
    return {term: share for term, share in est.relevance_scores_.items() if " x " in term and share}


@pytest.mark.slow
def test_interaction_of_noisy_classes_is_found():
    # 200 held-out rows: losses with and without it differ by one standard error or less.
    terms = {("a",): 1.0, ("b",): 0.4, ("a", "b"): 0.6}
    task = {"task": "classification", "logit_scale": 1.5, "n_noise_modalities": 2}
    found = []
    for seed in range(4):
        data = make_recovery(1000, terms, random_state=seed, **task)
        est = InTenseClassifier(random_state=seed).fit(data.data, data.target)
        found.append(interactions_of(est))
    shares = [shown["a x b"] for shown in found if "a x b" in shown]
    assert len(shares) >= 3
    assert shares == pytest.approx([0.3] * len(shares), abs=0.06)
    assert sum(len(shown) for shown in found) == len(shares)  # and no other


@pytest.mark.slow
def test_second_half_of_the_rows_may_be_without_a_class(monkeypatch):
    taught, whole_next = [], Looks.next

    def next_look(self):
        parts = whole_next(self)
        taught.extend([] if parts is None else [np.unique(parts[0].target)])
        return parts

    monkeypatch.setattr(Looks, "next", next_look)
    rng = np.random.default_rng(6)
    X = {"a": rng.normal(size=(500, 3)), "b": rng.normal(size=(500, 3))}
    effect = X["a"][:, 0] + X["b"][:, 0] + 0.55 * X["a"][:, 1] * X["b"][:, 1]
    y = np.digitize(effect + rng.logistic(size=500), [-1.5, 1.5])
    y[0] = 3  # the only one: it is never held out first, and the second look holds out all others
    est = InTenseClassifier(encoders=LinearEncoder(), validation_fraction=0.5, random_state=6).fit(
        X, y
    )
    assert [list(classes) for classes in taught] == [[0, 1, 2]]
    shares = est.predict_proba(X)
    assert np.isfinite(shares).all()
    assert (shares[:, 3] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("Estimator", [InTenseClassifier, InTenseRegressor])
def test_bent_effects_of_related_modalities_are_no_interactions(Estimator):
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        common, *own = rng.normal(size=(3, 400))
        a, b = (0.8 * common + 0.6 * part for part in own)
        X = {"a": np.column_stack([a, rng.normal(size=400)]), "b": b[:, None]}
        y = a**2 + rng.normal(size=400)
        y = y > 1 if Estimator is InTenseClassifier else y
        found.append(bool(interactions_of(Estimator(random_state=seed).fit(X, y))))
    assert sum(found) <= 1
