"""Checks whether the provider in force can answer, at the start and after each change of provider."""

from __future__ import annotations

import threading

from ..config.config import Config
from ..core import forks
from .log_events import Reporter

TIMEOUT = 5.0  # seconds for one check

Target = tuple[str, str | None, str]  # provider, endpoint and model


class Readiness:
    """Checks the provider in its own thread, so that executions and reloads do not wait.

    It checks again after a change of provider, endpoint or model; of several rapid changes only the newest is checked.
    """

    def __init__(self, reporter: Reporter, checked: Target | None = None) -> None:
        """`checked`: the target that the parent process has checked."""
        self._reporter = reporter
        self._wake = threading.Condition()
        self._pending: Config | None = None
        self._target = checked
        self._closed = False
        self._thread: threading.Thread | None = None

    def in_child(self) -> Readiness:
        """A new one for a forked child, where this one has no thread."""
        return Readiness(self._reporter, self._target)

    def check(self, config: Config) -> None:
        """Starts a check of the provider of `config`, unless it was the last one checked. Returns at once."""
        llm = config.llm
        target = (llm.provider, llm.base_url, llm.model_id)
        with self._wake:
            if self._closed or target == self._target:
                return
            self._target, self._pending = target, config
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stigmer-config-provider", daemon=True)
                self._thread.start()
            self._wake.notify()

    def close(self) -> None:
        """Ends the thread. Waits for a running check, TIMEOUT at most."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        with forks.section():  # a child that is forked during an import could never import the module
            from ..integrations.health import check_provider  # imported late: only for workers that check

        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._pending is not None)
                config, self._pending = self._pending, None
            if self._closed or config is None:
                return
            health = check_provider(config.llm, TIMEOUT)
            if not self._closed:
                self._reporter.provider(config, health.fault)
