"""The command on terminals and off them, and in worlds that lack what a program takes for granted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config.cli.output.table import fold, shorten
from tests.support.cli_tools import ANSI, COMMAND, OBEYED, ask, on_terminal, variables_of
from tests.support.sandbox import Sandbox

LOCAL = {"MODE": "local"}
USER = "mode: local\nllm: {model: balanced, timeout: 60}\n"
# Deep enough that no terminal holds its path.
DEEP = Path(*[f"a-folder-with-a-rather-long-name-{number}" for number in range(6)])


def deep(sandbox: Sandbox) -> Path:
    """A project far down, with a file that sets something."""
    folder = sandbox.project / DEEP
    (folder / ".stigmer").mkdir(parents=True)
    (folder / ".stigmer" / "config.yaml").write_text("llm:\n  temperature: 0.25\n")
    return folder


def cells(line: str) -> int:
    """The columns that a line takes on a terminal."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in line)


@pytest.mark.parametrize("columns", [40, 80, 140])
def test_a_table_fits_the_terminal(sandbox: Sandbox, columns: int) -> None:
    """No row of any table is wider than the terminal, however long paths and values are."""
    folder = deep(sandbox)
    sandbox.write(
        user=USER + "temporal: {namespace: 北京" + "长" * 30 + "}\naliases: {some-long-name-of-an-alias: balanced}\n"
    )
    for argv in (("show", "--origin"), ("show", "--origin", "--all"), ("path",), ("aliases",)):
        answer = on_terminal(sandbox, *argv, columns=columns, cwd=folder)
        lines = [ANSI.sub("", line) for line in answer.out.splitlines()]
        assert answer.status == 0
        assert len(lines) >= 5
        assert [line for line in lines if cells(line) > columns] == []
        assert any("…" in line for line in lines) or argv == ("aliases",)


def test_a_shortened_place_keeps_its_distinguishing_parts(sandbox: Sandbox) -> None:
    """At 80 columns a key, a usual value, the layer, the file's name, line and column are still there."""
    answer = on_terminal(sandbox.write(user=USER), "show", "--origin", columns=80, cwd=deep(sandbox))
    rows = {line.split()[0]: line.split() for line in ANSI.sub("", answer.out).splitlines()}
    assert rows["llm.temperature"][1:3] == ["0.25", "project"]
    assert rows["llm.temperature"][3].endswith("config.yaml:2:16")
    assert rows["llm.base_url"][1:3] == ["http://localhost:11434", "defaults"]
    assert rows["llm.base_url"][3].endswith("local.yaml:15:15")
    assert rows["temporal.max_concurrency"][1:3] == ["10", "defaults"]


def test_aliases_are_whole_at_80_columns(sandbox: Sandbox) -> None:
    """A place that has no room for its file's name is left out; its layer is still there."""
    sandbox.write(user="mode: local\naliases: {careful: 'qwen3-coder:30b'}\n")
    narrow, wide = (ANSI.sub("", on_terminal(sandbox, "aliases", columns=n).out).splitlines() for n in (80, 140))
    assert "…" not in "".join(narrow)
    assert (narrow[0].split()[-1], wide[0].split()[-1]) == ("layer", "place")
    assert next(line for line in wide if line.startswith("careful")).endswith(" ~/.stigmer/config.yaml:2:20")


def test_every_key_keeps_the_file_it_comes_from_at_80_columns(sandbox: Sandbox) -> None:
    """Even beside the longest key, a place has the file's name, the line and the column."""
    answer = on_terminal(sandbox.write(user=USER), "show", "--all", "--origin", columns=80)
    lines = [line for line in ANSI.sub("", answer.out).splitlines() if re.search(r":\d+:\d+$", line)]
    places = {line.split()[-1].rpartition("/")[2] for line in lines}
    assert {"config.yaml:1:7", "local.yaml:5:13"} <= places
    assert not [line for line in lines if " user " in line and "config.yaml" not in line]


def test_what_a_project_asks_for_is_folded_between_words(sandbox: Sandbox) -> None:
    """A terminal would break the line in the middle of an address."""
    sandbox.write(user=USER, project="llm: {base_url: 'https://a-long-name.example.com/v1'}\n")
    out = ANSI.sub("", on_terminal(sandbox, "trust", "--show", columns=80).out)
    assert re.search(r"^    .*https://a-long-name\.example\.com/v1", out, re.MULTILINE)
    assert max(len(line) for line in out.splitlines() if "a-long-name" in line) <= 80


