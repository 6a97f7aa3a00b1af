"""Tests of the parameter object of MulT."""

import pickle

import pytest
import torch
from sklearn.base import clone

from sklearn_mmfusion._encoders.mult import MulTEncoder
from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.data._blocks import ModalityLayout
from sklearn_mmfusion.modules.dropout import Dropout

FLAT = ModalityLayout("table", (6,), "float64")
SEQUENCE = ModalityLayout("text", (5, 3), "float32")
CODES = ModalityLayout("genes", (9,), "int64")
IMAGE = ModalityLayout("image", (8, 7), "uint8")
PHOTO = ModalityLayout("photo", (3, 8, 7), "float32")
SCALAR = ModalityLayout("age", (), "float64")
VIDEO = ModalityLayout("video", (4, 3, 8, 7), "uint8")
ALL = [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]


def build(encoder, layouts, terms=ALL):
    """Build a module with torch's generator seeded as the estimators do."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return encoder.build_joint(layouts, terms)


def example(layout, n=3):
    if layout is CODES:
        return torch.zeros((n, *layout.shape), dtype=torch.int64)
    return torch.ones((n, *layout.shape))


@pytest.mark.parametrize(
    ("encoder", "layouts"),
    [
        (MulTEncoder(), [FLAT, SEQUENCE, IMAGE]),
        (MulTEncoder(hidden_dim=6, n_heads=3), [SEQUENCE, SEQUENCE, SEQUENCE]),
        (MulTEncoder(vocabulary_size={"genes": 4}), [FLAT, SEQUENCE, CODES]),
        (MulTEncoder(vocabulary_size=4, embedding_dim=2), [CODES, CODES, CODES]),
        (
            MulTEncoder(vocabulary_size={"genes": 4}, embedding_dim={"genes": 5}),
            [CODES, IMAGE, FLAT],
        ),
    ],
)
def test_build_joint_makes_module_of_promised_widths(encoder, layouts):
    module = build(encoder, layouts).eval()
    width = encoder.hidden_dim
    assert module.output_dims == [width] * 3 + [2 * width] * 4
    values = [example(layout) for layout in layouts]
    features = module(values, [None] * 3, [None] * 3)
    assert [f.shape for f in features] == [(3, d) for d in module.output_dims]
    for other in (clone(encoder), pickle.loads(pickle.dumps(encoder))):
        assert other.get_params() == encoder.get_params()
        for ours, theirs in zip(
            features,
            build(other, layouts).eval()(values, [None] * 3, [None] * 3),
            strict=True,
        ):
            assert torch.equal(ours, theirs)


def test_parameters_reach_the_module():
    encoder = MulTEncoder(hidden_dim=8, n_layers=3, n_heads=2, feedforward_dim=5, dropout=0.3)
    module = build(encoder, [FLAT, SEQUENCE, IMAGE])
    for streams in (module.self_streams, module.cross_streams):
        assert len(streams.blocks) == 3
        assert streams.blocks[0].n_heads == 2
        assert streams.blocks[0].widen.weight.shape[1:] == (8, 5)
    probabilities = {child.p for child in module.modules() if isinstance(child, Dropout)}
    assert probabilities == {0.3}


def test_embedding_dim_is_the_width_of_a_table():
    encoder = MulTEncoder(vocabulary_size={"genes": 4}, embedding_dim={"genes": 5})
    module = build(encoder, [FLAT, CODES], [(0, 1)])
    assert module.inputs["1"].embedding.weight.shape == (5, 5)
    assert module.inputs["0"].embedding is None
    assert module.projections["1"].weight.shape == (40, 5)


def test_takes_codes_of_says_which_modalities_hold_symbols():
    assert not MulTEncoder().takes_codes_of("genes")
    assert MulTEncoder(vocabulary_size=4).takes_codes_of("genes")
    some = MulTEncoder(vocabulary_size={"genes": 4})
    assert some.takes_codes_of("genes")
    assert not some.takes_codes_of("text")


def test_there_is_no_build_for_a_single_modality():
    assert not hasattr(MulTEncoder(), "build")


@pytest.mark.parametrize(
    ("encoder", "layout", "message"),
    [
        (MulTEncoder(), PHOTO, r"'photo': MulTEncoder takes 3-D .*\(n, 3, 8, 7\).*reshape"),
        (MulTEncoder(), VIDEO, r"'video': .*got shape \(n, 4, 3, 8, 7\), dtype uint8"),
        (MulTEncoder(), SCALAR, r"'age': .*got shape \(n,\)"),
        (MulTEncoder(vocabulary_size=4), FLAT, r"'table': .*integer codes.*dtype float64"),
        (MulTEncoder(vocabulary_size={"text": 4}), SEQUENCE, r"'text': .*shape \(n, 5, 3\)"),
        (MulTEncoder(embedding_dim=4), CODES, "'genes': embedding_dim needs vocabulary_size"),
        (MulTEncoder(hidden_dim=30), FLAT, "multiple of n_heads, got 30 and 8"),
        (MulTEncoder(vocabulary_size={"gene": 4}), CODES, "names 'gene', .*you mean 'genes'"),
        (MulTEncoder(vocabulary_size={3: 4}), CODES, r"names 3, .*modalities are \['genes'\]"),
        (MulTEncoder(vocabulary_size={"genes": 0}), CODES, "'genes': vocabulary_size .*got 0"),
        (MulTEncoder(vocabulary_size={"genes": True}), CODES, "at least 1, got True"),
        (
            MulTEncoder(vocabulary_size=4, embedding_dim={"genes": 1.5}),
            CODES,
            "embedding_dim .*got 1.5",
        ),
        (MulTEncoder(n_layers=0), FLAT, "'n_layers' parameter of MulTEncoder"),
        (MulTEncoder(dropout=1.5), FLAT, "'dropout' parameter of MulTEncoder"),
        (MulTEncoder(vocabulary_size="4"), FLAT, "'vocabulary_size' parameter of MulTEncoder"),
    ],
)
def test_build_joint_refuses_and_says_why(encoder, layout, message):
    with pytest.raises(InputError, match=message):
        encoder.build_joint([layout], [(0,)])


def test_build_joint_collects_the_faults_of_all_modalities():
    encoder = MulTEncoder(hidden_dim=9, vocabulary_size={"zzz": 3})
    message = r"(?s)got 9 and 8\n.*'zzz'.*\nmodality 'photo'.*\nmodality 'video'"
    with pytest.raises(InputError, match=message):
        encoder.build_joint([PHOTO, FLAT, VIDEO], [(0, 1, 2)])
