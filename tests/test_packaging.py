"""What is shipped: the wheel, the source archive, the lock file, the packaged data."""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from tests.support.paths import REPOSITORY

ROOT = REPOSITORY
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DATA = {
    "stigmer_config/defaults/local.yaml",
    "stigmer_config/defaults/cloud.yaml",
    "stigmer_config/defaults/models.yaml",
}


def build(target: str, source: Path, folder: Path) -> Path:
    """The wheel or sdist of a source tree, built without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout as it is now, so that all that is built here is built from the same files."""
    aside = shutil.ignore_patterns(".*_cache", ".git", ".venv*", ".hypothesis", "__pycache__", "node_modules")
    return Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("source") / "checkout", ignore=aside))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_has_the_code_the_defaults_and_the_types(source: Path, wheel: Path) -> None:
    """Every module, the packaged data and py.typed are in it; tests, examples and caches are not."""
    shipped = names(wheel)
    modules = {path.relative_to(source).as_posix() for path in (source / "stigmer_config").rglob("*.py")}
    assert modules <= shipped
    assert {"stigmer_config/py.typed"} | DATA <= shipped
    tops = {name.split("/")[0] for name in shipped}
    assert len(tops) == 2
    assert all(top == "stigmer_config" or top.endswith(".dist-info") for top in tops)
    assert not [name for name in shipped if "__pycache__" in name]


def test_the_wheel_has_its_metadata(wheel: Path) -> None:
    """Name, version, Python, licence, the README, and the dependencies of pyproject.toml; the command."""
    archive = zipfile.ZipFile(wheel)
    (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
    assert (metadata["Name"], metadata["Version"]) == (PROJECT["project"]["name"], PROJECT["project"]["version"])
    assert (metadata["Requires-Python"], metadata["License-Expression"]) == (">=3.11", "Apache-2.0")
    assert {url.partition(", ")[0] for url in metadata.get_all("Project-URL", [])} >= {"Source", "Documentation"}
    wanted = {canonicalize_name(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert {canonicalize_name(r.name) for r in required if "extra" not in str(r.marker)} == wanted
    assert "stigmer = stigmer_config.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    assert "# stigmer-config" in str(metadata.get_payload())
    assert f"{info}/licenses/LICENSE" in archive.namelist()


def test_the_installed_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere, with no checkout near it, the command and load() read the defaults they came with."""
    place, home = tmp_path / "installed", tmp_path / "home"
    home.mkdir(mode=0o700)
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--disable-pip-version-check",
    ]
    subprocess.run([*install, "--target", str(place), str(wheel)], check=True, capture_output=True, timeout=120)
    # Before the checkout on the path: what answers is the wheel.
    environment = {
        "HOME": str(home),
        "PATH": os.defpath,
        "PYTHONPATH": str(place),
        "MODE": "local",
        "XDG_CONFIG_DIRS": str(home),
    }
    command = [
        sys.executable,
        str(place / "bin" / "stigmer"),
        "config",
        "show",
        "--origin",
        "--all",
        "--format",
        "json",
    ]
    shown = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    document = json.loads(shown.stdout)
    assert document["layers"][0]["source"] == str(place / "stigmer_config" / "defaults" / "local.yaml")
    assert document["values"]["llm.model"]["value"] == "qwen2.5-coder:7b"
    program = "import stigmer_config, sys; print(stigmer_config.__file__, stigmer_config.load().llm.provider)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [str(place / "stigmer_config" / "__init__.py"), "ollama"], done.stderr


def test_the_source_archive_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    """The sdist has the tests, the examples and the documents, and the wheel built from it has the same files."""
    sdist = build("sdist", source, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (unpacked,) = (tmp_path / "source").iterdir()
    for name in (
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "defaults/models.yaml",
        "tests/conftest.py",
        "examples/demo.py",
    ):
        assert (unpacked / name).is_file(), name
    again = build("wheel", unpacked, tmp_path / "again")
    assert names(again) == names(wheel)


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """The requirements of the lock file by name, each with its hashes."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split("#")[0].strip() for line in text.splitlines()]
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for line in filter(None, lines):
        requirement, *hashes = re.split(r"\s+--hash=", line)
        parsed = Requirement(requirement)
        found[canonicalize_name(parsed.name)] = (parsed, hashes)
    return found


def test_the_lock_file_pins_everything_by_hash() -> None:
    """Each requirement is one exact version with SHA-256 hashes; every dependency of the project is there and fits."""
    pinned = locked()
    for name, (requirement, hashes) in pinned.items():
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), name
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), name
    groups = [r for name in ("dev", "build") for r in PROJECT["dependency-groups"][name] if isinstance(r, str)] + [
        r for rs in PROJECT["project"].get("optional-dependencies", {}).values() for r in rs
    ]
    for line in PROJECT["project"]["dependencies"] + groups:
        wanted = Requirement(line)
        version = Version(str(pinned[canonicalize_name(wanted.name)][0].specifier).removeprefix("=="))
        assert version in wanted.specifier, line


def test_the_lock_file_names_no_registry() -> None:
    """It holds versions and hashes only: where packages come from is the machine's own choice."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@ |^\s*-i\b|--(extra-)?index-url|--find-links|--trusted-host", text, re.MULTILINE)


def test_the_packaged_files_agree_where_they_must() -> None:
    """Providers and aliases are the same in both modes, and under llm only the provider is set."""
    read = YAML(typ="safe", pure=True).load
    local, cloud = (
        read((ROOT / "defaults" / f"{mode}.yaml").read_text(encoding="utf-8")) for mode in ("local", "cloud")
    )
    assert local["providers"] == cloud["providers"]
    assert local["aliases"] == cloud["aliases"]
    assert (local["llm"], cloud["llm"]) == ({"provider": "ollama"}, {"provider": "anthropic"})
    assert set(local["aliases"]) == {"fast", "balanced", "powerful"}
    assert all(set(targets) == set(local["providers"]) for targets in local["aliases"].values())
    assert "redis" not in local