def test_a_value_is_whole_at_80_columns(sandbox: Sandbox) -> None:
    """However long its neighbours are: a value that does not fit its column is printed on its own lines."""
    url = "https://gateway.eu-west.internal.example.com/anthropic"
    sandbox.write(user=f"mode: cloud\nllm: {{base_url: '{url}'}}\n")
    variables = {"STIGMER_LLM_API_KEY": "sk-hidden", "TEMPORAL_AGENT_EXECUTION_RUNNER_TASK_QUEUE": "q"}
    answer = on_terminal(sandbox, "show", "--origin", columns=80, variables=variables)
    lines = ANSI.sub("", answer.out).splitlines()
    at = lines.index(f"llm.base_url              {url}")
    layer, place = lines[at + 1].split()
    assert layer == "user"
    assert place.endswith("/config.yaml:2:17")
    assert "…_RUNNER_TASK_QUEUE" in next(line for line in lines if line.startswith("temporal.task_queue"))
    everything = " ".join(ANSI.sub("", on_terminal(sandbox, "show", "--all", columns=80).out).split())
    assert "anthropic: claude-haiku-5-5, ollama: llama3.2:3b, openai: gpt-6-luna" in everything
    explained = ANSI.sub("", on_terminal(sandbox, "explain", "llm.base_url", columns=80).out)
    assert explained.count(url) == 2


def test_explain_goes_from_the_lowest_layer_upwards(sandbox: Sandbox) -> None:
    """One row for each layer that gave a value, in the order of the layers; the one in force is marked, wherever."""
    sandbox.write(
        site="llm: {timeout: 3}\n", user="mode: local\nllm: {timeout: 4}\nlocked: [llm.timeout]\n",
        project="llm: {timeout: 5}\n",
    )  # fmt: skip
    out = ask(sandbox, "explain", "llm.timeout").out
    rows = re.findall(r"^  ([ *])  (\w+) +(\S+) .* (overridden|locked|in force)$", out, re.MULTILINE)
    assert rows == [
        (" ", "site", "3.0", "overridden"),
        ("*", "user", "4.0", "in force"),
        (" ", "project", "5.0", "locked"),
    ]
    out = ask(sandbox, "explain", "llm.timeout", variables={"STIGMER_LLM_TIMEOUT": "6"}).out
    assert re.findall(r"^  ([ *])  (\w+) ", out, re.MULTILINE) == [
        (" ", "site"), (" ", "user"), (" ", "project"), ("*", "env"),
    ]  # fmt: skip


def test_what_won_is_coloured_and_what_lost_is_struck(sandbox: Sandbox) -> None:
    """A value has the colour of its layer's name, a packaged one none; a loser is struck and has none."""
    sandbox.write(user="mode: local\nllm: {timeout: 4, max_retries: 1}\n")
    variables = {"STIGMER_LLM_TIMEOUT": "6"}
    out = on_terminal(sandbox, "show", "llm", "--all", "--origin", columns=200, variables=variables).out
    row = {line.split()[0]: line for line in out.splitlines()}
    colour = {key: re.findall(r"\x1b\[(\d+)m", line) for key, line in row.items()}
    won = colour["llm.timeout"]
    assert won[0::2] == won[:1] * 3  # value, layer, place; a reset behind each
    assert colour["llm.max_retries"][0] != won[0]
    assert "\x1b" not in row["llm.base_url"].partition("http://localhost:11434")[0]
    lost = next(line for line in out.splitlines() if "4.0" in line)
    assert re.search(r"\x1b\[2m(\x1b\[)?;?9m4\.0", lost)
    assert won[0] not in re.findall(r"\d+", lost.partition("4.0")[0])


def test_the_colours_have_a_legend(sandbox: Sandbox) -> None:
    """`show` on a terminal names the layers in their colours, on standard error; not without colours, nor in a pipe."""
    sandbox.write(user=USER)
    assert "set by \x1b[32muser\x1b[0m" in on_terminal(sandbox, "show").out
    assert "set by" not in on_terminal(sandbox, "show", "--origin").out
    assert "set by" not in on_terminal(sandbox, "show", variables={"NO_COLOR": "1"}).out
    piped = sandbox.run("show")
    assert "set by" not in piped.stdout + piped.stderr


