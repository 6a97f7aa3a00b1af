"""Arrays of explanations, and tables read back from HTML."""

from html.parser import HTMLParser

import numpy as np

TERMS = ["text", "audio", "text x audio"]


def local_data(n_samples=6, concepts=("sad", "angry", "happy", "calm"), terms=TERMS, seed=0):
    """Return what a routing model computes, with random votes in place of a fit."""
    rng = np.random.default_rng(seed)
    names, n_terms = list(concepts), len(terms)
    # Unequal concepts: some means differ from 1/J, some do not.
    routing = rng.dirichlet(np.linspace(0.7, 1.3, len(names)), size=(n_samples, n_terms))
    activations = rng.random((n_samples, n_terms))
    routed = activations[:, :, None] * routing
    contributions = routed * rng.normal(size=routed.shape)
    intercept = rng.normal(size=len(names))
    if len(names) == 2:
        contributions = contributions[..., 1:] - contributions[..., :1]
        intercept = intercept[1:] - intercept[:1]
    decision = intercept + contributions.sum(axis=1)
    logits = decision if len(names) > 2 else np.hstack([np.zeros_like(decision), decision])
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {
        "kind": "routing",
        "term_names": list(terms),
        "concept_names": names,
        "output_names": names if len(names) > 2 else names[1:],
        "sample_index": np.arange(n_samples),
        "routing_coefficients": routing,
        "activations": activations,
        "absent": np.zeros(activations.shape, dtype=bool),
        "routed_activations": routed,
        "contributions": contributions,
        "intercept": intercept,
        "decision": decision,
        "probabilities": probabilities,
        "predicted": np.array(names)[probabilities.argmax(axis=1)],
        "y": np.array(names)[rng.integers(len(names), size=n_samples)],
    }


def global_data(**params):
    local = local_data(**{"n_samples": 50} | params)
    data = {key: local[key] for key in ("kind", "term_names", "concept_names")}
    for key, interval_key in (
        ("routing_coefficients", "routing_intervals"),
        ("activations", "activation_intervals"),
        ("routed_activations", "routed_activation_intervals"),
    ):
        mean, half = local[key].mean(axis=0), 1.96 * local[key].std(axis=0, ddof=1) / np.sqrt(50)
        data |= {key: mean, interval_key: np.stack([mean - half, mean + half], axis=-1)}
    share = np.abs(local["contributions"]).mean(axis=(0, 2))
    data["contribution_share"] = share / share.sum()
    data["relevance"] = data["activations"] / data["activations"].sum()
    return data | {"n_samples": 50, "uniform": 1 / len(local["concept_names"])}


class Table(HTMLParser):
    """The texts of the cells of a table, row by row, and the names of all tags."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags, self.cell = [], set(), False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = False

    def handle_data(self, data):
        if self.cell:
            self.rows[-1][-1] += data


def additive_global(outputs=("happy", "sad")):
    rng = np.random.default_rng(0)
    std, size = rng.random((2, 3, len(outputs)))
    return {
        "kind": "relevance",
        "term_names": TERMS,
        "output_names": list(outputs),
        "n_samples": 30,
        "relevance": np.array([0.5, 0.2, 0.3]),
        "contribution_std": std,
        "std_share": std.mean(1) / std.mean(1).sum(),
        "mean_absolute_contribution": size,
        "mean_absolute_intervals": np.stack([size - 0.1, size + 0.2], axis=-1),
    }


def regression_data(n_outputs=2, n_samples=4):
    rng = np.random.default_rng(0)
    contributions = rng.normal(size=(n_samples, 3, n_outputs))
    intercept = rng.normal(size=n_outputs)
    decision = contributions.sum(axis=1) + intercept
    return {
        "kind": "contribution",
        "target": "regression",
        "term_names": TERMS,
        "output_names": [f"y{i}" for i in range(n_outputs)],
        "sample_index": np.arange(n_samples),
        "contributions": contributions,
        "intercept": intercept,
        "decision": decision,
        "predicted": decision,
        "y": rng.normal(size=(n_samples, n_outputs)),
    }
