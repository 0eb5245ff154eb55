"""The ledger under load: nobody limited ever goes below zero, nobody is refused while enough is free, each reservation
ends once, the ledger says what the rows say, and no two transactions wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.installation import Installation, postgresql_database

pytestmark = [pytest.mark.postgresql, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with postgresql_database() as database:
        installation = Installation(tmp_path_factory.mktemp("load"), database)
        installation.environment["DJANGO_SETTINGS_MODULE"] = "config.settings"
        installation.migrate()
        try:
            yield installation
        finally:
            installation.stop()


def test_credits_are_never_wrong_under_load(here: Installation) -> None:
    process = here.start("load", "tests.executions.ledger_load")

    assert process.wait(280) == 0, here.logs()
    assert "agree with the ledger" in here.manage("check_credits")
