"""Files of models that somebody forged or that are damaged: refused, and nothing runs."""

import copy
import json
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mutations import edit, mutated
from saved_models import fitted, small_data

import sklearn_mmfusion
from sklearn_mmfusion import (
    FusionError,
    UnsafeFileError,
    load,
)
from sklearn_mmfusion._persistence.files import KIND
from sklearn_mmfusion._state import atomic_files as atomic_files
from sklearn_mmfusion._state import tensor_files as tensor_files

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in (
        "sklearn.exceptions.ConvergenceWarning",  # a few epochs are enough for a file
        "sklearn_mmfusion.RelevanceWarning",
    )
]


@pytest.fixture(scope="module")
def models():
    """Document and arrays of good files."""
    made = {}
    for name in ("InTenseClassifier", "MKLRegressor"):
        est = fitted(name)
        path = Path(f"never-written-{name}")
        content = {}

        def keep(_, parts, error=None, content=content):
            content["bytes"] = b"".join(parts)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tensor_files, "write_atomically", keep)
            est.save(path)
        made[name] = content["bytes"]
    return made


@pytest.fixture
def good(models, tmp_path):
    path = tmp_path / "good"
    path.write_bytes(models["InTenseClassifier"])
    return path


def _forge(source, target, change):
    """Write a changed file with a valid sum: whoever writes a file writes that, too."""
    document, arrays = tensor_files.read_file(source, KIND)
    document = copy.deepcopy(document)
    change(document, arrays)
    tensor_files.write_file(target, KIND, document, arrays)


class _Evil:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.canary}",)


def _set(*path, value):
    def change(document, arrays):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def _delete(*path):
    def change(document, arrays):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def _array(name, value):
    def change(document, arrays):
        made = value(arrays[name])
        del arrays[name]
        if made is not None:
            arrays[name] = made

    return change


def _poisoned(number):
    def poison(value):
        value = value.copy()
        value.reshape(-1)[-1] = number
        return value

    return poison


def _no_change(document, arrays):
    pass


def _extra(document, arrays):
    arrays["extra"] = np.zeros(3)


PLAN = ("fitted", "_results", 0, "plan")
WEIGHT = "_results.0.state.fusion.weight"
MLP = {"object": "MLPEncoder", "content": {}}

FORGED = {
    "class os.system": _set("class", value="os.system"),
    "class Pipeline": _set("class", value="sklearn.pipeline.Pipeline"),
    "class not an estimator": _set("class", value="ModalityFrame"),
    "class no text": _set("class", value=["MNLClassifier"]),
    "another class": _set("class", value="RoutingClassifier"),
    "unknown parameter": _set("params", "typo", value=1),
    "dunder parameter": _set("params", "__class__", value="os.system"),
    "init parameter": _set("params", "__init__", value=None),
    "checkpoint of the file's choice": _set("params", "checkpoint", value="/tmp/x"),
    "parameter of the wrong type": _set("params", "max_epochs", value="many"),
    "parameter out of range": _set("params", "p", value=0.5),
    "nested unknown": _set("params", "optimizer", value={"object": "AdamW", "content": {"x": 1}}),
    "nested bad": _set("params", "optimizer", value={"object": "AdamW", "content": {"eps": -1}}),
    "foreign object": _set("params", "optimizer", value={"object": "os.system", "content": {}}),
    "foreign function": _set("params", "optimizer", value={"trusted": "os.system"}),
    "foreign kind": _set("params", "optimizer", value={"reduce": "os.system"}),
    "fitted dunder": _set("fitted", "__class__", value={}),
    "fitted unknown": _set("fitted", "predict", value=1),
    "missing part": _delete("fitted", "_results"),
    "missing field": _delete(*PLAN, "n_outputs"),
    "allocation by encoder": _set(
        *PLAN, "encoders", 0, value={"object": "MLPEncoder", "content": {"hidden_dim": 10**9}}
    ),
    "allocation by width": _set(
        *(*PLAN, "encoders", 0),
        value={"object": "MLPEncoder", "content": {"hidden_dim": 4000, "n_layers": 3}},
    ),
    "allocation by layers": _set(
        *PLAN, "encoders", 0, value={"object": "MLPEncoder", "content": {"n_layers": 10**9}}
    ),
    "allocation by many layers": _set(
        *PLAN, "encoders", 0, value={"object": "MLPEncoder", "content": {"n_layers": 4000}}
    ),
    "allocation by head": _set(*PLAN, "head", "content", "latent_dim", value=10**9),
    "allocation by shape": _set(*PLAN, "layouts", 0, "shape", value=[2**31 - 1]),
    "allocation by outputs": _set(*PLAN, "n_outputs", value=10**9),
    "joint encoder": _set(*PLAN, "encoders", value=[{"object": "MulTEncoder", "content": {}}]),
    "encoder that is none": _set(*PLAN, "encoders", 0, value={"object": "AdamW", "content": {}}),
    "head that is none": _set(*PLAN, "head", value=MLP),
    "terms out of range": _set(*PLAN, "terms", 0, value=[7]),
    "scaling by zero": _array("_results.0.plan.scalings.0.1", lambda v: 0 * v),
    "NaN in weights": _array(WEIGHT, _poisoned(np.nan)),
    "infinity in weights": _array(WEIGHT, _poisoned(np.inf)),
    "NaN in a scaling": _array("_results.0.plan.scalings.0.0", _poisoned(np.nan)),
    "NaN in the units": _array("_results.0.target_scale.scale", _poisoned(np.nan)),
    "missing array": _array(WEIGHT, lambda v: None),
    "extra array": _extra,
    "shape of an array": _array(WEIGHT, lambda v: v[:, 1:]),
    "float16": _array(WEIGHT, lambda v: v.astype(np.float16)),
    "float32": _array(WEIGHT, lambda v: v.astype(np.float32)),
    "integers": _array(WEIGHT, lambda v: v.astype(np.int64)),
    "newer version": _set("version", value=2),
    "version of text": _set("version", value="1"),
    "version zero": _set("version", value=0),
    "version true": _set("version", value=True),
    "unknown entry": _set("code", value="import os"),
    "kind of target": _set("fitted", "_target", "kind", value="os"),
    "names of modalities": _set("fitted", "_schema", "layouts", 0, "name", value="a.b__c"),
    "history of numbers": _set("fitted", "history_", value=[1, 2]),
}


