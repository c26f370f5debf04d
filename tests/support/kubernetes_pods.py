"""What `kubectl kustomize` makes of examples/kubernetes, and workers that run as it says, with mounts that change."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.examples.test_worker import Running
from tests.support.atomic_writer import Volume
from tests.support.paths import REPOSITORY
from tests.support.sandbox import Sandbox

ROOT = REPOSITORY
EXAMPLE = ROOT / "examples" / "kubernetes"
KUBECTL = shutil.which("kubectl")
BIN = Path(sys.executable).parent
KEY = "sk-ant-mounted-key-one"


def yaml(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@functools.cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    """The documents that `kubectl kustomize` makes of an overlay."""
    command = [str(KUBECTL), "kustomize", str(EXAMPLE / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(YAML(typ="safe", pure=True).load_all(done.stdout))


class Overlay:
    """A rendered overlay: its Deployment, and the ConfigMaps by name."""

    def __init__(self, name: str) -> None:
        self.kinds = [document["kind"] for document in rendered(name)]
        (self.deployment,) = (one for one in rendered(name) if one["kind"] == "Deployment")
        self.maps: dict[str, dict[str, str]] = {
            one["metadata"]["name"]: one["data"] for one in rendered(name) if one["kind"] == "ConfigMap"
        }
        self.pod: dict[str, Any] = self.deployment["spec"]["template"]["spec"]
        (self.container,) = self.pod["containers"]
        self.variables: dict[str, str] = {one["name"]: one["value"] for one in self.container["env"]}
        self.volumes: dict[str, dict[str, Any]] = {one["name"]: one for one in self.pod["volumes"]}

    @property
    def config(self) -> str:
        """The site file, at the path in STIGMER_SITE_CONFIG."""
        path = Path(self.variables["STIGMER_SITE_CONFIG"])
        volume = self.volumes[self.mounts[str(path.parent)]["name"]]
        return self.maps[volume["configMap"]["name"]][path.name]

    @property
    def mounts(self) -> dict[str, dict[str, Any]]:
        """The container's mounts, by path."""
        return {one["mountPath"]: one for one in self.container["volumeMounts"]}

    def paths(self, kind: str) -> list[str]:
        """Where volumes of a kind are mounted."""
        return [path for path, mount in self.mounts.items() if kind in self.volumes[mount["name"]]]


class Container(Running):
    """A worker that goes on printing: what it does not say within a minute it will not say."""

    def reads_until(self, what: str) -> str:
        assert self.process.stdout is not None
        end = time.monotonic() + 60
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(what, line):
                return line
            if time.monotonic() > end:
                break
        raise AssertionError(f"no line with {what!r}, but: {self.lines[-50:]}")


