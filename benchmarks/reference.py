"""The reference load: three nested YAML files of 30, 10 and 10 keys, and six variables; also for the peers.

They read the same files; the six variables have each peer's own spelling.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

BIN = Path(sys.executable).parent

SITE = """\
llm:
  provider: anthropic
  timeout: 60.0
  max_retries: 3
providers:
  anthropic:
    model: claude-sonnet-4.6
    base_url: https://api.anthropic.com
    max_tokens: 16000
    temperature: 0.3
    timeout: 90.0
  openai:
    model: gpt-6.1-terra
    base_url: https://api.openai.com/v1
    max_tokens: 12000
    max_retries: 4
  ollama:
    model: qwen2.5-coder:7b
    base_url: http://localhost:11434
    num_ctx: 16384
temporal:
  namespace: agents
  address: temporal.internal:7233
  task_queue: agent_execution_runner
  max_concurrency: 20
backend:
  endpoint: backend.internal:8080
  api_key: site-backend-key
sandbox:
  type: daytona
  snapshot_id: tools-2026-06
  api_key: site-daytona-key
redis:
  host: redis.internal
  port: 6380
  password: site-redis-password
logging:
  level: info
  format: json
locked:
  - sandbox.type
"""

USER = """\
llm:
  model: claude-sonnet-4.6
  max_tokens: 8000
providers:
  openai:
    api_key: sk-user-openai-key
    reasoning_effort: low
aliases:
  quick: claude-haiku-4.5
  steady: claude-sonnet-4.6
  deep: claude-opus-4.6
backend:
  api_key: user-backend-key
logging:
  level: warning
  format: console
"""

PROJECT = """\
llm:
  model: steady
  temperature: 0.2
  max_tokens: 4000
  timeout: 30.0
  max_retries: 1
providers:
  anthropic:
    max_retries: 2
    timeout: 45.0
aliases:
  review: deep
  draft: quick
  final: review
"""

OUR_VARIABLES = {
    "ANTHROPIC_API_KEY": "sk-ant-reference-key",
    "STIGMER_LLM_MAX_TOKENS": "6000",
    "STIGMER_LLM_TIMEOUT": "20",
    "TEMPORAL_NAMESPACE": "reference",
    "REDIS_PORT": "6381",
    "LOG_LEVEL": "error",
}
# dynaconf and pydantic-settings spell them alike.
PEER_VARIABLES = {
    "PEER_PROVIDERS__ANTHROPIC__API_KEY": "sk-ant-reference-key",
    "PEER_LLM__MAX_TOKENS": "6000",
    "PEER_LLM__TIMEOUT": "20",
    "PEER_TEMPORAL__NAMESPACE": "reference",
    "PEER_REDIS__PORT": "6381",
    "PEER_LOGGING__LEVEL": "error",
}
# OmegaConf has no variables of its own: the program names them.
OMEGACONF_VARIABLES = {
    "providers.anthropic.api_key": "ANTHROPIC_API_KEY",
    "llm.max_tokens": "STIGMER_LLM_MAX_TOKENS",
    "llm.timeout": "STIGMER_LLM_TIMEOUT",
    "temporal.namespace": "TEMPORAL_NAMESPACE",
    "redis.port": "REDIS_PORT",
    "logging.level": "LOG_LEVEL",
}
HYDRA_FOLDER = "conf"
HYDRA_CONFIG = """\
defaults:
  - site
  - user
  - project
  - _self_

providers:
  anthropic:
    api_key: ${oc.env:ANTHROPIC_API_KEY}
llm:
  max_tokens: ${oc.decode:${oc.env:STIGMER_LLM_MAX_TOKENS}}
  timeout: ${oc.decode:${oc.env:STIGMER_LLM_TIMEOUT}}
temporal:
  namespace: ${oc.env:TEMPORAL_NAMESPACE}
redis:
  port: ${oc.decode:${oc.env:REDIS_PORT}}
logging:
  level: ${oc.env:LOG_LEVEL}
