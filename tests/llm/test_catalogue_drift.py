"""The catalogue against what the installed SDKs say, and what a model's end does to a configuration."""

from __future__ import annotations

import datetime
import importlib.metadata
import sys
from collections.abc import Mapping

import pytest

from stigmer_config.integrations.chat import chat_model
from stigmer_config.llm.catalogue import Catalogue, ModelFacts, catalogue
from tests.support import catalogue_drift
from tests.support.catalogue_drift import Drift, Sdk, chosen_by_the_package, drifts, installed
from tests.support.fake_providers import FakeProviders
from tests.support.sandbox import Sandbox

DAY = datetime.date.fromisoformat
KEYS = {"ANTHROPIC_API_KEY": "sk-the-configured-key-0001"}


def test_the_catalogue_contradicts_no_installed_sdk_where_it_matters() -> None:
    """On the catalogue's own day no default or alias is gone, and no announced end has moved."""
    known = catalogue()
    found = drifts(known, installed(), chosen_by_the_package(), known.as_of)
    assert [str(drift) for drift in found if drift.matters] == []


def test_the_sdks_data_is_really_read() -> None:
    """The check is no check of nothing: ids, ends and profiles of both providers are found."""
    sdks = installed()
    assert sdks["anthropic"].ends["claude-sonnet-4-5-20250929"] == DAY("2026-11-30")
    assert sdks["openai"].ends["o3"] == DAY("2026-12-11")
    for sdk in sdks.values():
        assert min(len(sdk.ids), len(sdk.ends), len(sdk.profiles)) > 10
    chosen = chosen_by_the_package()
    assert chosen["cloud: providers.anthropic.model"] == ("anthropic", "claude-sonnet-4.5")
    assert chosen["local: aliases.fast.ollama"] == ("ollama", "llama3.2:3b")


NEW = ModelFacts(provider="openai", id="new")
OLD = ModelFacts(provider="openai", id="old", names=("older",), retires=DAY("2026-12-01"), replacement="new")


def matters(
    sdk: Sdk,
    models: tuple[ModelFacts, ...] = (NEW, OLD),
    today: str = "2026-06-01",
    chosen: Mapping[str, tuple[str, str]] | None = None,
) -> list[Drift]:
    choice = {"defaults": ("openai", "older")} if chosen is None else chosen
    known = Catalogue(DAY("2026-06-01"), models)
    return [drift for drift in drifts(known, {"openai": sdk}, choice, DAY(today)) if drift.matters]


def test_what_agrees_is_no_contradiction() -> None:
    """The same ids and ends: nothing to say that matters, not even when a replaced default has ended."""
    sdk = Sdk(frozenset({"old", "new"}), {"old": DAY("2026-12-01")})
    assert matters(sdk) == []
    assert matters(sdk, today="2027-01-01") == []


@pytest.mark.parametrize(
    ("sdk", "models", "words"),
    [
        (Sdk(frozenset({"old", "new"}), {"old": DAY("2026-10-01")}), (NEW, OLD), "its end moved"),
        (Sdk(frozenset({"old", "new"}), {"new": DAY("2026-10-01")}), (NEW, OLD), "its end moved"),
        (Sdk(frozenset({"new"}), {}), (NEW, OLD), "no longer knows it"),
        (Sdk(frozenset({"new"}), {}), (NEW,), "the catalogue does not have it"),
        (Sdk(frozenset({"old"}), {}), (OLD,), "is not in the catalogue"),
        (
            Sdk(frozenset({"old"}), {}),
            (ModelFacts(provider="openai", id="old", names=("older",), retires=DAY("2026-01-01")),),
            "nothing replaces it",
        ),
    ],
)
def test_each_contradiction_is_found(sdk: Sdk, models: tuple[ModelFacts, ...], words: str) -> None:
    """A moved end, a choice that is gone, a replacement that is not there: each fails the check."""
    (drift,) = matters(sdk, models)
    assert words in drift.text


def test_other_differences_are_only_notes() -> None:
    """A model that only the SDK knows, and a limit that LangChain has otherwise, are in the report, no more.

    A model that has ended is not missed.
    """
    ends = {"ancient": DAY("2020-01-01"), "ending": DAY("2026-12-01")}
    sdk = Sdk(frozenset({"old", "new", "newest"}), ends, {"new": {"max_output_tokens": 7}})
    models = (ModelFacts(provider="openai", id="new", output=8), OLD)
    found = list(drifts(Catalogue(DAY("2026-06-01"), models), {"openai": sdk}, {}, DAY("2026-06-01")))
    assert {drift.model for drift in found if not drift.matters} == {"newest", "ending", "new"}


def test_the_report_names_the_sdks_and_fails_where_they_cannot_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last line has the versions it read; SDKs that keep their models elsewhere are a contradiction."""
    assert catalogue_drift.report() == 0
    last = capsys.readouterr().out.splitlines()[-1]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in catalogue_drift.PACKAGES]
    assert last.endswith(f"against {', '.join(versions)}")
    monkeypatch.setitem(sys.modules, "anthropic.types.model", None)
    assert catalogue_drift.report() == 1
    assert "anthropic.types.model" in capsys.readouterr().out


# ---- a model's end, on the days around it


@pytest.mark.parametrize(
    ("today", "model_id"),
    [
        ("2026-09-30", "claude-sonnet-4-5-20250929"),
        ("2026-11-29", "claude-sonnet-4-5-20250929"),
        ("2026-12-01", "claude-sonnet-4-6"),
    ],
)
def test_a_retired_default_takes_its_replacements_id(sandbox: Sandbox, today: str, model_id: str) -> None:
    """What only the package chose keeps its name, and past its end is called by its replacement's id: no warning."""
    config = sandbox.load(KEYS, today=DAY(today))
    assert (config.llm.model_name, config.llm.model_id) == ("claude-sonnet-4.5", model_id)
    assert config.warnings == ()


def test_an_explicitly_chosen_retired_model_stays(sandbox: Sandbox) -> None:
    """An explicitly named model is used even after its retirement, with a warning that names its successor."""
    sandbox.write(user="llm:\n  model: claude-sonnet-4.5\n")
    config = sandbox.load(KEYS, today=DAY("2027-01-01"))
    assert config.llm.model_id == "claude-sonnet-4-5-20250929"
    (problem,) = config.warnings
    assert (problem.code, "claude-sonnet-4.6" in problem.hint) == ("model-retired", True)


def test_the_replacement_is_what_is_called(sandbox: Sandbox) -> None:
    """The replacement's id goes over the wire, with a temperature, which it takes as the old one did."""
    with FakeProviders() as server:
        variables = {**KEYS, "ANTHROPIC_BASE_URL": server.url, "STIGMER_LLM_TEMPERATURE": "0.5"}
        chat_model(sandbox.load(variables, today=DAY("2027-01-01")).llm).invoke("ping")
        body = server.posted("/v1/messages").body
    assert (body["model"], body["temperature"]) == ("claude-sonnet-4-6", 0.5)
