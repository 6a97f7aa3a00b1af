"""Tests of modalities of integer codes: padding, missing rows, and the forms they come in."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import BaggingClassifier

from sklearn_mmfusion import (
    Conv1dEncoder,
    GRUEncoder,
    InputError,
    LazyArray,
    LSTMEncoder,
    MNLClassifier,
    ModalityFrame,
    ModuleEncoder,
    MulTEncoder,
    RoutingClassifier,
    TransformerEncoder,
)
from sklearn_mmfusion._inputs.codes import code_block, reads_codes
from sklearn_mmfusion.report._data_summary import n_shared_rows, summarise_modality
from sklearn_mmfusion.report._subject import Subject, check_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning"),
]

N, STEPS, SYMBOLS = 40, 7, 5
ABSENT = [3, 11]
GRU = GRUEncoder(vocabulary_size=SYMBOLS, hidden_dim=4)
ENCODERS = [
    GRU,
    LSTMEncoder(vocabulary_size=SYMBOLS, bidirectional=True, hidden_dim=4),
    TransformerEncoder(vocabulary_size=SYMBOLS, embedding_dim=3, hidden_dim=8),
    Conv1dEncoder(vocabulary_size=SYMBOLS, channels=(4,)),
    Conv1dEncoder(vocabulary_size=SYMBOLS, channels=(4,), pooling="flatten"),
]


def _data():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, STEPS + 1, size=N)
    lengths[0] = STEPS
    lengths[ABSENT] = 0
    codes = rng.integers(0, SYMBOLS, size=(N, STEPS))
    codes[np.arange(STEPS) >= lengths[:, None]] = -1
    flat = rng.normal(size=(N, 3))
    return codes, flat, np.arange(N) % 2, lengths


CODES, FLAT, Y, LENGTHS = _data()
NAN = np.where(CODES < 0, np.nan, CODES)
RAGGED = [row[:length] for row, length in zip(CODES, LENGTHS, strict=True)]


def _model(encoder=GRU, **params):
    params = {"missing": "mask", "max_epochs": 3, "random_state": 0, **params}
    return MNLClassifier(encoders={"c": encoder}, early_stopping=False, **params)


def _by_term(model):
    found = model.contributions({"c": CODES, "a": FLAT})
    return {name: found[:, t] for t, name in enumerate(model.term_names_)}


@pytest.fixture(scope="module")
def fitted():
    return _model().fit({"c": CODES, "a": FLAT}, Y)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_row_of_padding_alone_is_missing_at_any_width(encoder):
    model = _model(encoder).fit({"c": CODES, "a": FLAT}, Y)
    terms = _by_term(model)
    assert (terms["c"][ABSENT] == 0).all()
    assert (np.delete(terms["c"], ABSENT, axis=0) != 0).any()
    expected = model.decision_function({"c": CODES, "a": FLAT})
    wide = np.hstack([CODES, np.full((N, 5), -1)])
    np.testing.assert_allclose(
        model.decision_function({"c": wide, "a": FLAT}), expected, rtol=1e-10, atol=1e-12
    )
    short = LENGTHS <= 4
    narrow = model.decision_function({"c": CODES[short, :4], "a": FLAT[short]})
    np.testing.assert_allclose(narrow, expected[short], rtol=1e-10, atol=1e-12)


def test_missing_row_of_codes_is_in_no_statistic_of_its_term(fitted):
    # A term is centred over the training rows that have it.
    found = fitted.contributions({"c": CODES, "a": FLAT})[:, fitted.term_names_.index("c")]
    present = np.delete(found, ABSENT, axis=0)
    np.testing.assert_allclose(present.mean(axis=0), 0, atol=1e-10)
    assert np.abs(present).max() > 1e-3


def test_mult_leaves_out_rows_without_codes():
    encoder = MulTEncoder(vocabulary_size={"c": SYMBOLS}, hidden_dim=8, n_heads=2)
    model = RoutingClassifier(
        encoders=encoder, missing="mask", max_epochs=2, random_state=0, early_stopping=False
    ).fit({"c": CODES, "a": FLAT}, Y)
    found = _by_term(model)
    assert (found["c"][ABSENT] == 0).all() and (found["a"][ABSENT] != 0).any()
    wide = np.hstack([CODES, np.full((N, 5), -1)])
    np.testing.assert_allclose(
        model.decision_function({"c": wide, "a": FLAT}),
        model.decision_function({"c": CODES, "a": FLAT}),
        rtol=1e-10,
        atol=1e-12,
    )


def test_row_of_padding_alone_is_refused_by_default():
    text = r"modality 'c': contains 2 row\(s\) of padding .* first in row 3.*missing='mask'"
    with pytest.raises(InputError, match=text):
        _model(missing="raise").fit({"c": CODES, "a": FLAT}, Y)
    present = np.delete(np.arange(N), ABSENT)
    model = _model(missing="raise").fit({"c": CODES[present], "a": FLAT[present]}, Y[present])
    with pytest.raises(InputError, match=text):
        model.predict({"c": CODES, "a": FLAT})


def test_to_other_encoders_minus_one_is_a_number():
    model = MNLClassifier(max_epochs=2, random_state=0, early_stopping=False)
    model.fit({"c": CODES, "a": FLAT}, Y)
    found = model.contributions({"c": CODES, "a": FLAT})
    assert (found[ABSENT][:, model.term_names_.index("c")] != 0).all()


@pytest.mark.parametrize(
    "form",
    [
        NAN,
        NAN.astype(np.float32),
        pd.DataFrame(NAN).astype("Int64"),
        RAGGED,
        [row.tolist() for row in RAGGED],
        [row.tolist() or None for row in RAGGED],
        pd.Series([row if len(row) else None for row in RAGGED]),
        LazyArray(CODES),
        LazyArray(NAN),
        CODES.astype(np.int8),
    ],
    ids=[
        "NaN",
        "float32",
        "Int64",
        "ragged",
        "lists",
        "None",
        "Series",
        "lazy",
        "lazy NaN",
        "int8",
    ],
)
def test_codes_in_every_form_are_the_same_codes(fitted, form):
    expected = fitted.decision_function({"c": CODES, "a": FLAT})
    np.testing.assert_array_equal(fitted.decision_function({"c": form, "a": FLAT}), expected)
    model = _model().fit({"c": form, "a": FLAT}, Y)
    np.testing.assert_array_equal(model.decision_function({"c": form, "a": FLAT}), expected)


@pytest.mark.parametrize("codes", [CODES, NAN, RAGGED], ids=["integers", "NaN", "ragged"])
def test_codes_in_a_table_of_floats_are_those_of_the_frame(fitted, codes):
    frame = ModalityFrame({"c": codes, "a": FLAT})
    table = frame.to_2d()
    assert table.dtype == np.float64
    model = _model(modalities=frame.layout()).fit(table, Y)
    expected = fitted.decision_function({"c": CODES, "a": FLAT})
    np.testing.assert_array_equal(model.decision_function(table), expected)


def test_bagging_fits_codes_in_a_table():
    frame = ModalityFrame({"c": CODES, "a": FLAT})
    base = _model(modalities=frame.layout())
    bag = BaggingClassifier(base, n_estimators=2, random_state=0).fit(frame.to_2d(), Y)
    rows = bag.estimators_samples_[0]
    twin = clone(bag.estimators_[0]).set_params(modalities=None)
    twin.fit({"c": CODES[rows], "a": FLAT[rows]}, Y[rows])
    np.testing.assert_allclose(
        bag.estimators_[0].predict_proba(frame.to_2d()),
        twin.predict_proba({"c": CODES, "a": FLAT}),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("codes", "text"),
    [
        (NAN + 0.5, r"'c': expected integer codes.*got \d\.5 \(float64.*whole numbers"),
        (np.where(CODES < 0, np.nan, np.inf), r"'c': expected integer codes.*got inf"),
        (NAN * 1e30, r"'c': expected integer codes.*e\+30"),
        (np.tile([1, np.nan, 2], (N, 1)), r"'c': contains NaN between codes \(40 value"),
    ],
    ids=["fractions", "infinity", "huge", "gap"],
)
def test_what_is_no_code_is_refused_with_the_remedy(fitted, codes, text):
    with pytest.raises(InputError, match=text):
        fitted.predict({"c": codes, "a": FLAT})
    with pytest.raises(InputError, match=text):
        _model().fit({"c": codes, "a": FLAT}, Y)


def test_flat_rows_of_different_length_without_a_vocabulary_are_refused():
    with pytest.raises(InputError, match=r"codes as \(length,\) with an encoder that has vocab"):
        MNLClassifier().fit({"c": RAGGED, "a": FLAT}, Y)


def test_slip_in_the_name_of_an_encoder_is_told_before_what_it_leads_to():
    for encoders in ({"cc": GRUEncoder(vocabulary_size=9)}, [("cc", GRUEncoder())]):
        with pytest.raises(InputError) as caught:
            MNLClassifier(encoders=encoders).fit({"c": RAGGED, "a": FLAT}, Y)
        first, second = str(caught.value).split("\n")
        assert first.startswith("encoders: there is no modality 'cc'; did you mean 'c'? The")
        assert second.startswith("modality 'c': rows of different length")


def test_codes_alone_in_a_table_keep_their_width():
    present = np.delete(np.arange(N), ABSENT)
    model = MNLClassifier(encoders=GRU, max_epochs=2, random_state=0, early_stopping=False)
    with pytest.warns(UserWarning, match="ONE modality"):
        model.fit(CODES[present], Y[present])
    wide = np.hstack([CODES, CODES])[present]
    with pytest.raises(InputError, match=r"X has 14 steps, but .* expecting 7 steps.*mapping"):
        model.predict(wide)


def test_named_steps_may_not_change():
    frame = pd.DataFrame(CODES, columns=[f"s{i}" for i in range(STEPS)])
    model = _model().fit({"c": frame, "a": FLAT}, Y)
    with pytest.raises(InputError, match="pass the codes as an array, whose number of steps"):
        model.predict({"c": frame.iloc[:, :4], "a": FLAT})


@pytest.mark.parametrize(
    ("encoders", "expected"),
    [
        ({"c": GRU}, True),
        ([("c", GRU)], True),
        (GRU, True),
        (MulTEncoder(vocabulary_size={"c": 3}), True),
        (MulTEncoder(vocabulary_size={"a": 3}), False),
        ({"a": GRU}, False),
        ({"c": GRUEncoder()}, False),
        ({"c": ModuleEncoder(module=lambda layout: None, codes=True)}, False),
        ("auto", False),
        ({"c": GRUEncoder}, False),
        (["c"], False),
    ],
)
def test_codes_are_what_an_encoder_with_a_vocabulary_reads(encoders, expected):
    assert reads_codes(MNLClassifier(encoders=encoders), "c") is expected
    assert reads_codes(object(), "c") is False


def test_message_counts_rows_as_the_user_does():
    with pytest.raises(InputError, match="first in row 9"):
        code_block("c", np.array([[1, 2], [-1, -1]]), rows=[4, 9])
    with pytest.raises(InputError, match="first in row 9"):
        code_block("c", np.array([[1, 2], [0.5, -1]]), rows=[4, 9])


def test_report_counts_missing_rows_and_padding_of_codes(fitted):
    X = {"c": CODES, "a": FLAT}
    summary = summarise_modality(check_rows(fitted, X).blocks[0])
    there = CODES[CODES >= 0]
    assert summary.kind == "codes"
    assert summary.missing == pytest.approx(len(ABSENT) / N)
    assert summary.padding == pytest.approx(1 - there.size / ((N - len(ABSENT)) * STEPS))
    assert (summary.minimum, summary.maximum) == (there.min(), there.max())
    assert summary.mean == pytest.approx(there.mean())
    wide = {"c": np.hstack([NAN, np.full((N, 2), np.nan)])[:6], "a": FLAT[:6]}
    ours, theirs = Subject.of(fitted, X, Y), Subject.of(fitted, wide, Y[:6])
    assert n_shared_rows(theirs, ours) == 6
