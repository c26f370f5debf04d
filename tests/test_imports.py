"""The order of the packages, where outside libraries are imported, and what a command imports."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import stigmer_config
from tests.support.sandbox import Sandbox

ROOT = Path(stigmer_config.__file__).parent

# From top to bottom: a package imports from itself and from those below it. A new package gets its place here.
PACKAGES = (
    "",  # what users import, and `testing`
    "cli",
    "live",
    "workers",
    "reload",
    "editing",
    "integrations",
    "loading",
    "trust",
    "llm",
    "config",
    "sources",
    "secrets",
    "settings",
    "files",
    "core",
)

# (from, to) inside functions, each with its reason.
EXCEPTIONS: set[tuple[str, str]] = {
    # `Config.load_from_env()` and `LLMConfig.load_from_env()`, the seed worker's names, call the public `load()`.
    ("config.config", ""),
    ("config.sections", ""),
}

# An outside library, and the only packages or modules that may import it.
CONFINED: dict[str, set[str]] = {
    "click": {"cli"},
    "dynaconf": {"core.merge"},
    "watchdog": {"files.watch"},
    "structlog": {"live.log_events", "live.standard_logging"},
    "ruamel": {"sources.yaml"},
    "_ruamel_yaml": {"sources.yaml"},
    "rich": set(),
    "httpx": {"integrations"},
    "httpx2": {"integrations", "sources.etcd"},
    "opentelemetry": {"integrations"},
    "langchain_core": {"integrations"},
    "langchain_anthropic": {"integrations"},
    "langchain_openai": {"integrations"},
    "langchain_ollama": {"integrations"},
}


def module_name(path: Path) -> str:
    """`cli.show` for `stigmer_config/cli/show.py`; "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def package(module: str) -> str:
    """The package at the top level that a module is in; `testing` and `__main__` belong to what users import."""
    return "" if module in ("testing", "__main__") else module.split(".", maxsplit=1)[0]