def test_messages_are_folded_between_words(sandbox: Sandbox) -> None:
    """On a terminal no line is longer than it, unless it is one word or an excerpt; in a pipe none is folded."""
    sandbox.write(user="mode: local\nllm: {temprature: 1, max_tokens: 'a rather long text that is no number at all'}\n")
    out = ANSI.sub("", on_terminal(sandbox, "validate", columns=50).out)
    piped = sandbox.run("validate").stderr
    told = [line for line in out.splitlines() if "{" not in line]
    assert [line for line in told if cells(line) > 50 and " " in line.strip()] == []
    assert any(line.startswith("    ") and line.strip() != "^" for line in told)
    assert piped.split() == out.replace("2 errors", "").split()
    assert any(len(line) > 100 for line in piped.splitlines())


@given(text=st.text("ab /:é北\u0301", max_size=60), width=st.integers(1, 30), indent=st.integers(0, 6))
def test_folding_keeps_every_word(text: str, width: int, indent: int) -> None:
    """The words are the same in the same order; a line that is too long is one word."""
    lines = fold(text, width, indent)
    assert " ".join(lines).split() == text.split()
    assert [line for line in lines if cells(line) > width and len(line.split()) > 1 and width > indent] == []
    assert fold(text, None) == [text]


@given(
    text=st.one_of(st.text("ab/:.é北~", max_size=40), st.text("AB_C", max_size=40), st.text("ab :/", max_size=40)),
    width=st.integers(1, 40),
)
def test_shortening_fits_and_keeps_the_end(text: str, width: int) -> None:
    """What is shortened fits and ends as the text does; what fits is left alone."""
    short = shorten(text, width)
    assert cells(short) <= width
    if cells(text) <= width:
        assert short == text
    else:
        assert "…" in short
        assert text.endswith(short.rpartition("…")[2])


def test_nothing_is_cut_where_there_is_room(sandbox: Sandbox) -> None:
    """At 200 columns, and in a pipe whatever COLUMNS says, every value and path is whole."""
    sandbox.write(user=USER, project="llm:\n  temperature: 0.25\n")
    wide = ANSI.sub("", on_terminal(sandbox, "show", "--origin", columns=240).out)
    piped = sandbox.run("show", "--origin", variables={"COLUMNS": "20"}).stdout
    assert wide == piped
    assert f"{sandbox.project_file}:2:16" in piped
    assert "…" not in piped


def test_columns_are_aligned(sandbox: Sandbox) -> None:
    """Each column starts at the same place in every row, wide and combining characters included."""
    sandbox.write(user=USER + 'temporal: {namespace: "北京e\u0301", task_queue: plain}\n')
    out = ask(sandbox, "show", "--origin").out
    starts = {cells(re.split(r"  (?=(?:defaults|user|env) )", line)[0]) for line in out.splitlines()}
    assert len(starts) == 1


def test_colour_on_a_terminal_only(sandbox: Sandbox) -> None:
    """Colour on a terminal; none in a pipe, with NO_COLOR (unless it is empty), or on a dumb terminal."""
    sandbox.write(user="llm: {modle: x}\n")
    for argv in (("show", "--origin"), ("explain", "llm.model"), ("path",), ("aliases",), ("validate",)):
        assert "\x1b[" in on_terminal(sandbox, *argv, variables=LOCAL).out, argv
        assert "\x1b" not in on_terminal(sandbox, *argv, variables={**LOCAL, "NO_COLOR": "1"}).out, argv
    assert "\x1b[" in on_terminal(sandbox, "show", "--origin", variables={**LOCAL, "NO_COLOR": ""}).out
    assert "\x1b" not in on_terminal(sandbox, "show", "--origin", variables={**LOCAL, "TERM": "dumb"}).out
    piped = sandbox.run("show", "--origin", variables={**LOCAL, "TERM": "xterm-256color"})
    assert "\x1b" not in piped.stdout + piped.stderr


