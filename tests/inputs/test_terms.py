"""Terms of a model: which there are, in which order, and how many there may be."""

import pytest

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion._inputs import terms as terms_module
from sklearn_mmfusion._inputs.validation import check_terms, term_name

# Terms

NAMES = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("interactions", "expected"),
    [
        (1, ["a", "b", "c"]),
        (2, ["a", "b", "c", "a x b", "a x c", "b x c"]),
        (3, ["a", "b", "c", "a x b", "a x c", "b x c", "a x b x c"]),
        ("all", ["a", "b", "c", "a x b", "a x c", "b x c", "a x b x c"]),
        ([], ["a", "b", "c"]),
        ([("c", "a"), ("a", "c"), ("b",)], ["a", "b", "c", "a x c"]),
        ([("c", "b", "a"), ("c", "b")], ["a", "b", "c", "b x c", "a x b x c"]),
    ],
)
def test_check_terms_gives_terms_by_order_then_position(interactions, expected):
    terms = check_terms(interactions, NAMES, latent_dim=8)
    assert [term_name(term, NAMES) for term in terms] == expected


@pytest.mark.parametrize("interactions", [2, 5, "all"])
def test_check_terms_of_one_modality_is_one_term(interactions):
    assert check_terms(interactions, ["X"]) == [(0,)]


@pytest.mark.parametrize(
    ("interactions", "error", "pattern"),
    [
        (0, ValueError, "at least 1, got 0"),
        (4, ValueError, "interactions=4 is more than the 3 modalities"),
        ([("a", "bb")], ValueError, r"unknown modalities \['bb'\].*did you mean 'b'"),
        ([("a", "a")], ValueError, "names a modality twice"),
        (["a"], TypeError, r"got 'a'; write interactions=\[\('a', 'b'\)\]"),
        ([()], TypeError, "a tuple of modality names"),
        ("some", TypeError, "an order, 'all' or a list"),
        (1.5, TypeError, "an order, 'all' or a list"),
        (True, TypeError, "an order, 'all' or a list"),
    ],
)
def test_check_terms_bad_interactions_raise(interactions, error, pattern):
    with pytest.raises(error, match=pattern):
        check_terms(interactions, NAMES)


def test_check_terms_of_two_modalities_have_no_third_order():
    with pytest.raises(InputError, match="interactions=3 is more than the 2 modalities"):
        check_terms(3, NAMES[:2])


def test_check_terms_limit_of_terms_is_the_most_that_there_may_be(monkeypatch):
    monkeypatch.setattr(terms_module, "_MAX_TERMS", 7)
    assert len(check_terms("all", NAMES)) == 7
    monkeypatch.setattr(terms_module, "_MAX_TERMS", 6)
    assert len(check_terms(2, NAMES)) == 6
    with pytest.raises(InputError, match=r"interactions='all' of 3 modalities are 7 terms"):
        check_terms("all", NAMES)


def test_check_terms_too_large_is_refused_with_both_numbers():
    pattern = r"'a x b x c' needs 1_000_000_000 features \(limit 1_000_000\)"
    for interactions in (3, "all", [("b", "a", "c")]):
        with pytest.raises(ValueError, match=pattern):
            check_terms(interactions, NAMES, latent_dim=1000)
    assert len(check_terms(2, NAMES, latent_dim=1000)) == 6
    with pytest.raises(ValueError, match=r"1_073_741_823 terms \(limit 100_000\)"):
        check_terms("all", [f"m{i}" for i in range(30)])
