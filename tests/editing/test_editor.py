"""`edit`: a real editor on a real terminal, and everything that can prevent saving."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

STIGMER = str(Path(sys.executable).parent / "stigmer")
TEXT = "# ours\nllm:\n  model: fast   # cheap\n  temperature: 0.2\n"


def environment(sandbox: Sandbox, **more: str) -> dict[str, str]:
    return {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "XDG_CONFIG_DIRS": str(sandbox.root), **more}


def vim(sandbox: Sandbox) -> Terminal:
    sandbox.write(user=TEXT)
    editor = environment(sandbox, VISUAL="vim -N -u NONE -i NONE", MODE="local", LC_ALL="C.UTF-8")
    return Terminal([STIGMER, "config", "edit"], editor, sandbox.project, "vim")


def test_vim_with_a_broken_save_and_a_return(sandbox: Sandbox) -> None:
    """A fault is shown with its line, the editor opens there again, and the fixed text is saved."""
    with vim(sandbox) as terminal:
        terminal.wait("temperature: 0.2")
        terminal.type(":%s/0.2/hot/", "Enter", ":wq", "Enter")
        screen = terminal.wait("[e]dit again, [d]iscard")
        assert "error[wrong-type] llm.temperature" in screen
        assert "config.yaml:4:16" in screen
        assert sandbox.user_file.read_text() == TEXT
        terminal.type("Enter")
        terminal.wait("temperature: hot")
        terminal.type(":.s/hot/0.7/", "Enter", ":wq", "Enter")  # the line it was opened at
        terminal.wait("ended with 0")
    assert sandbox.user_file.read_text() == TEXT.replace("0.2", "0.7")
    assert sandbox.user_file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(sandbox.user_file.parent) == ["config.yaml"]


def test_vim_and_a_change_of_mind(sandbox: Sandbox) -> None:
    """Discarded: the file is as it was, and the exit status says so."""
    with vim(sandbox) as terminal:
        terminal.wait("temperature: 0.2")
        terminal.type("ddGAx: [", "Escape", ":wq", "Enter")
        assert "error[yaml-syntax]" in terminal.wait("[e]dit again, [d]iscard")
        terminal.type("s", "Enter")  # not offered: the fault is new
        terminal.wait("is not")
        terminal.type("d", "Enter")
        terminal.wait("ended with 1")
    assert sandbox.user_file.read_text() == TEXT


def test_vim_left_with_an_error_changes_nothing(sandbox: Sandbox) -> None:
    """`:cq` means no."""
    with vim(sandbox) as terminal:
        terminal.wait("temperature: 0.2")
        terminal.type(":%s/0.2/0.3/", "Enter", ":w", "Enter", ":cq", "Enter")
        terminal.wait("nothing was changed")
        terminal.wait("ended with 1")
    assert sandbox.user_file.read_text() == TEXT


def editor(sandbox: Sandbox, script: str) -> dict[str, str]:
    """Variables that make a Python script the editor; it gets the copy as `path`, and `turn` counts its runs."""
    program = sandbox.root / "editor.py"
    counter = sandbox.root / "turns"
    program.write_text(
        "import os, pathlib, sys\n"
        "path = pathlib.Path(sys.argv[-1])\n"
        f"counter = pathlib.Path({str(counter)!r})\n"
        "turn = len(counter.read_text()) if counter.exists() else 0\n"
        "counter.write_text('x' * (turn + 1))\n"
        f"{script}\n"
    )
    return {"EDITOR": f"{sys.executable} '{program}'", "MODE": "local"}


def replacing(old: str, new: str) -> str:
    return f"path.write_text(path.read_text().replace({old!r}, {new!r}))"


def test_a_good_text_takes_the_files_place(sandbox: Sandbox) -> None:
    """Validated, then written: the user's file alone for the user, whatever its mode was."""
    sandbox.write(user=TEXT)
    sandbox.user_file.chmod(0o644)
    done = sandbox.run("edit", variables=editor(sandbox, replacing("0.2", "0.9")))
    assert (done.returncode, sandbox.user_file.read_text()) == (0, TEXT.replace("0.2", "0.9")), done.stderr
    assert sandbox.user_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("llm: {base_url: 'http://evil.example:1', temperature: &x 0.1}\n", "&x "),
        ("llm: {temperature: 0.1}\nllm: {base_url: 'http://evil.example:1'}\n", "llm: {temperature: 0.1}\n"),
    ],
)
def test_fixing_a_projects_file_does_not_trust_it(sandbox: Sandbox, text: str, mended: str) -> None:
    """What did not count for a fault came with the project all the same."""
    sandbox.write(project=text)
    sandbox.run("edit", "--project", variables=editor(sandbox, replacing(mended, "")))
    assert "state:   trusted" not in sandbox.run("trust", "--show").stdout
    assert sandbox.run("get", "llm.base_url", variables={"MODE": "local"}).stdout == "http://localhost:11434\n"


