"""Fetches datasets from Minari's server, or says within seconds that it cannot be reached."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dtag.data.local_datasets import datasets_root, is_local
from dtag.data.reachability import is_reachable
from dtag.data.source_file import first_line
from dtag.errors import DataError


def download_minari(id: str) -> Path:
    """The folder of the dataset, downloaded below `datasets_root` unless it is there already.

    It is fetched into a hidden folder and moved when complete. Raises DataError, naming what to do instead.
    """
    root = datasets_root()
    if is_local(id):
        return root / id
    _check_server(id)
    root.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=".dtag-fetching-", dir=root))
    try:
        _download(id, hidden)
        if not (hidden / id / "data" / "metadata.json").is_file():
            raise DataError(f"{id}: Minari's server sent nothing of that id. {_ALTERNATIVES}")
        (root / id).parent.mkdir(parents=True, exist_ok=True)
        os.rename(hidden / id, root / id)
    except OSError as error:
        if is_local(id):  # another process was faster; its copy is as good
            return root / id
        raise DataError(f"{id}: cannot be stored below {root}: {first_line(error)}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return root / id


def _check_server(id: str) -> None:
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise DataError(
            f"{id}: is not on this machine, and fetching it needs: pip install -e '.[hub]'. {_ALTERNATIVES}"
        ) from error
    if constants.HF_HUB_OFFLINE:
        raise DataError(f"{id}: is not on this machine, and HF_HUB_OFFLINE forbids fetching it. {_ALTERNATIVES}")
    # Asked first, because the library itself gives up only after five retries.
    on_hub = os.environ.get("MINARI_REMOTE", "hf://").startswith("hf://")
    if on_hub and not is_reachable(constants.ENDPOINT):
        raise DataError(
            f"{id}: is not on this machine, and Minari's server cannot be reached from here. {_ALTERNATIVES}"
        )


def _download(id: str, root: Path) -> None:
    import minari

    try:
        with _minari_root(root):
            minari.download_dataset(id)
    except Exception as error:  # the hub's client, Minari and the network raise anything
        raise DataError(f"{id}: cannot be fetched: {first_line(error)}. {_ALTERNATIVES}") from error


@contextlib.contextmanager
def _minari_root(root: Path) -> Iterator[None]:
    """Minari takes the folder to download to from the environment alone."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


_ALTERNATIVES = (
    "Copy the dataset's folder below $MINARI_DATASETS_PATH by hand, import a file with `dtag data import FILE`, or "
    "make a dataset here: dtag data make pointmaze-umaze"
)
