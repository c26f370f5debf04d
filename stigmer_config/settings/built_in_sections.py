"""The built-in sections that are nothing but their fields: declared as an application declares its own.

Their defaults are in `defaults/`, for each mode.
"""

# Annotations are evaluated here, once: resolving strings would cost every process more.

from typing import Annotated, Literal, get_args

from ..core.secret import Secret
from .annotations import Declaration, setting
from .frozen import Frozen
from .log_level import LogLevel
from .urls import Address
from .value_types import Choice

SandboxType = Literal["filesystem", "daytona"]
LogFormat = Literal["auto", "console", "json"]


class TemporalConfig(Frozen, frozen=True):
    """Where the worker gets its work.

    `address` is `host:port`; the `tls_*_file`s are paths as they are configured.
    """

    namespace: Annotated[str, setting("Temporal's namespace.", variable="TEMPORAL_NAMESPACE", min_length=1)]
    address: Annotated[
        str,
        Address(),
        setting(
            "Where the Temporal service listens.",
            variable="TEMPORAL_SERVICE_ADDRESS",
            fallback_variable="TEMPORAL_ADDRESS",
        ),
    ]
    task_queue: Annotated[
        str,
        setting("The task queue to poll.", variable="TEMPORAL_AGENT_EXECUTION_RUNNER_TASK_QUEUE", min_length=1),
    ]
    max_concurrency: Annotated[
        int, setting("The maximum number of executions at once.", variable="TEMPORAL_MAX_CONCURRENCY", ge=1)
    ]
    api_key: Annotated[Secret | None, setting("The key for Temporal.", variable="TEMPORAL_API_KEY")] = None
    tls: Annotated[
        bool | None,
        setting(
            "Whether the connection is encrypted. None: if there is an api_key or another tls key.",
            variable="TEMPORAL_TLS",
        ),
    ] = None
    tls_server_name: Annotated[
        str | None,
        setting(
            "The name in the server's certificate, if it differs from the address.",
            variable="TEMPORAL_TLS_SERVER_NAME",
            min_length=1,
        ),
    ] = None
    tls_ca_file: Annotated[
        str | None,
        setting(
            "The certificate authority of the server. None: the system's.",
            variable="TEMPORAL_TLS_SERVER_CA_CERT_PATH",
            min_length=1,
        ),
    ] = None
    tls_cert_file: Annotated[
        str | None,
        setting("The client's certificate, for mTLS.", variable="TEMPORAL_TLS_CLIENT_CERT_PATH", min_length=1),
    ] = None
    tls_key_file: Annotated[
        str | None,
        setting("The client's private key, for mTLS.", variable="TEMPORAL_TLS_CLIENT_KEY_PATH", min_length=1),
    ] = None

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection uses TLS: as `tls` says, else if there is an `api_key` or another TLS setting."""
        if self.tls is not None:
            return self.tls
        files = (self.tls_ca_file, self.tls_cert_file, self.tls_key_file)
        return self.api_key is not None or self.tls_server_name is not None or any(files)


class BackendConfig(Frozen, frozen=True):
    """The Stigmer backend.

    `endpoint` is `host:port`.
    """

    endpoint: Annotated[
        str, Address(), setting("Where the Stigmer backend listens.", variable="STIGMER_BACKEND_ENDPOINT")
    ]
    api_key: Annotated[Secret | None, setting("The key for the Stigmer backend.", variable="STIGMER_API_KEY")] = None


class SandboxConfig(Frozen, frozen=True):
    """Where an agent's tools run."""

    type: Annotated[
        SandboxType,
        Choice("sandbox", get_args(SandboxType)),
        setting("Where an agent's tools run.", variable="SANDBOX_TYPE"),
    ]
    root_dir: Annotated[
        str | None, setting("The folder of a filesystem sandbox.", variable="SANDBOX_ROOT_DIR", min_length=1)
    ] = None
    snapshot_id: Annotated[
        str | None,
        setting("The Daytona snapshot to start from.", variable="DAYTONA_DEV_TOOLS_SNAPSHOT_ID", min_length=1),
    ] = None
    api_key: Annotated[Secret | None, setting("The key for Daytona.", variable="DAYTONA_API_KEY")] = None


class RedisConfig(Frozen, frozen=True):
    """Redis, in cloud mode."""

    host: Annotated[str, setting("Redis' host. There is no Redis in local mode.", variable="REDIS_HOST", min_length=1)]
    port: Annotated[int, setting("Redis' port.", variable="REDIS_PORT", ge=1, le=65535)]
    password: Annotated[Secret | None, setting("Redis' password.", variable="REDIS_PASSWORD")] = None


class LoggingConfig(Frozen, frozen=True):
    """How events are logged."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        LogLevel(),
        setting("The lowest level that is logged.", variable="LOG_LEVEL"),
    ]
    format: Annotated[
        LogFormat,
        Choice("log format", get_args(LogFormat), fold=True),
        setting("How events are written; auto: console on a terminal, JSON elsewhere.", variable="LOG_FORMAT"),
    ]


_RESTART = setting(reload="restart")

# Each section, and what holds for its fields: `protected` and `live` unless it says otherwise.
DECLARED: dict[str, tuple[type[Frozen], Declaration]] = {
    "temporal": (TemporalConfig, _RESTART),
    "backend": (BackendConfig, _RESTART),
    "sandbox": (SandboxConfig, Declaration()),
    "redis": (RedisConfig, _RESTART),
    "logging": (LoggingConfig, Declaration()),
}
