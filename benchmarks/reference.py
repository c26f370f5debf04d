"""The reference load: three YAML files of 30, 10 and 10 keys, nested, and six variables; and its equal for dynaconf.

dynaconf reads the very same files; its six variables have its own spelling.
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
DYNACONF_VARIABLES = {
    "PEER_PROVIDERS__ANTHROPIC__API_KEY": "sk-ant-reference-key",
    "PEER_LLM__MAX_TOKENS": "6000",
    "PEER_LLM__TIMEOUT": "20",
    "PEER_TEMPORAL__NAMESPACE": "reference",
    "PEER_REDIS__PORT": "6381",
    "PEER_LOGGING__LEVEL": "error",
}
DYNACONF_SETTINGS = """\
from dynaconf import Dynaconf


def make():
    return Dynaconf(settings_files={files!r}, envvar_prefix="PEER", merge_enabled=True)


settings = make()
"""


class World:
    """A home, a site file, a project, and dynaconf's `settings.py`, in a folder of its own."""

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
        files = [str(self.site), str(self.user), str(self.project / ".stigmer" / "config.yaml")]
        (self.project / "settings.py").write_text(DYNACONF_SETTINGS.format(files=files), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """The variables of every process that is measured: both sides' own, and nothing of this shell's.

        PYTHONDONTWRITEBYTECODE is not among them: everyone starts from compiled modules.
        """
        return {
            "HOME": str(self.home),
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LC_ALL": "C.UTF-8",
            "STIGMER_SITE_CONFIG": str(self.site),
            **OUR_VARIABLES,
            **DYNACONF_VARIABLES,
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
