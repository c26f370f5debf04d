"""Windows' locks with a fake `msvcrt`: the bytes of a file, one holder for each, released with the descriptor."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stigmer_config.files import atomic_write
from stigmer_config.files.atomic_write import SaveError
from stigmer_config.files.windows_locks import try_lock
from stigmer_config.workers import liveness
from stigmer_config.workers.liveness import WorkerLock, living


class FakeMsvcrt:
    """`msvcrt.locking` on the system's own locks: exclusive, of bytes from the position, released with the file."""

    LK_NBLCK = 2

    def locking(self, fd: int, mode: int, nbytes: int, /) -> None:
        assert (mode, nbytes) == (self.LK_NBLCK, 1)
        if os.lseek(fd, 0, os.SEEK_CUR) != 0:
            return  # another byte, which no one holds
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


@pytest.fixture
def msvcrt(monkeypatch: pytest.MonkeyPatch) -> FakeMsvcrt:
    """The fake, with what takes locks calling it."""
    fake = FakeMsvcrt()

    def lock(descriptor: int, *, shared: bool = False) -> bool:
        return try_lock(descriptor, fake)

    monkeypatch.setattr(liveness, "try_lock", lock)
    monkeypatch.setattr(atomic_write, "try_lock", lock)
    return fake


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[list[int]]:
    """Two descriptors of one file."""
    path = tmp_path / "file"
    path.write_bytes(b"four")
    found = [os.open(path, os.O_RDWR) for _ in range(2)]
    yield found
    for one in found:
        os.close(one)


def test_one_holder_at_a_time(msvcrt: FakeMsvcrt, descriptors: list[int]) -> None:
    """Whatever the positions of the descriptors are: it is the same byte."""
    first, second = descriptors
    os.lseek(second, 3, os.SEEK_SET)
    assert [try_lock(first, msvcrt), try_lock(second, msvcrt)] == [True, False]


def test_closing_releases_it(msvcrt: FakeMsvcrt, tmp_path: Path) -> None:
    """An empty file has a first byte to lock, too."""
    (tmp_path / "empty").touch()
    first, second = (os.open(tmp_path / "empty", os.O_RDWR) for _ in range(2))
    assert try_lock(first, msvcrt)
    assert not try_lock(second, msvcrt)
    os.close(first)
    assert try_lock(second, msvcrt)
    os.close(second)


def test_a_file_system_without_locks_is_an_error(descriptors: list[int]) -> None:
    """It is not taken for a lock that another holds."""

    class Refusing(FakeMsvcrt):
        def locking(self, fd: int, mode: int, nbytes: int, /) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(OSError, match="Invalid argument"):
        try_lock(descriptors[0], Refusing())


def test_the_living_workers_are_those_that_hold_their_locks(msvcrt: FakeMsvcrt, tmp_path: Path) -> None:
    """A worker that ended without a word is found by its lock, and its files are removed."""
    tmp_path.chmod(0o700)
    alive, ended = (WorkerLock(str(tmp_path)) for _ in range(2))
    for lock in (alive, ended):
        Path(lock.state_path).write_text("{}")
    ended.forget()  # its process is gone, and its descriptors with it
    assert [str(path) for path in living(tmp_path)] == [alive.state_path]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".lock"]
    alive.release()
    assert list(tmp_path.iterdir()) == []


def test_a_second_writer_does_not_interfere_with_the_first(msvcrt: FakeMsvcrt, tmp_path: Path) -> None:
    """It waits, and gives up when it takes too long."""
    path = tmp_path / "config.yaml"
    path.write_text("mode: local\n")
    with atomic_write.locked(str(path), follow=True) as first:
        with pytest.raises(SaveError, match="still writing it"), atomic_write.locked(str(path), follow=True, wait=0.0):
            pass
        first.replace(b"mode: cloud\n", b"mode: local\n", None)
    assert path.read_text() == "mode: cloud\n"
