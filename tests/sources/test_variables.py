"""Environment variables: which count, how they are read, and what a mistyped one says."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.sandbox import Sandbox

# The contract's table: variable → key, a string, and its value.
VARIABLES: dict[str, tuple[str, str, Any]] = {
    "MODE": ("mode", "local", "local"),
    "STIGMER_LLM_PROVIDER": ("llm.provider", "openai", "openai"),
    "STIGMER_LLM_MODEL": ("llm.model", "mine:1b", "mine:1b"),
    "STIGMER_LLM_BASE_URL": ("llm.base_url", "http://far:1/x", "http://far:1/x"),
    "STIGMER_LLM_API_KEY": ("llm.api_key", "k-env", "k-env"),
    "STIGMER_LLM_MAX_TOKENS": ("llm.max_tokens", "4096", 4096),
    "STIGMER_LLM_TEMPERATURE": ("llm.temperature", "0.25", 0.25),
    "STIGMER_LLM_NUM_CTX": ("llm.num_ctx", "16384", 16384),
    "STIGMER_LLM_REASONING_EFFORT": ("llm.reasoning_effort", "low", "low"),
    "STIGMER_LLM_TIMEOUT": ("llm.timeout", "1.5", 1.5),
    "STIGMER_LLM_MAX_RETRIES": ("llm.max_retries", "0", 0),
    "TEMPORAL_NAMESPACE": ("temporal.namespace", "prod", "prod"),
    "TEMPORAL_SERVICE_ADDRESS": ("temporal.address", "t.example:7233", "t.example:7233"),
    "TEMPORAL_AGENT_EXECUTION_RUNNER_TASK_QUEUE": ("temporal.task_queue", "q", "q"),
    "TEMPORAL_MAX_CONCURRENCY": ("temporal.max_concurrency", "3", 3),
    "STIGMER_BACKEND_ENDPOINT": ("backend.endpoint", "b.example:443", "b.example:443"),
    "STIGMER_API_KEY": ("backend.api_key", "k-backend", "k-backend"),
    "SANDBOX_TYPE": ("sandbox.type", "daytona", "daytona"),
    "SANDBOX_ROOT_DIR": ("sandbox.root_dir", "/srv", "/srv"),
    "DAYTONA_DEV_TOOLS_SNAPSHOT_ID": ("sandbox.snapshot_id", "s-1", "s-1"),
    "DAYTONA_API_KEY": ("sandbox.api_key", "k-daytona", "k-daytona"),
    "REDIS_HOST": ("redis.host", "r.example", "r.example"),
    "REDIS_PORT": ("redis.port", "6380", 6380),
    "REDIS_PASSWORD": ("redis.password", "p-redis", "p-redis"),
    "LOG_LEVEL": ("logging.level", "warning", "warning"),
    "LOG_FORMAT": ("logging.format", "json", "json"),
}
VENDORS: dict[str, tuple[str, str]] = {
    "ANTHROPIC_API_KEY": ("providers.anthropic.api_key", "k-anthropic"),
    "ANTHROPIC_BASE_URL": ("providers.anthropic.base_url", "https://a.example"),
    "OPENAI_API_KEY": ("providers.openai.api_key", "k-openai"),
    "OPENAI_BASE_URL": ("providers.openai.base_url", "https://o.example/v1"),
    "OLLAMA_BASE_URL": ("providers.ollama.base_url", "http://ollama:11434"),
}
SECRETS = {name for name in (*VARIABLES, *VENDORS) if "KEY" in name or "PASSWORD" in name}


def world(name: str) -> dict[str, str]:
    """Variables under which the key of variable `name` is in force."""
    base = {"MODE": "local", "OPENAI_API_KEY": "k"}
    if name == "STIGMER_LLM_API_KEY" or name.startswith("REDIS_"):
        return {"MODE": "cloud", "ANTHROPIC_API_KEY": "k"}
    if name == "STIGMER_LLM_REASONING_EFFORT":
        return {**base, "STIGMER_LLM_MODEL": "unknown:1b"}
    return base


def plain(value: Any) -> Any:
    return value.reveal() if hasattr(value, "reveal") else value


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_of_the_table_sets_its_key(sandbox: Sandbox, name: str) -> None:
    """A variable gives its key the value it spells, in the key's type, and is named as the value's origin."""
    key, text, value = VARIABLES[name]
    config = sandbox.load({**world(name), name: text})
    explained = config.explain(key)
    assert plain(explained.value) == value
    assert type(plain(explained.value)) is type(value)
    assert explained.origin is not None
    assert (explained.origin.layer, str(explained.origin)) == ("env", name)


@pytest.mark.parametrize("name", VENDORS)
def test_each_vendor_variable_fills_its_providers_key(sandbox: Sandbox, name: str) -> None:
    """What other tools own fills `providers.<its provider>.*`, below every file."""
    key, text = VENDORS[name]
    explained = sandbox.load({"MODE": "local", name: text}).explain(key)
    assert plain(explained.value) == text
    assert explained.origin is not None
    assert (explained.origin.layer, explained.origin.source) == ("vendor", name)
    provider, field = key.split(".")[1:]
    sandbox.write(site=f"providers: {{{provider}: {{{field}: 'http://site:1'}}}}\n")
    assert plain(sandbox.load({"MODE": "local", name: text}).value(key)) == "http://site:1"


@pytest.mark.parametrize("name", [*VARIABLES, *VENDORS, "OLLAMA_HOST", "STIGMER_HOME", "STIGMER_SITE_CONFIG"])
def test_an_empty_variable_counts_as_unset(sandbox: Sandbox, name: str) -> None:
    """Compose files pass empty variables: they change nothing and are no fault."""
    variables = {key: value for key, value in world(name).items() if key != name}
    without, empty = sandbox.read(variables), sandbox.read({**variables, name: ""})
    assert (empty.config, empty.problems) == (without.config, without.problems)


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        *((name, text, "wrong-type") for name in ("STIGMER_LLM_MAX_TOKENS", "STIGMER_LLM_NUM_CTX", "REDIS_PORT")
          for text in ("abc", "1.0", "1e3", "0x10", "1_000", " 5", "5 ", "1,000", "true", "null", "\u0665", "٣")),
        *((name, text, "wrong-type") for name in ("STIGMER_LLM_TEMPERATURE", "STIGMER_LLM_TIMEOUT")
          for text in ("hot", "0,5", "--inf", "+-nan", "i.nf", "1_0", " 1", "0x1", "1e", ".", "e5", "1.5.2", "true",
                       "\u0661")),
        *((name, text, "out-of-range") for name in ("STIGMER_LLM_TEMPERATURE", "STIGMER_LLM_TIMEOUT")
          for text in ("inf", "-inf", "nan", "NaN", "Infinity", ".inf", ".nan", "1e400", "-1", "9" * 5000)),
        ("STIGMER_LLM_TEMPERATURE", "2.01", "out-of-range"),
        ("STIGMER_LLM_TEMPERATURE", "99", "out-of-range"),
        ("STIGMER_LLM_TIMEOUT", "0", "out-of-range"),
        ("STIGMER_LLM_MAX_TOKENS", "0", "out-of-range"),
        ("STIGMER_LLM_MAX_TOKENS", "-1", "out-of-range"),
        ("STIGMER_LLM_MAX_TOKENS", "10000001", "out-of-range"),
        ("STIGMER_LLM_MAX_TOKENS", "9" * 5000, "out-of-range"),
        ("STIGMER_LLM_MAX_TOKENS", "-" + "9" * 5000, "out-of-range"),
        ("STIGMER_LLM_MAX_RETRIES", "101", "out-of-range"),
        ("STIGMER_LLM_PROVIDER", "gemini", "invalid-choice"),
        ("STIGMER_LLM_PROVIDER", "Anthropic", "invalid-choice"),
        ("STIGMER_LLM_REASONING_EFFORT", "HIGH", "invalid-choice"),
        ("STIGMER_LLM_MODEL", "anthropic:", "empty-model"),
        ("STIGMER_LLM_MODEL", "../etc", "invalid-model"),
        ("STIGMER_LLM_MODEL", "a b", "invalid-model"),
        ("STIGMER_LLM_BASE_URL", "ollama:11434", "invalid-url"),
        ("STIGMER_LLM_BASE_URL", "http://u:p@h", "invalid-url"),
        ("STIGMER_LLM_API_KEY", "two\nlines", "invalid-credential"),
        ("MODE", "LOCAL", "invalid-choice"),
        ("MODE", "production", "invalid-choice"),
        ("SANDBOX_TYPE", "docker", "invalid-choice"),
        ("TEMPORAL_SERVICE_ADDRESS", "localhost", "wrong-type"),
        ("TEMPORAL_SERVICE_ADDRESS", "localhost:0", "out-of-range"),
        ("TEMPORAL_MAX_CONCURRENCY", "0", "out-of-range"),
        ("TEMPORAL_NAMESPACE", "half \udcff", "out-of-range"),
        ("SANDBOX_ROOT_DIR", "/\udcff", "out-of-range"),
        ("ANTHROPIC_BASE_URL", "anthropic", "invalid-url"),
        ("OPENAI_API_KEY", "clé", "invalid-credential"),
    ],
)  # fmt: skip
def test_a_variable_that_cannot_be_read_is_an_error_that_names_it(
    sandbox: Sandbox, name: str, text: str, code: str
) -> None:
    """The message says which variable is wrong, not only which key; nothing falls back in silence."""
    vendor = {"ANTHROPIC": "anthropic", "OPENAI": "openai"}.get(name.partition("_")[0])
    in_force = {"STIGMER_LLM_PROVIDER": vendor} if vendor else {}
    variables = {**world(name), **in_force, name: text}
    found = [problem for problem in sandbox.problems(variables) if problem.severity == "error"]
    (problem,) = [p for p in found if p.origin is not None and p.origin.source == name]
    assert (problem.code, str(problem.origin)) == (code, name)
    assert str(problem).startswith(f"{name}: error[{code}] {(VARIABLES | VENDORS)[name][0]}: ")


@pytest.mark.parametrize("port", ["tcp://10.0.0.11:6379", "abc", "0"])
def test_in_local_mode_redis_variables_mean_nothing_whatever_they_say(sandbox: Sandbox, port: str) -> None:
    """Kubernetes sets REDIS_PORT=tcp://… in every pod beside a service called redis."""
    loaded = sandbox.read({"MODE": "local", "REDIS_PORT": port})
    assert (loaded.problems, loaded.config.redis) == ((), None)
    assert next(layer.status for layer in loaded.layers if layer.name == "env") == "loaded"
    loaded = sandbox.read({"REDIS_PORT": port, "ANTHROPIC_API_KEY": "k"}, flags={"mode": "local"})
    assert next(layer.status for layer in loaded.layers if layer.name == "env") == "empty"
    loaded = sandbox.read({"MODE": "local", "REDIS_PORT": port, "SANDBOX_TYPE": "none"})
    assert [problem.key for problem in loaded.problems] == ["sandbox.type"]
    assert next(layer.status for layer in loaded.layers if layer.name == "env") == "error"
    loaded = sandbox.read({"MODE": "cloud", "ANTHROPIC_API_KEY": "k", "REDIS_PORT": port})
    assert [problem.key for problem in loaded.problems] == ["redis.port"]


