"""A file that holds where a fit is, so that the same fit goes on after the process has died."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from sklearn_mmfusion._errors import (
    CheckpointError,
    CheckpointWarning,
    FusionError,
    UnsafeFileError,
    warn,
)
from sklearn_mmfusion._state.atomic_files import check_target, remove_leftovers
from sklearn_mmfusion._state.decoder import Decoder
from sklearn_mmfusion._state.encoder import Encoder
from sklearn_mmfusion._state.hints import Mismatch
from sklearn_mmfusion._state.tensor_files import read_file, write_file
from sklearn_mmfusion._training.stages import FinishedStage, Progress

__all__ = ["Checkpoint"]

KIND = "sklearn-mmfusion checkpoint"
_SHARE = 20.0  # a write that took a second is followed by one after this many seconds
_REMEDY = "move or delete it to begin anew, or name another file as checkpoint"


@dataclass
class _Content:
    """What the file holds."""

    seed: int
    fingerprint: dict[str, str]
    running: dict[str, Progress] = field(default_factory=dict)
    finished: dict[str, FinishedStage] = field(default_factory=dict)


class Checkpoint:
    """The progress of one fit in one file.

    Trainings are known by a key that sums up all that decides how they go. A fit that starts
    again comes to the same trainings: those that were finished are not run again, and the one that
    was not goes on from its last epoch in the file.

    Parameters
    ----------
    path : str or path-like
        The file.
    fingerprint : mapping of str to str
        What the fit is of: data, parameters and versions, by names for error messages.
    seed : int
        Seed of the fit.
    keeps_seed : bool
        Whether a file that is there has another seed to go on with (``random_state=None``).

    Raises
    ------
    CheckpointError
        If the file belongs to another fit or is damaged, or none can be written there.

    Attributes
    ----------
    seed : int
        Seed of the fit, that of the file where there is one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fingerprint: Mapping[str, str],
        seed: int,
        *,
        keeps_seed: bool,
    ) -> None:
        self.path = path
        check_target(path, CheckpointError)
        remove_leftovers(path)
        if not keeps_seed:
            fingerprint = {**fingerprint, "seed": str(seed)}
        self._content = _Content(seed, dict(fingerprint))
        with suppress(FileNotFoundError):
            found = _read(path)
            _check_same(path, found.fingerprint, fingerprint)
            self._content = found
        self._last_write, self._duration = -float("inf"), 0.0
        self._has_warned = False

    @property
    def seed(self) -> int:
        """Seed of the fit."""
        return self._content.seed

    def finished(self, key: str) -> FinishedStage | None:
        """Return how a training ended, None if it has not."""
        return self._content.finished.get(key)

    def progress(self, key: str) -> Progress | None:
        """Return where a training is, None if it has not begun."""
        return self._content.running.get(key)

    def keep(self, key: str, make: Callable[[], Progress]) -> None:
        """Write where a training is, as often as that takes a twentieth of the time at most."""
        if time.monotonic() - self._last_write >= _SHARE * self._duration:
            self._content.running[key] = make()
            self._write()

    def finish(self, key: str, stage: FinishedStage) -> None:
        """Write how a training ended."""
        self._content.running.pop(key, None)
        self._content.finished[key] = stage
        self._write()

    def damaged(self, error: Exception) -> CheckpointError:
        """Return the error for progress that does not fit the training it is of."""
        return CheckpointError(
            f"checkpoint {os.fspath(self.path)!r} does not fit the model: {error}; {_REMEDY}"
        )

    def remove(self) -> None:
        """Remove the file: the fit has ended."""
        with suppress(OSError):
            os.unlink(os.path.realpath(self.path))

    def _write(self) -> None:
        begin = time.monotonic()
        try:
            encoder = Encoder()
            document = encoder.encode(self._content, _Content, "")
            write_file(self.path, KIND, document, encoder.arrays, CheckpointError)
        except FusionError as error:
            # The fit is worth more than its checkpoint.
            if not self._has_warned:
                self._has_warned = True
                warn(f"{error}. The fit goes on without checkpoint", CheckpointWarning)
        self._last_write = time.monotonic()
        self._duration = self._last_write - begin


def _read(path: str | os.PathLike[str]) -> _Content:
    try:
        document, arrays = read_file(path, KIND)
        content: _Content = Decoder(arrays).decode(document, _Content, "")
    except (Mismatch, UnsafeFileError) as error:
        raise CheckpointError(
            f"checkpoint {os.fspath(path)!r} cannot be read: {error}; {_REMEDY}"
        ) from error
    return content


def _check_same(
    path: str | os.PathLike[str], theirs: Mapping[str, str], mine: Mapping[str, str]
) -> None:
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    if not names:
        return
    differences = [
        f"{name} ({theirs.get(name, 'none')} there, {mine.get(name, 'none')} here)"
        for name in names[:5]
    ]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    raise CheckpointError(
        f"checkpoint {os.fspath(path)!r} is of another fit. These differ: "
        f"{', '.join(differences)}{more}; {_REMEDY}"
    )
