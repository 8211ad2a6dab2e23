"""Connections cut in the middle of frames: the SDK's own retries end in the expected stream."""

import asyncio
import os
from contextlib import asynccontextmanager
from datetime import timedelta

from s2_sdk import AppendInput, Record, Retry, SeqNum, SeqNumMismatchError
from s2_sdk._exceptions import AppendIndefiniteFailureError

from common import URL, Case, client, contents, noise, read_back

CUTS = 10
CUT_AFTER_BYTES = "20000..120000"
BATCH_RECORDS = 3
BATCHES_MAX = 5000  # far more than the cuts need


class Proxy:
    def __init__(self):
        self.cuts = 0
        self.url = None

    async def count(self, lines):
        async for line in lines:
            print(line.decode().rstrip())
            self.cuts += 1

    def client(self):
        """A client behind the proxy, with an own connection, that retries often and soon."""
        soon = timedelta(milliseconds=5)
        late = timedelta(milliseconds=100)
        retry = Retry(max_attempts=12, min_base_delay=soon, max_base_delay=late)
        return client(self.url, retry=retry)


@asynccontextmanager
async def proxy():
    """A proxy before the server, which cuts connections as FAULT_SEED says."""
    seed = os.environ.get("FAULT_SEED", "1")
    print(f"to repeat: scripts/clients.sh --only python --seed {seed}")
    scheme, _, server = URL.partition("://")
    process = await asyncio.create_subprocess_exec(
        os.environ["FAULT_PROXY"],
        *("--listen", "127.0.0.1:0", "--to", server, "--seed", seed),
        *("--cut-after-bytes", CUT_AFTER_BYTES, "--cuts", str(CUTS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    started = Proxy()
    first = (await process.stdout.readline()).decode()
    started.url = f"{scheme}://" + first.removeprefix("listening on ").strip()
    counting = asyncio.ensure_future(started.count(process.stdout))
    try:
        yield started
    finally:
        process.kill()
        await process.wait()
        counting.cancel()


def records_of(number):
    """Batch `number`: records that name their place and look random otherwise."""
    places = range(number * BATCH_RECORDS, (number + 1) * BATCH_RECORDS)
    return [
        Record(place.to_bytes(8, "big") + noise(place, 1500 + place % 1000)) for place in places
    ]


def expected(batches):
    return contents(record for number in range(batches) for record in records_of(number))


class Faults(Case):
    async def asyncSetUp(self):
        await super().asyncSetUp()
        # The client leaves responses on cut connections to the loop, which would print each.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    async def test_an_append_session_outlives_cuts(self):
        """Without conditions a retry may repeat a batch, but it never loses or tears one."""
        basin, direct = await self.named_stream()
        async with proxy() as cutting, cutting.client() as s2:
            stream = s2.basin(basin).stream("s")
            tickets = []
            # With more batches in flight this client (0.13.0) may drop one that it has just taken
            # from its queue when a connection breaks, and takes the next acknowledgement for it.
            async with stream.append_session(max_unacked_batches=1) as session:
                while len(tickets) < 50 or cutting.cuts < CUTS:
                    self.assertLess(len(tickets), BATCHES_MAX, f"{cutting.cuts} cuts")
                    append = AppendInput(records_of(len(tickets)))
                    tickets.append(await session.submit(append))
                    if len(tickets) % 8 == 0 and cutting.cuts % 2 == 1:
                        # The next cut counts bytes to the client.
                        await stream.read(start=SeqNum(0))
            stored = await read_back(direct, (await direct.check_tail()).seq_num)
            for number, ticket in enumerate(tickets):
                ack = await ticket
                found = stored[ack.start.seq_num : ack.end.seq_num]
                self.assertEqual(contents(found), contents(records_of(number)), number)
        firsts = []
        for start in range(0, len(stored), BATCH_RECORDS):
            found = stored[start : start + BATCH_RECORDS]
            number = int.from_bytes(found[0].body[:8], "big") // BATCH_RECORDS
            self.assertEqual(contents(found), contents(records_of(number)), "batches stand whole")
            if number not in firsts:
                firsts.append(number)
        self.assertEqual(firsts, list(range(len(tickets))), "in order, none lost")

    async def test_positions_make_every_batch_appear_exactly_once(self):
        """With a position in each batch a retry repeats nothing.

        The session goes on by itself, or ends because what it repeats is there already, and a new
        one goes on at the tail.
        """
        basin, direct = await self.named_stream()
        async with proxy() as cutting, cutting.client() as s2, cutting.client() as other:
            total = asyncio.get_running_loop().create_future()
            reader = other.basin(basin).stream("s")
            follower = asyncio.ensure_future(self.follow(reader, total))
            stream = s2.basin(basin).stream("s")
            number, restarts = 0, 0
            while True:
                try:
                    number = await self.write(stream, number, cutting)
                    break
                except* (AppendIndefiniteFailureError, SeqNumMismatchError):
                    restarts += 1
                    self.assertLessEqual(restarts, CUTS)
                    tail = (await direct.check_tail()).seq_num
                    self.assertEqual(tail % BATCH_RECORDS, 0, "batches stand whole")
                    number = tail // BATCH_RECORDS
            self.assertEqual((await direct.check_tail()).seq_num, number * BATCH_RECORDS)
            total.set_result(number * BATCH_RECORDS)
            # One more record wakes a follower that has read everything already.
            await direct.append(AppendInput([Record(b"end")]))
            followed = await follower
        stored = await read_back(direct, number * BATCH_RECORDS)
        self.assertEqual(contents(stored), expected(number))
        self.assertEqual(contents(followed), expected(number))
        print(f"{number} batches, {CUTS} cuts, {restarts} new sessions")

    async def write(self, stream, number, cutting):
        """Appends batches from `number` on until some after the last cut; the next number.

        A batch that the client drops at the last cut must not be the last one, or nobody notices.
        """
        async with stream.append_session(max_unacked_batches=24) as session:
            tickets = []
            more = 30
            while number < 50 or cutting.cuts < CUTS or more > 0:
                self.assertLess(number, BATCHES_MAX, f"{cutting.cuts} cuts")
                more -= cutting.cuts == CUTS
                position = number * BATCH_RECORDS
                append = AppendInput(records_of(number), match_seq_num=position)
                tickets.append((position, await session.submit(append)))
                number += 1
                if len(tickets) > 16:
                    position, ticket = tickets.pop(0)
                    self.assertEqual((await ticket).start.seq_num, position)
        return number

    async def follow(self, stream, total):
        """Follows the stream until it has all records; no gap and no repetition on the way."""
        read = []
        async with stream.read_session(start=SeqNum(0)) as session:
            async for got in session:
                for record in got.records:
                    self.assertEqual(record.seq_num, len(read))
                    read.append(record)
                if total.done() and len(read) >= total.result():
                    return read[: total.result()]
