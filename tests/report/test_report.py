"""The report as a whole: well-formed HTML that loads nothing, sections, numbers, files."""

import base64
import copy
import json
import re
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_mmfusion import (
    FileError,
    FusionReport,
    InputError,
    InputTypeError,
    InTenseClassifier,
    LateFusionClassifier,
    LateVotingClassifier,
    LinearEncoder,
    MKLClassifier,
    MKLRegressor,
    MNLClassifier,
    MNLRegressor,
    ModalityFrame,
    ModalityTransformer,
    MROClassifier,
    TensorFusionRegressor,
    fusion_report,
)
from sklearn_mmfusion.report._page import Table

QUICK = {"encoders": LinearEncoder(), "max_epochs": 4, "random_state": 0}
VOID = {"meta", "img", "br", "wbr", "hr", "link", "input"}
ALWAYS = {"data", "scores", "examples", "settings"}
NASTY = {
    "tags": "<script>alert(1)</script>",
    "quotes": "a \"b\" & 'c' \n second line",
    "escape": "\x1b[31mred\x1b[0m $x^2$ \u202e日本語",
    "closing": "</style></svg>--><img src=x onerror=alert(1)>",
}


class _Checker(HTMLParser):
    """Fails on tags that do not match, and collects what a page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.ids, self.links, self.scripts = [], [], [], [], 0
        self.text, self.images = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.scripts += tag == "script" or any(name.startswith("on") for name in attributes)
        self.ids += [attributes["id"]] if "id" in attributes else []
        for name in ("src", "href", "srcset", "data", "action"):
            if name in attributes:
                self.loads.append(attributes[name])
        if tag == "img":
            self.images.append(attributes["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def checked(html):
    """Return a page that was parsed and found well formed, alone and without scripts."""
    page = _Checker()
    page.feed(html)
    page.close()
    assert not page.open
    assert page.scripts == 0
    assert len(page.ids) == len(set(page.ids))
    for address in page.loads:
        assert address.startswith("data:") or address[1:] in page.ids
    assert "http:" not in html
    assert "https:" not in html
    assert "url(" not in html
    assert "@import" not in html
    for source in page.images:
        svg = base64.b64decode(source.partition(",")[2]).decode("utf-8")
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg")
        for element in root.iter():
            assert not element.tag.endswith("script")
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png"))
    assert len(html) < 2_000_000
    return page


def fit_quickly(est, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return est.fit(X, y)


def column(report, section, table, name):
    found = report.data[section][table]
    at = found["columns"].index(name)
    return {row[0]: row[at] for row in found["rows"]}


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("binary", {"calibration", "relevance", "interactions", "training"}),
        ("multiclass", {"calibration", "relevance", "interactions", "training"}),
        ("multilabel", {"calibration", "relevance", "interactions", "training"}),
        ("regression", {"relevance", "interactions", "training"}),
        pytest.param(
            "multioutput", {"relevance", "interactions", "training"}, marks=pytest.mark.slow
        ),
        ("routing", {"calibration", "relevance", "interactions", "routing", "training"}),
        pytest.param(
            "gam",
            {"calibration", "relevance", "interactions", "routing", "training"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_report_has_the_sections_that_apply_in_well_formed_html(report_of, kind, more):
    report = report_of(kind)
    page = checked(report.html)
    assert set(report.data) == ALWAYS | more
    assert set(page.ids) == ALWAYS | more | {"cautions"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("est", "kind", "more"),
    [
        (MNLClassifier(**QUICK), "binary", {"calibration", "relevance", "training"}),
        (MNLRegressor(**QUICK), "regression", {"relevance", "training"}),
        (
            MROClassifier(**QUICK, hidden_dim=4),
            "multiclass",
            {"calibration", "relevance", "interactions", "training"},
        ),
        (LateFusionClassifier(**QUICK), "binary", {"calibration", "relevance", "training"}),
        (TensorFusionRegressor(**QUICK, hidden_dim=4), "regression", {"training"}),
        (LateVotingClassifier(random_state=0), "multilabel", {"calibration", "relevance"}),
        (MKLClassifier(), "multiclass", {"relevance"}),
        (MKLRegressor(), "regression", {"relevance"}),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
def test_report_works_for_every_kind_of_estimator(fits, est, kind, more):
    _, X, y = fits[kind]
    report = fusion_report(fit_quickly(est, X, y), X, y, n_examples=2)
    checked(report.html)
    assert set(report.data) == ALWAYS | more


@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", ["object", "str", "category", "string"])
@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b", "c"]], ids=len)
def test_labels_may_be_of_any_kind_that_pandas_has(labels, dtype):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(60, 3)), "b": rng.normal(size=(60, 2))}
    y = pd.Series(np.array(labels, dtype=object)[np.arange(60) % len(labels)], dtype=dtype)
    est = MNLClassifier(**QUICK, early_stopping=True, polish=False).fit(X, y)
    report = fusion_report(est, X, y, n_examples=1)
    expected = (est.predict(X) == np.asarray(y, dtype=object)).mean()
    rows = report.data["scores"]["scores"]["rows"]
    assert rows[0][1] == pytest.approx(expected)


def test_numbers_of_the_report_are_those_of_the_estimator(fits, report_of):
    est, X, y = fits["binary"]
    report = report_of("binary")
    assert column(report, "scores", "scores", "these rows")["accuracy"] == pytest.approx(
        accuracy_score(y, est.predict(X))
    )
    assert column(report, "relevance", "terms", "relevance of this fit") == est.relevance_scores_
    absolute = np.abs(est.contributions(X)).sum(axis=2).mean(axis=0)
    shares = dict(zip(est.term_names_, absolute / absolute.sum(), strict=True))
    found = column(report, "relevance", "terms", "share of contributions")
    assert found == pytest.approx(shares)
    orders = column(report, "interactions", "orders", "share of contributions")
    assert orders[2] == pytest.approx(sum(v for k, v in shares.items() if " x " in k))
    losses = column(report, "training", "epochs", "train_loss")
    assert losses == {e["epoch"]: e["train_loss"] for e in est.history_}


def test_examples_of_the_report_add_up_to_the_decision(fits, report_of):
    est, X, _ = fits["multiclass"]
    report = report_of("multiclass")
    decision = est.decision_function(X)
    rows = report.data["examples"]["contributions"]["rows"]
    assert sum(row[2] == "sum" for row in rows) == 2
    for row, output, term, value in rows:
        if term == "sum":
            at = est.classes_.tolist().index(output)
            assert value == pytest.approx(decision[row, at])
            parts = [v for r, o, t, v in rows if (r, o) == (row, output) and t != "sum"]
            assert sum(parts) == pytest.approx(value)


def test_routing_of_the_report_is_that_of_explain_global(fits, report_of):
    est, X, _ = fits["routing"]
    explanation = est.explain_global(X).data
    found = report_of("routing").data["routing"]["terms"]
    for j, label in enumerate(est.classes_):
        at = found["columns"].index(f"to {label}")
        values = [row[at : at + 3] for row in found["rows"]]
        np.testing.assert_allclose(
            values,
            np.column_stack(
                [
                    explanation["routing_coefficients"][:, j],
                    explanation["routing_intervals"][:, j],
                ]
            ),
        )


def test_json_of_the_page_is_the_data(report_of):
    report = report_of("binary")
    uri = re.search(r"data:application/json;base64,([^\"]+)", report.html)[1]
    assert json.loads(base64.b64decode(uri)) == report.data


@pytest.mark.slow
def test_cross_validation_gives_intervals_and_scores_of_the_folds(fits):
    est, X, y = fits["binary"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cv = cross_validate(
            InTenseClassifier(**QUICK),
            X,
            y,
            cv=KFold(3),
            return_estimator=True,
            return_indices=True,
        )
    report = fusion_report(est, X, y, cv_results=cv, n_examples=0)
    checked(report.html)
    fits_of_term = np.array(
        [[fit.relevance_scores_[name] for name in est.term_names_] for fit in cv["estimator"]]
    )
    half = stats.t.ppf(0.975, 2) * fits_of_term.std(0, ddof=1) * np.sqrt(1 / 3 + 1 / 2)
    mean = column(report, "relevance", "terms", "mean over fits")
    upper = column(report, "relevance", "terms", "upper (fits)")
    for t, name in enumerate(est.term_names_):
        assert mean[name] == pytest.approx(fits_of_term[:, t].mean())
        assert upper[name] == pytest.approx(min(fits_of_term[:, t].mean() + half[t], 1))
    folds = report.data["scores"]["cross_validation"]["rows"]
    scores = cv["test_score"]
    assert folds == [["score", pytest.approx(scores.mean()), pytest.approx(scores.std(ddof=1)), 3]]


def test_cross_validation_of_other_terms_is_refused(fits):
    est, X, y = fits["binary"]
    other = fit_quickly(MNLClassifier(**QUICK), X, y)
    with pytest.raises(InputError, match="cv_results: the fits have the terms"):
        fusion_report(est, X, y, cv_results=[other])


def test_all_names_are_escaped():
    rng = np.random.default_rng(0)
    X = ModalityFrame({name: rng.normal(size=(60, 2)) for name in NASTY.values()})
    y = np.array([NASTY["closing"], NASTY["escape"]])[np.arange(60) % 2]
    est = InTenseClassifier(**QUICK, interactions="all")
    report = fusion_report(fit_quickly(est, X, y), X, y, title=NASTY["closing"], n_examples=2)
    page = checked(report.html)
    for broken in ("<script", "onerror=alert(1)>", "\x1b", "\u202e", "</svg>"):
        assert broken not in report.html
    text = "".join(page.text)
    assert "<script>alert(1)</script>" in text
    assert "␛[31mred" in text
    # The data keep the names as they are.
    assert set(column(report, "data", "modalities", "kind")) == set(NASTY.values())


def test_parameters_that_are_not_the_default_are_marked(fits, report_of):
    est = fits["binary"][0]
    html = report_of("binary").html
    marked = set(re.findall(r'<tr class="marked"><th scope="row">(\w+)</th>', html))
    defaults = type(est)().get_params(deep=False)
    changed = {
        name
        for name, value in est.get_params(deep=False).items()
        if repr(value) != repr(defaults[name])
    }
    assert marked == changed == {"encoders", "max_epochs", "early_stopping", "lr", "random_state"}


@pytest.mark.slow
def test_pipelines_and_searches_are_looked_into(fits):
    _, X, y = fits["binary"]
    pipeline = make_pipeline(
        ModalityTransformer([("text", StandardScaler())]), MNLClassifier(**QUICK)
    )
    search = fit_quickly(GridSearchCV(pipeline, {"mnlclassifier__reg": [0.01, 0.1]}, cv=2), X, y)
    report = fusion_report(search, X, y, n_examples=0)
    page = checked(report.html)
    assert "Steps before the model: ModalityTransformer." in "".join(page.text)
    assert column(report, "settings", "search", "value")["mnlclassifier__reg"] == repr(
        search.best_params_["mnlclassifier__reg"]
    )
    # The model sees the modality scaled.
    assert column(report, "data", "modalities", "mean")["text"] == pytest.approx(0, abs=1e-12)
    assert column(report, "scores", "scores", "these rows")["accuracy"] == search.score(X, y)


def test_two_dimensional_input_is_shown_by_modality(fits):
    _, X, y = fits["binary"]
    matrix = np.hstack([X["text"], X["audio"]])
    est = MNLClassifier(modalities={"t": slice(0, 4), "a": slice(4, 7)}, **QUICK)
    report = fusion_report(fit_quickly(est, matrix, y), matrix, y, n_examples=0)
    assert list(column(report, "data", "modalities", "kind")) == ["t", "a"]


def test_training_rows_stand_beside_and_weights_count(fits):
    est, X, y = fits["binary"]
    first, rest = np.arange(20), np.arange(20, 40)
    weight = np.linspace(0.1, 2, 20)
    report = fusion_report(
        est,
        X.iloc[first],
        y[first],
        X_train=X.iloc[rest],
        y_train=y[rest],
        sample_weight=weight,
        n_examples=0,
    )
    right = est.predict(X) == y
    scores = column(report, "scores", "scores", "training rows")
    assert scores["accuracy"] == pytest.approx(right[rest].mean())
    scores = column(report, "scores", "scores", "these rows")
    assert scores["accuracy"] == pytest.approx(np.average(right[first], weights=weight))


@pytest.mark.slow
def test_same_report_twice_is_the_same_file_and_leaves_no_figure(fits, report_of):
    before = plt.get_fignums()
    with plt.rc_context({"text.color": "red", "figure.figsize": (1, 1)}):
        again = fusion_report(*fits["routing"], n_examples=2)
    assert again.html == report_of("routing").html
    assert plt.get_fignums() == before


def test_save_writes_the_page_whole_or_leaves_the_old_one(fits, tmp_path, monkeypatch):
    report = fusion_report(*fits["regression"], path=tmp_path / "report.html", n_examples=0)
    path = tmp_path / "report.html"
    assert path.read_bytes().decode("utf-8") == report.html
    path.write_text("old")
    monkeypatch.setattr(report, "html", report.html + "\ud800")
    with pytest.raises(UnicodeEncodeError):
        report.save(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    assert report.save(str(path)) == path
    assert path.read_bytes().decode("utf-8") == report.html


def test_paths_that_can_not_be_written_are_refused_before_anything_is_computed(
    fits, tmp_path, monkeypatch
):
    est, X, y = fits["regression"]
    monkeypatch.setattr(est, "predict", None)
    missing = tmp_path / "nowhere" / "report.html"
    for path, message in ((missing, "create the directory first"), (tmp_path, "it is a directory")):
        with pytest.raises(FileError, match=f"cannot write '{path}': .*{message}"):
            fusion_report(est, X, y, path=path)
    with pytest.raises(FileError, match=f"cannot write '{missing}'"):
        FusionReport("<p>", {}).save(missing)
    assert list(tmp_path.iterdir()) == []


def test_long_class_names_that_begin_alike_are_told_apart_over_the_examples(fits):
    _, X, y = fits["multiclass"]
    _, codes = np.unique(y, return_inverse=True)
    y = np.array([f"with_high_arousal_condition_{code}" for code in codes])
    found = fusion_report(fit_quickly(MNLClassifier(**QUICK), X, y), X, y, n_examples=4)
    shown = set(re.findall(r"for (with_[^\s\"]+)\"", found.html))
    assert len(shown) > 1
    assert all(re.fullmatch(r"with_high_aro…tion_\d", name) for name in shown), shown


def test_report_says_what_a_term_and_its_relevance_are(fits, report_of):
    text = " ".join(checked(report_of("binary").html).text)
    assert "A term is one modality, or an interaction of several" in text
    assert "0 where the model does not use it" in text
    late = fit_quickly(LateFusionClassifier(**QUICK), *fits["binary"][1:])
    text = " ".join(checked(fusion_report(late, *fits["binary"][1:]).html).text)
    assert "A term is one modality" in text
    assert "0 where the model does not use it" not in text


def test_colours_of_the_confusion_matrix_are_explained(report_of):
    caption = "<figcaption>Numbers: rows. Colour: their share in the rows of the true class."
    assert report_of("binary").html.count(caption) == 1
    assert "<figcaption>" not in report_of("regression").html


def test_report_says_what_the_interval_over_fits_rests_on(fits):
    est, X, y = fits["binary"]
    rows = X.iloc[:10], y[:10]
    fit = {"estimator": [est, est]}
    guess = fusion_report(est, *rows, cv_results=fit, n_examples=0)
    page = checked(guess.html)
    assert "as of one cross-validation with as many folds; of other fits give" in "".join(page.text)
    svgs = [base64.b64decode(source.partition(",")[2]).decode() for source in page.images]
    assert sum("interval: as of 2-fold cross-validation" in svg for svg in svgs) == 1
    told = fusion_report(est, *rows, cv_results=fit, test_ratio=0.25, n_examples=0)
    page = checked(told.html)
    assert "test parts have 0.25 times the rows of their training parts" in "".join(page.text)
    assert not any(
        "as of" in base64.b64decode(source.partition(",")[2]).decode() for source in page.images
    )
    with pytest.raises(InputError, match="test_ratio is that of the fits in cv_results"):
        fusion_report(est, *rows, test_ratio=0.25)


def test_test_ratio_sets_the_interval_over_fits(fits):
    est, X, y = fits["binary"]
    other = copy.copy(est)
    names = est.term_names_
    shares = np.random.default_rng(0).dirichlet(np.ones(len(names)))
    other.relevance_scores_ = dict(zip(names, shares, strict=True))
    cv = [est, other, est]
    report = fusion_report(est, X, y, cv_results=cv, test_ratio=0.1, n_examples=0)
    values = np.array([[fit.relevance_scores_[name] for name in names] for fit in cv])
    half = stats.t.ppf(0.975, 2) * values.std(0, ddof=1) * np.sqrt(1 / 3 + 0.1)
    upper = column(report, "relevance", "terms", "upper (fits)")
    expected = np.minimum(values.mean(0) + half, 1)
    assert upper == pytest.approx(dict(zip(names, expected, strict=True)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn_mmfusion._errors.RelevanceWarning")
def test_several_targets_are_named_in_scores_and_examples():
    rng = np.random.default_rng(0)
    X = ModalityFrame({"a": rng.normal(size=(60, 2)), "b": rng.normal(size=(60, 2))})
    y = np.column_stack([X["a"][:, 0], 300 * X["b"][:, 0] + 10])
    y += y.std(axis=0) * rng.normal(size=y.shape)
    est = MNLRegressor(**QUICK).fit(X, y)
    report = fusion_report(est, X, y)
    page = checked(report.html)
    assert list(column(report, "scores", "per_output", "R²")) == ["y0", "y1"]
    assert list(column(report, "scores", "scores", "these rows")) == [
        "R², mean over outputs",
        "correlation, mean over outputs",
    ]
    outputs = {row: name for row, name, *_ in report.data["examples"]["contributions"]["rows"]}
    svgs = [base64.b64decode(source.partition(",")[2]).decode() for source in page.images]
    for row, name in outputs.items():
        (panel,) = [svg for svg in svgs if f"row {row}: " in svg]
        assert f", for {name}" in panel and f"contribution to {name}" in panel
    assert set(outputs.values()) == {"y0", "y1"}


def test_one_row_is_told_as_one_row(fits):
    est, X, y = fits["binary"]
    one = X.iloc[:1], y[:1]
    page = checked(fusion_report(est, *one, X_train=one[0], y_train=one[1]).html)
    text = "".join(page.text)
    assert "1 row, two classes." in text and "1 row, as the model sees them." in text
    assert "1 row is few" in text and "1 of the 1 row is a training row" in text
    assert "1 rows" not in text


def test_zeros_of_the_data_have_no_minus():
    table = Table("t", ["a"], [[-0.0], [np.float64(-0.0)], [-1e-300]])
    assert [np.copysign(1, value) for (value,) in table.data()["rows"]] == [1, 1, -1]


def test_report_in_a_notebook_is_a_frame_of_its_own(report_of):
    report = report_of("regression")
    frame = _Checker()
    frame.feed(report._repr_html_())
    assert not frame.open
    assert re.search(r'sandbox="allow-downloads"', report._repr_html_())
    assert repr(report).startswith("FusionReport(")


def test_what_can_not_be_reported_is_refused(fits):
    est, X, y = fits["binary"]
    with pytest.raises(InputTypeError, match="GaussianNB is no estimator of this package"):
        fusion_report(GaussianNB().fit(X["text"], y), X["text"], y)
    with pytest.raises(NotFittedError):
        fusion_report(MNLClassifier(), X, y)
    with pytest.raises(InputError, match="y: expected 40 rows, one per row of X, got 39"):
        fusion_report(est, X, y[:39])
    with pytest.raises(InputError, match="X_train and y_train belong together"):
        fusion_report(est, X, y, X_train=X)


def test_report_without_matplotlib_names_the_extra(fits, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="extra 'plots'"):
        fusion_report(*fits["binary"])


@pytest.mark.slow
def test_fifty_five_terms_fit_in_the_size_bound():
    rng = np.random.default_rng(0)
    names = [f"modality number {i} with a long and telling name" for i in range(10)]
    X = ModalityFrame({name: rng.normal(size=(60, 2)) for name in names})
    y = np.arange(60) % 3
    est = fit_quickly(InTenseClassifier(**QUICK, reg=0.001, latent_dim=2), X, y)
    report = fusion_report(est, X, y)
    checked(report.html)
    assert len(report.data["relevance"]["terms"]["rows"]) == 55
