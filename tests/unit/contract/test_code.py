"""The digest of the code that touches data: what is in it, and that every installation has the same."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.contract import code
from common.contract.code import OUTSIDE, PACKAGES, TOUCHES_DATA, digest_below, names_below, touches_data

ROOT = Path(__file__).parents[3]
SEAM = ("common/link/", "client/link/", "common/identity/")
"""What the inside hands signed envelopes to, or has them signed with; it may import these."""


def modules() -> dict[str, str]:
    """Path of every module of the packages, by its name."""
    paths = (path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path.as_posix() for path in paths}


def imported(path: Path, known: dict[str, str]) -> Iterator[str]:
    """Paths of the modules that one imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        yield from (known[name] for name in names if name in known)


def test_every_module_is_on_one_side() -> None:
    for name in modules().values():
        around = [e for e in (*TOUCHES_DATA, *OUTSIDE) if e == name or (e[-1] == "/" and name.startswith(e))]
        assert around, f"{name} is in neither list of common/contract/code.py"
        assert len({len(entry) for entry in around}) == len(around), f"{name} is in both lists: {around}"


def test_the_lists_name_only_what_is_there() -> None:
    names = set(modules().values())
    for entry in (*TOUCHES_DATA, *OUTSIDE):
        assert entry in names or any(name.startswith(entry) for name in names if entry[-1] == "/"), entry
    assert not set(TOUCHES_DATA) & set(OUTSIDE)
    assert list(TOUCHES_DATA) == sorted(TOUCHES_DATA) and list(OUTSIDE) == sorted(OUTSIDE)


def test_what_the_inside_imports_is_inside() -> None:
    known = modules()
    for name in filter(touches_data, known.values()):
        for other in imported(ROOT / name, known):
            fine = touches_data(other) or other == "common/__init__.py" or other.startswith(SEAM)
            assert fine, f"{name} touches data and imports {other}, which is outside"


def test_the_one_module_outside_that_all_import_says_the_release_and_sees_to_tls() -> None:
    docstring, tls, version = ast.parse((ROOT / "common/__init__.py").read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(tls, ast.ImportFrom) and tls.module == "common.link"
    assert isinstance(version, ast.Assign) and isinstance(version.value, ast.Constant)


@pytest.mark.parametrize(
    "name", ["client/app.py", "client/policy.py", "client/consent/check.py", "common/tasks/reading.py"]
)
def test_what_trains_and_what_decides_is_inside(name: str) -> None:
    assert name in names_below(ROOT)


def test_a_file_that_nobody_named_is_inside() -> None:
    assert touches_data("client/new.py") and not touches_data("client/pacs/new.py")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages, installed elsewhere."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def test_one_byte_within_is_another_digest_and_without_is_not(copy: Path) -> None:
    before = digest_below(copy)
    with (copy / "common/page/markup.py").open("a") as file:
        file.write("#")
    assert digest_below(copy) == before
    for name in ("client/trainer.py", "client/dicom/deidentification/profile.csv"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[:-1] + b" ")
        assert digest_below(copy) != before
        (copy / name).write_bytes(content)
    assert digest_below(copy) == before
    (copy / "client/trainer.py").rename(copy / "client/other.py")
    assert digest_below(copy) != before


def test_an_installation_elsewhere_has_the_same_digest(copy: Path) -> None:
    """As a wheel has: the same files below another folder, compiled, and imported from there."""
    program = "from common.contract import code_digest; import common; print(code_digest(), common.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=copy, env=environment, capture_output=True, text=True, check=True
    )
    digest, place = ran.stdout.split()
    assert Path(place).is_relative_to(copy) and digest == digest_below(copy)
    assert list(copy.rglob("*.pyc"))


def test_a_wheel_holds_every_file_of_the_digest(tmp_path: Path) -> None:
    build = pytest.importorskip("hatchling.builders.wheel")
    # git-ignored files and the like must not make the two differ
    wheel = build.WheelBuilder(str(ROOT))
    packed = {each.distribution_path for each in wheel.recurse_included_files()}
    assert set(names_below(ROOT)) <= packed


def test_an_upgrade_under_a_running_process_is_seen(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_root", lambda: copy)
    before = code.installed_digest()
    assert code.installed_digest() == before
    path = copy / "client/trainer.py"
    path.write_bytes(path.read_bytes() + b"#\n")
    assert code.installed_digest() != before
