"""The public names, as a contract: what is in `stigmer_config`, and nothing else."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
import typing

import pytest

import stigmer_config

# A new name is a new promise; a removed name breaks users. Change it on purpose, with a line in CHANGELOG.md.
PUBLIC = [
    "Change",
    "Closed",
    "Config",
    "ConfigError",
    "Environment",
    "Explanation",
    "Forked",
    "LLMConfig",
    "LiveConfig",
    "Origin",
    "Problem",
    "Rejected",
    "Reloaded",
    "Secret",
    "Status",
    "Unchanged",
    "app",
    "load",
    "redact_secrets",
    "setting",
]


def test_the_public_names_are_these() -> None:
    """`__all__`, sorted."""
    assert stigmer_config.__all__ == PUBLIC


def test_dir_lists_them_before_they_are_used() -> None:
    """What an interpreter completes, in a fresh process, imports nothing."""
    code = (
        "import sys, stigmer_config as s; print(dir(s) == sorted(s.__all__));"
        "print([m for m in sys.modules if m.startswith('stigmer_config.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["True", "[]"]


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_there_on_first_use_and_stays(name: str) -> None:
    """Every name loads, once: the second read is the same object, without a detour."""
    value = getattr(stigmer_config, name)
    assert getattr(stigmer_config, name) is value
    assert vars(stigmer_config)[name] is value
    assert value.__module__.startswith("stigmer_config.")


def test_a_star_import_brings_exactly_these() -> None:
    """`from stigmer_config import *`."""
    names: dict[str, object] = {}
    exec("from stigmer_config import *", names)
    assert sorted(set(names) - {"__builtins__"}) == PUBLIC


def test_the_version_is_the_installed_one() -> None:
    """`stigmer_config.__version__`, and that of the command, which is also `python -m stigmer_config`."""
    assert stigmer_config.__version__ == importlib.metadata.version("stigmer-config")
    command = [sys.executable, "-m", "stigmer_config", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"stigmer, version {stigmer_config.__version__}\n"


def test_a_live_config_is_started_not_called() -> None:
    """The error names the way that works."""
    with pytest.raises(TypeError, match=r"use LiveConfig\.start\("):
        stigmer_config.LiveConfig()


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module; and `hasattr` works."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = stigmer_config.nothing
    assert not hasattr(stigmer_config, "_nothing")


def _public_members() -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name in PUBLIC:
        value = getattr(stigmer_config, name)
        found.append((name, value))
        if inspect.isclass(value):
            for member, what in vars(value).items():
                if not member.startswith("_") and (callable(what) or isinstance(what, (property, classmethod))):
                    found.append((f"{name}.{member}", what))
    return found


def test_every_public_name_has_a_docstring() -> None:
    """Of its own: each class, function, method and property."""

    def undocumented(what: object) -> bool:
        doc = getattr(what, "__doc__", None)
        return not doc or not doc.strip()

    assert [name for name, what in _public_members() if undocumented(what)] == []
    assert stigmer_config.__doc__


def test_every_public_function_is_typed() -> None:
    """Parameters and results, for mypy and pyright; and the package says so."""
    untyped: list[str] = []
    for name, what in _public_members():
        function = what.fget if isinstance(what, property) else getattr(what, "__func__", what)
        if not inspect.isfunction(function) or function.__module__ is None:
            continue
        hints = function.__annotations__
        parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
        if "return" not in hints or any(parameter not in hints for parameter in parameters):
            untyped.append(name)
    assert untyped == []
    assert typing.TYPE_CHECKING is False


def test_the_package_says_that_it_is_typed() -> None:
    """`py.typed` is beside the code."""
    import importlib.resources

    assert importlib.resources.files("stigmer_config").joinpath("py.typed").is_file()


def test_load_takes_what_the_contract_says() -> None:
    """The arguments, in their order, all optional."""
    parameters = inspect.signature(stigmer_config.load).parameters
    assert list(parameters) == ["mode", "project_dir", "flags", "overrides", "require", "environment", "apps"]
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters.values())


def test_the_error_is_a_value_error_with_its_problems() -> None:
    """What a caller catches."""
    error = stigmer_config.ConfigError([stigmer_config.Problem(code="missing-value", message="m")])
    assert isinstance(error, ValueError)
    assert [problem.code for problem in error.problems] == ["missing-value"]
    assert str(error) == "error[missing-value]: m"
