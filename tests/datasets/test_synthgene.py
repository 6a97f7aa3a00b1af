"""SynthGene and SynthGene-tri: recipes checked by searching and counting."""

import numpy as np
import pytest

from sklearn_mmfusion.datasets import make_synthgene, make_synthgene_tri

MOTIFS = {0: "GATGTAC", 1: "ACGTAGC"}


def as_text(codes):
    return ["".join("ACGT"[code] for code in row) for row in codes]


def assert_planted(codes, positions, motif_of_row):
    """Every stated position holds the stated motif."""
    for row, position, motif in zip(as_text(codes), positions, motif_of_row, strict=True):
        if position >= 0:
            assert row[position : position + 7] == MOTIFS[motif]


def test_synthgene_defaults_give_the_papers_shapes():
    genes = make_synthgene(n_samples=200, random_state=0)
    assert list(genes.data) == [f"m{k}" for k in range(1, 11)]
    assert all(x.shape == (200, 100, 4) and x.dtype == np.float32 for x in genes.data.values())
    assert genes.target.sum() == 100
    assert list(genes.probabilities.values()) == [0.9, 0.75, 0.6] + [0] * 7
    assert genes.motifs == (MOTIFS[0], MOTIFS[1])


@pytest.mark.parametrize("make", [make_synthgene, make_synthgene_tri])
def test_synthgene_codes_equal_argmax_of_onehot(make):
    codes = make(50, length=20, encoding="codes", random_state=1)
    onehot = make(50, length=20, encoding="onehot", random_state=1)
    np.testing.assert_array_equal(codes.target, onehot.target)
    for name, values in codes.data.items():
        assert values.dtype == np.int8
        np.testing.assert_array_equal(values, onehot.data[name].argmax(axis=2))
        np.testing.assert_array_equal(onehot.data[name].sum(axis=2), 1)


def test_synthgene_plants_the_class_motif_with_the_asked_probability():
    genes = make_synthgene(4000, 4, 40, encoding="codes", random_state=0)
    for name, chance in zip(genes.data, [0.9, 0.75, 0.6, 0.0], strict=True):
        positions = genes.motif_positions[name]
        assert_planted(genes.data[name], positions, genes.target)
        for label in (0, 1):
            shown = (positions >= 0)[genes.target == label].mean()
            assert shown == pytest.approx(chance, abs=5 * np.sqrt(0.25 / 2000))


def test_synthgene_positions_and_letters_are_uniform():
    genes = make_synthgene(6000, 2, 12, [1.0, 0.0], encoding="codes", random_state=0)
    places = np.bincount(genes.motif_positions["m1"], minlength=6)
    assert len(places) == 6
    assert (np.abs(places - 1000) < 5 * np.sqrt(1000)).all()
    letters = np.bincount(genes.data["m2"].ravel(), minlength=4)
    assert (np.abs(letters - 18_000) < 5 * np.sqrt(18_000)).all()


@pytest.mark.parametrize("probabilities", [(0.9, 0.75, 0.6), (0.5, 0.2), ()])
def test_synthgene_bayes_accuracy_equals_that_of_the_rule_on_planted_motifs(probabilities):
    genes = make_synthgene(20_000, 3, 10, probabilities, encoding="codes", random_state=0)
    seen = np.any([positions >= 0 for positions in genes.motif_positions.values()], axis=0)
    coin = np.random.RandomState(1).randint(0, 2, size=20_000)
    accuracy = (np.where(seen, genes.target, coin) == genes.target).mean()
    assert genes.bayes_accuracy == pytest.approx(accuracy, abs=5 * np.sqrt(0.25 / 20_000))


def test_synthgene_tri_two_motifs_is_exclusive_or_of_the_motifs_held():
    genes = make_synthgene_tri(1000, 40, encoding="codes", random_state=0)
    assert list(genes.data) == ["m1", "m2", "m3"]
    held = {}
    for name in ("m1", "m2"):
        assert (genes.motif_positions[name] >= 0).all()
        assert_planted(genes.data[name], genes.motif_positions[name], genes.bits[name])
        held[name] = genes.bits[name]
    np.testing.assert_array_equal(genes.target, held["m1"] != held["m2"])
    assert (genes.motif_positions["m3"] == -1).all()
    assert genes.relevance == {"m1 x m2": 1.0}


def test_synthgene_tri_presence_is_one_if_both_or_none_hold_the_motif():
    genes = make_synthgene_tri(1000, 40, "presence", encoding="codes", random_state=0)
    present = {}
    for name in ("m1", "m2"):
        present[name] = genes.motif_positions[name] >= 0
        assert present[name].mean() == pytest.approx(0.5, abs=0.08)
        assert_planted(genes.data[name], genes.motif_positions[name], np.ones(1000, int))
        found = np.array([MOTIFS[1] in row for row in as_text(genes.data[name])])
        # Chance motifs: 34 places at 4 ** -7 each.
        assert not (present[name] & ~found).any()
        assert (found & ~present[name]).mean() < 0.02
    np.testing.assert_array_equal(genes.target, present["m1"] == present["m2"])


@pytest.mark.parametrize("variant", ["two_motifs", "presence"])
def test_synthgene_tri_has_no_signal_in_a_single_modality(variant):
    genes = make_synthgene_tri(20_000, 10, variant, encoding="codes", random_state=0)
    tolerance = 5 * np.sqrt(0.25 / 10_000)
    for bits in genes.bits.values():
        assert genes.target[bits == 1].mean() == pytest.approx(0.5, abs=tolerance)
        assert genes.target[bits == 0].mean() == pytest.approx(0.5, abs=tolerance)


def test_synthgene_tri_number_of_noise_modalities_is_free():
    assert list(make_synthgene_tri(5, 7, n_noise_modalities=0, random_state=0).data) == ["m1", "m2"]
    assert len(make_synthgene_tri(5, 7, n_noise_modalities=3, random_state=0).data) == 5


@pytest.mark.parametrize("make", [make_synthgene, make_synthgene_tri])
def test_synthgene_same_seed_same_data_and_global_state_untouched(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = make(40, length=15, random_state=7)
    X, y = make(40, length=15, random_state=7, return_X_y=True)
    np.testing.assert_array_equal(first.target, y)
    for name, values in X.items():
        np.testing.assert_array_equal(values, first.data[name])
    other, _ = make(40, length=15, random_state=8, return_X_y=True)
    assert any((other[name] != X[name]).any() for name in X)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 6}, "'length' parameter"),
        ({"n_samples": 0}, "'n_samples' parameter"),
        ({"encoding": "text"}, "'encoding' parameter"),
        ({"probabilities": 0.5}, "'probabilities' parameter"),
        ({"probabilities": [1.5]}, r"\[0, 1\]"),
        ({"probabilities": [np.nan]}, r"\[0, 1\]"),
        ({"n_modalities": 2}, "at most n_modalities=2"),
    ],
)
def test_synthgene_bad_argument_raises(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_synthgene(**{"n_samples": 10, **arguments})


def test_synthgene_tri_unknown_variant_raises():
    with pytest.raises(ValueError, match="'variant' parameter"):
        make_synthgene_tri(10, variant="xor")
