"""The built wheel, installed alone, has everything: schemas, data, declarations, command line."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOADS = """
import sys
from importlib import resources
from pathlib import Path
import driftloop
from driftloop.adapters.broker.distribution import load_distribution
from driftloop.cli.applying import load_declaration
from driftloop.kernel.codec.records import codec
from driftloop.kernel.records import RECORDS
from driftloop.kernel.schemas import record_schema, schema_versions

package = Path(driftloop.__file__).resolve()
assert package.is_relative_to(Path(sys.prefix).resolve()), package
for name, versions in schema_versions().items():
    for version in versions:
        record_schema(name, version)
for kind in RECORDS:
    codec(kind)
load_distribution()
with resources.as_file(resources.files("driftloop") / "infra" / "models") as models:
    for model in ("flights", "flights-status", "flights-delay"):
        print(load_declaration(models / f"{model}.toml").declaration.name)
print(resources.files("driftloop").joinpath("py.typed").is_file())
print(len(schema_versions()))
"""


def _run(*command: str | Path, cwd: Path) -> str:
    run = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{command}:\n{run.stdout}{run.stderr}"
    return run.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that holds the wheel, and of this one's packages all but driftloop."""
    where = tmp_path_factory.mktemp("wheel")
    # From a copy: a build leaves folders behind, and would take files a former one left.
    source = where / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "services", "schemas", "infra"):
        _run("cp", "-R", ROOT / name, source, cwd=where)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = (*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index")
    _run(*build, "-w", where / "out", source, cwd=where)
    (wheel,) = (where / "out").glob("driftloop-*.whl")
    _run(sys.executable, "-m", "venv", "--without-pip", where / "venv", cwd=where)
    python = where / "venv" / "bin" / "python"
    purelib = _run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=where
    )
    _run(*pip, "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=where)
    # A path only, so that nothing is downloaded: an editable driftloop there stays unseen, for the
    # lines of another folder's .pth files do not count.
    beside = f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n"
    Path(purelib.strip(), "dependencies.pth").write_text(beside, encoding="utf-8")
    return where


def test_the_wheel_has_schemas_declarations_and_the_brokers_data(environment: Path) -> None:
    python = environment / "venv" / "bin" / "python"

    *models, typed, schemas = _run(python, "-I", "-c", LOADS, cwd=environment).split()

    assert models == ["flights", "flights-status", "flights-delay"]
    assert typed == "True"
    assert int(schemas) == len({p.name.split(".")[0] for p in (ROOT / "schemas").glob("*.avsc")})


def test_the_wheel_has_the_command_line(environment: Path) -> None:
    shown = _run(environment / "venv" / "bin" / "driftloop", "--help", cwd=environment)

    assert "apply" in shown
    assert "demo" in shown
