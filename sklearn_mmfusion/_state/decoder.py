"""JSON and arrays as values of a given type, and of no other; see ``_state.hints``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from sklearn_mmfusion._model.plan import Head
from sklearn_mmfusion._state.hints import (
    Mismatch,
    are_records,
    is_callable,
    is_choice,
    is_union,
    item_hints,
    meaning,
    path_of,
    want,
)
from sklearn_mmfusion._state.tensor_files import Arrays
from sklearn_mmfusion._state.types import CHOICES, HEADS

__all__ = ["Decoder"]


class Decoder:
    """Turn JSON and arrays into values of a given type.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Arrays of the file.
    trusted : iterable of class or function
        The user's own, which may be called.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays that nothing has referred to yet.
    """

    def __init__(self, arrays: Arrays, trusted: Iterable[Any] = ()) -> None:
        self.arrays = dict(arrays)
        self.trusted = {path_of(value): value for value in trusted}

    def decode(self, node: Any, hint: Any, where: str) -> Any:
        """Return the value of some JSON.

        Parameters
        ----------
        node : object
            JSON of :meth:`Encoder.encode`.
        hint : type
            What must come out, as an annotation.
        where : str
            Place of the value, for errors.

        Raises
        ------
        Mismatch
            If something else would come out.
        """
        if hint is Any or hint is object:
            return self._decode_any(node, where)
        hint = meaning(hint)
        origin, args = get_origin(hint), get_args(hint)
        if is_union(hint):
            return self._decode_union(node, args, where)
        if is_choice(hint):
            chosen = self._decode_any(node, where)
            fits = type(chosen) in HEADS if hint is Head else _is_encoder(chosen)
            want(fits, chosen, where)
            return chosen
        if are_records(hint):
            rows = self._decode_any(node, where)
            are_dicts = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
            want(are_dicts, rows, where)
            return rows
        if origin is np.ndarray:
            return self._decode_array(node, hint, where)
        if dataclasses.is_dataclass(hint):
            return self._decode_fields(node, hint, where)
        if origin in (dict, Mapping):
            want(isinstance(node, dict), node, where)
            return {key: self.decode(item, args[1], f"{where}.{key}") for key, item in node.items()}
        if origin in (tuple, list, Sequence):
            if isinstance(node, dict) and args[0] is str:
                node = self._decode_texts(node, where)
            want(isinstance(node, list), node, where)
            hints = item_hints(origin, args, len(node))
            want(len(hints) == len(node), node, where)
            pairs = enumerate(zip(node, hints, strict=True))
            items = [self.decode(item, kind, f"{where}.{i}") for i, (item, kind) in pairs]
            return items if origin is list else tuple(items)
        return self._decode_scalar(node, hint, where)

    def _decode_union(self, node: Any, members: Iterable[Any], where: str) -> Any:
        if node is None:
            want(type(None) in members, node, where)
            return None
        fault = Mismatch(f"{where}: no value of the right type")
        for member in members:
            if member is not type(None):
                try:
                    return self.decode(node, member, where)
                except Mismatch as error:
                    fault = error
        raise fault

    def _decode_fields(self, node: Any, kind: Any, where: str) -> Any:
        want(isinstance(node, dict), node, where)
        hints, fields = get_type_hints(kind), dataclasses.fields(kind)
        names = {field.name for field in fields}
        # What earlier versions wrote and nothing reads any more.
        node = {key: node[key] for key in node.keys() - getattr(kind, "no_longer", ())}
        needed = {
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        }
        if not needed <= node.keys() <= names:
            wrong = sorted(str(key)[:40] for key in needed - node.keys() | node.keys() - names)
            raise Mismatch(f"{where}: fields are missing or unknown: {wrong[:5]}")
        values = {
            name: self.decode(item, hints[name], f"{where}.{name}") for name, item in node.items()
        }
        return kind(**values)

    def _decode_scalar(self, node: Any, hint: Any, where: str) -> Any:
        if is_callable(hint):
            want(isinstance(node, dict) and "trusted" in node, node, where)
            return self._decode_any(node, where)
        if hint is slice:
            want(isinstance(node, dict) and node.keys() == {"slice"}, node, where)
            return self._decode_any(node, where)
        if hint is float:
            value = self._decode_any(node, where)
            want(type(value) in (int, float), node, where)
            return float(value)
        want(hint in (int, str, bool) and type(node) is hint, node, where)
        return node

    # -- values of any type --------------------------------------------------------------------

    def _decode_any(self, node: Any, where: str) -> Any:
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, list):
            return [self._decode_any(item, f"{where}.{i}") for i, item in enumerate(node)]
        keys = node.keys()
        if keys == {"float"}:
            want(node["float"] in ("nan", "inf", "-inf"), node["float"], where)
            return float(node["float"])
        if keys == {"tuple"}:
            return tuple(self._decode_list(node["tuple"], where))
        if keys == {"dict"}:
            return self._decode_dict(node["dict"], where)
        if keys == {"slice"}:
            ends = self._decode_list(node["slice"], where)
            want(len(ends) == 3 and all(_is_end(end) for end in ends), node, where)
            return slice(*ends)
        if keys == {"array"}:
            return self._decode_array(node["array"], npt.NDArray[Any], where).copy()
        if keys == {"records"}:
            return self._decode_records(node["records"], where)
        if keys == {"random_state"}:
            return self._decode_random_state(node["random_state"], where)
        if keys in ({"trusted"}, {"trusted", "content"}):
            return self._decode_trusted(node, where)
        if keys == {"object", "content"}:
            return self._decode_object(node["object"], node["content"], where)
        raise Mismatch(f"{where}: an unknown kind of value")

    def _decode_list(self, node: Any, where: str) -> list[Any]:
        want(isinstance(node, list), node, where)
        return [self._decode_any(item, f"{where}.{i}") for i, item in enumerate(node)]

    def _decode_dict(self, node: Any, where: str) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for pair in self._decode_list(node, where):
            want(isinstance(pair, list) and len(pair) == 2, pair, where)
            want(isinstance(pair[0], (str, int, float, tuple, type(None))), pair[0], where)
            try:
                found[pair[0]] = pair[1]
            except TypeError:
                raise Mismatch(f"{where}: a key that is no key") from None
        return found

    def _decode_records(self, node: Any, where: str) -> list[dict[str, Any]]:
        columns = self._decode_any(node, where)
        arrays = isinstance(columns, dict) and all(
            isinstance(v, np.ndarray) and v.ndim == 1 for v in columns.values()
        )
        want(arrays and len({len(v) for v in columns.values()}) == 1, node, where)
        lists = {name: column.tolist() for name, column in columns.items()}
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]

    def _decode_random_state(self, node: Any, where: str) -> np.random.RandomState:
        generator = np.random.RandomState(0)  # noqa: NPY002 - scikit-learn's, with the state to come
        try:
            generator.set_state(tuple(self._decode_list(node, where)))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Mismatch(f"{where}: no state of a RandomState") from error
        return generator

    def _decode_trusted(self, node: dict[str, Any], where: str) -> Any:
        path = node["trusted"]
        if not isinstance(path, str) or path not in self.trusted:
            raise Mismatch(
                f"{where}: it uses {str(path)[:100]!r}, which is not part of this package; if you "
                f"trust the file, load(path, trust=[...]) with that class or function itself"
            )
        value = self.trusted[path]
        if "content" not in node:
            return value
        return _made(value, self._decode_params(node["content"], where), where)

    def _decode_object(self, name: Any, content: Any, where: str) -> Any:
        kind = CHOICES.get(name) if isinstance(name, str) else None
        if kind is None:
            raise Mismatch(f"{where}: there is no class {str(name)[:40]!r} among those of a model")
        if dataclasses.is_dataclass(kind):
            return self._decode_fields(content, kind, where)
        made = _made(kind, self._decode_params(content, where), where)
        try:
            made._validate_params()
        except ValueError as error:
            raise Mismatch(f"{where}: {error}") from error
        return made

    def _decode_params(self, node: Any, where: str) -> dict[str, Any]:
        want(isinstance(node, dict), node, where)
        return {name: self._decode_any(item, f"{where}.{name}") for name, item in node.items()}

    # -- arrays --------------------------------------------------------------------------------

    def _decode_array(self, node: Any, hint: Any, where: str) -> npt.NDArray[Any]:
        if isinstance(node, dict):
            return self._decode_object_array(node, where)
        value = self._pop(node, where)
        dtype = get_args(get_args(meaning(hint))[1])[0]
        is_exact = isinstance(dtype, type) and issubclass(dtype, np.generic)
        if is_exact and not issubclass(value.dtype.type, dtype):
            raise Mismatch(f"{where}: expected {dtype.__name__}, got dtype {value.dtype}")
        return value

    def _decode_object_array(self, node: dict[str, Any], where: str) -> npt.NDArray[Any]:
        if node.keys() == {"objects"}:
            items = self._decode_list(node["objects"], where)
            plain = (str, int, float, bool, type(None))
            want(all(isinstance(item, plain) for item in items), node, where)
            found = np.empty(len(items), dtype=object)
            found[:] = items
            return found
        want(node.keys() == {"text", "lengths", "dtype"}, node, where)
        want(node["dtype"] in ("str", "object"), node, where)
        texts = self._decode_texts({key: node[key] for key in ("text", "lengths")}, where)
        return np.array(texts, dtype=np.str_ if node["dtype"] == "str" else object)

    def _decode_texts(self, node: dict[str, Any], where: str) -> list[str]:
        want(node.keys() == {"text", "lengths"}, node, where)
        joined, lengths = self._pop(node["text"], where), self._pop(node["lengths"], where)
        fits = joined.dtype == np.uint8 and lengths.dtype == np.int64 and joined.ndim == 1
        want(fits and lengths.ndim == 1 and bool((lengths >= 0).all()), node, where)
        # The longest text is as wide as all of them in an array of numpy's.
        widest = int(lengths.max(initial=0)) * len(lengths)
        want(int(lengths.sum()) == len(joined) and widest <= 64 * len(joined) + 2**20, node, where)
        ends, content = np.cumsum(lengths).tolist(), joined.tobytes()
        try:
            starts = [0, *ends][: len(ends)]
            return [content[a:b].decode() for a, b in zip(starts, ends, strict=True)]
        except UnicodeDecodeError as error:
            raise Mismatch(f"{where}: text that is not UTF-8") from error

    def _pop(self, name: Any, where: str) -> npt.NDArray[Any]:
        if not isinstance(name, str) or name not in self.arrays:
            raise Mismatch(f"{where}: an array is missing, or is there twice: {str(name)[:80]!r}")
        return self.arrays.pop(name)


def _made(kind: Any, params: dict[str, Any], where: str) -> Any:
    """Return an object of constructor parameters; only those that its class names."""
    known = set(kind._get_param_names())
    if unknown := sorted(str(name)[:40] for name in params.keys() - known):
        raise Mismatch(f"{where}: {kind.__name__} has no parameters {unknown[:5]}")
    try:
        return kind(**params)
    except TypeError as error:
        raise Mismatch(f"{where}: {error}") from error


def _is_encoder(value: Any) -> bool:
    return isinstance(value, BaseEstimator) and (
        hasattr(value, "build") or hasattr(value, "build_joint")
    )


def _is_end(value: Any) -> bool:
    return value is None or (isinstance(value, (int, str)) and not isinstance(value, bool))
