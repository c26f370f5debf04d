"""The other process of the fuzzes: does to files what editors, operators and accidents do.

A Vandal is made here and acts there: `acting(vandal)` gives what makes it perform so many operations.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path


class Vandal:
    """Operations on files, at random. What it writes, its subclasses say. Those in `SILENT` raise no event."""

    SILENT = frozenset({"do_write_through_a_hard_link"})

    def __init__(self, seed: int, root: Path, paths: Sequence[Path], without: frozenset[str] = frozenset()) -> None:
        self.random = random.Random(seed)
        self.paths = paths
        self.path = paths[0]
        self.number = 0
        self.aside = root / "aside"
        self.operations = sorted(name for name in dir(self) if name.startswith("do_") and name not in without)

    def act(self) -> None:
        self.path = path = self.random.choice(self.paths)
        with contextlib.suppress(OSError):  # the file it wanted is not there: as good an accident as any
            self.aside.mkdir(exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            getattr(self, self.random.choice(self.operations))(path)
        self.pause()

    def content(self) -> bytes:
        """What was never written before."""
        raise NotImplementedError

    def pause(self, most: float = 0.02) -> None:
        if self.random.random() < 0.7:
            time.sleep(self.random.uniform(0, most))

    def spare(self) -> Path:
        self.number += 1
        return self.aside / str(self.number)

    def replace(self, path: Path, content: bytes) -> None:
        new = path.with_name(f"{path.name}.tmp")
        new.write_bytes(content)
        new.replace(path)

    def do_write(self, path: Path) -> None:
        path.write_bytes(self.content())

    def do_write_slowly(self, path: Path) -> None:
        content = self.content()
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(content), 16_000):
                file.write(content[start : start + 16_000])
                self.pause()

    def do_truncate_and_wait(self, path: Path) -> None:
        with path.open("wb") as file:
            self.pause(0.2)
            file.write(self.content())

    def do_truncate_close_and_wait(self, path: Path) -> None:
        path.write_bytes(b"")
        self.pause(0.2)
        path.write_bytes(self.content())

    def do_hold_open(self, path: Path) -> None:
        content = self.content()
        with path.open("wb", buffering=0) as file:
            file.write(content[:50])
            self.pause(0.4)
            file.write(content[50:])
            self.pause(0.2)

    def do_overwrite_in_the_middle(self, path: Path) -> None:
        content = self.content()
        with path.open("r+b", buffering=0) as file:
            file.write(content[:30])
            self.pause()
            file.write(content[30:])
            file.truncate()

    def do_rename(self, path: Path) -> None:
        self.replace(path, self.content())

    def do_rename_while_open(self, path: Path) -> None:
        temporary = path.with_name("open.tmp")
        content = self.content()
        with temporary.open("wb", buffering=0) as file:
            file.write(content[:40])
            temporary.replace(path)
            self.pause()
            file.write(content[40:])

    def do_rename_from_another_folder(self, path: Path) -> None:
        spare = self.spare()
        spare.write_bytes(self.content())
        spare.replace(path)

    def do_back_up_and_rename(self, path: Path) -> None:
        path.replace(path.with_name("config.yaml~"))
        self.pause()
        path.write_bytes(self.content())

    def do_move_out(self, path: Path) -> None:
        path.replace(self.spare())

    def do_move_out_and_back(self, path: Path) -> None:
        spare = self.spare()
        path.replace(spare)
        self.pause(0.2)
        spare.replace(path)

    def do_delete(self, path: Path) -> None:
        path.unlink()

    def do_delete_and_create(self, path: Path) -> None:
        path.unlink()
        self.pause()
        path.write_bytes(self.content())

    def do_remove_folder(self, path: Path) -> None:
        shutil.rmtree(path.parent)

    def do_remove_folder_and_bring_it_back(self, path: Path) -> None:
        shutil.rmtree(path.parent)
        self.pause()
        path.parent.mkdir(parents=True)
        self.pause()
        path.write_bytes(self.content())

    def do_swap_folder(self, path: Path) -> None:
        new = self.spare()
        new.mkdir()
        (new / path.name).write_bytes(self.content())
        path.parent.rename(self.spare())
        new.rename(path.parent)

    def do_move_folder_away_and_back(self, path: Path) -> None:
        away = self.spare()
        path.parent.rename(away)
        self.pause(0.2)
        (away / path.name).write_bytes(self.content())
        away.rename(path.parent)

    def do_swap_grandparent(self, path: Path) -> None:
        away = self.spare()
        path.parent.parent.rename(away)
        self.pause()
        (away / path.parent.name / path.name).write_bytes(self.content())
        self.pause()
        away.rename(path.parent.parent)

    def do_swap_data_link(self, path: Path) -> None:
        """As a ConfigMap is updated."""
        version = path.parent / f"..{self.spare().name}"
        version.mkdir()
        (version / path.name).write_bytes(self.content())
        temporary = path.parent / "..data_tmp"
        temporary.symlink_to(version.name)
        temporary.replace(path.parent / "..data")
        if not path.is_symlink():
            link = path.with_name("link_tmp")
            link.symlink_to(f"..data/{path.name}")
            link.replace(path)

    def do_become_a_link(self, path: Path) -> None:
        spare = self.spare()
        spare.write_bytes(self.content())
        path.unlink(missing_ok=True)
        path.symlink_to(spare)

    def do_make_its_folder_a_link(self, path: Path) -> None:
        spare = self.spare()
        path.parent.rename(spare)
        path.parent.symlink_to(spare)

    def do_become_a_folder(self, path: Path) -> None:
        path.unlink()
        path.mkdir()
        self.pause()
        path.rmdir()

    def do_burst(self, path: Path) -> None:
        for _ in range(self.random.randrange(2, 40)):
            self.random.choice([self.do_write, self.do_rename, self.do_delete_and_create])(path)

    def do_noise(self, path: Path) -> None:
        for number in range(20):
            (path.parent / f"noise{number}").write_bytes(b"noise")
            path.exists()

    def do_touch(self, path: Path) -> None:
        path.touch()

    def do_write_through_a_hard_link(self, path: Path) -> None:
        spare = self.spare()
        os.link(path, spare)
        spare.write_bytes(self.content())

    def do_nothing_but_read(self, path: Path) -> None:
        path.read_bytes()


def checked(body: bytes) -> bytes:
    """Content that shows when part of it is missing."""
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def is_whole(data: bytes) -> bool:
    return data == b"" or checked(data.partition(b"\n")[2]) == data


class BlobVandal(Vandal):
    """Writes contents that show when part of them is missing."""

    def content(self) -> bytes:
        self.number += 1
        return checked(b"%d %s" % (self.number, b"x" * self.random.choice([0, 10, 10, 4000, 60_000])))


# What each file says: two settings that no other file has, the first and the last of the file.
PAIRS = {
    "site": ("temporal:\n  namespace: n%d\n", "  task_queue: n%d\n"),
    "user": ("sandbox:\n  root_dir: n%d\n", "  snapshot_id: n%d\n"),
    "project": ("llm:\n  num_ctx: %d\n", "  timeout: %d\n"),
}


def document(kind: str, number: int, filler: int) -> str:
    """A whole valid file, with the filler between the two settings, like comments and blank lines."""
    head, tail = PAIRS[kind]
    middle = "".join(f"  # {'x' * 60}\n" for _ in range(filler))
    return head % number + middle + tail % number


class ConfigVandal(Vandal):
    """Writes configuration files; `paths` are those of the site, the user and the project.

    Every content holds a number that only grows, at its beginning and at its end: a Config with two different ones is
    torn, one with a smaller one than before is out of date.
    """

    SILENT = Vandal.SILENT | {"do_change_permissions"}

    @property
    def kind(self) -> str:
        return list(PAIRS)[self.paths.index(self.path)]

    def content(self) -> bytes:
        self.number += 1
        return document(self.kind, self.number, self.random.choice([0, 1, 1, 50, 400])).encode()

    def bad(self) -> bytes:
        """A file with a fault."""
        text = self.content().decode()
        faults = [text + "llm: [\n", text.replace("n", "n\t: {", 1), text + "nonsense: 1\n", text + "\0", "a: b: c\n"]
        wrong = {"site": "temporal: 7\n", "user": "sandbox: [x]\n", "project": "llm: {timeout: soon, num_ctx: -1}\n"}
        return self.random.choice([*faults, wrong[self.kind]]).encode()

    def do_spoil_and_mend(self, path: Path) -> None:
        path.write_bytes(self.bad())
        self.pause(0.3)
        path.write_bytes(self.content())

    def do_spoil_by_rename_and_mend(self, path: Path) -> None:
        self.replace(path, self.bad())
        self.pause(0.3)
        self.replace(path, self.content())

    def do_spoil(self, path: Path) -> None:
        self.replace(path, self.bad())

    def do_ask_for_another_mode(self, path: Path) -> None:
        mode = self.random.choice(["local", "cloud"])
        path.write_bytes((f"mode: {mode}\n" if self.kind != "project" else "").encode() + self.content())

    def do_change_permissions(self, path: Path) -> None:
        path.chmod(self.random.choice([0o600, 0o644, 0o666]))


def _obey(line: Connection, vandal: Vandal) -> None:
    """In the other process: so many operations whenever asked for, then a word."""
    os.umask(0o077)
    while number := line.recv():
        for _ in range(number):
            vandal.act()
        line.send("done")


@contextlib.contextmanager
def acting(vandal: Vandal) -> Iterator[Callable[[int], None]]:
    """A process in which the Vandal acts; calling what is given performs so many operations."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_obey, args=(there, vandal))
    process.start()

    def act(number: int) -> None:
        here.send(number)
        here.recv()

    try:
        yield act
    finally:
        here.send(0)
        process.join()
        process.close()
        here.close()
        there.close()
