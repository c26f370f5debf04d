"""The shapes of `--format json`, and of yaml and env output."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from stigmer_config.settings.declarations import SETTINGS
from tests.support.cli_tools import ask, tidy
from tests.support.sandbox import Sandbox

LOCAL = {"MODE": "local"}
USER = """\
llm:
  model: fast
  timeout: 60
aliases:
  mine: {ollama: "tiny:1b"}
"""
PROJECT = """\
llm:
  model: balanced
  base_url: https://elsewhere.example
"""


def document(sandbox: Sandbox, *argv: str, variables: dict[str, str] | None = None) -> Any:
    return json.loads(ask(sandbox, "show", "--origin", "--format", "json", *argv, variables=variables or LOCAL).out)


def test_json_with_origins_is_the_document_of_the_contract(sandbox: Sandbox) -> None:
    """`show --origin --format json` has the fields that the contract names, and no other."""
    sandbox.write(user=USER, project=PROJECT)
    found = document(sandbox)
    assert list(found) == ["mode", "ok", "fingerprint", "layers", "values", "resolved", "problems"]
    assert (found["mode"], found["ok"]) == ("local", False)
    assert [(layer["layer"], layer["status"]) for layer in found["layers"]] == [
        ("defaults", "loaded"),
        ("vendor", "empty"),
        ("site", "absent"),
        ("user", "loaded"),
        ("project", "untrusted"),
        ("env", "loaded"),
        ("flags", "empty"),
    ]
    assert {tuple(layer) for layer in found["layers"]} == {("layer", "source", "status")}
    model = found["values"]["llm.model"]
    assert model == {
        "value": "balanced",
        "origin": {"layer": "project", "source": str(sandbox.project_file), "line": 2, "column": 10},
        "shadowed": [
            {
                "value": "fast",
                "reason": "overridden",
                "origin": {"layer": "user", "source": str(sandbox.user_file), "line": 2, "column": 10},
            },
            {
                "value": "qwen2.5-coder:7b",
                "reason": "overridden",
                "origin": model["shadowed"][1]["origin"] | {"layer": "defaults"},
            },
        ],
    }
    assert found["resolved"] == {
        "llm.alias": "balanced",
        "llm.model_name": "qwen2.5-coder:7b",
        "llm.model_id": "qwen2.5-coder:7b",
    }
    (problem,) = found["problems"]
    assert list(problem) == ["severity", "code", "key", "message", "hint", "origin"]
    assert (problem["severity"], problem["code"], problem["key"]) == ("error", "untrusted-key", "llm.base_url")
    assert problem["origin"] == {"layer": "project", "source": str(sandbox.project_file), "line": 3, "column": 13}
    assert found["values"]["mode"]["origin"] == {"layer": "env", "source": "MODE"}
    assert found["values"]["llm.base_url"]["shadowed"][0]["reason"] == "untrusted"


def test_json_values_are_every_key_with_a_value_or_a_loser(sandbox: Sandbox) -> None:
    """Leaf keys only; providers and aliases with --all; secrets masked; Redis' losers are there in local mode."""
    sandbox.write(user=USER + "providers: {openai: {api_key: hidden}}\n")
    values = document(sandbox, variables={**LOCAL, "REDIS_PORT": "1234"})["values"]
    assert "llm.temperature" in values
    assert "llm.num_ctx" not in values
    assert not [key for key in values if key.startswith(("providers.", "aliases."))]
    assert values["redis.port"] == {
        "value": None,
        "origin": None,
        "shadowed": [{"value": 1234, "reason": "not-in-mode", "origin": {"layer": "env", "source": "REDIS_PORT"}}],
    }
    everything = document(sandbox, "--all")["values"]
    assert everything["providers.openai.api_key"]["value"] == "********"
    assert everything["aliases.mine"]["value"] == {"ollama": "tiny:1b"}
    assert document(sandbox, "--all", "--reveal")["values"]["providers.openai.api_key"]["value"] == "hidden"


def test_json_names_flags_and_variables_as_origins(sandbox: Sandbox) -> None:
    """A flag's origin is the flag as it was written, a variable's its name."""
    argv = ("--set", "llm.timeout=5", "--llm-model", "fast", "--mode", "local", "--set", "aliases.x=fast", "--all")
    values = document(sandbox, *argv, variables={"STIGMER_LLM_MAX_TOKENS": "9"})["values"]
    assert values["llm.timeout"]["origin"] == {"layer": "flags", "source": "--set llm.timeout"}
    assert values["llm.model"]["origin"] == {"layer": "flags", "source": "--llm-model"}
    assert values["mode"]["origin"] == {"layer": "flags", "source": "--mode"}
    assert values["aliases.x"]["origin"] == {"layer": "flags", "source": "--set aliases.x"}
    assert values["llm.max_tokens"]["origin"] == {"layer": "env", "source": "STIGMER_LLM_MAX_TOKENS"}