"""

# The expected values, by dotted key; every load is checked against them.
MERGED: dict[str, object] = {
    "llm.provider": "anthropic",
    "llm.model": "steady",
    "llm.max_tokens": 6000,
    "llm.temperature": 0.2,
    "llm.timeout": 20,
    "llm.max_retries": 1,
    "providers.anthropic.model": "claude-sonnet-4.6",
    "providers.anthropic.base_url": "https://api.anthropic.com",
    "providers.anthropic.api_key": "sk-ant-reference-key",
    "providers.anthropic.max_tokens": 16000,
    "providers.anthropic.temperature": 0.3,
    "providers.anthropic.timeout": 45.0,
    "providers.anthropic.max_retries": 2,
    "providers.openai.model": "gpt-6.1-terra",
    "providers.openai.base_url": "https://api.openai.com/v1",
    "providers.openai.api_key": "sk-user-openai-key",
    "providers.openai.max_tokens": 12000,
    "providers.openai.max_retries": 4,
    "providers.openai.reasoning_effort": "low",
    "providers.ollama.model": "qwen2.5-coder:7b",
    "providers.ollama.base_url": "http://localhost:11434",
    "providers.ollama.num_ctx": 16384,
    "aliases.quick": "claude-haiku-4.5",
    "aliases.steady": "claude-sonnet-4.6",
    "aliases.deep": "claude-opus-4.6",
    "aliases.review": "deep",
    "aliases.draft": "quick",
    "aliases.final": "review",
    "temporal.namespace": "reference",
    "temporal.address": "temporal.internal:7233",
    "temporal.task_queue": "agent_execution_runner",
    "temporal.max_concurrency": 20,
    "backend.endpoint": "backend.internal:8080",
    "backend.api_key": "user-backend-key",
    "sandbox.type": "daytona",
    "sandbox.snapshot_id": "tools-2026-06",
    "sandbox.api_key": "site-daytona-key",
    "redis.host": "redis.internal",
    "redis.port": 6381,
    "redis.password": "site-redis-password",
    "logging.level": "error",
    "logging.format": "console",
    "locked": ["sandbox.type"],
}
DYNACONF_SETTINGS = """\
from dynaconf import Dynaconf


def make():
    return Dynaconf(settings_files={files!r}, envvar_prefix="PEER", merge_enabled=True)


settings = make()
"""


class World:
    """A home, a site file, and a project with dynaconf's `settings.py` and Hydra's `conf/`, in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "project"
        self.site = root / "site" / "config.yaml"
        self.user = self.home / ".stigmer" / "config.yaml"
        (self.project / ".git").mkdir(parents=True)
        for file, text in ((self.site, SITE), (self.user, USER), (self.project / ".stigmer" / "config.yaml", PROJECT)):
            file.parent.mkdir(mode=0o755, parents=True)
            file.write_text(text, encoding="utf-8")
            file.chmod(0o600)
        self.files = [str(self.site), str(self.user), str(self.project / ".stigmer" / "config.yaml")]
        (self.project / "settings.py").write_text(DYNACONF_SETTINGS.format(files=self.files), encoding="utf-8")
        conf = self.project / HYDRA_FOLDER
        conf.mkdir()
        (conf / "reference.yaml").write_text(HYDRA_CONFIG, encoding="utf-8")
        for name, file in zip(("site", "user", "project"), self.files, strict=True):
            (conf / f"{name}.yaml").symlink_to(file)

    def environment(self) -> dict[str, str]:
        """The variables of every measured process: those of both sides, and none of this shell.

        PYTHONDONTWRITEBYTECODE is not included: every process starts from compiled modules.
        """
        return {
            "HOME": str(self.home),
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "STIGMER_SITE_CONFIG": str(self.site),
            **OUR_VARIABLES,
            **PEER_VARIABLES,
        }

    def home_with_aliases(self, count: int) -> str:
        """A folder for STIGMER_HOME, whose user file has `count` more aliases."""
        folder = self.home / f"with-{count}-aliases"
        if not folder.exists():
            folder.mkdir(mode=0o755)
            more = "".join(f"  a{number:04}: claude-sonnet-4.6\n" for number in range(count))
            file = folder / "config.yaml"
            file.write_text(USER.replace("aliases:\n", f"aliases:\n{more}"), encoding="utf-8")
            file.chmod(0o600)
        return str(folder)

    def python(self, *argv: str) -> Sequence[str]:
        """A command in this interpreter's environment."""
        return (str(BIN / "python"), *argv)
