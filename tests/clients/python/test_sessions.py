"""Append sessions, producers, read sessions, compression."""

import asyncio
import time
from datetime import timedelta

from s2_sdk import (
    AppendInput,
    Batching,
    CommandRecord,
    Compression,
    FencingTokenMismatchError,
    ReadLimit,
    ReadUnwrittenError,
    Record,
    S2ClientError,
    S2Error,
    S2ServerError,
    SeqNum,
    SeqNumMismatchError,
    TailOffset,
    Timestamp,
    append_inputs,
    append_record_batches,
    metered_bytes,
)

from common import (
    BATCH_BYTES_MAX,
    IS_REFERENCE,
    RECORD_OVERHEAD_BYTES,
    Case,
    batch,
    bodies,
    client,
    contents,
    noise,
    read_back,
    seq_nums,
    take,
)


async def each(items):
    for item in items:
        yield item


class AppendSessions(Case):
    async def test_thousands_of_pipelined_batches_are_acknowledged_in_order(self):
        stream = await self.stream()
        appended, tickets = [], []
        async with stream.append_session() as session:
            for number in range(2000):
                records = [
                    Record(noise(number * 3 + part, 40 + number % 50))
                    for part in range(1 + number % 3)
                ]
                append = AppendInput(records, match_seq_num=len(appended))
                tickets.append((len(appended), await session.submit(append)))
                appended += records
            position = 0
            for first, ticket in tickets:
                ack = await ticket
                self.assertEqual((ack.start.seq_num, position), (first, first))
                self.assertGreaterEqual(ack.tail.seq_num, ack.end.seq_num)
                position = ack.end.seq_num
        self.assertEqual((await stream.check_tail()).seq_num, len(appended))
        self.assertEqual(contents(await read_back(stream, len(appended))), contents(appended))

    async def test_a_failure_in_the_middle_acknowledges_what_came_before(self):
        stream = await self.stream()
        failing = 120
        session = stream.append_session()
        tickets = []
        for number in range(200):
            expected = 7 if number == failing else number
            tickets.append(await session.submit(batch(b"x", match_seq_num=expected)))
        for number, ticket in enumerate(tickets):
            if number < failing:
                self.assertEqual((await ticket).start.seq_num, number)
            else:
                with self.assertRaises(SeqNumMismatchError) as caught:
                    await ticket
                self.assertEqual(caught.exception.expected_seq_num, failing)
        with self.assertRaises(S2Error):
            await session.submit(batch(b"late"))
        with self.assertRaises(SeqNumMismatchError):
            await session.close()
        self.assertEqual((await stream.check_tail()).seq_num, failing)

    async def test_refusals_reach_the_session_with_their_type(self):
        stream = await self.stream()
        session = stream.append_session()
        await (await session.submit(batch(b"ours", fencing_token="")))
        await stream.append(AppendInput([CommandRecord.fence("theirs")]))
        with self.assertRaises(FencingTokenMismatchError) as caught:
            await (await session.submit(batch(b"late", fencing_token="")))
        self.assertEqual(caught.exception.expected_fencing_token, "theirs")
        with self.assertRaises(FencingTokenMismatchError):
            await session.close()

        missing = (await self.basin()).stream("missing").append_session()
        await self.refused(await missing.submit(batch(b"a")), "stream_not_found")
        await self.refused(missing.close(), "stream_not_found")
        invalid = stream.append_session()
        good = await invalid.submit(batch(b"good"))
        bad = AppendInput([Record(b"", headers=[(b"", b"nope")])])
        bad = await invalid.submit(bad)
        self.assertEqual((await good).end.seq_num, 3)
        await self.refused(bad, "invalid")
        await self.refused(invalid.close(), "invalid")

    async def test_the_largest_batches_pass_within_the_limits_of_a_session(self):
        stream = await self.stream()
        appended, tickets = [], []
        limits = {"max_unacked_bytes": 2 * 1024 * 1024, "max_unacked_batches": 3}
        async with stream.append_session(**limits) as session:
            for seed in range(6):
                records = [Record(noise(seed, BATCH_BYTES_MAX - RECORD_OVERHEAD_BYTES))]
                if seed % 2 == 1:
                    records = [Record(noise(seed + number, 1040)) for number in range(1000)]
                tickets.append(await session.submit(AppendInput(records)))
                appended += records
            for ticket in tickets:
                await ticket
        self.assertEqual(contents(await read_back(stream, len(appended))), contents(appended))

    async def test_a_producer_batches_records_and_knows_the_place_of_each(self):
        stream = await self.stream()
        records = [Record(noise(number, number % 700)) for number in range(500)]
        batching = Batching(max_records=10, max_bytes=4096, linger=timedelta(milliseconds=20))
        options = {"fencing_token": "", "match_seq_num": 0, "max_unacked_bytes": 1024 * 1024}
        starts = set()
        async with stream.producer(batching=batching, **options) as producer:
            tickets = [await producer.submit(record) for record in records]
            await producer.flush()
            self.assertEqual((await stream.check_tail()).seq_num, 500)
            for number, ticket in enumerate(tickets):
                ack = await ticket
                self.assertEqual(ack.seq_num, number)
                self.assertLessEqual(ack.batch.end.seq_num - ack.batch.start.seq_num, 10)
                starts.add(ack.batch.start.seq_num)
            last = await producer.submit(Record(b"last"))
        self.assertEqual((await last).seq_num, 500)
        self.assertTrue(50 <= len(starts) < 500, len(starts))
        self.assertEqual(contents((await read_back(stream, 501))[:500]), contents(records))

    async def test_a_producer_stops_at_a_failed_condition(self):
        stream = await self.stream()
        producer = stream.producer(match_seq_num=0)
        await (await producer.submit(Record(b"a")))
        await stream.append(batch(b"between"))
        with self.assertRaises(SeqNumMismatchError):
            await (await producer.submit(Record(b"b")))
        with self.assertRaises(SeqNumMismatchError):
            await producer.close()

    async def test_the_batching_helpers_feed_a_session(self):
        stream = await self.stream()
        records = [Record(noise(number, 30)) for number in range(2500)]
        small = Batching(max_records=100)
        async with stream.append_session() as session:
            async for append in append_inputs(each(records[:1250]), match_seq_num=0):
                await session.submit(append)
            async for chosen in append_record_batches(each(records[1250:]), batching=small):
                self.assertLessEqual(len(chosen), 100)
                await session.submit(AppendInput(chosen))
        self.assertEqual(contents(await read_back(stream, 2500)), contents(records))


