"""`stigmer config edit`."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from ...core.problems import Problem, printable
from ...editing.candidate import EditRejected, EditTarget, Scope, candidate, new_errors
from ...editing.starter import SCHEMA, schema_path, starter
from ...editing.write import write
from ...files.atomic_write import SaveError
from ...files.paths import NO_LINK, SAFE
from ...loading.load import Loaded
from ...sources.checked_read import MAX_BYTES, Contents
from ..options import CommandContext, common
from ..output.problems import FAULTY, OK, exit_status, print_problems
from ..target import file_of, report_outcome, say, scoped, target_place

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Editors that accept +LINE.
_JUMPING = frozenset({"vi", "vim", "nvim", "view", "nano", "emacs", "emacsclient", "kak", "micro"})


@click.command("edit")
@scoped
@common
def command(scope: Scope, where: CommandContext) -> None:
    """Open a file in $VISUAL or $EDITOR, and check the result before it replaces the file.

    You edit a copy. If the result has errors, you can edit again or discard it. An editor that returns at once
    needs its option to wait: EDITOR="code --wait".

    \b
    Examples:
      stigmer config edit
      EDITOR=nano stigmer config edit --project
    """
    aimed = file_of(where, scope)
    contents = aimed.contents()
    if contents.data is None and contents.problems:
        print_problems(contents.problems)
        raise SystemExit(exit_status(contents.problems))
    editor = _editor(aimed.request.environment.variables)
    for number in _ENDING:
        signal.signal(number, _end)  # before creating the copy, which may contain secrets
    folder = tempfile.mkdtemp(prefix="stigmer-")  # private to the user
    try:
        status = _Session(aimed, contents, editor, Path(folder)).run()
    except _KeptError as kept:
        say(f"{kept}\nnothing was written: {target_place(aimed)} is unchanged; your edit is kept in {kept.path}")
        raise SystemExit(FAULTY) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(status)


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _read_copy(path: Path) -> bytes | None:
    """The edited text; None when there is no file. Raises `OSError` for a folder, a FIFO or a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | SAFE | NO_LINK)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return file.read(MAX_BYTES + 1)


class _KeptError(Exception):
    """The text could not replace the file, and the copy is kept."""

    def __init__(self, why: str, path: Path) -> None:
        super().__init__(why)
        self.path = path


def _editor(variables: Mapping[str, str]) -> list[str]:
    for name in ("VISUAL", "EDITOR"):
        if variables.get(name):
            try:
                return shlex.split(variables[name])
            except ValueError as error:
                raise click.UsageError(f"{name} cannot be read: {error}") from error
    return ["vi" if os.name == "posix" else "notepad"]


class _Session:
    """An editing session on one copy."""

    def __init__(self, aimed: EditTarget, contents: Contents, editor: Sequence[str], folder: Path) -> None:
        self.aimed = aimed
        self.contents = contents
        self.editor = editor
        self.copy = folder / "config.yaml"
        self.first = contents.data if contents.data is not None else starter(aimed.layer).encode()
        self.copy.write_bytes(self.first)
        self.copy.chmod(0o600)
        schema = Path(schema_path(aimed.path))
        if schema.is_file():  # the copy's text contains it, too
            shutil.copyfile(schema, folder / SCHEMA)
        self.before = aimed.load(contents)

    def run(self) -> int:
        """Edits until the result is saved or discarded. Returns the exit status."""
        line: int | None = None
        while True:
            if not self._edit(line):
                return FAULTY
            try:
                data = _read_copy(self.copy)
            except OSError as error:
                say(f"the copy cannot be read ({error.strerror}): nothing was changed")
                return FAULTY
            if data is None or data == self.first:
                say("nothing was changed")
                return OK
            after = candidate(self.aimed, self.contents, data).loaded
            faults, new = self._faults(after)
            if not faults:
                return self._save(data)
            answer = self._ask(faults, may_save=not new)
            if answer == "s":
                return self._save(data)
            if answer == "d":
                say(f"nothing was written: {target_place(self.aimed)} is unchanged")
                return exit_status(faults)
            line = faults[0].origin.line if faults[0].origin is not None else None

    def _edit(self, line: int | None) -> bool:
        jump = [f"+{line}"] if line and os.path.basename(self.editor[0]) in _JUMPING else []
        try:
            status = subprocess.run([*self.editor, *jump, str(self.copy)], check=False).returncode  # noqa: S603
        except OSError as error:
            say(f"the editor {printable(self.editor[0])} cannot be run: {error.strerror}")
            say("hint: set VISUAL or EDITOR to an editor that is installed")
            return False
        if status != 0:
            say(f"the editor ended with status {status}: nothing was changed")
        return status == 0

    def _faults(self, after: Loaded) -> tuple[tuple[Problem, ...], bool]:
        """The errors of this file, and whether some are new."""
        new = new_errors(self.before, after, self.aimed.layer)
        own = [problem for problem in after.errors if problem.origin and problem.origin.layer == self.aimed.layer]
        return tuple(dict.fromkeys([*own, *new])), bool(new)

    def _ask(self, faults: tuple[Problem, ...], *, may_save: bool) -> str:
        print_problems(faults)
        question = "[e]dit again, [d]iscard"
        if may_save:
            question += ", [s]ave anyway (the errors were there before)"
        choices = click.Choice(["e", "d", "s"] if may_save else ["e", "d"])
        try:
            answer: str = click.prompt(question, type=choices, default="e", show_choices=False, err=True)
        except click.Abort:
            say("")
            return "d"
        return answer

    def _save(self, data: bytes) -> int:
        def unless_changed(contents: Contents) -> bytes:
            if contents.data != self.contents.data:
                raise _KeptError("the file was changed by another program while you edited it", self.copy)
            return data

        try:
            outcome = write(self.aimed, unless_changed)
        except SaveError as error:
            raise _KeptError(str(error), self.copy) from error
        except EditRejected as refusal:
            print_problems(refusal.problems)
            raise _KeptError("the configuration would have new errors", self.copy) from refusal
        say(f"{target_place(self.aimed)} is written")
        report_outcome(self.aimed, outcome)
        return OK
