"""Whether the provider in force can answer, told at the start and whenever another one is asked."""

from __future__ import annotations

import threading

from ..config.config import Config
from ..core import forks
from .log_events import Reporter

TIMEOUT = 5.0  # seconds for one look

Target = tuple[str, str | None, str]  # provider, endpoint and model


class Readiness:
    """Looks at the provider in a thread of its own, so that neither executions nor reloads wait for it.

    Only a change of provider, endpoint or model makes it look again; of several at once, at the newest.
    """

    def __init__(self, reporter: Reporter, checked: Target | None = None) -> None:
        """`checked` is the target that needs no check: the process that this one was forked from has made it."""
        self._reporter = reporter
        self._wake = threading.Condition()
        self._asked: Config | None = None
        self._target = checked
        self._closed = False
        self._thread: threading.Thread | None = None

    def in_child(self) -> Readiness:
        """The same for a forked child, where this one has no thread."""
        return Readiness(self._reporter, self._target)

    def look_at(self, config: Config) -> None:
        """Has the provider of `config` looked at, unless that was done already. Returns at once."""
        llm = config.llm
        target = (llm.provider, llm.base_url, llm.model_id)
        with self._wake:
            if self._closed or target == self._target:
                return
            self._target, self._asked = target, config
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stigmer-config-provider", daemon=True)
                self._thread.start()
            self._wake.notify()

    def close(self) -> None:
        """Ends the thread, and waits for the look it is taking (TIMEOUT at most)."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        with forks.section():  # a child forked in the middle of an import could not import it any more
            from ..integrations.health import check_provider  # for workers that check alone

        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._asked is not None)
                config, self._asked = self._asked, None
            if self._closed or config is None:
                return
            health = check_provider(config.llm, TIMEOUT)
            if not self._closed:
                self._reporter.provider(config, health.fault)