class ReadSessions(Case):
    async def test_a_session_catches_up_and_follows_live_appends(self):
        stream = await self.stream()
        records = [Record(noise(number, number % 300)) for number in range(3000)]
        for start in range(0, 1500, 500):
            await stream.append(AppendInput(records[start : start + 500]))

        async def write():
            async with stream.append_session() as appends:
                for start in range(1500, 3000, 7):
                    await appends.submit(AppendInput(records[start : start + 7]))

        async with stream.read_session(start=SeqNum(0)) as session:
            read, _ = await asyncio.gather(take(session, 3000), write())
        self.assertEqual(seq_nums(read), list(range(3000)))
        self.assertEqual(contents(read), contents(records))

    async def test_being_caught_up_is_noticed_and_lost_and_noticed_again(self):
        stream = await self.stream()
        async with stream.read_session(start=SeqNum(0)) as session:
            self.assertFalse(session.is_caught_up())
            self.assertEqual((await session.caught_up()).seq_num, 0)
            self.assertTrue(session.is_caught_up())
            await stream.append(batch(b"a", b"b", b"c"))
            self.assertEqual(bodies(await take(session, 3)), [b"a", b"b", b"c"])
            self.assertEqual((await session.caught_up()).seq_num, 3)
        async with stream.read_session(start=TailOffset(2)) as session:
            self.assertEqual(bodies(await take(session, 2)), [b"b", b"c"])
            self.assertEqual((await session.caught_up()).seq_num, 3)
        session = stream.read_session(start=SeqNum(0), limit=ReadLimit(count=1))
        caught_up = session.caught_up()
        self.assertEqual([len(read.records) async for read in session], [1])
        with self.assertRaises(S2ClientError):
            await caught_up
        await session.close()

    async def test_sessions_start_anywhere_and_end_at_their_bounds(self):
        stream = await self.stream()
        records = [Record(str(at).encode(), timestamp=at) for at in (10, 20, 20, 30)]
        await stream.append(AppendInput(records))
        size = metered_bytes(records[:1])
        for start, options, expected in [
            (SeqNum(0), {"wait": 0}, [0, 1, 2, 3]),
            (SeqNum(4), {"wait": 0}, []),
            (Timestamp(20), {"wait": 0}, [1, 2, 3]),
            (TailOffset(1), {"wait": 0}, [3]),
            (TailOffset(0), {"wait": 1}, []),
            (SeqNum(99), {"wait": 1, "clamp_to_tail": True}, []),
            (SeqNum(0), {"limit": ReadLimit(count=3)}, [0, 1, 2]),
            (SeqNum(0), {"limit": ReadLimit(count=9)}, [0, 1, 2, 3]),
            (SeqNum(0), {"limit": ReadLimit(count=0)}, []),
            (SeqNum(0), {"limit": ReadLimit(bytes=2 * size)}, [0, 1]),
            (SeqNum(0), {"limit": ReadLimit(bytes=2 * size - 1)}, [0]),
            (SeqNum(0), {"until_timestamp": 30}, [0, 1, 2]),
            (Timestamp(20), {"until_timestamp": 21, "wait": 1}, [1, 2]),
        ]:
            session = stream.read_session(start=start, **options)
            read = [seq_num async for got in session for seq_num in seq_nums(got.records)]
            self.assertEqual(read, expected, (start, options))
        session = stream.read_session(start=SeqNum(9))
        with self.assertRaises(ReadUnwrittenError) as caught:
            await anext(session)
        self.assertEqual(caught.exception.tail.seq_num, 4)

    async def test_a_wait_starts_again_after_every_batch_and_then_ends_the_session(self):
        stream = await self.stream()
        start = time.monotonic()

        async def write():
            for body in (b"a", b"b"):
                await asyncio.sleep(2.2)
                await stream.append(batch(body))

        async def read():
            session = stream.read_session(start=SeqNum(0), wait=4)
            return [body async for got in session for body in bodies(got.records)]

        read, _ = await asyncio.gather(read(), write())
        self.assertEqual(read, [b"a", b"b"])
        self.assertTrue(8 <= time.monotonic() - start < 20)

    async def test_command_records_can_be_hidden_and_still_count(self):
        stream = await self.stream()
        await stream.append(batch(b"a"))
        await stream.append(AppendInput([CommandRecord.fence("t"), Record(b"b")]))
        async with stream.read_session(start=SeqNum(0), ignore_command_records=True) as session:
            self.assertEqual(seq_nums(await take(session, 2)), [0, 2])
            self.assertEqual((await session.caught_up()).seq_num, 3)

    async def test_many_followers_get_the_same_records(self):
        stream = await self.stream()

        async def follow():
            async with stream.read_session(start=SeqNum(0)) as session:
                return contents(await take(session, 10))

        followers = [asyncio.ensure_future(follow()) for _ in range(110)]
        records = [Record(noise(number, 500)) for number in range(10)]
        for record in records:
            await stream.append(AppendInput([record]))
        self.assertEqual(set(await asyncio.gather(*followers)), {contents(records)})

    async def test_a_reader_that_sleeps_misses_nothing(self):
        basin = await self.basin()
        await basin.create_stream("s")
        stream = basin.stream("s")
        # On a connection of its own: unread records fill the window of the whole connection, and
        # acknowledgements of appends could not pass.
        reader = (await self.enterAsyncContext(client())).basin(basin.name).stream("s")
        async with reader.read_session(start=SeqNum(0)) as session:
            await stream.append(batch(b"first"))
            await take(session, 1)
            # More than windows and buffers on the way can hold.
            records = [Record(noise(number, 1_000_000)) for number in range(24)]
            async with stream.append_session() as appends:
                for record in records:
                    await appends.submit(AppendInput([record]))
            self.assertEqual(contents(await take(session, 24)), contents(records))

    async def test_deletion_ends_the_sessions_of_a_stream(self):
        basin = await self.basin()
        await basin.create_stream("s")
        stream = basin.stream("s")
        await stream.append(batch(b"a"))
        async with stream.read_session(start=SeqNum(0)) as session:
            await take(session, 1)
            await basin.delete_stream("s")
            with self.assertRaises(S2ServerError) as caught:
                while True:
                    late = await anext(session)
                    self.assertTrue(IS_REFERENCE, f"a record after the deletion: {late}")
        gone = ["stream_deletion_pending", "stream_not_found"]
        self.assertIn(caught.exception.code, gone if IS_REFERENCE else gone[:1])


