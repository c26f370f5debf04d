"""What a fault looks like to a person, letter by letter; and that no secret is ever part of it."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmer_config import ConfigError, Origin, Problem
from stigmer_config.core.problems import printable
from tests.support.sandbox import Sandbox

# File → the printed text of its fault; FILE is a placeholder for its path.
TEXTS: dict[str, tuple[str, str]] = {
    "a key that is none": (
        "llm:\n  modle: fast\n",
        """\
FILE:2:3: error[unknown-key] llm.modle: there is no such key
      modle: fast
      ^
hint: did you mean llm.model?""",
    ),
    "a number that is none": (
        "llm:\n  max_tokens: 8k\n",
        """\
FILE:2:15: error[wrong-type] llm.max_tokens: must be a whole number, not the string '8k'
      max_tokens: 8k
                  ^
hint: write 8000""",
    ),
    "a number beyond its range": (
        "llm: {max_retries: 101}\n",
        """\
FILE:1:20: error[out-of-range] llm.max_retries: must be at least 0 and at most 100, not 101
    llm: {max_retries: 101}
                       ^""",
    ),
    "a choice that is none": (
        "llm:\n  provider: gemini\n",
        """\
FILE:2:13: error[invalid-choice] llm.provider: Invalid provider 'gemini'. Must be one of: anthropic, ollama, openai, \
deepseek, google, groq, litellm, lmstudio, mistralai, openrouter, together, vllm, xai
      provider: gemini
                ^
hint: did you mean google?""",
    ),
    "a choice nearly right": (
        "sandbox: {type: Daytona}\n",
        """\
FILE:1:17: error[invalid-choice] sandbox.type: Invalid sandbox 'Daytona'. Must be one of: filesystem, daytona
    sandbox: {type: Daytona}
                    ^
hint: did you mean daytona?""",
    ),
    "a URL that is none": (
        "llm:\n  base_url: ollama:11434\n",
        """\
FILE:2:13: error[invalid-url] llm.base_url: must be an http:// or https:// URL, not 'ollama:11434'
      base_url: ollama:11434
                ^
