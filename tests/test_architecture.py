"""The rules of the package's layout, read off its source: what may import what, and how files are named.

Each rule is a function from a package folder to its violations, so that it is seen to fire on a planted one.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dtag.errors

PACKAGE = Path(dtag.errors.__file__).parent

# A folder imports only from stages before its own; folders of one stage do not know each other.
STAGES = (
    {"config"},
    {"data"},
    {"reductions", "products"},
    {"policy", "critic"},
    {"losses", "refiners"},
    {"rollout"},
    {"evaluation"},
    {"training"},
    {"sweep"},
    {"toys"},
    {"report"},
    {"cli"},
)
STAGE = {folder: stage for stage, folders in enumerate(STAGES) for folder in folders}
ERRORS = "errors"  # dtag/errors.py: everyone may import it, it imports nothing of dtag
ENTRY_POINTS = {"__init__", "__main__"}  # dtag/__init__.py offers dtag.load, so it may import anything
ROOT_NAMES = {"__version__"}  # what a folder may import from dtag/__init__.py

LIGHTNING = {"lightning", "lightning_fabric", "lightning_utilities", "pytorch_lightning"}
LIGHTNING_FILES = {"data/datamodule.py", "evaluation/evaluator.py", "toys/ramp.py", "toys/chain.py"}
LIGHTNING_FOLDER = "training"

FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc"}
HEAVY = ("torch", "lightning", "pytorch_lightning", "gymnasium", "minari", "matplotlib", "scipy", "tensorboard")


def sources(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def module_name(package: Path, file: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(package: Path, file: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted target of every import of a file, in functions, under TYPE_CHECKING and by literal name too.

    `from a import b` yields a.b, whether b is a module or a name in a.
    """
    name = module_name(package, file)
    parents = name.split(".") if file.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in {"import_module", "__import__"}:
                yield node.lineno, str(node.args[0].value)


def import_order_violations(package: Path) -> list[str]:
    files = {file: file.relative_to(package).parts[0].removesuffix(".py") for file in sources(package)}
    unplaced = set(files.values()) - {*STAGE, ERRORS, *ENTRY_POINTS}
    found = [f"{owner}: has no place in the folder order" for owner in sorted(unplaced)]
    for file, owner in files.items():
        if owner in ENTRY_POINTS | unplaced:
            continue
        for line, target in imports(package, file):
            top, _, rest = target.partition(".")
            if top == package.name and not may_import(owner, rest.split(".")[0]):
                found.append(f"{file.relative_to(package)}:{line}: {owner} may not import {target}")
    return found


def may_import(owner: str, imported: str) -> bool:
    """Whether a file of `owner` may import `imported`, both the first part of a path inside the package."""
    if imported in ROOT_NAMES or imported == ERRORS:
        return True
    if owner == ERRORS or imported not in STAGE:
        return False
    return imported == owner or STAGE[imported] < STAGE[owner]


def lightning_violations(package: Path) -> list[str]:
    return [
        f"{inside}:{line}: imports {target}"
        for file in sources(package)
        if (inside := file.relative_to(package)).as_posix() not in LIGHTNING_FILES
        and inside.parts[0] != LIGHTNING_FOLDER
        for line, target in imports(package, file)
        if target.split(".")[0] in LIGHTNING
    ]


def init_file_violations(package: Path) -> list[str]:
    found = []
    for folder in sorted({file.parent for file in sources(package)} - {package}):
        init = folder / "__init__.py"
        if not init.exists():
            found.append(f"{folder.relative_to(package)}: no __init__.py")
        elif init.read_bytes():
            found.append(f"{init.relative_to(package)}: not empty")
    return found


def name_violations(package: Path) -> list[str]:
    """Folders and modules whose name says nothing of what is in them."""
    named = {path for file in sources(package) for path in (file, *file.parents) if path.is_relative_to(package)}
    return [str(path.relative_to(package)) for path in sorted(named) if path.stem.strip("_") in FORBIDDEN_NAMES]