def test_json_without_origins_is_the_nested_values(sandbox: Sandbox) -> None:
    """`show --format json` nests the values as a file does, all keys of a section, secrets masked."""
    sandbox.write(user=USER)
    found = json.loads(ask(sandbox, "show", "--format", "json", variables=LOCAL).out)
    assert found["llm"]["model"] == "fast"
    assert found["llm"]["num_ctx"] is None
    assert found["backend"]["api_key"] == "********"
    leaves = {"mode", "locked", "enforced"} | {
        f"{section}.{name}" for section, part in found.items() if isinstance(part, dict) for name in part
    }
    assert leaves == {key for key in SETTINGS if not key.startswith("providers.")}
    assert set(json.loads(ask(sandbox, "show", "--all", "--format", "json", variables=LOCAL).out)) == {
        *found,
        "providers",
        "aliases",
    }


def test_keys_and_sections_choose_what_is_shown(sandbox: Sandbox) -> None:
    """`show KEY…` shows only these keys and sections, in every format; a requested one is never left out."""
    assert ask(sandbox, "show", "llm.num_ctx", variables=LOCAL).out == "llm.num_ctx  none\n"
    assert ask(sandbox, "show", "llm.model_id", "mode", variables=LOCAL).out.split() == [
        "mode",
        "local",
        "llm.model_id",
        "qwen2.5-coder:7b",
    ]
    assert [line.split()[0] for line in ask(sandbox, "show", "redis", variables=LOCAL).out.splitlines()] == [
        "redis.host",
        "redis.port",
        "redis.password",
    ]
    assert set(document(sandbox, "sandbox", "llm.timeout")["values"]) == {"sandbox.type", "sandbox.root_dir"}
    assert json.loads(ask(sandbox, "show", "sandbox.type", "--format", "json", variables=LOCAL).out) == {
        "sandbox": {"type": "filesystem"}
    }
    assert (
        ask(sandbox, "show", "sandbox.type", "--format", "yaml", variables=LOCAL).out
        == "sandbox:\n  type: filesystem\n"
    )
    assert ask(sandbox, "show", "sandbox.type", "--format", "env", variables=LOCAL).out == "SANDBOX_TYPE=filesystem\n"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("qwen3:4b", "qwen3:4b"),
        ("hf.co/a/b:Q4_K_M", "hf.co/a/b:Q4_K_M"),
        ("on", '"on"'),
        ("NO", '"NO"'),
        ("y", '"y"'),
        ("null", '"null"'),
        ("1.10", '"1.10"'),
        ("2026-01-01", '"2026-01-01"'),
        ("1e3", '"1e3"'),
        ("0x1F", '"0x1F"'),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("a:", '"a:"'),
        ("-a", '"-a"'),
        (".inf", '".inf"'),
        ("a b", '"a b"'),
        ("\u00e9", '"\u00e9"'),
    ],
)
def test_yaml_quotes_a_text_where_some_reader_takes_it_for_another_thing(
    sandbox: Sandbox, text: str, written: str
) -> None:
    """YAML 1.1 has more words than 1.2, and more ways to write a number."""
    sandbox.write(user=f"temporal: {{namespace: {json.dumps(text)}}}\n")
    out = ask(sandbox, "show", "temporal.namespace", "--format", "yaml", variables=LOCAL).out
    assert out == f"temporal:\n  namespace: {written}\n"
    for kind in ("safe", "rt"):
        assert YAML(typ=kind, pure=True).load(out)["temporal"]["namespace"] == text
    yaml_1_1 = YAML(typ="safe", pure=True)
    yaml_1_1.version = (1, 1)
    assert yaml_1_1.load(out)["temporal"]["namespace"] == text


def test_all_shows_every_key_there_is(sandbox: Sandbox) -> None:
    """`show --all` is the list of keys, set or not."""
    shown = {line.split()[0] for line in ask(sandbox, "show", "--all", variables=LOCAL).out.splitlines()}
    assert set(SETTINGS) <= shown
    assert {"aliases.fast", "aliases.balanced", "aliases.powerful"} <= shown


def test_a_key_with_an_error_is_shown_even_without_a_value(sandbox: Sandbox) -> None:
    """A missing credential is a row of the table, not only a message below it."""
    rows = [line.split() for line in ask(sandbox, "show", "llm", variables={"MODE": "cloud"}).out.splitlines()]
    assert ["llm.api_key", "none"] in rows