def _raw(header, payload=b""):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + payload


def _header(**entries):
    return {"__metadata__": {"sklearn_mmfusion": f"{KIND}\n\n{{}}"}, **entries}


def _entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def _raw_files(content, canary):
    length = struct.unpack("<Q", content[:8])[0]
    header, payload = content[8 : 8 + length], content[8 + length :]
    half = b'"__metadata__"'
    assert half in header
    return {
        "pickle": pickle.dumps(_Evil(canary)),
        "pickle of protocol 0": pickle.dumps(_Evil(canary), 0),
        "empty": b"",
        "seven bytes": b"1234567",
        "random": random.Random(0).randbytes(64),
        "header of 2^60": struct.pack("<Q", 2**60) + b"{}",
        "header of 2^64 - 1": b"\xff" * 8 + b"{}",
        "header longer than the file": struct.pack("<Q", 5000) + b"{}",
        "header over 1 MB": _raw(b"{" + b" " * 2**20 + b"}"),
        "truncated": content[:-1],
        "half": content[: len(content) // 2],
        "header only": content[: 8 + length],
        "extra byte": content + b"\0",
        "flipped weight": content[:-1] + bytes([content[-1] ^ 1]),
        "flipped header": content.replace(b"InTenseClassifier", b"InTenseRegressor_"),
        "no metadata": _raw({"x": _entry()}, b"\0" * 8),
        "metadata of another kind": _raw(
            {"__metadata__": {"format": "pt"}, "x": _entry()}, b"\0" * 8
        ),
        "overlapping arrays": _raw(_header(x=_entry(), y=_entry()), b"\0" * 8),
        "out of range": _raw(_header(x=_entry(offsets=(8, 16))), b"\0" * 8),
        "backwards": _raw(_header(x=_entry(offsets=(8, 0))), b"\0" * 8),
        "negative": _raw(_header(x=_entry(offsets=(-8, 0))), b"\0" * 8),
        "shape of 2^62": _raw(_header(x=_entry(shape=(2**62,))), b"\0" * 8),
        "shape that wraps around": _raw(_header(x=_entry(shape=(2**31, 2**33 + 1))), b"\0" * 8),
        "many axes": _raw(_header(x=_entry(shape=(2**61,) * 10000)), b"\0" * 8),
        "negative shape": _raw(_header(x=_entry(shape=(-1,))), b"\0" * 8),
        "shape of floats": _raw(_header(x=_entry(shape=(1.0,))), b"\0" * 8),
        "unknown dtype": _raw(_header(x=_entry(dtype="O")), b"\0" * 8),
        "object dtype": _raw(_header(x=_entry(dtype="|O")), b"\0" * 8),
        "key twice": _raw(header.replace(b"{", b'{"__metadata__":{},', 1), payload),
        "NaN literal": _raw(b'{"x": NaN}'),
        "infinite literal": _raw(b'{"x": 1e999}'),
        "long number": _raw(b'{"x": ' + b"9" * 100_000 + b"}"),
        "depth": _raw(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        "quotes without end": _raw(b'{"x":"' + b'\\"' * 400_000),
        "lone surrogate": _raw(b'{"__metadata__": {"sklearn_mmfusion": "\\ud800"}}'),
        "byte order mark": _raw(b"\xef\xbb\xbf" + header, payload),
        "not UTF-8": _raw(b'{"x": "\xff"}'),
        "a list": _raw(b"[1, 2]"),
        "zip": b"PK\x03\x04" + bytes(100),
    }


@pytest.fixture(scope="module")
def attacks(models, tmp_path_factory):
    """All hostile files of the table by name, in a directory; and the canary's path."""
    directory = tmp_path_factory.mktemp("attacks")
    canary = directory / "canary"
    good = directory / "good"
    good.write_bytes(models["InTenseClassifier"])
    paths = {}
    for name, change in FORGED.items():
        paths[name] = directory / f"{len(paths)}"
        _forge(good, paths[name], change)
    for name, content in _raw_files(models["InTenseClassifier"], canary).items():
        paths[name] = directory / f"{len(paths)}"
        paths[name].write_bytes(content)
    return paths, canary


def test_forging_without_a_change_gives_a_good_file(good, tmp_path):
    _forge(good, tmp_path / "forged", _no_change)
    assert (tmp_path / "forged").read_bytes() == good.read_bytes()
    load(tmp_path / "forged")


NAMES = [*FORGED, *_raw_files(_raw({"__metadata__": 0}), "")]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_file_is_refused(name, attacks):
    paths, canary = attacks
    with pytest.raises(UnsafeFileError) as raised:
        load(paths[name])
    assert repr(str(paths[name])) in str(raised.value)
    assert len(str(raised.value)) < 2000
    assert not canary.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("newer version", "update the package"),
        ("NaN in weights", "fusion.weight.*not finite"),
        ("shape of an array", "fusion.weight.*expected shape"),
        ("float16", "fusion.weight.*expected dtype float64, got float16"),
        ("missing array", "fusion.weight"),
        ("extra array", "extra"),
        ("flipped weight", "SHA-256"),
        ("class os.system", "no estimator 'os.system'"),
        ("allocation by layers", "1000000000 is more than the file has weights for"),
        ("allocation by width", "larger than the weights"),
        ("unknown parameter", "typo"),
    ],
)
def test_refusal_says_why(name, text, attacks):
    with pytest.raises(UnsafeFileError, match=text):
        load(attacks[0][name])