def test_max_tokens_abc_names_its_variable(sandbox: Sandbox) -> None:
    """What was a bare `invalid literal for int()` names the variable, the text and what was expected."""
    (problem,) = sandbox.problems({"MODE": "local", "STIGMER_LLM_MAX_TOKENS": "abc"})
    assert problem.message == "STIGMER_LLM_MAX_TOKENS must be a whole number, not the string 'abc'"


@pytest.mark.parametrize("text", ["0", "1", "+5", "007", "10000000", "-0"])
def test_whole_numbers_are_read_as_people_write_them(sandbox: Sandbox, text: str) -> None:
    """A sign and leading zeros are fine; the base is ten."""
    loaded = sandbox.read({"MODE": "local", "STIGMER_LLM_MAX_TOKENS": text})
    assert (int(text) >= 1) == (not loaded.errors)
    if not loaded.errors:
        assert loaded.config.llm.max_tokens == int(text)


NUMBERLIKE = st.text("+-0123456789.eE_x ", max_size=12) | st.floats().map(repr) | st.integers().map(str)


@given(text=NUMBERLIKE | st.text())
def test_a_number_is_python_s_number_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """A string that is accepted as a number has the value that Python gives it, finite and in range."""
    sandbox = Sandbox(tmp_path_factory.getbasetemp() / "numbers")
    loaded = sandbox.read({"MODE": "local", "STIGMER_LLM_TIMEOUT": text, "STIGMER_LLM_NUM_CTX": text})
    told = {problem.key for problem in loaded.errors}
    if text and "llm.timeout" not in told:
        assert loaded.config.llm.timeout == float(text)
        assert 0 < float(text) < math.inf
    if text and "llm.num_ctx" not in told:
        whole = float(text) if "e" in text.lower() else int(text)  # 1e+06, as Helm writes a million
        assert loaded.config.llm.num_ctx == whole >= 1
    assert told <= {"llm.timeout", "llm.num_ctx"}


