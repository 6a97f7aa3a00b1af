"""fetch_enrico, from a server of the test's own that has archives of the same form."""

import io
import json
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from sklearn_mmfusion import InputError
from sklearn_mmfusion.datasets import _fetch_enrico, fetch_enrico, load_enrico

IDS = [str(number) for number in range(100, 120)]
TOPICS = "screen_id,topic\n" + "".join(f"{name},{'ab'[int(name) % 2]}\n" for name in IDS)
LEAF = json.dumps({"bounds": [0, 0, 10, 20], "componentLabel": "Text"})


def archive(files):
    """Return the bytes of a zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, text in files.items():
            opened.writestr(name, text)
    return stream.getvalue()


HIERARCHIES = {f"hierarchies/{name}.json": LEAF for name in IDS}


@pytest.fixture
def server(monkeypatch):
    """A server of files by address; ``asked`` lists the addresses that were asked for."""
    pytest.importorskip("pooch")
    files = {"/design_topics.csv": TOPICS.encode(), "/hierarchies.zip": archive(HIERARCHIES)}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            found = files.get(self.path)
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as opened:
        thread = threading.Thread(target=opened.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{opened.server_address[1]}/"
        monkeypatch.setattr(_fetch_enrico, "TOPICS_URL", address + "design_topics.csv")
        monkeypatch.setattr(_fetch_enrico, "ARCHIVES_URL", address)
        monkeypatch.setenv("no_proxy", "*")
        opened.files, opened.asked = files, asked
        yield opened
        opened.shutdown()
        thread.join()


def fetch(home, **params):
    return fetch_enrico(data_home=home, modalities=["layout"], max_elements=2, **params)


def test_what_is_missing_is_downloaded_once(server, tmp_path):
    screens = fetch(tmp_path)
    assert sorted(server.asked) == ["/design_topics.csv", "/hierarchies.zip"]
    folder = tmp_path / "enrico"
    same = load_enrico(folder, modalities=["layout"], max_elements=2)
    np.testing.assert_array_equal(screens.data["layout"], same.data["layout"])
    assert screens.data["layout"].shape == (20, 2, 28)
    assert list(screens.ids) == IDS
    assert sorted(path.name for path in folder.iterdir()) == ["design_topics.csv", "hierarchies"]
    fetch(tmp_path, download_if_missing=False)
    assert len(server.asked) == 2


def test_the_folder_is_that_of_scikit_learn_by_default(server, tmp_path, monkeypatch):
    monkeypatch.setattr(
        _fetch_enrico, "get_data_home", lambda home: tmp_path if home is None else home
    )
    fetch(None)
    assert (tmp_path / "enrico" / "hierarchies" / "100.json").exists()


def test_nothing_is_downloaded_where_that_is_not_wanted(server, tmp_path):
    with pytest.raises(OSError, match=r"design_topics.csv, hierarchies not found"):
        fetch(tmp_path, download_if_missing=False)
    assert server.asked == []
    assert not (tmp_path / "enrico").exists()


def test_an_address_without_the_file_leaves_nothing_behind(server, tmp_path):
    del server.files["/hierarchies.zip"]
    with pytest.raises(OSError, match=r"hierarchies.zip cannot be downloaded .*404.*load_enrico"):
        fetch(tmp_path)
    assert [path.name for path in (tmp_path / "enrico").iterdir()] == ["design_topics.csv"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"no archive", "damaged or too large"),
        (archive({"hierarchies/readme.txt": "hello"}), "expected files such as 12345.json"),
        (archive(HIERARCHIES)[:-400], "damaged or too large"),
    ],
)
def test_a_damaged_archive_is_refused_and_leaves_nothing_behind(content, text, server, tmp_path):
    server.files["/hierarchies.zip"] = content
    with pytest.raises(InputError, match=text):
        fetch(tmp_path)
    assert [path.name for path in (tmp_path / "enrico").iterdir()] == ["design_topics.csv"]
    server.files["/hierarchies.zip"] = archive(HIERARCHIES)
    assert len(fetch(tmp_path).ids) == 20


def test_an_archive_that_unpacks_to_too_much_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(_fetch_enrico, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(InputError, match="more than 10 bytes"):
        fetch(tmp_path)


def test_files_of_an_archive_stay_in_its_folder(server, tmp_path):
    outside = {"../../../200.json": LEAF, "/300.json": LEAF, "../evil.sh": "echo", "4٤.json": LEAF}
    server.files["/hierarchies.zip"] = archive({**HIERARCHIES, **outside})
    fetch(tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")}
    assert found == {f"enrico/hierarchies/{name}.json" for name in [*IDS, "200", "300"]}
    assert not list(tmp_path.rglob("evil.sh"))


def test_unknown_modalities_are_refused_before_anything_is_downloaded(server, tmp_path):
    with pytest.raises(InputError, match=r"got \['sound'\]"):
        fetch_enrico(data_home=tmp_path, modalities=["layout", "sound"])
    assert server.asked == []


def test_without_pooch_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r"sklearn-mmfusion\[datasets\]"):
        fetch(tmp_path)
    assert list((tmp_path / "enrico").iterdir()) == []