hint: write http://ollama:11434""",
    ),
    "a model that is none": (
        "llm:\n  model: ../etc\n",
        """\
FILE:2:10: error[invalid-model] llm.model: '../etc' is not a model name
      model: ../etc
             ^
hint: a model name has letters, digits and . _ : / @ + - only, without '..' or '//', 256 at most""",
    ),
    "a key given twice": (
        "llm:\n  model: a:1b\n  model: b:1b\n",
        """\
FILE:3:3: error[duplicate-key] llm.model: is given twice
      model: b:1b
      ^
hint: remove one of the two; the first is on line 2""",
    ),
    "a list never closed": (
        "llm:\n  model: [unclosed\n",
        """\
FILE:2:10: error[yaml-syntax]: did not find expected ',' or ']'
      model: [unclosed
             ^
hint: close the list with ]""",
    ),
    "an anchor": (
        "llm: &all {}\n",
        """\
FILE:1:6: error[yaml-forbidden]: YAML anchors (&name) are not allowed here
    llm: &all {}
         ^
hint: write the value out where it is needed""",
    ),
    "an alias with a provider that is none": (
        "aliases:\n  fast: {antropic: x}\n",
        """\
FILE:2:10: error[unknown-alias-provider] aliases.fast.antropic: there is no provider 'antropic'
      fast: {antropic: x}
             ^
hint: did you mean anthropic?""",
    ),
    "aliases in a ring": (
        "aliases:\n  a: b\n  b: a\n",
        """\
FILE:2:6: error[alias-cycle] aliases.a: the alias leads back to itself: a → b → a
      a: b
         ^
hint: make one of them name a model""",
    ),
    "a secret that is no text": (
        "llm:\n  api_key: 12345678\n",
        """\
FILE:2:12: error[wrong-type] llm.api_key: must be text, not a number
hint: put it in quotes""",
    ),
    "a password in a URL": (
        "llm:\n  base_url: http://ann:12345678@host\n",
        """\
FILE:2:13: error[invalid-url] llm.base_url: contains a user name or password
hint: leave them out; put the key into api_key""",
    ),
    "Latin-1": (
        "bytes: # \xe9\n",
        """\
FILE:1:3: error[bad-encoding]: the file is not UTF-8 text
hint: save it as UTF-8""",
    ),
    "control characters": (
        'llm:\n  model: "a\\e[31m\\u202eb"\n',
        """\
FILE:2:10: error[invalid-model] llm.model: 'a\\x1b[31m\\u202eb' is not a model name
      model: "a\\e[31m\\u202eb"
             ^
hint: a model name has letters, digits and . _ : / @ + - only, without '..' or '//', 256 at most""",
    ),
    "a marker that reorders the line": (
        "llm: {model: 'a\u202eb', modle: 1}\n",
        """\
FILE:1:14: error[invalid-model] llm.model: 'a\\u202eb' is not a model name
    llm: {model: 'a\\u202eb', modle: 1}
                 ^
hint: a model name has letters, digits and . _ : / @ + - only, without '..' or '//', 256 at most
FILE:1:21: error[unknown-key] llm.modle: there is no such key
    llm: {model: 'a\\u202eb', modle: 1}
                             ^
hint: did you mean llm.model?""",
    ),
    "a caret behind wide characters": (
        "llm: {model: '模型', modle: 1}\n",
        """\
FILE:1:14: error[invalid-model] llm.model: '模型' is not a model name
    llm: {model: '模型', modle: 1}
                 ^
hint: a model name has letters, digits and . _ : / @ + - only, without '..' or '//', 256 at most
FILE:1:20: error[unknown-key] llm.modle: there is no such key
    llm: {model: '模型', modle: 1}
                         ^
hint: did you mean llm.model?""",
    ),
    "a tab before the place": (
        "llm: {\tmodle: 1}\n",
        """\
FILE:1:8: error[unknown-key] llm.modle: there is no such key
    llm: { modle: 1}
           ^
hint: did you mean llm.model?""",
    ),
    "a long line": (
        f"llm: {{provider: ollama, {' ' * 80}modle: 1, {' ' * 80}timeout: 1}}\n",
        f"""\
FILE:1:105: error[unknown-key] llm.modle: there is no such key
    …{" " * 59}modle: 1, {" " * 49}…
     {" " * 59}^
hint: did you mean llm.model?""",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_fault_has_exactly_this_text(sandbox: Sandbox, name: str) -> None:
    """`SOURCE:LINE:COLUMN: error[CODE] KEY: MESSAGE`, the line with a caret under the place, `hint: …`."""
    text, expected = TEXTS[name]
    sandbox.write(user="")
    if text.startswith("bytes: "):
        sandbox.user_file.write_bytes(text.removeprefix("bytes: ").encode("latin-1"))
    else:
        sandbox.user_file.write_text(text)
    problems = sandbox.problems({"MODE": "local"})
    assert "\n".join(map(str, problems)) == expected.replace("FILE", str(sandbox.user_file))
    with pytest.raises(ConfigError) as raised:
        sandbox.load({"MODE": "local"})
    assert str(raised.value) == "\n".join(map(str, problems))


VARIABLES: dict[str, tuple[dict[str, str], str]] = {
    "a variable that is no number": (
        {"STIGMER_LLM_MAX_TOKENS": "abc"},
        """\
STIGMER_LLM_MAX_TOKENS: error[wrong-type] llm.max_tokens: \
STIGMER_LLM_MAX_TOKENS must be a whole number, not the string 'abc'
hint: write a whole number from 1 to 10000000""",
    ),
    "a variable that is none": (
        {"STIGMER_LLM_BASEURL": "http://x:1"},
        """\
STIGMER_LLM_BASEURL: warning[unknown-variable]: \
STIGMER_LLM_BASEURL is not a variable of stigmer and does nothing
hint: did you mean STIGMER_LLM_BASE_URL?""",
    ),
    "no key": (
        {"MODE": "cloud"},
        """\
error[missing-api-key] llm.api_key: \
api_key is required for anthropic provider. Set STIGMER_LLM_API_KEY or ANTHROPIC_API_KEY
hint: export ANTHROPIC_API_KEY=…, or put providers.anthropic.api_key into ~/.stigmer/config.yaml""",
    ),
    "no key for OpenAI": (
        {"MODE": "cloud", "STIGMER_LLM_PROVIDER": "openai"},
        """\
error[missing-api-key] llm.api_key: \
api_key is required for openai provider. Set STIGMER_LLM_API_KEY or OPENAI_API_KEY
hint: export OPENAI_API_KEY=…, or put providers.openai.api_key into ~/.stigmer/config.yaml""",
    ),
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_fault_without_a_file_has_exactly_this_text(sandbox: Sandbox, name: str) -> None:
    """A variable's fault names the variable; a fault without a source has no place."""
    variables, expected = VARIABLES[name]
    assert "\n".join(map(str, sandbox.problems({"MODE": "local", **variables}))) == expected


def test_the_command_prints_a_fault_as_its_text(sandbox: Sandbox) -> None:
    """`stigmer config validate` prints on standard error what `str()` gives, without colours in a pipe."""
    sandbox.write(user=TEXTS["control characters"][0])
    done = sandbox.run("validate", variables={"MODE": "local"})
    assert done.returncode == 1
    assert done.stderr == TEXTS["control characters"][1].replace("FILE", str(sandbox.user_file)) + "\n"


def test_every_fault_of_every_layer_comes_at_once_errors_first(sandbox: Sandbox) -> None:
    """One load reports every fault of every layer, errors before warnings."""
    sandbox.write(site="llm: [\n", user="llm: {modle: x}\n", project="llm: {max_tokens: -1}\n")
    variables = {"MODE": "local", "STIGMER_LLM_TIMEOUT": "soon", "STIGMER_LLM_FOO": "1", "OLLAMA_HOST": "ftp://x"}
    problems = sandbox.problems(variables, flags={"llm.num_ctx": 0}, overrides=[{"llm.max_retries": 101}])
    assert {(problem.origin.layer, problem.code) for problem in problems if problem.origin} == {
        ("site", "yaml-syntax"),
        ("user", "unknown-key"),
        ("project", "out-of-range"),
        ("env", "wrong-type"),
        ("env", "unknown-variable"),
        ("vendor", "invalid-url"),
        ("flags", "out-of-range"),
        ("execution", "out-of-range"),
    }
    assert [problem.severity for problem in problems] == sorted(problem.severity for problem in problems)


def faulty(sandbox: Sandbox) -> ConfigError:
    """The error of a load with two errors and a warning."""
    sandbox.write(user="llm: {modle: 1, max_tokens: x}\n")
    with pytest.raises(ConfigError) as raised:
        sandbox.load({"MODE": "local", "STIGMER_LLM_FOO": "1"})
    return raised.value


def test_a_config_error_is_a_value_error_with_its_problems(sandbox: Sandbox) -> None:
    """Programs catch it as they catch a bad value, and read each fault's parts; its text is all of them."""
    error = faulty(sandbox)
    assert isinstance(error, ValueError)
    assert [problem.code for problem in error.problems] == ["unknown-key", "wrong-type", "unknown-variable"]
    assert isinstance(error.problems, tuple)
    assert str(error) == "\n".join(map(str, error.problems))


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_config_error_travels_between_processes(sandbox: Sandbox, protocol: int) -> None:
    """It is pickled and copied whole: a worker pool hands it on."""
    error = faulty(sandbox)
    for twin in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is ConfigError
        assert (twin.problems, str(twin)) == (error.problems, str(error))


def test_a_problem_is_immutable_and_compares_by_its_parts() -> None:
    """Two problems with equal parts are equal; none can be changed."""
    one, other = (Problem(code="x", message="m", origin=Origin("user", "f", 1, 2)) for _ in range(2))
    assert (one, hash(one)) == (other, hash(other))
    with pytest.raises(AttributeError):
        one.message = "n"  # type: ignore[misc]


@given(text=st.text(st.characters(codec=None), max_size=40), place=st.integers(1, 9))
def test_no_part_of_a_problem_steers_a_terminal(text: str, place: int) -> None:
    """Control characters, bidirectional overrides and halves of characters are escaped wherever they come from."""
    problem = Problem(code="x", key=text, message=text, hint=text, origin=Origin("user", f"/{text}", place, place))
    told = str(problem)
    told.encode()
    assert not [char for char in told if _steers(char) and char != "\n"]
    assert told.count("\n") == (1 if text else 0)


def _steers(char: str) -> bool:
    ranges = [(0, 0x1F), (0x7F, 0x9F), (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x2069), (0xD800, 0xDFFF)]
    return any(first <= ord(char) <= last for first, last in ranges) or char in "\u061c\ufeff"


CANARY = "c4n4ryC4N4RY-0123456789"
# Ways in which a file may contain a secret, most of them wrong.
SECRET_FILES = {
    "under its key, beside a fault": f"llm: {{api_key: {CANARY}, modle: 1}}\n",
    "given twice": f"llm:\n  api_key: other\n  api_key: {CANARY}\n",
    "given twice in one line": f"llm: {{api_key: {CANARY}, api_key: {CANARY}}}\n",
    "under a key with an anchor": f"llm:\n  &a api_key: {CANARY}\n",
    "under a key with a tag": f"llm:\n  !!str api_key: {CANARY}\n",
    "with an anchor on a line of its own": f"llm:\n  api_key:\n    &a {CANARY}\n",
    "lost, with an anchor on a line of its own": f"llm:\n  api_key: x\n  api_key:\n    &a {CANARY}\n",
    "as an anchor": f"llm:\n  api_key: &{CANARY}\n",
    "as an alias": f"llm:\n  api_key: *{CANARY}\n",
    "as a tag": f"llm:\n  api_key: !{CANARY}\n",
    "in a list of its key": f"llm:\n  api_key:\n    - {CANARY}\n    - *x\n",
    "as a key below its key": f"llm:\n  api_key:\n    {CANARY}: 1\n    {CANARY}: 2\n",
    "in a list of sections": f"- api_key: {CANARY}\n",
    "in a list of a section": f"llm: [api_key: {CANARY}]\n",
    "in the place of a section": f"llm: {CANARY}\n",
    "in the place of a provider": f"providers: {{anthropic: {CANARY}}}\n",
    "in the place of the file": f"{CANARY}\n",
    "in an unknown section": f"anthropic: {{api_key: {CANARY}}}\n",
    "in an unknown section, under an unknown key": f"anthropic: {{value: {CANARY}}}\n",
    "in a section of a section": f"llm: {{model: {{api_key: {CANARY}}}}}\n",
    "in an alias": f"aliases: {{fast: {{api_key: {CANARY}}}}}\n",
    "under a merge key": f"<<: {{api_key: {CANARY}}}\n",
    "in a complex key": f"llm:\n  ? {{api_key: {CANARY}}}\n  : 1\n",
    "under a complex key": f"llm:\n  ? [api_key]\n  : {CANARY}\n",
    "under a dotted key": f"llm.api_key: {CANARY}\n",
    "over several lines": f"llm: {{api_key: sk\n  {CANARY}, modle: 1}}\n",
    "over several lines in quotes": f"llm: {{api_key: \"sk\n  {CANARY}\", modle: 1}}\n",
    "in a block": f"llm:\n  api_key: |\n    {CANARY}\n    {CANARY}\n  modle: 1\n",
    "in a folded block": f"llm:\n  api_key: >-\n    é\n    {CANARY}\n  modle: 1\n",
    "as a number": f"redis: {{password: 0x{CANARY[-10:]}, hots: 1}}\n# {CANARY}\n",
    "with no space behind the colon": f"llm:\n  api_key:{CANARY}\n",
    "with no space behind the colon, between brackets": f"llm: {{api_key:{CANARY}}}\n",
    "with no colon": f"llm:\n  api_key {CANARY}\n  modle: 1\n",
    "with no colon, between brackets": f"llm: {{api_key {CANARY}}}\n",
    "with no colon, twice": f"llm: {{api_key {CANARY}, api_key {CANARY}}}\n",
    "with an equals sign": f"llm:\n  api_key = {CANARY}\n",
    "in a quote never closed": f"llm:\n  api_key: \"{CANARY}\n",
    "in a mapping never closed": f'{{"llm": {{"api_key": "{CANARY}", ]\n',
    "with a quote in the middle": f"llm:\n  api_key: '{CANARY[:5]}'{CANARY}'\n",
    "with a colon in the middle": f"llm:\n  api_key: {CANARY}: x\n",
    "behind a tab": f"llm:\n\tapi_key: {CANARY}\n",
    "with a control character": f"llm:\n  api_key: \"{CANARY}\x07\"\n",
    "with a bad character near": f"llm:\n  api_key: {CANARY}\n  model: \x07\n",
    "above a fault of the syntax": f"llm:\n  api_key: {CANARY}\n  model: [\n",
    "in a comment beside a fault": f"llm:\n  max_tokens: x  # api_key: {CANARY}\n",
    "in a comment that ends a broken file": f"llm: [  # key {CANARY}\n",
    "in the user's part of a URL": f"llm: {{base_url: 'http://{CANARY}@host'}}\n",
    "in the password of a URL": f"llm: {{base_url: 'http://ann:{CANARY}@host'}}\n",
    "in a password with signs of its own": f"llm: {{base_url: 'http://ann:{CANARY}/@x?@host'}}\n",
    "in a URL of two lines": f"llm:\n  base_url: \"http://ann:{CANARY}\n    @host\"\n",
    "in a URL that is folded": f"llm:\n  base_url: >-\n    http://ann:{CANARY}\n    @host\n",
    "in the query of a URL": f"llm: {{base_url: 'http://host/?api_key={CANARY}'}}\n",
    "in the fragment of a URL": f"llm: {{base_url: 'http://host/#{CANARY}'}}\n",
    "in an address": f"backend: {{endpoint: 'https://ann:{CANARY}@host:80'}}\n",
    "in an address without a scheme": f"temporal: {{address: '{CANARY}@host:7233'}}\n",
    "under a misspelt key": f"llm: {{apy_kee: {CANARY}}}\n",
    "under a misspelt key, with an anchor and no space": f"llm: {{}}\nllm:\n  &a api_ey:{CANARY}\n",
    "under a misspelt key of an unknown section": f"other:\n  &a assword:{CANARY}\n",
    "under a misspelt key of a broken file": f"llm: {{api- ey: {CANARY}\n",
    "in a URL of a broken file": f"llm:\n  base_url: http://ann:{CANARY}@host: [\n",
}  # fmt: skip


def leaks(sandbox: Sandbox, **layers: str) -> list[str]:
    """The parts of the problems of these files that show the canary."""
    for path in (sandbox.site_file, sandbox.user_file, sandbox.project_file):
        path.unlink(missing_ok=True)
    sandbox.write(**layers)
    problems = sandbox.problems({"MODE": "cloud", "STIGMER_LLM_FOO": "x"})
    parts = itertools.chain.from_iterable(
        (str(p), p.key, p.message, p.hint, p.excerpt or "", repr(p)) for p in problems
    )
    return [part for part in parts if CANARY[:7].lower() in part.lower() or CANARY[-10:] in part]


@pytest.mark.parametrize("layer", ["user", "site", "project"])
@pytest.mark.parametrize("name", SECRET_FILES)
def test_no_fault_shows_a_secret(sandbox: Sandbox, name: str, layer: str) -> None:
    """In whatever way a file contains a secret, no part of its problems does."""
    assert leaks(sandbox, **{layer: SECRET_FILES[name]}) == []


def test_no_command_shows_a_secret_of_a_faulty_file(sandbox: Sandbox) -> None:
    """Nor does `validate`, of all those files at once, as text or as JSON."""
    files = []
    for number, text in enumerate(SECRET_FILES.values()):
        file = sandbox.root / f"{number}.yaml"
        file.write_text(text)
        file.chmod(0o600)
        files.append(str(file))
    for form in ("text", "json"):
        done = sandbox.run("validate", "--format", form, *files)
        assert done.returncode == 1
        assert CANARY[:7] not in done.stdout + done.stderr
        assert CANARY[-10:] not in done.stdout + done.stderr


SECRETS = {"api_key": "llm", "password": "redis"}
SEPARATORS = [
    *(
        ": ",
        ":",
        " : ",
        "= ",
        " = ",
        " ",
        ":  ",
        ":\t",
        ": |\n      ",
        ": >-\n      ",
        ": &a ",
        ": !!str ",
        ": [",
        ": {",
        ": '",
    ),
    *(': "', ":\n    - ", ":\n      ", ": \n    ", ": *", ": @", ": %", ": x: ", ": # ", ":\n    ? ", ": - "),
]
ENDS = [
    "\n",
    "",
    "'\n",
    '"\n',
    "]\n",
    "}\n",
    ": x\n",
    "\n  modle: 1\n",
    "\n modle: 1\n",
    ", modle: 1}\n",
    "\n  [\n",
    "@h\n",
    "\t\n",
]


@st.composite
def misspelt(draw: st.DrawFn) -> str:
    """A file with a secret whose key has one slip of the hand, behind a right or a wrong separator."""
    key = draw(st.sampled_from(sorted(SECRETS)))
    section = SECRETS[key]
    at = draw(st.integers(0, len(key)))
    slip = draw(st.sampled_from(["", *"aeiknpsy_-. "]))
    if draw(st.booleans()):
        key = key[:at] + slip + key[at + draw(st.integers(0, 1)) :]
    if draw(st.booleans()):
        key = key.replace("_", draw(st.sampled_from(["", "-", ".", "__"])))
    key = draw(st.sampled_from([key, key.upper(), key.title(), f'"{key}"', f"&a {key}", f"? {key}\n  "]))
    opening = draw(
        st.sampled_from([f"{section}:\n  ", f"{section}: {{", f"{section}:\n  - ", "", "other:\n  ", "- ", "{"])
    )
    before = draw(st.sampled_from(["", "llm: {}\n", "mode: cloud\nmode: cloud\n", "aliases: {a: a}\n", "x: [\n"]))
    return before + opening + key + draw(st.sampled_from(SEPARATORS)) + CANARY + draw(st.sampled_from(ENDS))


@given(text=misspelt(), layer=st.sampled_from(["user", "project"]))
def test_no_slip_of_the_hand_shows_a_secret(tmp_path_factory: pytest.TempPathFactory, text: str, layer: str) -> None:
    """A misspelt secret key, or broken YAML around it, hides the secret as the right key does."""
    assert leaks(Sandbox(tmp_path_factory.getbasetemp() / "slips"), **{layer: text}) == []


VALUES: list[Any] = [CANARY, f"{CANARY}\n", [CANARY], {"a": CANARY}, (CANARY,), CANARY.encode(), f"é{CANARY}"]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("key", ["llm.api_key", "llm.apikey", "api_key", "providers.openai.api_key", "redis.pasword"])
def test_no_fault_of_a_flag_or_an_override_shows_a_secret(sandbox: Sandbox, key: str, value: Any) -> None:
    """Values from Python code that may be secrets are shown only by their type."""
    overrides = [{key: value, "llm.modle": 1}]
    problems = sandbox.problems({"MODE": "cloud"}, overrides=overrides)
    assert problems
    shown = "".join(map(str, problems))
    try:
        shown += "".join(map(str, sandbox.problems({"MODE": "cloud"}, flags={key: value}, overrides=overrides)))
    except KeyError as error:  # the flag does not exist
        shown += str(error)
    assert CANARY[:7] not in shown


def test_no_fault_of_a_variable_shows_a_secret(sandbox: Sandbox) -> None:
    """A secret variable that cannot be used is reported only by name."""
    for name in (
        "STIGMER_LLM_API_KEY",
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "STIGMER_API_KEY",
        "DAYTONA_API_KEY",
        "REDIS_PASSWORD",
    ):
        problems = sandbox.problems({"MODE": "cloud", name: f"{CANARY} x"})
        assert any(problem.origin and problem.origin.source == name for problem in problems)
        assert CANARY[:7] not in "".join(map(str, problems))


def test_the_excerpt_is_there_where_no_secret_is(sandbox: Sandbox) -> None:
    """Hiding is for secrets: in a file with one, a fault on another line still shows its line."""
    sandbox.write(user=f"llm:\n  api_key: {CANARY}\n  max_tokens: hot\n  temperature: warm\n")
    shown = [problem.excerpt for problem in sandbox.problems({"MODE": "cloud"})]
    assert shown == ["      max_tokens: hot\n                  ^", "      temperature: warm\n                   ^"]


def test_json_has_every_part_of_a_problem(sandbox: Sandbox) -> None:
    """`--format json` gives severity, code, key, message, hint and origin."""
    sandbox.write(user="llm: {modle: 1}\n")
    (problem,) = json.loads(sandbox.run("validate", "--format", "json", variables={"MODE": "local"}).stdout)["problems"]
    assert problem == {
        "severity": "error",
        "code": "unknown-key",
        "key": "llm.modle",
        "message": "there is no such key",
        "hint": "did you mean llm.model?",
        "origin": {"layer": "user", "source": str(sandbox.user_file), "line": 1, "column": 7},
    }


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\u3164", "\\u3164"),
        ("\xad", "\\xad"),
        ("\U000e0041", "\\U000e0041"),
        ("\ufe0f", "\\ufe0f"),
        ("\u034f", "\\u034f"),
    ],
)
def test_what_is_not_seen_is_escaped(character: str, shown: str) -> None:
    """A Hangul filler, a soft hyphen and a tag character hid in a value that was to be granted."""
    assert printable(f"a{character}b") == f"a{shown}b"
