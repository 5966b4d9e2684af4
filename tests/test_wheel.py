"""The wheel stands on its own: it carries the sample site and runs from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from interop_engine import __version__

ROOT = Path(__file__).parent.parent
SITE = "interop_engine/demo/site/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; the libraries are those of this one, behind the wheel's own files."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False)
    packages = home / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (packages / "libraries.pth").write_text(sysconfig.get_path("platlib") + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", home / "bin/python"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", wheel], check=True, env=_environment())
    return home


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") and name != "PIP_FIND_LINKS"}


def run(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed console script in an empty folder."""
    script = installed / "bin/interop-engine"
    return subprocess.run([script, *arguments], cwd=folder, env=_environment(), capture_output=True, text=True, check=False)


def test_the_wheel_carries_the_sample_site(wheel: Path) -> None:
    """Every sample channel and mapping of the clone is in the wheel, and the data the engine reads."""
    names = set(zipfile.ZipFile(wheel).namelist())
    samples = [path.relative_to(ROOT) for folder in ("channels", "mappings") for path in (ROOT / folder).rglob("*.y*ml")]
    assert {f"{SITE}{path}" for path in samples} - names == set()
    assert {f"{SITE}engine.yaml", "interop_engine/py.typed"} - names == set()
    assert samples


def test_the_installed_program_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    """``interop-engine --version`` runs from an empty folder, out of the wheel and not out of the clone."""
    where = [installed / "bin/python", "-c", "import interop_engine; print(interop_engine.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=_environment(), capture_output=True, text=True, check=True).stdout
    assert found.startswith(str(installed))
    shown = run(installed, tmp_path, "--version")
    assert (shown.returncode, shown.stdout) == (0, f"interop-engine {__version__}\n")


def test_the_demonstration_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """``pip install`` and ``interop-engine demo`` work in an empty folder, which stays empty."""
    shown = run(installed, tmp_path, "demo")
    assert (shown.returncode, "All is well" in shown.stdout) == (0, True), shown.stdout + shown.stderr
    assert list(tmp_path.iterdir()) == []