def _type_checking(tree: ast.Module) -> set[ast.AST]:
    """The nodes that only a type checker sees."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


@functools.cache
def imports(module: str) -> tuple[tuple[str, bool], ...]:
    """(what a module imports, whether at its top): our own as `.name`, others as they are."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" and module else module.split(".")[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = _type_checking(tree)
    found: list[tuple[str, bool]] = []
    for node in ast.walk(tree):
        at_top = node in tree.body
        if isinstance(node, ast.Import) and node not in unseen:
            found += [(alias.name, at_top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node not in unseen:
            if not node.level:
                found.append((node.module or "", at_top))
                continue
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found.append(("." + (whole if whole in MODULES else ".".join(base)), at_top))
    return tuple(found)


def own(module: str) -> Iterator[tuple[str, bool]]:
    """The modules of ours that a module imports."""
    for name, at_top in imports(module):
        if name.startswith("."):
            yield name[1:], at_top
        else:
            assert name.split(".")[0] != "stigmer_config", f"{module}: write imports of our own as relative ones"


def test_every_package_is_in_the_list() -> None:
    """A package that is not in the list has no order; a name in the list without a package is out of date."""
    assert {package(module) for module in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_go_down(module: str) -> None:
    """At the top of a module and inside its functions."""
    order = PACKAGES.index
    up = [
        f"{module or 'stigmer_config'} → {target or 'stigmer_config'}"
        for target, at_top in own(module)
        if order(package(target)) < order(package(module)) and (at_top or (module, target) not in EXCEPTIONS)
    ]
    assert up == []


def test_the_exceptions_are_still_needed() -> None:
    """An exception that nothing uses goes."""
    assert {(module, target) for module in MODULES for target, _ in own(module)} >= EXCEPTIONS


def test_no_import_cycle() -> None:
    """The modules import each other in one direction."""
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join((*way, module))
        if module not in done:
            for target, _ in own(module):
                if (module, target) not in EXCEPTIONS and target != module:
                    visit(target, (*way, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("library", CONFINED)
def test_an_outside_library_is_confined(library: str) -> None:
    """No other module imports it, anywhere."""
    users = {module for module in MODULES for name, _ in imports(module) if name.split(".")[0] == library}
    places = CONFINED[library]
    outside = {user for user in users if not any(user == place or user.startswith(f"{place}.") for place in places)}
    assert outside == set()


def test_no_dynaconf_outside_merge() -> None:
    """Nor is it imported by a string of its name."""
    users = {module for module, path in MODULES.items() if '"dynaconf' in path.read_text(encoding="utf-8")}
    assert users <= {"core.merge"}


def _modules_after(sandbox: Sandbox, code: str) -> set[str]:
    """The modules that a fresh process has after some code."""
    tell = "\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + tell],
        cwd=sandbox.project,
        env={
            "HOME": str(sandbox.home),
            "MODE": "local",
            "XDG_CONFIG_DIRS": str(sandbox.root / "xdg"),
            "XDG_RUNTIME_DIR": str(sandbox.root / "run"),  # no worker of this machine, nor of another test
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def _command(argv: list[str]) -> str:
    return (
        f"import sys\nsys.argv = {['stigmer', 'config', *argv]!r}\nfrom stigmer_config.cli import main\n"
        "try:\n    main()\nexcept SystemExit as exit:\n"
        f"    assert exit.code in (None, 0, {4 if argv[0] == 'workers' else 0}), exit.code"  # without a worker
    )


COMMANDS = [
    ["show", "--origin"],
    ["show", "--origin", "--format", "json"],
    ["get", "llm.model"],
    ["explain", "llm.model"],
    ["validate"],
    ["path"],
    ["aliases"],
]
# What they import from elsewhere, beyond a bare interpreter, and why. Each of these costs every command its time: a
# name that is not here either goes (imported where it is used, or not at all), or gets its place and its reason.
SOME = "what these import in one Python and not in another"
WHY = {
    "the command line: arguments, help, completion": """click collections contextlib copy datetime errno gettext
        importlib inspect locale textwrap threading typing uuid weakref""",
    "inspect, for click and msgspec": "ast dis opcode token tokenize",
    "frozen typed sections": "msgspec decimal math numbers",
    "YAML events with their places, through the C parser": """ruamel _ruamel_yaml cython_runtime base64 binascii glob
        struct warnings""",
    "folders, where a variable moves them": "platformdirs bisect bz2 lzma random shutil tempfile zlib",
    "paths": "fnmatch ntpath pathlib",
    "the fingerprint, in JSON alone": "hashlib",
    "fewer searches for garbage in a command": "gc",
    SOME: "grp ipaddress linecache platform pwd typing_extensions urllib",
}
# Of the libraries they import what these load by themselves, and no part more.
STANDS_ON = (
    "_ruamel_yaml, click, gc, hashlib, importlib.util, locale, msgspec, pathlib, platformdirs, ruamel.yaml, "
    "urllib.parse"
)
# The packages they do not import.
ABOVE = set(PACKAGES[: PACKAGES.index("loading")]) - {"", "cli"}
HEAVY = {
    "asyncio",
    "dynaconf.base",
    "httpx",
    "httpx2",
    "importlib.metadata",
    "langchain_core",
    "rich",
    "ssl",
    "structlog",
    "subprocess",
    "urllib.request",
    "watchdog",
}


def _others(got: set[str], bare: set[str]) -> set[str]:
    """The modules at the top that are not ours; a library's and the interpreter's hidden ones come with another."""
    tops = {name.partition(".")[0] for name in got - bare} - {"stigmer_config"}
    return {name for name in tops if not name.startswith("_") or name == "_ruamel_yaml"}


@pytest.mark.parametrize("argv", COMMANDS, ids=" ".join)
def test_a_reading_command_imports_what_it_uses_and_no_more(sandbox: Sandbox, argv: list[str]) -> None:
    """From elsewhere only what has a reason, and no part of it that it does not load itself; of our own rooms those
    from the loader down.
    """
    sandbox.write(user="llm: {model: fast}\n", project="llm: {temperature: 0.5}\n")
    got = _modules_after(sandbox, _command(argv))
    reasoned = {name for names in WHY.values() for name in names.split()}
    assert sorted(_others(got, _modules_after(sandbox, "pass")) - reasoned) == []
    ours = {name for name in got if name.split(".")[0] == "stigmer_config"}
    assert sorted(got - ours - _modules_after(sandbox, f"import {STANDS_ON}")) == []
    assert sorted(got & HEAVY) == []
    entered = {package(name.removeprefix("stigmer_config").removeprefix(".")) for name in ours}
    assert sorted(entered & ABOVE) == []
    parts = ("app_discovery", "groups", "options", "output.problems", "output.render", "output.table")
    allowed = {"commands", "completion", "output", f"commands.{argv[0]}", *parts}
    assert {name for name in ours if name.startswith("stigmer_config.cli.")} <= {
        f"stigmer_config.cli.{part}" for part in allowed
    }


def test_show_imports_exactly_the_listed_modules(sandbox: Sandbox) -> None:
    """The list has no module that no command imports any more, and no name twice."""
    named = [name for names in WHY.values() for name in names.split()]
    assert sorted(named) == sorted(set(named))
    sandbox.write(user="llm: {model: fast}\n")
    commands = (["show", "--origin"], ["show", "--origin", "--format", "json"], ["explain", "llm.model"])
    got = _others(set().union(*(_modules_after(sandbox, _command(argv)) for argv in commands)), set())
    assert sorted(set(named) - got - set(WHY[SOME].split())) == []


def test_importing_the_package_imports_nothing_else(sandbox: Sandbox) -> None:
    """`import stigmer_config` is one module; the parts load on first use."""
    nothing = _modules_after(sandbox, "import typing, __future__")
    assert _modules_after(sandbox, "import stigmer_config") - nothing == {"stigmer_config"}


def test_load_needs_no_watcher_and_no_log(sandbox: Sandbox) -> None:
    """A program that only loads pays for neither."""
    got = _modules_after(sandbox, "from stigmer_config import load; load()")
    assert (
        sorted(
            got & {"watchdog", "structlog", "asyncio", "click", "rich", "subprocess", "stigmer_config.live.live_config"}
        )
        == []
    )


# What only a machine with a fleet needs.
FLEET = {
    "httpcore2",
    "httpx2",
    *(
        f"stigmer_config.{part}"
        for part in (
            "editing.etcd",
            "sources.etcd.address",
            "sources.etcd.client",
            "sources.etcd.follower",
            "sources.etcd.layer",
            "workers.fleet",
        )
    ),
}
WITHOUT_FLEET = {
    "load": "from stigmer_config import load; load()",
    "LiveConfig": "from stigmer_config import LiveConfig\nwith LiveConfig.start() as live:\n    live.reload()",
    **{
        " ".join(argv): _command(argv)
        for argv in (*COMMANDS, ["workers"], ["set", "llm.timeout", "3"], ["diff", "local", "cloud"])
    },
}


@pytest.mark.parametrize("name", WITHOUT_FLEET)
def test_without_a_fleet_nothing_of_it_is_imported(sandbox: Sandbox, name: str) -> None:
    """Where `STIGMER_ETCD` is not set, no room and no library of the store's is entered."""
    assert sorted(_modules_after(sandbox, WITHOUT_FLEET[name]) & FLEET) == []


def test_with_a_fleet_it_is(sandbox: Sandbox) -> None:
    """The names above are the right ones: who follows a store and writes there imports them all."""
    program = (
        "import os\nfrom stigmer_config import LiveConfig\nfrom stigmer_config.editing import etcd\n"
        "from tests.support.etcd_fake import Fake\nwith Fake() as fake:\n    os.environ['STIGMER_ETCD'] = fake.url\n"
        "    with LiveConfig.start():\n        pass"
    )
    start = f"import sys\nsys.path.insert(0, {str(ROOT.parent)!r})\n"
    assert sorted(FLEET - _modules_after(sandbox, start + program)) == []