class Compressed(Case):
    async def everything_works(self, compression):
        basin = await self.basin()
        await basin.create_stream("s")
        text = b"all work and no play " * 40_000
        batches = [
            [Record(b"tiny")],
            [Record(text[:2000])],
            [Record(text)],
            [Record(noise(1, 900_000))],
            [Record(str(number).encode(), headers=[(b"h", b"v")]) for number in range(1000)],
        ]
        appended = [record for records in batches * 2 for record in records]
        async with client(compression=compression) as s2:
            stream = s2.basin(basin.name).stream("s")
            for records in batches:
                await stream.append(AppendInput(records))
            async with stream.append_session() as session:
                for records in batches:
                    await session.submit(AppendInput(records))
            for reader in (stream, basin.stream("s")):
                read = await read_back(reader, len(appended))
                self.assertEqual(contents(read), contents(appended))
                read = []
                while len(read) < len(appended):
                    read += (await reader.read(start=SeqNum(len(read)))).records
                self.assertEqual(contents(read), contents(appended))
            with self.assertRaises(SeqNumMismatchError):
                await stream.append(batch(b"late", match_seq_num=0))
            for number in range(40):
                await s2.basin(basin.name).ensure_stream(f"so that the list is long {number}")
            listed = await s2.basin(basin.name).list_streams()
            self.assertEqual(len(listed.items), 41)

    async def test_everything_works_with_gzip(self):
        await self.everything_works(Compression.GZIP)

    async def test_everything_works_with_zstd(self):
        await self.everything_works(Compression.ZSTD)