@given(
    name=st.sampled_from([*VARIABLES, *VENDORS, "OLLAMA_HOST"]), text=st.text(st.characters(exclude_characters="\0"))
)
def test_any_text_in_any_variable_is_a_value_or_a_problem(
    tmp_path_factory: pytest.TempPathFactory, name: str, text: str
) -> None:
    """No string crashes the load, no secret is shown, and a plain string is used unchanged."""
    sandbox = Sandbox(tmp_path_factory.getbasetemp() / "any-text")
    loaded = sandbox.read({**world(name), name: text})
    assert loaded.config.fingerprint
    told = "\n".join(map(str, loaded.problems))
    if name in SECRETS and len(text) > 7:
        assert text not in told
    if name in ("TEMPORAL_NAMESPACE", "SANDBOX_ROOT_DIR", "DAYTONA_DEV_TOOLS_SNAPSHOT_ID") and text and not told:
        assert loaded.config.value(VARIABLES[name][0]) == text


@pytest.mark.parametrize("text", ["debug", "DEBUG", "Debug", "dEBUG"])
def test_log_level_is_read_in_any_case(sandbox: Sandbox, text: str) -> None:
    """`LOG_LEVEL=DEBUG` is how most tools have it."""
    assert sandbox.load({"MODE": "local", "LOG_LEVEL": text}).logging.level == "debug"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("STIGMER_LLM_BASEURL", "STIGMER_LLM_BASE_URL"),
        ("STIGMER_LLM_MODLE", "STIGMER_LLM_MODEL"),
        ("STIGMER_LLM_APIKEY", "STIGMER_LLM_API_KEY"),
        ("STIGMER_LLM_MAX_TOKEN", "STIGMER_LLM_MAX_TOKENS"),
        ("STIGMER_LLM_temperature", "STIGMER_LLM_TEMPERATURE"),
    ],
)
def test_a_mistyped_variable_warns_and_suggests(sandbox: Sandbox, name: str, near: str) -> None:
    """`STIGMER_LLM_*` that is no variable is heard, with the nearest, and its value is not shown."""
    loaded = sandbox.read({"MODE": "local", name: "c4n4ry-value"})
    (problem,) = loaded.problems
    assert (problem.severity, problem.code, problem.hint) == ("warning", "unknown-variable", f"did you mean {near}?")
    assert name in problem.message
    assert "c4n4ry" not in str(problem)
    assert loaded.config == sandbox.load({"MODE": "local"})