def _many_arrays(document, arrays):
    for i in range(4):
        arrays[f"{i}" * 41] = np.zeros(1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_set("version", value="v" * 41), f"its format version is '{'v' * 40}'"),
        (_set("class", value="c" * 41), f"there is no estimator '{'c' * 40}'"),
        (_set("params", "p" * 41, value=1), rf"has no parameters \['{'p' * 40}'\]"),
        (_many_arrays, rf"nothing uses: {[f'{i}' * 40 for i in range(3)]}".replace("[", r"\[")),
    ],
    ids=["version", "class", "parameter", "arrays"],
)
def test_refusal_shows_the_first_forty_letters_of_a_name(change, text, good, tmp_path):
    _forge(good, tmp_path / "m", change)
    with pytest.raises(UnsafeFileError, match=text):
        load(tmp_path / "m")


@pytest.mark.parametrize("entry", ["params", "fitted"])
def test_entries_that_are_lists_are_refused_as_such(entry, good, tmp_path):
    _forge(good, tmp_path / "m", _set(entry, value=[]))
    with pytest.raises(UnsafeFileError, match="entries are of the wrong type"):
        load(tmp_path / "m")


def test_refusal_of_a_newer_file_names_both_versions(good, tmp_path):
    def of_tomorrow(document, arrays):
        document.update(version=7, package="9" * 41)

    _forge(good, tmp_path / "m", of_tomorrow)
    text = (
        f"format version 7 by sklearn-mmfusion {'9' * 40}, this is {sklearn_mmfusion.__version__}"
    )
    with pytest.raises(UnsafeFileError, match=f"{text}, which reads up to 1: update the package"):
        load(tmp_path / "m")


def test_refusal_names_the_first_five_of_many_unknown_parameters(good, tmp_path):
    def invent(document, arrays):
        document["params"].update(dict.fromkeys("fedcba", 1))

    _forge(good, tmp_path / "m", invent)
    with pytest.raises(UnsafeFileError, match=r"no parameters \['a', 'b', 'c', 'd', 'e'\]"):
        load(tmp_path / "m")


