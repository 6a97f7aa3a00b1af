"""The diagram of an estimator: modalities, encoders and terms, escaped, in every wrapper."""

import html
import re
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_html_repr
from torch import nn

from sklearn_mmfusion import (
    EncoderByShape,
    InTenseClassifier,
    LinearEncoder,
    MLPEncoder,
    MNLClassifier,
    ModalityFrame,
    ModalityTransformer,
    MulTClassifier,
    MulTEncoder,
    RoutingClassifier,
)

NASTY = "<b>esc\x1b</b> & \"q\" 'q'"
NAMES = ["text", NASTY]
SHOWN = html.escape(NASTY.replace("\x1b", "\ufffd"))


def rows(names=("text", NASTY), n=40):
    rng = np.random.default_rng(0)
    return ModalityFrame({name: rng.normal(size=(n, 3)) for name in names}), np.arange(n) % 2


def fitted(est, **data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return est.fit(*rows(**data))


def labels(est):
    """Return the labels of the boxes, in the order of the diagram."""
    page = estimator_html_repr(est)
    assert "<b>" not in page.replace("<b>In a Jupyter", "").replace("</b></div>", "")
    drawn = page[page.index('class="sk-container"') :]
    found = re.findall(r"<label[^>]*>(.*?)</label>", drawn, re.DOTALL)
    return [re.sub(r"<[^>]*>", "|", label).strip("|").split("|")[0] for label in found]


def test_diagram_of_a_fit_has_a_box_for_each_encoder_and_the_fusion():
    encoders = {"text": LinearEncoder(), NASTY: EncoderByShape(hidden_dim=4)}
    est = InTenseClassifier(encoders=encoders, max_epochs=2, random_state=0)
    expected = ["InTenseClassifier", "encoders", "text", "LinearEncoder", SHOWN, "MLPEncoder"]
    assert labels(fitted(est)) == [*expected, "fusion of 3 terms"]


def test_diagram_lists_shapes_and_terms():
    est = fitted(MNLClassifier(encoders=LinearEncoder(), max_epochs=2, random_state=0))
    page = estimator_html_repr(est)
    assert "text: (n, 3) float64" in page
    assert f"text\n{SHOWN}" in page
    many = [f"m{i}" for i in range(10)]
    est = InTenseClassifier(encoders=LinearEncoder(), latent_dim=1, max_epochs=2, random_state=0)
    page = estimator_html_repr(fitted(est, names=many))
    assert "fusion of 55 terms" in page
    assert "and 15 more" in page


@pytest.mark.parametrize(
    ("est", "expected"),
    [
        (MNLClassifier(), ["each modality", "by shape"]),
        (MNLClassifier(encoders=MLPEncoder()), ["each modality", "MLPEncoder"]),
        (
            RoutingClassifier(encoders={NASTY: MLPEncoder(), "b": nn.Linear(2, 2)}),
            [SHOWN, "MLPEncoder", "b", "Linear", "other modalities", "by shape"],
        ),
        (MNLClassifier(encoders=[("a", "auto")], modalities=["a"]), ["a", "by shape"]),
        (
            MNLClassifier(modalities={"a": slice(0, 2), "b": slice(2, 4)}, encoders=nn.Identity),
            ["a", "Identity", "b", "Identity"],
        ),
        (MNLClassifier(encoders=3), ["each modality", "int"]),
    ],
)
def test_diagram_before_the_fit_shows_what_is_known(est, expected):
    name = type(est).__name__
    assert labels(est) == [name, "encoders", *expected, "fusion"]


def test_diagram_of_a_joint_encoder_has_one_box_for_all_modalities():
    encoder = MulTEncoder(hidden_dim=4, n_heads=2, n_layers=1)
    est = RoutingClassifier(encoders=encoder, max_epochs=2, random_state=0)
    found = labels(fitted(est, names=("a", "b")))
    assert found == [
        "RoutingClassifier",
        "encoders",
        "all modalities",
        "MulTEncoder",
        "fusion of 3 terms",
    ]


def test_diagram_of_a_model_without_terms_says_so():
    encoder = MulTEncoder(hidden_dim=4, n_heads=2, n_layers=1)
    est = fitted(MulTClassifier(encoders=encoder, max_epochs=2, random_state=0), names=("a", "b"))
    assert labels(est)[-1] == "fusion"
    assert "All modalities together" in estimator_html_repr(est)


def test_diagram_stands_in_pipelines_and_searches():
    est = MNLClassifier(encoders=LinearEncoder(), max_epochs=2, random_state=0)
    pipeline = make_pipeline(ModalityTransformer([("text", "passthrough")]), est)
    inside = ["encoders", "text", "LinearEncoder", SHOWN, "LinearEncoder", "fusion of 2 terms"]
    found = labels(fitted(pipeline))
    assert found[0] == "Pipeline"
    assert found[-6:] == inside
    found = labels(fitted(GridSearchCV(est, {"reg": [0.1]}, cv=2)))
    assert found[0] == "GridSearchCV"
    assert found[-6:] == inside
    assert labels(GridSearchCV(clone(est), {"reg": [0.1]}))[-4:] == [
        "encoders",
        "each modality",
        "LinearEncoder",
        "fusion",
    ]


def test_diagram_falls_back_to_a_plain_box_where_the_protocol_is_gone(monkeypatch):
    for module in ("sklearn.utils._repr_html.estimator", "sklearn.utils._estimator_html_repr"):
        monkeypatch.setitem(sys.modules, module, None)
    assert labels(MNLClassifier()) == ["MNLClassifier"]


def test_diagram_changes_nothing_in_the_estimator():
    est = fitted(MNLClassifier(encoders=LinearEncoder(), max_epochs=2, random_state=0))
    before = set(vars(est))
    estimator_html_repr(est)
    assert set(vars(est)) == before