@pytest.mark.parametrize("name", ["STIGMER_LLM_", "STIGMER_LLM_\udcff", "STIGMER_LLM_XYZZY\x1b[31m"])
def test_a_strange_variable_name_is_escaped(sandbox: Sandbox, name: str) -> None:
    """A name with control characters or half a character can be printed."""
    (problem,) = sandbox.problems({"MODE": "local", name: "x"})
    assert problem.code == "unknown-variable"
    assert str(problem).replace("\n", "").isprintable()
    str(problem).encode()


@pytest.mark.parametrize(
    "name", ["ENV", "STIGMER_TOKEN", "LLM_MODEL", "STIGMER_TEMPORAL_NAMESPACE", "stigmer_llm_model"]
)
def test_other_names_are_none_of_ours(sandbox: Sandbox, name: str) -> None:
    """`ENV` belongs to others; a name outside the table is neither read nor warned about."""
    loaded = sandbox.read({"MODE": "local", name: "cloud"})
    assert not loaded.problems
    assert loaded.config == sandbox.load({"MODE": "local"})


def test_an_empty_unknown_variable_causes_no_warning(sandbox: Sandbox) -> None:
    """Empty is unset, also for a name that does not exist."""
    assert not sandbox.problems({"MODE": "local", "STIGMER_LLM_BASEURL": ""})


