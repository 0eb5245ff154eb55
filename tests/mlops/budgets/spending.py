"""A process that spends of the budgets in force until it is refused, as fast as it can.

`python -m tests.mlops.budgets.spending NAME SECONDS` writes a line per piece of work to NAME: what it really cost,
before anybody is told of it. So the test knows what was spent whatever becomes of the process. It ends when it has been
refused for so many seconds: others may still give back what they had reserved.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from pathlib import Path
from random import Random

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()

from mlops.services.budgets import BudgetKeeper, Charged, Exhausted, Spent
from mlops.services.database import DatabaseThreads

MODEL = "openai/spent"
EXPECTED = 1000
AT_ONCE = 16


class Spender:
    def __init__(self, own: BudgetKeeper, log: Path, persistent_s: float) -> None:
        self._own, self._persistent_s = own, persistent_s
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._random = Random(str(log))
        self._served = time.monotonic()

    async def spend(self) -> None:
        while time.monotonic() - self._served < self._persistent_s:
            try:
                hold = await self._own.reserve(Charged(uuid.uuid4(), "triage", EXPECTED, {MODEL: EXPECTED}))
            except Exhausted:
                await asyncio.sleep(0.1)
                continue
            self._served = time.monotonic()
            await asyncio.sleep(self._random.random() / 100)
            cost = self._random.randint(1, EXPECTED)
            os.write(self._log, b"%d\n" % cost)
            self._own.settle(hold, Spent({MODEL: cost}))


async def main(log: Path, persistent_s: float) -> None:
    database = DatabaseThreads(2)
    own = BudgetKeeper(database, log.stem)
    spender = Spender(own, log, persistent_s)
    await asyncio.gather(*(spender.spend() for _ in range(AT_ONCE)))
    await own.stop()
    await asyncio.to_thread(database.close)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), float(sys.argv[2])))