def test_data_for_programs_has_no_colour_even_on_a_terminal(sandbox: Sandbox) -> None:
    """`get` and the formats json, yaml and env print the same on a terminal as in a pipe."""
    sandbox.write(user=USER)
    for argv in (("get", "llm.model"), *(("show", "--format", form) for form in ("json", "yaml", "env"))):
        assert on_terminal(sandbox, *argv).out == sandbox.run(*argv).stdout


def start(sandbox: Sandbox, script: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A shell script in the sandbox's project, with the command as `$stigmer`."""
    environment = variables_of(sandbox, {"stigmer": COMMAND, **(variables or {})})
    environment = {name: value for name, value in environment.items() if value != "(unset)"}
    return subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
        encoding="utf-8",
        errors="strict",
    )


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("set -o pipefail; $stigmer config show --all --origin | exec true", None, ""),
        ("$stigmer config show <&-", 0, ""),
        ("$stigmer config show --anthropic-key - <&-", 2, "no key on standard input"),
        ("$stigmer config show >&-", 1, "the output cannot be written"),
        ("$stigmer config show --format json >/dev/full", 1, "the output cannot be written: No space left on device"),
        ("$stigmer config show 2>&-", 0, ""),
        ("mkdir gone && cd gone && rmdir ../gone && $stigmer config show", 0, ""),
        ("mkdir gone && cd gone && rmdir ../gone && $stigmer config validate x.yaml", 1, "the working folder is gone"),
        (
            "mkdir gone && cd gone && rmdir ../gone && $stigmer config set --project llm.timeout 3",
            2,
            "the working folder is gone",
        ),
        ("mkdir gone && cd gone && rmdir ../gone && $stigmer config show --help", 0, ""),
    ],
)
def test_streams_and_folders_that_are_not_there(sandbox: Sandbox, script: str, status: int | None, said: str) -> None:
    """Closed streams, a full disk, a reader that left, a deleted folder: a plain message at most."""
    done = start(sandbox.write(user=USER), script)
    assert status is None or done.returncode == status, done.stderr
    assert said in done.stderr
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if not said:
        assert done.stderr == ""


def test_without_a_home_the_command_still_answers(sandbox: Sandbox) -> None:
    """HOME unset or empty, with STIGMER_HOME for the user's file: the same answer."""
    sandbox.write(user=USER)
    for home in ("(unset)", ""):
        variables = {"HOME": home, "STIGMER_HOME": str(sandbox.user_file.parent)}
        done = start(sandbox, "$stigmer config get llm.timeout && $stigmer config show --origin >/dev/null", variables)
        assert (done.returncode, done.stdout, done.stderr) == (0, "60.0\n", "")


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "no_SUCH.locale"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_any_locale_prints_everything(sandbox: Sandbox, variables: dict[str, str]) -> None:
    """Characters that a locale lacks are escaped: nothing fails, and files in UTF-8 are read the same."""
    sandbox.write(user='mode: local\nllm: {model: balanced, modle: "日本"}\ntemporal: {namespace: "naïve-日本"}\n')
    environment = {**variables_of(sandbox), **variables}
    for argv in (
        ["show", "--origin"],
        ["show", "--format", "env"],
        ["explain", "llm.model"],
        ["validate"],
        ["show", "--help"],
    ):
        done = subprocess.run(
            [COMMAND, "config", *argv], cwd=sandbox.project, env=environment, capture_output=True, check=False
        )
        text = (done.stdout + done.stderr).decode("latin-1" if "PYTHONIOENCODING" in variables else "utf-8")
        assert done.returncode == (0 if "--help" in argv else 1), text
        assert "internal error" not in text
    document = subprocess.run(
        [COMMAND, "config", "get", "temporal.namespace"],
        cwd=sandbox.project,
        env=environment,
        capture_output=True,
        check=False,
    )
    shown = document.stdout.decode("latin-1" if "PYTHONIOENCODING" in variables else "utf-8").strip()
    assert shown in ("naïve-日本", "naïve-\\u65e5\\u672c", "na\\xefve-\\u65e5\\u672c")