def heavy_imports(module: str, folder: Path) -> list[str]:
    """The heavy libraries that importing a module in a fresh interpreter brings in."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


RULES: tuple[Callable[[Path], list[str]], ...] = (
    import_order_violations,
    lightning_violations,
    init_file_violations,
    name_violations,
)
MODULES = [module_name(PACKAGE, file) for file in sources(PACKAGE) if file.name != "__main__.py"]
LIGHT_MODULES = [name for name in ("dtag", "dtag.errors", "dtag.cli.main") if name in MODULES]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert not (found := rule(PACKAGE)), "\n".join(found)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_imports(module: str) -> None:
    importlib.import_module(module)


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_the_command_line_starts_without_heavy_libraries(module: str) -> None:
    assert not heavy_imports(module, PACKAGE.parent)


def plant(folder: Path, files: dict[str, str]) -> Path:
    """A package `dtag` under folder with the given files, and the empty __init__.py files a lawful one has."""
    package = folder / "dtag"
    package.mkdir()
    for name, text in files.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        for parent in file.parents[: len(file.relative_to(package).parts)]:
            if not (parent / "__init__.py").exists():
                (parent / "__init__.py").touch()
    return package


LAWFUL = {
    "__init__.py": "def load(path):\n    from dtag.rollout.agent import Agent\n",
    "errors.py": "import sys\n",
    "config/schema.py": "from dtag.errors import UsageError\n",
    "data/batch.py": "from dtag.config import schema\nfrom dtag import errors, __version__\nimport lightninglike\n",
    "data/datamodule.py": "import lightning as L\n",
    "policy/heads.py": "from dtag.policy import attention\nfrom dtag.reductions.masked_mean import masked_mean\n",
    "policy/attention.py": "import torch\n",
    "losses/mse.py": "import dtag.policy.heads\nimport dtag.critic.iql\n",
    "evaluation/evaluator.py": "from lightning.pytorch import Callback\n",
    "training/module.py": "from lightning.pytorch import LightningModule\nfrom dtag.losses.mse import mse\n",
    "cli/main.py": "def main():\n    import dtag.report.tables\n    from dtag.training import module\n",
}


@pytest.mark.parametrize("rule", RULES)
def test_a_lawful_package_has_no_violation(rule: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert rule(plant(tmp_path, LAWFUL)) == []


@pytest.mark.parametrize(
    ("rule", "file", "text"),
    [
        pytest.param(import_order_violations, "config/a.py", "from dtag.data import batch\n", id="a later folder"),
        pytest.param(import_order_violations, "data/a.py", "import dtag.policy.heads as h\n", id="by plain import"),
        pytest.param(import_order_violations, "data/a.py", "from dtag import rollout\n", id="from the package"),
        pytest.param(import_order_violations, "data/a.py", "from ..policy import heads\n", id="relative"),
        pytest.param(import_order_violations, "data/sub/a.py", "from ...policy import x\n", id="relative, deeper"),
        pytest.param(import_order_violations, "policy/a.py", "from dtag.critic.iql import V\n", id="policy to critic"),
        pytest.param(import_order_violations, "critic/a.py", "import dtag.policy.heads\n", id="critic to policy"),
        pytest.param(import_order_violations, "losses/a.py", "import dtag.refiners.ag\n", id="losses to refiners"),
        pytest.param(import_order_violations, "refiners/a.py", "import dtag.losses.mse\n", id="refiners to losses"),
        pytest.param(import_order_violations, "sweep/a.py", "import dtag.report.tables\n", id="sweep to report"),
        pytest.param(
            import_order_violations, "data/a.py", "def f():\n    from dtag.cli import main\n", id="inside a function"
        ),
        pytest.param(
            import_order_violations,
            "data/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from dtag.policy import heads\n",
            id="for types only",
        ),
        pytest.param(
            import_order_violations, "data/a.py", "import_module('dtag.policy.heads')\n", id="by literal name"
        ),
        pytest.param(import_order_violations, "errors.py", "from dtag.config import schema\n", id="errors imports"),
        pytest.param(import_order_violations, "data/a.py", "from dtag import load\n", id="the package's own names"),
        pytest.param(import_order_violations, "data/a.py", "import dtag\n", id="the package itself"),
        pytest.param(import_order_violations, "extras/a.py", "", id="a folder without a place"),
        pytest.param(import_order_violations, "tools.py", "", id="a loose module"),
        pytest.param(lightning_violations, "policy/a.py", "import lightning\n", id="lightning in policy"),
        pytest.param(lightning_violations, "cli/main.py", "import pytorch_lightning as pl\n", id="lightning in cli"),
        pytest.param(
            lightning_violations, "data/a.py", "def f():\n    from lightning import Trainer\n", id="lightning, lazily"
        ),
        pytest.param(lightning_violations, "__init__.py", "import lightning\n", id="lightning in the package"),
        pytest.param(init_file_violations, "data/__init__.py", "from dtag.data import batch\n", id="a re-export"),
        pytest.param(name_violations, "data/utils.py", "", id="utils.py"),
        pytest.param(name_violations, "common/a.py", "", id="a folder named common"),
        pytest.param(name_violations, "data/_helpers/a.py", "", id="a folder named _helpers"),
    ],
)
def test_a_planted_violation_is_found(rule: Callable[[Path], list[str]], file: str, text: str, tmp_path: Path) -> None:
    found = rule(plant(tmp_path, {**LAWFUL, file: text}))
    assert len(found) == 1
    assert found[0].startswith(Path(file).parts[0].removesuffix(".py"))


def test_a_folder_without_an_init_file_is_found(tmp_path: Path) -> None:
    package = plant(tmp_path, LAWFUL)
    (package / "losses" / "__init__.py").unlink()
    assert init_file_violations(package) == ["losses: no __init__.py"]


def test_a_heavy_import_is_found(tmp_path: Path) -> None:
    plant(tmp_path, {"__init__.py": "", "slow.py": "import gymnasium\n", "fast.py": "import json\n"})
    assert "gymnasium" in heavy_imports("dtag.slow", tmp_path)
    assert heavy_imports("dtag.fast", tmp_path) == []


def test_a_module_that_does_not_import_is_reported(tmp_path: Path) -> None:
    plant(tmp_path, {"__init__.py": "", "broken.py": "import no_such_library\n"})
    with pytest.raises(AssertionError, match="no_such_library"):
        heavy_imports("dtag.broken", tmp_path)