def test_visual_goes_before_editor(sandbox: Sandbox) -> None:
    """As everywhere."""
    sandbox.write(user=TEXT)
    variables = editor(sandbox, replacing("0.2", "0.9"))
    done = sandbox.run("edit", variables={**variables, "VISUAL": variables["EDITOR"], "EDITOR": "false"})
    assert (done.returncode, sandbox.user_file.read_text()) == (0, TEXT.replace("0.2", "0.9"))


def test_the_copy_is_the_users_alone_and_does_not_stay(sandbox: Sandbox) -> None:
    """It may hold secrets."""
    sandbox.write(user=TEXT)
    told = sandbox.root / "told"
    script = "modes = [f'{place.stat().st_mode:o}' for place in (path, path.parent)]\n"
    script += f"pathlib.Path({str(told)!r}).write_text(' '.join([str(path), *modes]))"
    assert sandbox.run("edit", variables=editor(sandbox, script)).returncode == 0
    path, mode, folder = told.read_text().split()
    assert (mode[-3:], folder[-3:]) == ("600", "700")
    assert not Path(path).parent.exists()


def test_no_answer_means_discard(sandbox: Sandbox) -> None:
    """Without a terminal a fault ends it, with the old file in place."""
    sandbox.write(user=TEXT)
    done = sandbox.run("edit", variables=editor(sandbox, replacing("0.2", "hot")))
    assert (done.returncode, sandbox.user_file.read_text()) == (1, TEXT)
    assert "error[wrong-type]" in done.stderr


def test_faults_that_were_there_before_may_stay(sandbox: Sandbox) -> None:
    """Then, and only then, there is a third way: save anyway."""
    text = TEXT.replace("0.2", "hot")
    sandbox.write(user=text)
    done = sandbox.run("edit", variables=editor(sandbox, replacing("fast", "balanced")), stdin="s\n")
    assert "[s]ave anyway" in done.stderr
    assert (done.returncode, sandbox.user_file.read_text()) == (0, text.replace("fast", "balanced"))


def test_a_broken_file_can_be_fixed(sandbox: Sandbox) -> None:
    """Errors that the fault had hidden do not prevent saving the fix."""
    sandbox.write(user="llm: {model: fast\n")
    done = sandbox.run("edit", variables={**editor(sandbox, replacing("fast", "fast}")), "MODE": "cloud"})
    assert (done.returncode, sandbox.user_file.read_text()) == (0, "llm: {model: fast}\n"), done.stderr


@pytest.mark.parametrize("script", ["path.unlink()", "pass", "path.write_bytes(path.read_bytes())"])
def test_nothing_changed_is_nothing_written(sandbox: Sandbox, script: str) -> None:
    """An editor that is closed, or loses its copy, leaves the very same file."""
    sandbox.write(user=TEXT)
    before = _identity(sandbox.user_file)
    done = sandbox.run("edit", variables=editor(sandbox, script))
    assert done.returncode == 0
    assert "nothing was changed" in done.stderr
    assert _identity(sandbox.user_file) == before


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_ctime_ns


