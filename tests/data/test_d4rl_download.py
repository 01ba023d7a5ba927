from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from dtag.data import d4rl_catalog
from dtag.data.d4rl_catalog import d4rl_sources
from dtag.data.d4rl_download import d4rl_cache_path, fetch_d4rl
from dtag.data.reachability import is_reachable
from dtag.data.reference_scores import d4rl_reference_scores
from dtag.errors import DataError

BODY = b"x" * 3_000_000


class Handler(BaseHTTPRequestHandler):
    """Serves BODY; below /cut only half of it, below /none nothing."""

    def do_GET(self) -> None:
        if self.path.startswith("/none"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[: len(BODY) // 2] if self.path.startswith("/cut") else BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server on this machine, in place of D4RL's."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DTAG_CACHE", str(tmp_path / "cache"))
    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setattr(d4rl_catalog, "BASE_URL", address)
    yield address
    running.shutdown()
    running.server_close()


HOPPER = d4rl_sources()["hopper-medium-v2"]


def test_a_file_is_fetched_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch_d4rl(HOPPER, progress=lambda done, total: seen.append((done, total)))
    assert path == d4rl_cache_path(HOPPER)
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    monkeypatch.setattr(d4rl_catalog, "BASE_URL", "http://127.0.0.1:1")
    assert fetch_d4rl(HOPPER) == path


@pytest.mark.parametrize(("folder", "message"), [("cut", "ended after 1,500,000 of 3,000,000"), ("none", "404")])
def test_a_download_that_fails_leaves_nothing(folder: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"hopper-medium-v2: fetching .* failed: .*{message}"):
        fetch_d4rl(replace(HOPPER, file=f"{folder}/hopper.hdf5"))
    assert list(d4rl_cache_path(HOPPER).parent.iterdir()) == []


def test_an_unreachable_server_is_told_within_seconds_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(d4rl_catalog, "BASE_URL", "http://127.0.0.1:1")
    with pytest.raises(DataError, match=r"cannot be reached from here\. Place the file by hand at .*hopper_medium-v2"):
        fetch_d4rl(HOPPER)
    with pytest.raises(DataError, match="dtag data make pointmaze-umaze"):
        fetch_d4rl(d4rl_sources()["maze2d-umaze-v1"])


def test_a_name_lookup_that_hangs_does_not_hang_us(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(1.5)
        raise OSError("no such host")

    monkeypatch.setattr("socket.create_connection", hang)
    start = time.monotonic()
    assert not is_reachable("http://example.invalid", seconds=0.05)
    assert time.monotonic() - start < 1


def test_a_proxy_is_asked_in_place_of_the_server(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_reachable("http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", server)
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda _: False)
    assert is_reachable("http://127.0.0.1:1")


def test_every_source_has_a_reference_an_id_and_a_file_of_its_own() -> None:
    sources = d4rl_sources()
    assert len(sources) == 52
    assert set(sources) <= set(d4rl_reference_scores())
    assert len({source.local_id for source in sources.values()}) == len(sources)
    assert len({d4rl_cache_path(source) for source in sources.values()}) == len(sources)


def test_the_tables_names_lead_to_d4rls_files() -> None:
    files = {name: d4rl_sources()[name].file for name in d4rl_sources()}
    assert files["hopper-medium-replay-v2"] == "gym_mujoco_v2/hopper_medium_replay-v2.hdf5"
    assert files["maze2d-umaze-v1"] == "maze2d/maze2d-umaze-sparse-v1.hdf5"
    assert files["maze2d-large-dense-v1"] == "maze2d/maze2d-large-dense-v1.hdf5"
    assert files["antmaze-medium-play-v2"] == (
        "ant_maze_v2/Ant_maze_big-maze_noisy_multistart_True_multigoal_False_sparse_fixed.hdf5"
    )
    assert files["pen-human-v1"] == "hand_dapg_v1/pen-human-v1.hdf5"
    assert files["kitchen-mixed-v0"] == "kitchen/kitchen_microwave_kettle_bottomburner_light-v0.hdf5"


def test_sources_know_their_traps() -> None:
    sources = d4rl_sources()
    assert sources["ant-medium-v2"].state_dims == 27
    assert sources["antmaze-umaze-v2"].split_on == "truncated"
    assert sources["maze2d-large-dense-v1"].environment_kwargs == {"size": "large", "reward": "dense"}
    assert sources["hopper-expert-v2"].environment == "Hopper-v4"
    assert sources["hopper-expert-v2"].reference.label == "d4rl"
    assert sources["maze2d-umaze-v1"].reference.label == sources["pen-human-v1"].reference.label == "d4rl scale"
