"""What Ray's part does of its own: its worker's process, shared storage, what a cluster cannot give."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dtag.errors import UsageError
from dtag.sweep import ray_worker
from dtag.sweep.executor import Needs, RaySettings
from dtag.sweep.ray_executor import RayExecutor
from dtag.sweep.ray_worker import Workplace, look

FAKE = ("-S", str(Path(__file__).with_name("fake_dtag.py")))
THREADS = {"OMP_NUM_THREADS": "1"}
HOST = """
import sys
from dtag.sweep.ray_worker import Workplace
Workplace().run(sys.argv[3:], sys.argv[1], sys.argv[2], {"OMP_NUM_THREADS": "1"})
"""


def _folder(path: Path) -> tuple[str, str, str]:
    """(a run's folder, where it is started, its log)"""
    path.mkdir()
    (path / "log").touch()
    return str(path), str(path.parent), str(path / "log")


def test_a_signal_that_comes_before_the_process_reaches_it(tmp_path: Path) -> None:
    folder, start, log = _folder(tmp_path / "run")
    place = Workplace()
    place.send_signal(signal.SIGTERM)
    # Python's default handler ends it before the stand-in has its own, or the stand-in does
    assert place.run((*FAKE, "long", folder), start, log, THREADS)["exit_status"] in (-signal.SIGTERM, 143)


def test_a_node_without_the_folder_says_so(tmp_path: Path) -> None:
    _, start, _ = _folder(tmp_path / "run")
    assert "must be on shared storage" in Workplace().run(FAKE, start, str(tmp_path / "none" / "log"), {})["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills a process with its parent")
def test_a_run_dies_with_its_worker_so_that_it_never_goes_on_beside_its_successor(tmp_path: Path) -> None:
    folder, start, log = _folder(tmp_path / "run")
    words = [sys.executable, "-c", HOST, start, log, *FAKE, "long", folder]
    host = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    child = _within(20, lambda: Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().strip())
    assert child
    _within(20, lambda: (tmp_path / "run" / "config.yaml").is_file())
    host.kill()
    host.wait()
    assert _within(10, lambda: not Path(f"/proc/{child}/cmdline").is_file() or not _words_of(child))


def _words_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _within(seconds: float, question: Any) -> Any:
    """The first answer that is true, or the last one."""
    limit = time.monotonic() + seconds
    while not question() and time.monotonic() < limit:
        time.sleep(0.02)
    return question()


def test_a_node_tells_what_it_sees_and_writes_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_worker, "PATIENCE_SECONDS", 0.0)
    probe = tmp_path / "probe"
    unseen = look(str(tmp_path / "none"), str(probe), "answer")
    assert unseen["text"] is None
    assert unseen["folder"] is False
    assert "No such file" in unseen["error"]
    probe.write_text("token")
    seen = look(str(tmp_path), str(probe), "answer")
    assert (seen["text"], seen["folder"], seen["error"]) == ("token", True, "")
    assert (tmp_path / "answer").read_text() == "token"


@pytest.mark.slow
def test_what_a_cluster_cannot_give_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    ray.init(address="local", log_to_driver=False, logging_level="critical", include_dashboard=False, num_cpus=1)
    try:
        for needs, words in ((Needs(gpus=0.5), "1 cores, 0.5 GPUs"), (Needs(cpus=99), "99 cores")):
            with pytest.raises(UsageError, match=f"no node .*{words}"):
                RayExecutor(tmp_path, RaySettings(), needs=needs)
        executor = RayExecutor(tmp_path, RaySettings())
        assert list(tmp_path.iterdir()) == []  # the probe is gone
        elsewhere = {"node": "far", "folder": True, "text": "another token", "error": ""}
        monkeypatch.setattr(RayExecutor, "_look", lambda *_: (tmp_path / "answer", elsewhere))
        with pytest.raises(UsageError, match=r"1 of 1 nodes do not share .*\n.*far: it has another folder"):
            executor._check_storage(tmp_path)
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="pip install -e '.[ray]'")
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "2")
    with pytest.raises(UsageError, match=r"no Ray cluster at ray\.address=auto"):
        RayExecutor(tmp_path, RaySettings(address="auto"))
