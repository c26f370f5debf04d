"""What an application's settings cost a load, in calls of functions: they are the same on every machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import stigmer_config
from stigmer_config import app, setting
from stigmer_config.testing import Sandbox, sandbox

PACKAGE = Path(stigmer_config.__file__).parent
FIELDS = [f"field_{number}" for number in range(20)]
OF_APPLICATIONS = {"settings/apps.py", "settings/annotations.py", "config/app_values.py", "sources/app_entries.py"}


def _application() -> Any:
    hints = {name: Annotated[int, setting(doc="A number.", ge=0)] for name in FIELDS}
    return app("twenty")(type("Twenty", (), {"__annotations__": hints, **dict.fromkeys(FIELDS, 1)}))


def _calls(world: Sandbox, apps: Sequence[Any] = ()) -> Counter[str]:
    """The calls of Python functions in a warm load, by module."""
    for _ in range(2):
        world.load(apps=apps)
    counted: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            path = Path(frame.f_code.co_filename)
            counted[path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else "elsewhere"] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        world.load(apps=apps)
    finally:
        sys.setprofile(before)
    return counted


def test_a_load_without_an_application_pays_for_none() -> None:
    """It asks a handful of times whether there is one, whatever it loads."""
    with sandbox() as world:
        world.write_user("llm: {temperature: 0.5}\nsandbox: {root_dir: /x}\n")
        calls = _calls(world)
    assert calls["settings/builder.py"] == 0
    assert sum(calls[module] for module in OF_APPLICATIONS) <= 10


def test_an_application_of_twenty_fields_costs_a_load_at_most_a_third_more() -> None:
    """Its class is walked when it is declared, never by a load. The file's own length is another matter."""
    cls = _application()
    with sandbox() as world:
        world.write_user("llm: {temperature: 0.5}\n")
        without, with_defaults = _calls(world), _calls(world, [cls])
        world.write_user("apps:\n  twenty:\n" + "".join(f"    {name}: 5\n" for name in FIELDS))
        unregistered, with_values = _calls(world), _calls(world, [cls])
    assert with_values["settings/builder.py"] == 0
    assert with_defaults.total() <= 1.3 * without.total()
    assert with_values.total() <= 1.3 * unregistered.total()