# Read as Ollama's own client reads it (envconfig.Host); a bind address means this machine.
OLLAMA_HOSTS = {
    "localhost": "http://localhost:11434",
    "ollama.com": "https://ollama.com:443",
    "ollama.com:80": "http://ollama.com:80",
    "10.0.0.5": "http://10.0.0.5:11434",
    "example.com:56789": "http://example.com:56789",
    "http://example.com": "http://example.com:80",
    "https://example.com": "https://example.com:443",
    "http://example.com:8080": "http://example.com:8080",
    "https://example.com:8443/ollama": "https://example.com:8443/ollama",
    "https://example.com/ollama/": "https://example.com:443/ollama",
    "example.com/": "http://example.com:11434",
    "0.0.0.0": "http://127.0.0.1:11434",
    "0.0.0.0:8080": "http://127.0.0.1:8080",
    "http://0.0.0.0": "http://127.0.0.1:80",
    "http://0.0.0.0:11434": "http://127.0.0.1:11434",
    ":5000": "http://127.0.0.1:5000",
    "[::1]": "http://[::1]:11434",
    "::1": "http://[::1]:11434",
    "[::1]:8080": "http://[::1]:8080",
    "[::]": "http://[::1]:11434",
    "::": "http://[::1]:11434",
    " localhost ": "http://localhost:11434",
    '"localhost:1"': "http://localhost:1",
    "'localhost:1'": "http://localhost:1",
    "example.com:": "http://example.com:11434",
    "example.com:66000": "http://example.com:11434",
    "example.com:-1": "http://example.com:11434",
    "example.com:port": "http://example.com:11434",
    ":65535": "http://127.0.0.1:65535",
}


@pytest.mark.parametrize("text", OLLAMA_HOSTS)
def test_ollama_host_is_read_as_ollama_reads_it(sandbox: Sandbox, text: str) -> None:
    """Default ports, bind addresses, IPv6 and quotes: the server that `ollama` itself would ask."""
    config = sandbox.load({"MODE": "local", "OLLAMA_HOST": text})
    assert config.llm.base_url == OLLAMA_HOSTS[text]
    assert str(config.explain("llm.base_url").origin) == "OLLAMA_HOST"


@pytest.mark.parametrize("text", ["ftp://example.com", "exa mple.com", "unix:///run/ollama.sock", "http://a:b:c"])
def test_an_ollama_host_that_is_no_server_is_an_error(sandbox: Sandbox, text: str) -> None:
    """An invalid address is reported, not guessed."""
    assert {problem.code for problem in sandbox.problems({"MODE": "local", "OLLAMA_HOST": text})} == {"invalid-url"}


@pytest.mark.parametrize("text", ["http://user:c4n4ry@example.com", "user:c4n4ry@example.com:1", "https://c4n4ry@h/x"])
def test_a_password_in_ollama_host_is_refused_unseen(sandbox: Sandbox, text: str) -> None:
    """A URL with a user or a password in it is an error that does not show it."""
    (problem,) = sandbox.problems({"MODE": "local", "OLLAMA_HOST": text})
    assert problem.code == "invalid-url"
    assert "c4n4ry" not in str(problem)


