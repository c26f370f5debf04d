"""What stigmer-config does, shown with the real command on real files, in a fresh temporary home and project.

Run it with `make demo`, or `python examples/demo.py` if stigmer-config is installed. It prints each command before it
runs it, exits with a non-zero status if any output is unexpected, and leaves nothing behind.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

USER_FILE = """\
mode: local
llm:
  model: balanced          # an alias: `stigmer config aliases` lists the models
  timeout: 60
aliases:
  careful: qwen3-coder:30b # an alias of your own
"""

PROJECT_FILE = """\
llm:
  model: careful           # the user's alias, so the user chooses the model
  temperature: 0.2
"""

TYPO = """\
llm:
  temprature: 0.2
  max_tokens: lots
"""

HOSTILE = """\
llm:
  temperature: 0.9
  base_url: https://collector.example
"""


class DemoError(Exception):
    """A command or the worker did not do what the demo shows."""


class Demo:
    """A home, a project, variables, and the `stigmer` command in them."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = self.home / "project"
        (self.project / ".git").mkdir(parents=True)
        self.command = _command()
        self.commands = 0

    def step(self, title: str, text: str) -> None:
        """Prints the heading and introduction of a chapter."""
        print(f"\n{title}\n{'=' * len(title)}\n{text}")

    def write(self, path: Path, text: str) -> None:
        """Writes a file and prints it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        print(f"\n  {self._shown(path)}")
        for line in text.splitlines():
            print(f"  | {line}")

    def run(self, *argv: str, expect: tuple[str, ...] = (), status: int = 0, **variables: str) -> None:
        """Runs `stigmer config ARGV…` and prints its output. Raises `DemoError` if that is not as expected."""
        given = "".join(f"{name}={value} " for name, value in variables.items())
        print(f"\n$ {given}stigmer config {' '.join(argv)}")
        done = subprocess.run(  # noqa: S603 - our own command
            [self.command, "config", *argv],
            cwd=self.project,
            # Nothing of this machine's configuration: the demo is the same everywhere.
            env={"HOME": str(self.home), "PATH": os.defpath, "LC_ALL": "C.UTF-8", **self._no_site(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
        print(done.stdout.rstrip("\n"))
        if done.returncode:
            print(f"(exit status {done.returncode})")
        self.commands += 1
        if done.returncode != status:
            raise DemoError(f"the exit status is {done.returncode}, not {status}")
        for text in expect:
            if text not in done.stdout:
                raise DemoError(f"the output lacks {text!r}")

    def _no_site(self) -> dict[str, str]:
        return {"XDG_CONFIG_DIRS": str(self.home / "no-site")}

    def _shown(self, path: Path) -> str:
        return f"~/{path.relative_to(self.home)}"


def _command() -> str:
    """The `stigmer` that belongs to this Python."""
    found = shutil.which("stigmer", path=sysconfig.get_path("scripts")) or shutil.which("stigmer")
    if found is None:
        raise DemoError("there is no stigmer command: run `make demo`, or `pip install .` first")
    return found


def play(demo: Demo) -> None:
    """The whole demo."""
    user, project = demo.home / ".stigmer" / "config.yaml", demo.project / ".stigmer" / "config.yaml"

    demo.step("1. Without any file", "The packaged defaults apply. In local mode they use Ollama on this machine.")
    demo.run("show", "llm", expect=("qwen2.5-coder:7b", "http://localhost:11434"), MODE="local")

    demo.step("2. A user file", "It contains only the values that differ from the defaults.")
    demo.write(user, USER_FILE)
    demo.run("show", "llm", "--origin", expect=("balanced → qwen2.5-coder:7b", "~/.stigmer/config.yaml:3:10"))

    demo.step(
        "3. A project's file",
        "It comes with the code and overrides the user file for the keys that a project may set.",
    )
    demo.write(project, PROJECT_FILE)
    demo.run("explain", "llm.model", expect=("careful → qwen3-coder:30b", "overridden"))

    demo.step("4. A variable", "It overrides all files, here for one command.")
    demo.run("get", "llm.model_name", expect=("llama3.2:3b",), STIGMER_LLM_MODEL="fast")

    demo.step("5. Mistakes", "All of them are reported at once, each with its place and a fix.")
    demo.write(project, TYPO)
    demo.run("validate", expect=("did you mean llm.temperature?", ":3:15: error[wrong-type]"), status=1)

    demo.step(
        "6. A hostile clone",
        "Its file would send your prompts to its author. That line is refused (exit status 3) and not used.\n"
        "The other line of the file is.",
    )
    demo.write(project, HOSTILE)
    demo.run(
        *("show", "llm", "--origin"),
        expect=("llm.base_url     http://localhost:11434", "0.9", "error[untrusted-key] llm.base_url", ":3:13"),
        status=3,
    )


# -- a worker that follows the files ---------------------------------------------------------------------------------

FASTER = USER_FILE.replace("balanced          # an alias: `stigmer config aliases` lists the models", "fast")
MISSPELLED = FASTER.replace("model:", "modl:")


class Worker:
    """examples/worker.py while it runs, with its log on the same terminal."""

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._environment = {
            "HOME": str(demo.home),
            "PATH": os.defpath,
            "LC_ALL": "C.UTF-8",
            "LOG_FORMAT": "console",
            "XDG_CONFIG_DIRS": str(demo.home / "no-site"),
            "XDG_RUNTIME_DIR": str(demo.home / "run"),
        }
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(Path(__file__).with_name("worker.py")), "--at-once", "2", "--seconds", "0.3"],
            cwd=demo.project,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        print("\n$ python examples/worker.py --at-once 2 --seconds 0.3 &")
        demo.commands += 1

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def says(self, *texts: str) -> None:
        """Prints the worker's lines until each text was in one of them. Raises `DemoError` if the worker ends first."""
        wanted = set(texts)
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        while wanted:
            line = self._process.stdout.readline()
            if not line:
                raise DemoError(f"the worker ended before it said {sorted(wanted)}")
            print(f"  {line.rstrip()}", flush=True)
            wanted = {text for text in wanted if text not in line}

    def listed(self, text: str, status: int) -> None:
        """Runs `stigmer config workers` and prints its output."""
        print("\n$ stigmer config workers")
        command = [self._demo.command, "config", "workers"]
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=self._demo.project, env=self._environment, capture_output=True, encoding="utf-8", check=False
        )
        print(f"{done.stdout.rstrip()}\n(exit status {done.returncode})")
        self._demo.commands += 1
        if done.returncode != status or text not in done.stdout:
            raise DemoError(f"the output lacks {text!r}, or the exit status is not {status}")

    def ends(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        self.says("== ended on generation 3")


def follow(demo: Demo) -> None:
    """A reload, a rejected reload, and the list of running workers."""
    user = demo.home / ".stigmer" / "config.yaml"
    (demo.project / ".stigmer" / "config.yaml").unlink(missing_ok=True)
    demo.step(
        "7. A worker that reloads without a restart",
        "It runs two executions at a time. Each keeps the configuration it started with.",
    )
    demo.write(user, USER_FILE)
    with Worker(demo) as worker:
        worker.says("config.loaded", "#2 begins on generation 1")
        print("\nThe file is saved with another model. The next execution uses it; the running ones do not change:")
        demo.write(user, FASTER)
        worker.says("== generation 2: llm.model", "(generation 2 is current)", "begins on generation 2")
        print(
            "\nThe file is saved with a misspelled key. The worker logs the line and keeps its last good configuration:"
        )
        demo.write(user, MISSPELLED)
        worker.says("config.reload_rejected", "did you mean llm.model?", "begins on generation 2")
        worker.listed("rejected its newest reload, and keeps generation 2", status=4)
        print("\nThe next save is valid again, and the worker uses it:")
        demo.write(user, FASTER.replace("60", "90"))
        worker.says("== generation 3: llm.timeout", "begins on generation 3")
        worker.listed("yes", status=0)
        print("\nCtrl-C:")
        worker.ends()


def together(demo: Demo) -> None:
    """Every effective value with its origin."""
    demo.step("8. All layers together", "User file, project file, a variable and a flag: each value with its origin.")
    demo.write(demo.home / ".stigmer" / "config.yaml", USER_FILE)
    demo.write(demo.project / ".stigmer" / "config.yaml", PROJECT_FILE)
    demo.run(
        *("show", "--origin", "--set", "llm.max_retries=5"),
        expect=(
            "careful → qwen3-coder:30b",
            "~/project/.stigmer/config.yaml:3:16",
            "~/.stigmer/config.yaml:4:12",
            "STIGMER_LLM_MAX_TOKENS",
            "--set llm.max_retries",
        ),
        STIGMER_LLM_MAX_TOKENS="4096",
    )


def main() -> int:
    """Plays the demo in a folder of its own. Returns the exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with tempfile.TemporaryDirectory(prefix="stigmer-demo-") as folder:
        try:
            demo = Demo(Path(folder).resolve())
            play(demo)
            follow(demo)
            together(demo)
        except DemoError as error:
            print(f"\nFAILED: {error}", flush=True)
            return 1
    print(f"\nAll {demo.commands} commands did what they should. Next: stigmer config --help, and README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