def test_a_file_that_changed_meanwhile_is_not_overwritten(sandbox: Sandbox) -> None:
    """The other's text stays in place, and mine is kept where the message says."""
    sandbox.write(user=TEXT)
    theirs = TEXT.replace("fast", "powerful")
    script = f"pathlib.Path({str(sandbox.user_file)!r}).write_text({theirs!r}); {replacing('0.2', '0.9')}"
    done = sandbox.run("edit", variables=editor(sandbox, script))
    assert (done.returncode, sandbox.user_file.read_text()) == (1, theirs)
    kept = re.search(r"your edit is kept in (\S+)", done.stderr)
    assert kept is not None
    mine = Path(kept[1])
    assert mine.read_text() == TEXT.replace("0.2", "0.9")
    assert mine.stat().st_mode & 0o777 == 0o600
    mine.unlink()
    mine.parent.rmdir()


def test_a_missing_file_begins_with_the_starter(sandbox: Sandbox) -> None:
    """Saved unchanged it is not written; changed it is."""
    unchanged = sandbox.run("edit", "--project", variables=editor(sandbox, "pass"))
    assert (unchanged.returncode, sandbox.project_file.parent.exists()) == (0, False)
    more = "path.write_text(path.read_text() + 'llm: {timeout: 3}\\n')"
    assert sandbox.run("edit", "--project", variables=editor(sandbox, more)).returncode == 0
    assert "This project's settings" in sandbox.project_file.read_text()
    assert sandbox.run("get", "llm.timeout").stdout == "3.0\n"


def test_an_editor_that_cannot_be_run_is_reported(sandbox: Sandbox) -> None:
    """With what to set."""
    sandbox.write(user=TEXT)
    done = sandbox.run("edit", variables={"EDITOR": "/nowhere/editor"})
    assert done.returncode == 1
    assert "VISUAL or EDITOR" in done.stderr
    assert sandbox.run("edit", variables={"EDITOR": "vi 'unclosed"}).returncode == 2


@pytest.mark.parametrize("make", ["mkdir", "mkfifo", "ln -s /etc/passwd"])
def test_what_takes_the_copys_place_is_no_hang_and_no_crash(sandbox: Sandbox, make: str) -> None:
    """A folder ended with 70, a FIFO was waited for."""
    sandbox.write(user="llm: {max_tokens: 7}\n")
    editor = sandbox.root / "editor"
    editor.write_text(f'#!/bin/sh\nrm "$1"; {make} "$1"\n')
    editor.chmod(0o755)
    done = sandbox.run("edit", variables={"EDITOR": str(editor), "MODE": "local"})
    assert (done.returncode, "nothing was changed" in done.stderr) == (1, True)
    assert sandbox.user_file.read_text() == "llm: {max_tokens: 7}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_copy_with_keys(sandbox: Sandbox, number: signal.Signals) -> None:
    """The copy may hold secrets: it goes with the command, however that ends."""
    sandbox.write(user="providers: {anthropic: {api_key: sk-c4n4ry-edited}}\n")
    copies = sandbox.root / "copies"
    copies.mkdir()
    editor = sandbox.root / "editor"
    editor.write_text("#!/bin/sh\necho; exec sleep 60\n")
    editor.chmod(0o755)
    command = [str(Path(sys.executable).parent / "stigmer"), "config", "edit"]
    variables = {"HOME": str(sandbox.home), "PATH": os.environ["PATH"], "EDITOR": str(editor), "TMPDIR": str(copies)}
    with subprocess.Popen(command, env=variables, cwd=sandbox.project, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the editor runs
        assert list(copies.rglob("config.yaml"))
        process.send_signal(number)
        assert process.wait(timeout=60) != 0
        assert not list(copies.iterdir())