class Replica:
    """One pod of an overlay: the container's command and variables, its mounts moved below a folder of the sandbox."""

    def __init__(
        self, sandbox: Sandbox, overlay: Overlay, config: str | None = None, keys: Mapping[str, str] | None = None
    ) -> None:
        self.overlay = overlay
        self.root = sandbox.root / f"pod-{len(list(sandbox.root.glob('pod-*')))}"
        self.site = Volume(self.moved("/etc/stigmer"), self.payload(config or overlay.config))
        for path in overlay.paths("secret"):
            self.keys = Volume(self.moved(path), keys or {})
        for path in overlay.paths("emptyDir"):
            self.moved(path).mkdir(mode=0o700, parents=True)
        (self.root / "app").mkdir()
        self.variables = {name: self._moved_in(value) for name, value in overlay.variables.items()} | {
            "HOME": str(self.root / "app"),
            "PATH": f"{BIN}{os.pathsep}{os.defpath}",
            "XDG_RUNTIME_DIR": str(self.moved("/tmp")),
        }

    def moved(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def payload(self, config: str) -> dict[str, str]:
        """The ConfigMap's data, for a site file as the overlay has it."""
        return {"config.yaml": self._moved_in(config)}

    def _moved_in(self, text: str) -> str:
        paths = "|".join(map(re.escape, self.overlay.mounts))
        return re.sub(rf"(?<![\w/])({paths})(?=/)", lambda found: str(self.moved(found[0])), text)

    @contextlib.contextmanager
    def started(self, *argv: str) -> Iterator[Container]:
        """The container's command runs; what it prints and logs is in one stream."""
        program, script = self.overlay.container["command"]
        command = [program, str(ROOT / "examples" / Path(script).name), *argv]
        with subprocess.Popen(
            command,
            cwd=self.root / "app",
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield Container(process)
            finally:
                process.kill()

    def exec(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the container."""
        return subprocess.run(
            argv, cwd=self.root / "app", env=self.variables, capture_output=True, text=True, timeout=60, check=False
        )

    def probe(self, name: str) -> int:
        """The exit status of a probe: 0 is success."""
        return self.exec(*self.overlay.container[name]["exec"]["command"]).returncode

    @property
    def alive(self) -> bool:
        """What the kubelet restarts a container for, if it is not so."""
        return self.probe("startupProbe") == 0 and self.probe("livenessProbe") == 0

    @property
    def ready(self) -> bool:
        return self.probe("readinessProbe") == 0

    @property
    def said(self) -> str:
        """What the readiness probe prints: the kubelet puts it into the pod's events when the probe fails."""
        done = self.exec(*self.overlay.container["readinessProbe"]["exec"]["command"])
        return done.stdout + done.stderr

    @property
    def published(self) -> list[Any]:
        """The state of each worker that runs there."""
        workers: list[Any] = json.loads(self.exec("stigmer", "config", "workers", "--format", "json").stdout)
        return workers


_CONTAINER = r"""
set -eu
root=$1 worker=$2
shift 2
mount -t tmpfs -o mode=0755 container "$root"
mkdir "$root/dev" "$root/proc" "$root/tmp" "$root/app"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0777 emptydir "$root/tmp" # before the binds: the checkout may be below /tmp
bind() {
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  mount -o remount,bind,ro "$root$2"
}
for folder in /bin /sbin /lib /lib64; do
  if [ -L "$folder" ]; then cp -d "$folder" "$root$folder"; elif [ -d "$folder" ]; then bind "$folder" "$folder"; fi
done
bind /usr /usr
while [ "$1" != -- ]; do bind "$1" "$2"; shift 2; done
shift
cp "$worker" "$root/app/worker.py"
mount -o remount,ro "$root"
exec "$@"
"""


@functools.cache
def may_contain() -> bool:
    """Whether this user may make the namespaces and mounts of a container."""
    tools = all(map(shutil.which, ("unshare", "nsenter", "setpriv", "chroot")))
    command = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "container", "/mnt"]
    return tools and subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


class Contained:
    """A pod in namespaces of its own: PID 1, the uid of the Deployment, nothing to write to but /tmp.

    The volumes are root's, as wide open as the kubelet leaves them, and mounted read-only at their own places.
    """

    def __init__(self, folder: Path, overlay: Overlay) -> None:
        self.overlay = overlay
        self.folder = folder
        user = overlay.pod["securityContext"]
        self._user = (f"--reuid={user['runAsUser']}", f"--regid={user['runAsGroup']}", f"--groups={user['fsGroup']}")
        self.site = Volume(folder / "site", {"config.yaml": overlay.config}, gid=user["fsGroup"], folder_mode=0o2777)
        self.keys = Volume(
            folder / "keys", {"anthropic": f"{KEY}\n"}, mode=0o440, gid=user["fsGroup"], folder_mode=0o2777
        )

    @property
    def _entry(self) -> list[str]:
        """What a process in the container begins with: the user, no privileges, the container's variables."""
        variables = {**self.overlay.variables, "HOME": "/", "PATH": f"{BIN}:{os.defpath}"}
        limits = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        return ["setpriv", *self._user, *limits, "env", "-i", *(f"{name}={value}" for name, value in variables.items())]

    @contextlib.contextmanager
    def started(self) -> Iterator[Container]:
        """The container's command runs, as the first process there."""
        root = self.folder / "root"
        root.mkdir()
        binds = [self.folder / "site", "/etc/stigmer", self.folder / "keys", "/etc/stigmer-keys"]
        for path in dict.fromkeys((ROOT, Path(sys.base_prefix), Path(sys.prefix))):
            if not path.is_relative_to("/usr"):
                binds += [path, path]
        outside = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
        script = ["sh", "-c", _CONTAINER, "sh", str(root), str(ROOT / "examples" / "worker.py"), *map(str, binds), "--"]
        inside = ["chroot", str(root), *self._entry, *self.overlay.container["command"]]
        with subprocess.Popen(
            [*outside, *script, *inside],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield Container(process)
            finally:
                process.kill()

    def exec(self, running: Running, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a command in the container."""
        enter = ["nsenter", f"--target={self.first(running)}", "--mount", "--pid", "--root", "--wd"]
        command = [*enter, *self._entry, *argv]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    def first(self, running: Running) -> int:
        """The container's PID 1, as the host numbers it."""
        outer = running.process.pid
        return int(Path(f"/proc/{outer}/task/{outer}/children").read_text())

    def probe(self, running: Running, name: str) -> int:
        return self.exec(running, *self.overlay.container[name]["exec"]["command"]).returncode
