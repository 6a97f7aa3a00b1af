"""Public checks for multimodal estimators, beside ``sklearn.utils.estimator_checks``."""

import warnings
from unittest import SkipTest

from sklearn.base import clone, is_classifier

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.utils._contract_checks import CONTRACT_CHECKS
from sklearn_mmfusion.utils._input_checks import INPUT_CHECKS
from sklearn_mmfusion.utils._tool_checks import CLASSIFIER_CHECKS, REGRESSOR_CHECKS, TOOL_CHECKS

__all__ = ["check_multimodal_estimator"]


def check_multimodal_estimator(estimator, on_fail="raise"):
    """Check that an estimator keeps scikit-learn's contract on mappings of modalities.

    :func:`sklearn.utils.estimator_checks.check_estimator` only knows matrices. Use this beside
    it for an estimator that takes modalities: every form of the same data must give the same
    model, input and state must stay as they are, and scikit-learn's tools must work.

    Parameters
    ----------
    estimator : estimator instance
        A classifier or regressor with a parameter ``modalities``, which is set as the checks
        need it. It is cloned, and gets ``random_state=0`` if it has such a parameter. About 70
        fits are made on 40 rows or fewer; choose few epochs.
    on_fail : {"raise", None}, default="raise"
        Whether to raise the first failure, or to go on and report it.

    Returns
    -------
    list of dict
        One entry per check: ``check_name`` (str), ``status`` (``"passed"``, ``"failed"`` or
        ``"skipped"``) and ``exception`` (None where passed). Checks of DataFrames are skipped
        without pandas.

    Raises
    ------
    InputError
        If ``on_fail`` has another value.
    Exception
        With ``on_fail="raise"``: what the first failing check raised, with a note that names it.

    Examples
    --------
    >>> from sklearn_mmfusion import MNLClassifier
    >>> from sklearn_mmfusion.utils.estimator_checks import check_multimodal_estimator
    >>> results = check_multimodal_estimator(MNLClassifier(max_epochs=2))  # doctest: +SKIP
    >>> {result["status"] for result in results}  # doctest: +SKIP
    {'passed'}
    """
    if on_fail not in ("raise", None):
        raise InputError(f"on_fail: expected 'raise' or None, got {on_fail!r}.")
    own = CLASSIFIER_CHECKS if is_classifier(estimator) else REGRESSOR_CHECKS
    results = []
    for check in (*INPUT_CHECKS, *CONTRACT_CHECKS, *TOOL_CHECKS, *own):
        status, exception = _run(check, estimator)
        if status == "failed" and on_fail == "raise":
            exception.add_note(f"in {check.__name__} for {estimator!r}")
            raise exception
        results.append({"check_name": check.__name__, "status": status, "exception": exception})
    return results


def _run(check, estimator):
    """Return status and exception of one check."""
    estimator = clone(estimator)
    if "random_state" in estimator.get_params():
        estimator.set_params(random_state=0)
    try:
        with warnings.catch_warnings():
            # Few epochs on few rows: models that have not converged or learned are no fault.
            warnings.simplefilter("ignore", category=UserWarning)
            check(estimator)
    except SkipTest as skip:
        return "skipped", skip
    # Whatever a check raises is a finding about the estimator.
    except Exception as error:
        return "failed", error
    return "passed", None
