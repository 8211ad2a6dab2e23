"""What all cases share: a client of the server under test, names of their own, bounds in time.

The environment names the server (THALWEG_URL) and says whether it is the reference server, which
lacks some calls (THALWEG_PEER=reference). THALWEG_TOKEN is the root token of a server that asks who
its clients are.
"""

import asyncio
import hashlib
import itertools
import os
import random
import time
import unittest

from s2_sdk import (
    S2,
    AppendInput,
    BasinConfig,
    Endpoints,
    ReadLimit,
    Record,
    S2ServerError,
    SeqNum,
)

URL = os.environ.get("THALWEG_URL", "")
IS_REFERENCE = os.environ.get("THALWEG_PEER") == "reference"
IS_ENFORCED = bool(os.environ.get("THALWEG_TOKEN"))
TOKEN = os.environ.get("THALWEG_TOKEN") or "any-token"
CASE_WITHIN_S = 30
BATCH_BYTES_MAX = 1024 * 1024
RECORD_OVERHEAD_BYTES = 8

_numbers = itertools.count()


def client(url=URL, token=TOKEN, **options):
    return S2(token, endpoints=Endpoints(account=url, basin=url), **options)


def basin_name():
    """A basin name that no other run has used."""
    return f"py-{time.time_ns() // 1000:x}-{os.getpid()}-{next(_numbers)}"


def noise(seed, length):
    """Bytes that look random and depend on `seed` alone."""
    return random.Random(seed).randbytes(length)


def now_ms():
    return time.time_ns() // 1_000_000


def batch(*bodies, **conditions):
    """An append of one record for each body."""
    return AppendInput([Record(body) for body in bodies], **conditions)


def contents(records):
    """A hash over bodies and headers in order, of records appended or read."""
    digest = hashlib.sha256()
    for record in records:
        parts = [part for header in record.headers for part in header]
        for part in [*parts, record.body]:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def bodies(records):
    return [record.body for record in records]


def seq_nums(records):
    return [record.seq_num for record in records]


async def take(session, count):
    """The next `count` records of a session that does not end."""
    records = []
    while len(records) < count:
        records.extend((await anext(session)).records)
    assert len(records) == count, f"{len(records)} records, not {count}"
    return records


async def read_back(stream, count, start=0):
    """Reads `count` records with a bounded session."""
    session = stream.read_session(start=SeqNum(start), limit=ReadLimit(count=count))
    records = [record async for read in session for record in read.records]
    assert len(records) == count, f"{len(records)} records, not {count}"
    return records


class Case(unittest.IsolatedAsyncioTestCase):
    """A case with a client, bounded in time."""

    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        self.s2 = await self.enterAsyncContext(client())

    def _callTestMethod(self, method):
        async def bounded():
            async with asyncio.timeout(CASE_WITHIN_S):
                await method()

        if self._callMaybeAsync(bounded) is not None:
            raise TypeError(f"{method} returned something")

    async def basin(self, **config):
        """A new basin."""
        name = basin_name()
        await self.s2.create_basin(name, config=BasinConfig(**config))
        return self.s2.basin(name)

    async def stream(self):
        """A new stream, `s`, in a new basin."""
        return (await self.named_stream())[1]

    async def named_stream(self):
        """A new stream, `s`, and the name of its new basin."""
        basin = await self.basin()
        await basin.create_stream("s")
        return basin.name, basin.stream("s")

    async def refused(self, call, *codes):
        """Awaits a call that the server refuses with one of the codes."""
        with self.assertRaises(S2ServerError) as caught:
            await call
        self.assertIn(caught.exception.code, codes)
        return caught.exception

    async def unless_missing(self, call):
        """The answer; skips the case when the reference server has no such call."""
        try:
            return await call
        except S2ServerError as error:
            if IS_REFERENCE and error.code == "not_implemented":
                self.skipTest("the reference server has no such call")
            raise
