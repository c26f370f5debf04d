"""The pages of docs/ are executed as the README is, the reference is generated, every link leads somewhere."""

from __future__ import annotations

import ast
import base64
import contextlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import stigmer_config
import stigmer_config.testing
from tests.docs.test_readme import ROOT, Reader, aligned, commands

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
ERRORS = (DOCS / "errors.md").read_text(encoding="utf-8")

# The contract's codes: each has an example and a remedy in errors.md.
CODES = (
    "yaml-syntax",
    "yaml-forbidden",
    "duplicate-key",
    "too-large",
    "not-a-mapping",
    "bad-encoding",
    "unreadable-file",
    "insecure-permissions",
    "unknown-key",
    "wrong-type",
    "out-of-range",
    "invalid-credential",
    "invalid-choice",
    "invalid-url",
    "invalid-model",
    "empty-model",
    "missing-base-url",
    "missing-api-key",
    "missing-value",
    "failed-check",
    "app-unavailable",
    "provider-mismatch",
    "unknown-provider",
    "alias-cycle",
    "alias-unavailable",
    "unknown-alias-provider",
    "untrusted-key",
    "secret-in-project",
    "forbidden-in-project",
    "forbidden-here",
    "locked-key",
    "credential-binding",
    "secret-unavailable",
    "unsupported-parameter",
    "etcd-unavailable",
    "secret-in-etcd",
    "unknown-variable",
    "enforced-key",
    "model-retiring",
    "model-retired",
    "doubtful-model",
    "not-interpolated",
    "misplaced-file",
    "unused-credential",
    "insecure-endpoint",
)
# What looks like a code in the package and is none: why a value lost, what a probe met, a schema's and threads' names.
NO_CODES = re.compile(
    r"content-length|transfer-encoding|x-api-key|bound-elsewhere|not-in-mode|provider-switched|cut-off|without-reasoning|test-key-of-nobody|a-placeholder"
    r"|x-(class|reload|variable)|stigmer-config(-[a-z]+)?"
)
# `sh` is for what needs a terminal, a network or an installation; `text` is read, not run.
_NOT_RUN = {"sh", "text", "json"}
USUAL = "127.0.0.1:2379"  # where a page's store is
_BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?(?:<!-- etcd: (?P<key>\S+) = (?P<value>\S+) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """One fenced block of a page; `file` is where a reader puts it, `stored` what a store has meanwhile."""

    file: str | None
    language: str
    body: str
    stored: tuple[str, str] | None = None


def blocks(text: str) -> list[Block]:
    return [
        Block(found["file"], found["language"], found["body"], (found["key"], found["value"]) if found["key"] else None)
        for found in _BLOCK.finditer(text)
    ]


class _Store(http.server.BaseHTTPRequestHandler):
    """As much of etcd's gateway as a page needs: one key, at revision 7."""

    stored = ("", "")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        key, value = (base64.b64encode(part.encode()).decode() for part in self.stored)
        found = {"header": {"revision": "7"}, "kvs": [{"key": key, "value": value, "mod_revision": "7"}]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Nothing is logged."""


@contextlib.contextmanager
def store(stored: tuple[str, str]) -> Iterator[str]:
    """A store with that key; its `host:port`."""
    handler = type("Store", (_Store,), {"stored": stored})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def follow(reader: Reader, block: Block) -> Iterator[str]:
    """Does what a block says, and holds it to what it says comes of it. Yields what was printed."""
    if block.file is not None:
        reader.write(block.file, block.body)
    elif block.language == "console":
        for command in commands(block.body):
            status, output = _run_command(reader, command.line, block.stored)
            said = [aligned(line) for line in command.output]
            assert [aligned(line) for line in output.splitlines()] == said, command.line
            assert status == command.status, command.line
            yield output
    elif block.language == "python":
        yield _run(reader, block.body)
    else:
        assert block.language in _NOT_RUN, f"where does this go?\n{block.body}"


def _run_command(reader: Reader, line: str, stored: tuple[str, str] | None) -> tuple[int, str]:
    if stored is None:
        return reader.run("/bin/sh", "-c", line)
    with store(stored) as address:
        status, output = reader.run("/bin/sh", "-c", line.replace(USUAL, address))
    return status, output.replace(address, USUAL)


def _run(reader: Reader, program: str) -> str:
    """What a program prints, which is what its comments after `# →` say. Its log goes to stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=reader.project,
        env=reader.environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line.partition("# → ")[2] for line in program.splitlines() if "# → " in line]
    assert done.stdout.replace(str(reader.home), "~").splitlines() == said, done.stderr
    return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Someone who follows one page from its top, with nothing configured."""
    someone = Reader(tmp_path.resolve())
    someone.environment["XDG_RUNTIME_DIR"] = str(tmp_path.resolve() / "run")
    os.mkdir(tmp_path / "run", 0o700)
    return someone


@pytest.mark.parametrize("page", [page for page in PAGES if page != "errors.md"])
def test_every_block_of_a_page_does_what_it_says(page: str, reader: Reader) -> None:
    """From the top to the bottom: files written, commands and programs run, outputs the same."""
    for block in blocks((DOCS / page).read_text(encoding="utf-8")):
        for _ in follow(reader, block):
            pass


def sections() -> dict[str, str]:
    """The sections of errors.md, by code."""
    found = re.split(r"^### `([a-z-]+)`$", ERRORS, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_errors_has_every_code_once() -> None:
    """One section for each code of the contract, and for no other."""
    assert sorted(re.findall(r"^### `([a-z-]+)`$", ERRORS, re.MULTILINE)) == sorted(CODES)


def test_every_code_of_the_package_is_one_of_them() -> None:
    """Every code in the package has its section, too."""
    found = {
        node.value
        for path in (ROOT / "stigmer_config").rglob("*.py")
        if "cli" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"[a-z]+(-[a-z]+)+", node.value) and not NO_CODES.fullmatch(node.value)
    }
    commands_own = {"app-unavailable"}  # only a command looks for installed applications
    assert sorted(found | commands_own) == sorted(CODES)


@pytest.mark.parametrize("code", CODES)
def test_an_example_has_the_fault_that_its_section_is_about(code: str, reader: Reader) -> None:
    """Each code's example, in a world of its own, gives that code and no other error, and its section names a fix."""
    section = sections()[code]
    printed = [output for block in blocks(section) for output in follow(reader, block)]
    told = {*re.findall(r"(?:error|warning)\[([a-z-]+)\]", "\n".join(printed))}
    assert told == {code}
    assert re.search(r"^\*\*Fix:\*\* \S", section, re.MULTILINE)


def test_the_reference_is_what_the_declarations_say() -> None:
    """`docs/generate.py --check` finds nothing to do, however wide the terminal is."""
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(command, env={**os.environ, "COLUMNS": "200"}, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("script", ["pictures.py", "diagrams.py"])
def test_the_pictures_are_up_to_date(script: str) -> None:
    """`--check` finds nothing to do."""
    command = [sys.executable, str(DOCS / script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "was", "drifted"), [("reference.md", "8192", "8191"), ("api.md", "-> Config", "-> None")]
)
def test_the_check_finds_a_page_that_is_not_up_to_date(tmp_path: Path, name: str, was: str, drifted: str) -> None:
    """A generated page that says something else fails the check until it is written again."""
    for copied in ("generate.py", "generate_api.py", "api.md", "reference.md"):
        shutil.copy(DOCS / copied, tmp_path)
    script, page = tmp_path / "generate.py", tmp_path / name
    page.write_text(page.read_text(encoding="utf-8").replace(was, drifted), encoding="utf-8")
    statuses = [
        subprocess.run([sys.executable, str(script), *flags], capture_output=True, timeout=60, check=False).returncode
        for flags in (["--check"], [], ["--check"])
    ]
    assert statuses == [1, 0, 0]


def test_the_api_page_has_every_public_name() -> None:
    """Each has a heading of its own, and a summary below it."""
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert {*stigmer_config.__all__, *stigmer_config.testing.__all__} - {"API_KEY"} <= set(headings)
    bare = re.findall(r"^#{3,4} (\S+)\n\n(?:```text\n.*?^```\n)?\s*(?=#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert bare == []


def site(folder: Path) -> subprocess.CompletedProcess[str]:
    """The strict build of the checkout in `folder`."""
    command = [str(Path(sys.executable).parent / "zensical"), "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=120, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The sources of the site, and nothing else of the repository."""
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    return tmp_path


def test_the_site_builds_and_has_every_page(checkout: Path) -> None:
    """The generator, strict about links and anchors, makes a page of each of docs/; the menu leaves none out."""
    done = site(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.parent.name for path in (checkout / "site").glob("*/index.html")}
    assert {Path(page).stem for page in PAGES} - {"index"} <= made
    menu = re.findall(r"\b([a-z]+\.md)$", (checkout / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(menu) == PAGES


def test_a_dead_link_fails_the_build(checkout: Path) -> None:
    """A link to a page and one to a heading that do not exist are errors, each reported with its place."""
    page = checkout / "docs" / "aliases.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{text}\n[dead](nowhere.md)\n\n[dead](errors.md#no-such-code)\n", encoding="utf-8")
    done = site(checkout)
    assert done.returncode != 0
    lines = len(text.splitlines())
    told = re.findall(r"aliases\.md:(\d+)", done.stdout + done.stderr)
    assert sorted(map(int, told)) == [lines + 2, lines + 4]