def test_saving_removes_what_a_save_left_an_hour_ago_and_nothing_younger(tmp_path, monkeypatch):
    est = fitted("MKLClassifier")
    now = 1e9
    monkeypatch.setattr(atomic_files, "time", SimpleNamespace(time=lambda: now))
    for name, age in [("younger", 3599.5), ("old enough", 3600.5)]:
        path = tmp_path / f".m.{name:-<16}{atomic_files._SUFFIX}"
        path.touch()
        os.utime(path, (now - age, now - age))
    est.save(tmp_path / "m")
    left = [path.name for path in tmp_path.iterdir()]
    assert sorted(left) == [f".m.younger---------{atomic_files._SUFFIX}", "m"]


@pytest.mark.slow  # an import of torch; that each of them is refused is in the fast part
def test_hostile_files_take_little_time_and_memory_and_import_nothing(attacks, tmp_path):
    # In a process of its own, whose memory is that of loading alone.
    paths, canary = attacks
    names = tmp_path / "names"
    names.write_text(json.dumps({name: str(path) for name, path in paths.items()}))
    script = """
import json, resource, sys, time
import sklearn_mmfusion
names = json.load(open(sys.argv[1]))
sklearn_mmfusion.load(sys.argv[2])  # what a first load imports belongs to the package
before = set(sys.modules)
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
report = {}
for name, path in names.items():
    begin = time.process_time()
    try:
        sklearn_mmfusion.load(path)
        raise SystemExit(name + " was loaded")
    except sklearn_mmfusion.UnsafeFileError:
        pass
    report[name] = time.process_time() - begin
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
print(json.dumps([max(report.values()), grown / 1024, sorted(set(sys.modules) - before)]))
"""
    good = paths["newer version"].parent / "good"
    done = subprocess.run(
        [sys.executable, "-c", script, str(names), str(good)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seconds, mebibytes, imported = json.loads(done.stdout)
    assert seconds < 1
    assert mebibytes < 200
    assert imported == []
    assert not canary.exists()


def test_path_that_is_no_regular_file_is_refused(tmp_path, good):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link", "/dev/zero", "/etc/passwd"):
        with pytest.raises(UnsafeFileError):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")
    (tmp_path / "good link").symlink_to(good)
    load(tmp_path / "good link")


def test_hostile_text_is_escaped_where_it_is_shown(tmp_path, good):
    text = "<script>\n\x1b[31m"

    def invent(document, arrays):
        document["params"]["optimizer"] = {"object": text, "content": {}}

    _forge(good, tmp_path / "m", invent)
    with pytest.raises(UnsafeFileError) as raised:
        load(tmp_path / "m")
    assert "\x1b" not in str(raised.value)


# -- fuzzing -----------------------------------------------------------------------------------


def _outcome(path, expected, X):
    """Load a mutated file: equal predictions, or an error of ours."""
    try:
        loaded = load(path)
        found = loaded.predict(X)
    except FusionError:
        return "refused"
    if expected is not None:
        np.testing.assert_array_equal(found, expected)
    return "loaded"


def _fuzz_bytes(content, n, seed, path):
    X, _ = small_data()
    path.write_bytes(content)
    expected = load(path).predict(X)
    generator = random.Random(seed)
    outcomes = []
    for _ in range(n):
        path.write_bytes(mutated(content, generator))
        outcomes.append(_outcome(path, expected, X))
    return outcomes


def _fuzz_documents(content, n, seed, path):
    X, _ = small_data()
    path.write_bytes(content)
    document, arrays = tensor_files.read_file(path, KIND)
    generator = random.Random(seed)
    outcomes = []
    for _ in range(n):
        edited = copy.deepcopy(document)
        edit(edited, generator)
        tensor_files.write_file(path, KIND, edited, arrays)
        # With a valid sum it may be another model, one with a kernel width of 1e308, say.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            outcomes.append(_outcome(path, None, X))
    return outcomes


@pytest.mark.parametrize("name", ["InTenseClassifier", "MKLRegressor"])
def test_mutated_file_predicts_the_same_or_is_refused(name, models, tmp_path):
    assert "refused" in _fuzz_bytes(models[name], 100, 0, tmp_path / "m")


@pytest.mark.parametrize("name", ["InTenseClassifier", "MKLRegressor"])
def test_mutated_document_with_a_valid_sum_raises_no_foreign_error(name, models, tmp_path):
    assert {"loaded", "refused"} == set(_fuzz_documents(models[name], 50, 1, tmp_path / "m"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ["InTenseClassifier", "MKLRegressor"])
def test_many_mutated_files_predict_the_same_or_are_refused(name, seed, models, tmp_path):
    assert "refused" in _fuzz_bytes(models[name], 1250, 2 + seed, tmp_path / "m")
    _fuzz_documents(models[name], 500, 12 + seed, tmp_path / "m")
