"""docs/architecture.md names the packages and modules that there are."""

from __future__ import annotations

import re

from tests.support.paths import REPOSITORY
from tests.test_imports import PACKAGES

PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = REPOSITORY / "stigmer_config"


def test_the_table_of_packages_is_the_import_order() -> None:
    """From top to bottom, none missing and none too many."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [name for name in PACKAGES if name]
    assert sorted(rows) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_every_path_it_names_exists() -> None:
    """Modules in the package, data and tests in the repository."""
    named = re.findall(r"`([\w./*]+(?:\.py|\.yaml|/))`", PAGE)
    assert len(named) > 20
    roots = (PACKAGE, REPOSITORY, PACKAGE / "cli")
    assert [name for name in named if not any(list(root.glob(name.rstrip("/"))) for root in roots)] == []
