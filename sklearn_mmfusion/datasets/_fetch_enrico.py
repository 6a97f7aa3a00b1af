"""ENRICO from the addresses at which its authors publish it."""

import logging
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from sklearn.datasets import get_data_home
from sklearn.utils._param_validation import Interval, validate_params

from sklearn_mmfusion._errors import InputError
from sklearn_mmfusion.datasets._enrico import IMAGES, load_enrico

__all__ = ["fetch_enrico"]

_TOPICS = "design_topics.csv"
TOPICS_URL = "https://raw.githubusercontent.com/luileito/enrico/master/design_topics.csv"
ARCHIVES_URL = "https://userinterfaces.aalto.fi/enrico/resources/"
# modality -> archive, which is also the folder of its files, and their ending
ARCHIVES = {**IMAGES, "layout": ("hierarchies", ".json")}
# The largest archive unpacks to a few hundred MB.
MAX_UNPACKED_BYTES = 4 * 2**30


@validate_params(
    {
        "data_home": [str, os.PathLike, None],
        "download_if_missing": ["boolean"],
        "modalities": [list, tuple],
        "image_shape": [tuple, list],
        "max_elements": [Interval(Integral, 1, None, closed="left")],
    },
    prefer_skip_nested_validation=True,
)
def fetch_enrico(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    modalities: Sequence[str] = ("screenshot", "wireframe"),
    image_shape: Sequence[int] = (256, 128),
    max_elements: int = 64,
) -> Any:
    """Load ENRICO, and download it where it is not yet on this machine.

    The authors' archives of the modalities that are asked for are downloaded once, unpacked into
    ``data_home`` and read by :func:`load_enrico`. Needs pooch to download, and Pillow for images.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder for data sets; ``enrico`` is made in it. None is that of scikit-learn, see
        :func:`sklearn.datasets.get_data_home`.
    download_if_missing : bool, default=True
        Whether to download what is not there. False: an OSError instead.
    modalities : sequence of {"screenshot", "wireframe", "layout"}, \
            default=("screenshot", "wireframe")
        What to load.
    image_shape : sequence of two int, default=(256, 128)
        Height and width that the images are scaled to.
    max_elements : int, default=64
        Number of steps of the layout, at least 1.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        What :func:`load_enrico` returns.

    Raises
    ------
    OSError
        If something is not there and ``download_if_missing`` is False, or cannot be downloaded.
    InputError
        If an archive or a file is damaged.
    ImportError
        If something must be downloaded and pooch is not installed, or images are asked for and
        Pillow is not.

    Notes
    -----
    The authors publish no checksums: an archive is taken as it comes, but nothing of it is run,
    only files whose names are the number of a screen are unpacked, and every file is checked when
    it is read. A download or an archive that breaks off leaves nothing behind.

    Examples
    --------
    >>> from sklearn_mmfusion.datasets import fetch_enrico
    >>> screens = fetch_enrico(modalities=["layout"])  # doctest: +SKIP
    """
    if unknown := [name for name in modalities if name not in [*ARCHIVES]]:
        raise InputError(f"modalities: expected some of {list(ARCHIVES)}, got {unknown!r}.")
    home = None if data_home is None else os.fspath(data_home)
    folder = Path(get_data_home(home)) / "enrico"
    wanted = [_TOPICS, *(ARCHIVES[name][0] for name in modalities)]
    missing = [name for name in wanted if not (folder / name).exists()]
    if missing and not download_if_missing:
        raise OSError(f"{folder}: {', '.join(missing)} not found, and download_if_missing is False")
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
    endings = dict(ARCHIVES.values())
    for name in missing:
        with tempfile.TemporaryDirectory(dir=folder) as there:
            if name == _TOPICS:
                os.replace(_download(TOPICS_URL, there), folder / name)
                continue
            archive = _download(f"{ARCHIVES_URL}{name}.zip", there)
            unpacked = Path(there) / name
            _unpack(archive, unpacked, endings[name])
            os.replace(unpacked, folder / name)
    return load_enrico(
        folder, modalities=modalities, image_shape=image_shape, max_elements=max_elements
    )


def _download(url: str, folder: str) -> str:
    """Download a file into a folder and return its path."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "fetch_enrico: downloading needs pooch. Install it (pip install "
            f"'sklearn-mmfusion[datasets]'), or download {url} by hand and use load_enrico."
        ) from error
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # it tells the checksum, which says nothing here
    try:
        path: str = pooch.retrieve(url, known_hash=None, path=folder, progressbar=False)
    except (OSError, ValueError) as error:  # those of requests are OSErrors
        raise OSError(
            f"{url} cannot be downloaded ({error}). Try again later, or download it by hand and "
            "use load_enrico."
        ) from error
    finally:
        logger.setLevel(level)
    return path


def _unpack(archive: str, folder: Path, ending: str) -> None:
    """Unpack the files of screens, each under its own name alone."""
    wanted = re.compile(r"[0-9]{1,12}" + re.escape(ending), re.ASCII)
    folder.mkdir()
    total = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                name = member.filename.rpartition("/")[2]
                if not wanted.fullmatch(name):
                    continue  # folders, and what archivers leave
                total += member.file_size
                if total > MAX_UNPACKED_BYTES:
                    raise ValueError(f"more than {MAX_UNPACKED_BYTES} bytes")
                with opened.open(member) as source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{folder.name}.zip: damaged or too large ({error}). Download it again."
        ) from error
    if not any(folder.iterdir()):
        raise InputError(f"{folder.name}.zip: expected files such as 12345{ending}, got none.")
