"""Many fits over processes, with a line now and then of how many are done."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import accumulate
from numbers import Integral
from typing import Any

from joblib import Parallel
from joblib.logger import short_format_time

from sklearn_mmfusion._errors import InputError

__all__ = ["ToldParallel", "check_verbose"]

_LINES = 20  # about as many of each run are printed at verbose=1


def check_verbose(verbose: Any) -> int:
    """Return ``verbose`` of a function as a number, 0 and above.

    Raises
    ------
    InputError
        If it is neither a bool nor such a number.
    """
    if not isinstance(verbose, Integral) or verbose < 0:
        raise InputError(f"verbose is {verbose!r}; expected False, True, or an integer from 0 up")
    return int(verbose)


class ToldParallel(Parallel):
    """joblib's ``Parallel``, which says how many fits are done, in the process that called it.

    It works with every backend, and joblib's own ``verbose`` as before.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib.
    caller : str
        Name of the function that prints.
    verbose : int
        0 prints nothing, 1 about twenty lines, more a line whenever a task ends.
    """

    def __init__(self, n_jobs: int | None, caller: str, verbose: int) -> None:
        super().__init__(n_jobs=n_jobs)
        self._caller, self._lines = caller, verbose
        self._ends: list[int] = []

    def run(self, calls: Iterable[Any], what: str, sizes: Sequence[int]) -> list[Any]:
        """Return the results of delayed calls, in their order.

        Parameters
        ----------
        calls : iterable of delayed calls
            As joblib takes them.
        what : str
            What is counted, in the plural.
        sizes : sequence of int
            How many of them each call is.
        """
        self._ends, self._what = [0, *accumulate(sizes)], what
        self._started, self._told = time.perf_counter(), 0
        return list(self(calls))

    def print_progress(self) -> None:
        """Print a line where one is due; joblib calls this whenever a task ends."""
        super().print_progress()
        if not self._lines or not self._ends:
            return
        done, total = self._ends[min(self.n_completed_tasks, len(self._ends) - 1)], self._ends[-1]
        step = 1 if self._lines > 1 or done == total else max(1, total // _LINES)
        if done < self._told + step:
            return
        self._told = done
        passed = time.perf_counter() - self._started
        left = f", about {_words(passed / done * (total - done))} left" if done < total else ""
        text = f"[{self._caller}] {done} of {total} {self._what}, {_words(passed)}{left}"
        print(text, flush=True)


def _words(seconds: float) -> str:
    """Return a time in seconds or minutes."""
    return str(short_format_time(seconds)).strip().replace("min", " min").replace("s", " s")