def test_yaml_masks_secrets_as_comments_and_adds_origins_as_comments(sandbox: Sandbox) -> None:
    """Without --reveal the file is valid and contains no secret; --origin adds each value's place."""
    sandbox.write(user=USER + "backend: {api_key: hidden}\n")
    answer = ask(sandbox, "show", "--format", "yaml", "--origin", variables=LOCAL)
    tree = YAML(typ="safe", pure=True).load(answer.out)
    assert tree["llm"]["model"] == "fast"
    assert "api_key" not in tree["backend"]
    shown = tidy(sandbox, answer.out)
    assert "  model: fast  # user: <home>/.stigmer/config.yaml:2:10\n" in shown
    assert "  # api_key: set (user: <home>/.stigmer/config.yaml:6:20); --reveal prints it\n" in shown
    assert "mode: local  # env: MODE\n" in shown


def test_yaml_holds_the_aliases_that_its_model_needs(sandbox: Sandbox) -> None:
    """An alias of one's own comes along, so that the file means the same anywhere; packaged ones need not."""
    sandbox.write(user='mode: local\nllm: {model: a}\naliases: {a: b, b: {ollama: "tiny:1b"}, unused: fast}\n')
    tree = YAML(typ="safe", pure=True).load(ask(sandbox, "show", "--format", "yaml").out)
    assert tree["aliases"] == {"a": "b", "b": {"ollama": "tiny:1b"}}
    sandbox.write(user="mode: local\nllm: {model: fast}\n")
    assert "aliases" not in ask(sandbox, "show", "--format", "yaml").out


def test_explain_lists_each_fallback(sandbox: Sandbox) -> None:
    """Its model, address, and where its key comes from."""
    variables = {**LOCAL, "GROQ_API_KEY": "gsk-very-secret-1", "STIGMER_LLM_FALLBACKS": "groq:m,vllm:m2"}
    told = ask(sandbox, "explain", "llm.fallbacks", variables=variables).out.splitlines()
    at = told.index("in this order:")
    assert [re.split("  +", line)[1:] for line in told[at + 1 : at + 3]] == [
        ["groq:m → m", "https://api.groq.com/openai/v1", "key set (GROQ_API_KEY)"],
        ["vllm:m2 → m2", "http://localhost:8000/v1", "key none"],
    ]
    found = json.loads(ask(sandbox, "explain", "llm.fallbacks", "--format", "json", variables=variables).out)
    assert found["fallbacks"][0] == {
        "model": "groq:m → m",
        "provider": "groq",
        "base_url": "https://api.groq.com/openai/v1",
        "api_key": "set (GROQ_API_KEY)",
    }


def test_explain_as_json(sandbox: Sandbox) -> None:
    """`explain --format json` has the winner, the losers, the hops and the definition."""
    sandbox.write(user=USER.replace("fast", "mine"), project="llm: {temperature: 0.5}\n")
    found = json.loads(ask(sandbox, "explain", "llm.model", "--format", "json", variables=LOCAL).out)
    assert list(found) == ["key", "value", "origin", "shadowed", "hops", "definition"]
    assert [(hop["alias"], hop["target"]) for hop in found["hops"]] == [("mine", "tiny:1b")]
    assert found["hops"][0]["origin"] == {"layer": "user", "source": str(sandbox.user_file), "line": 5, "column": 18}
    assert [loser["reason"] for loser in found["shadowed"]] == ["overridden"]
    assert found["definition"]["variable"] == "STIGMER_LLM_MODEL"


def test_the_other_commands_as_json(sandbox: Sandbox) -> None:
    """`path`, `aliases` and `validate` are one JSON document each."""
    sandbox.write(user=USER, project=PROJECT)
    layers = json.loads(ask(sandbox, "path", "--format", "json", variables=LOCAL).out)
    assert [layer["layer"] for layer in layers] == ["defaults", "vendor", "site", "user", "project", "env", "flags"]
    assert "untrusted-key llm.base_url" in layers[4]["why"]
    meanings = json.loads(ask(sandbox, "aliases", "--format", "json", variables=LOCAL).out)
    assert meanings["mine"] == {
        "anthropic": None,
        "ollama": "tiny:1b",
        "openai": None,
        "origin": {"layer": "user", "source": str(sandbox.user_file), "line": 5, "column": 9},
    }
    assert list(meanings) == sorted(meanings)
    report = json.loads(ask(sandbox, "validate", "--format", "json", variables=LOCAL).out)
    assert (report["ok"], [problem["code"] for problem in report["problems"]]) == (False, ["untrusted-key"])
