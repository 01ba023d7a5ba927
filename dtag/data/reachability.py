"""Whether a server answers, found out in seconds rather than after a library's retries."""

from __future__ import annotations

import socket
import threading
import urllib.request
from urllib.parse import urlsplit


def is_reachable(url: str, seconds: float = 4.0) -> bool:
    """Whether a connection to the url's host (or to the proxy in front of it) opens within `seconds`.

    In a thread of its own, because a name lookup has no timeout and may hang for longer.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(host):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = parts.hostname or "", parts.port or 80
    answered = threading.Event()
    thread = threading.Thread(target=_connect, args=(host, port, seconds, answered), daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def _connect(host: str, port: int, seconds: float, answered: threading.Event) -> None:
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError:
        return
    answered.set()
