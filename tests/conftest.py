"""One thread, no network, nothing in the user's home. Set here, before torch, Minari or matplotlib are imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# One folder a process, so that parallel workers never meet in it; the tests' subprocesses inherit it.
SCRATCH = Path(tempfile.mkdtemp(prefix="dtag-tests-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

os.environ.update(
    OMP_NUM_THREADS="1",  # two busy threads on two shared cores spin and are slower than one
    MKL_NUM_THREADS="1",
    MINARI_DATASETS_PATH=str(SCRATCH / "minari"),
    DTAG_CACHE=str(SCRATCH / "cache"),
    MPLCONFIGDIR=str(SCRATCH / "matplotlib"),
    MPLBACKEND="Agg",
    HF_HUB_OFFLINE="1",
)
for name in ("minari", "cache", "matplotlib"):
    (SCRATCH / name).mkdir()

import torch

torch.set_num_threads(1)