def test_the_last_resort_shows_no_value(sandbox: Sandbox) -> None:
    """A bug is reported only with its place and type: no message, no locals, no traceback."""
    script = (
        "import stigmer_config.cli as cli, stigmer_config.loading.load as loading\n"
        "def read(request):\n    held = 'sk-hidden-local'\n    raise ValueError('sk-hidden-message ' + held)\n"
        "loading.read = read\ncli.main()\n"
    )
    command = [sys.executable, "-c", script, "config", "show"]
    done = subprocess.run(
        command, cwd=sandbox.project, env=variables_of(sandbox), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (70, "")
    assert "internal error: ValueError at <string>:4" in done.stderr
    assert "hidden" not in done.stderr
    assert "Traceback" not in done.stderr


HOSTILE = "x\x1b[31m\u202e\x07\x9b2J\u2066\r\x7f"


def hostile_texts() -> dict[str, str]:
    """Files that hold what a terminal would obey, wherever a file may hold any text; the first has no error."""
    text = HOSTILE.encode("unicode_escape").decode()
    return {
        "values": (
            f'mode: local\ntemporal: {{namespace: "{text}", task_queue: "{text}"}}\n'
            f'sandbox: {{root_dir: "{text}"}}\nlocked: [sandbox]\n'
        ),
        "model": f'mode: local\nllm: {{model: "{text}", base_url: "{text}", provider: "{text}"}}\n',
        "keys": f'mode: local\n"{text}": 1\nllm: {{"{text}": 2}}\naliases: {{"{text}": fast}}\nlocked: ["{text}"]\n',
        "alias": f'mode: local\naliases: {{mine: "{text}", other: {{"{text}": fast}}}}\n',
        "raw": "mode: local\nllm:\n  modle: fast # \u202e\u2066 reordered\n  temperature: \u200f9\u2028\n",
        "syntax": "mode: local\nllm: \u202e{ model: [\n",
    }


@pytest.mark.parametrize("name", hostile_texts())
def test_nothing_in_a_file_reaches_the_terminal_unescaped(sandbox: Sandbox, name: str) -> None:
    """No control character and no mark that reorders text is printed, by any command, in any format."""
    for user, project in ((hostile_texts()[name], ""), ("mode: local\n", hostile_texts()[name])):
        sandbox.write(user=user, project=project)
        shows = [
            ("show", "--all", *origin, "--format", form)
            for form in ("table", "json", "yaml", "env")
            for origin in ((), ("--origin",))
        ]
        keys = ("temporal.namespace", "sandbox.root_dir", "llm.model", "locked")
        others = [(command, key) for command in ("get", "explain") for key in keys]
        for argv in [
            *shows,
            *others,
            ("validate",),
            ("validate", str(sandbox.user_file)),
            ("path",),
            ("aliases",),
            ("trust", "--show"),
            ("trust", "--revoke"),
        ]:
            answer = ask(sandbox, *argv)
            assert not OBEYED.search(answer.both), (argv, answer)
            assert answer.status in (0, 1, 3), (argv, answer)


def test_nothing_around_the_files_reaches_the_terminal_unescaped(sandbox: Sandbox) -> None:
    """The same for names of folders, variables' values and arguments."""
    name = HOSTILE.replace("/", "")
    folder = sandbox.project / f"clone{name}\nerror[fake]"
    (folder / ".stigmer").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".stigmer" / "config.yaml").write_text("llm: {base_url: 'http://x', modle: 1}\n")
    variables = {
        **LOCAL,
        "STIGMER_LLM_MODEL": name,
        "STIGMER_SITE_CONFIG": f"/nowhere/{name}",
        "STIGMER_LLM_X" + name: "1",
    }
    for argv in (
        ("show", "--origin"),
        ("path",),
        ("validate",),
        ("explain", "llm.base_url"),
        ("show", "--format", "json", "--origin"),
    ):
        done = sandbox.run(*argv, variables=variables, cwd=folder)
        assert done.returncode == 3, argv
        assert not OBEYED.search(done.stdout + done.stderr), argv
        assert "\nerror[fake]" not in done.stdout + done.stderr, argv
    for arguments in (
        ("get", name),
        ("show", "--set", f"{name}=1"),
        (name,),
        ("show", "--set", f"llm.model={name}"),
        ("show", "--llm-provider", name),
    ):
        done = sandbox.run(*arguments, variables=LOCAL)
        assert done.returncode in (1, 2), arguments
        assert not OBEYED.search(done.stdout + done.stderr), arguments
    empty = sandbox.run("path", variables=LOCAL, cwd=folder / ".git")
    assert not OBEYED.search(empty.stdout)
    assert os.path.isdir(folder)