def test_ollama_base_url_beats_ollama_host(sandbox: Sandbox) -> None:
    """`OLLAMA_HOST` counts only where `OLLAMA_BASE_URL` is not set."""
    variables = {"MODE": "local", "OLLAMA_BASE_URL": "http://base:1", "OLLAMA_HOST": "host"}
    assert sandbox.load(variables).llm.base_url == "http://base:1"
    assert sandbox.load({**variables, "OLLAMA_BASE_URL": ""}).llm.base_url == "http://host:11434"


@pytest.mark.parametrize(
    ("text", "level"),
    [("WARN", "warning"), ("warn", "warning"), ("Trace", "debug"), ("FATAL", "critical"), ("NOTSET", "debug"),
     ("0", "debug"), ("10", "debug"), ("20", "info"), ("25", "warning"), ("30", "warning"), ("40", "error"),
     ("50", "critical")],
)  # fmt: skip
def test_levels_of_other_programs_are_understood(sandbox: Sandbox, text: str, level: str) -> None:
    """In a variable and in a file, as a word and as a number."""
    assert sandbox.load({"MODE": "local", "LOG_LEVEL": text}).logging.level == level
    sandbox.write(user=f"logging: {{level: {text}}}\n")
    assert sandbox.load({"MODE": "local"}).logging.level == level


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("LOG_LEVEL", "verbose", "info"), ("LOG_LEVEL", "51", "info"), ("LOG_LEVEL", "-10", "info"),
     ("LOG_FORMAT", "logfmt", "auto"), ("LOG_FORMAT", "text", "auto")],
)  # fmt: skip
def test_what_only_another_program_understands_counts_as_unset(
    sandbox: Sandbox, name: str, text: str, value: str
) -> None:
    """A warning at the variable; what a file says counts then. In a file it is an error."""
    key = "logging.level" if name == "LOG_LEVEL" else "logging.format"
    loaded = sandbox.read({"MODE": "local", name: text})
    assert [(p.severity, p.key, str(p.origin)) for p in loaded.problems] == [("warning", key, name)]
    assert loaded.config.value(key) == value
    other = {"logging.level": "error", "logging.format": "json"}[key]
    sandbox.write(user=f"logging: {{{key.partition('.')[2]}: {other}}}\n")
    assert sandbox.load({"MODE": "local", name: text}).value(key) == other
    sandbox.write(user=f"logging: {{{key.partition('.')[2]}: {text}}}\n")
    assert [p.key for p in sandbox.read({"MODE": "local"}).errors] == [key]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("OPENAI_BASE_URL", "https://x.example?api-version=1"),
        ("ANTHROPIC_API_KEY", "k k"),
        ("OPENAI_API_KEY", "cl\u00e9"),
    ],
)
def test_a_faulty_vendor_variable_is_an_error_only_for_its_provider(sandbox: Sandbox, name: str, text: str) -> None:
    """With Ollama in force it is a warning, and the layer is as if the variable were not set."""
    loaded = sandbox.read({"MODE": "local", name: text})
    assert [(p.severity, str(p.origin)) for p in loaded.problems] == [("warning", name)]
    assert next(layer.status for layer in loaded.layers if layer.name == "vendor") == "empty"
    provider = name.partition("_")[0].lower()
    loaded = sandbox.read({"MODE": "local", "STIGMER_LLM_PROVIDER": provider, name: text})
    assert name in [str(p.origin) for p in loaded.errors]


def test_a_redis_port_of_kubernetes_says_how_to_be_rid_of_it(sandbox: Sandbox) -> None:
    """In cloud mode, where Redis counts."""
    variables = {"MODE": "cloud", "ANTHROPIC_API_KEY": "k", "REDIS_PORT": "tcp://10.0.0.11:6379"}
    (problem,) = sandbox.read(variables).errors
    assert (problem.code, problem.key) == ("wrong-type", "redis.port")
    assert "enableServiceLinks: false" in problem.hint
    assert "REDIS_PORT" in problem.hint
