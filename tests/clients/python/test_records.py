"""Unary appends and reads: contents, conditions, commands, limits, starts and ends."""

import asyncio
import time

from s2_sdk import (
    AppendInput,
    CommandRecord,
    FencingTokenMismatchError,
    ReadLimit,
    ReadUnwrittenError,
    Record,
    SeqNum,
    SeqNumMismatchError,
    StreamConfig,
    TailOffset,
    Timestamp,
    Timestamping,
    TimestampingMode,
    metered_bytes,
)

from common import (
    BATCH_BYTES_MAX,
    RECORD_OVERHEAD_BYTES,
    Case,
    batch,
    bodies,
    contents,
    noise,
    now_ms,
    seq_nums,
)


def at(*timestamps):
    """Records with the given timestamps."""
    return AppendInput([Record(str(at).encode(), timestamp=at) for at in timestamps])


class Records(Case):
    async def test_what_was_appended_is_read_back_exactly(self):
        stream = await self.stream()
        records = [
            Record(b"text"),
            Record(b""),
            Record(noise(1, 5000)),
            Record(b"", headers=[(b"name only", b"")]),
            Record(noise(2, 100), headers=[(b"k", b"v"), (b"k", b"w"), (b"\xff\x00", b"\xfe")]),
            Record(b"at", timestamp=now_ms() - 1000),
        ]
        ack = await stream.append(AppendInput(records))
        self.assertEqual((ack.start.seq_num, ack.end.seq_num), (0, 6))
        self.assertEqual(ack.tail, ack.end)
        self.assertEqual(await stream.check_tail(), ack.tail)
        read = (await stream.read(start=SeqNum(0))).records
        self.assertEqual(seq_nums(read), list(range(6)))
        self.assertEqual(contents(read), contents(records))
        times = [record.timestamp for record in read]
        self.assertEqual(times, sorted(times))

    async def test_the_largest_record_and_the_largest_batches_pass_whole(self):
        stream = await self.stream()
        share = BATCH_BYTES_MAX // 16 - RECORD_OVERHEAD_BYTES
        appended = []
        for records in [
            [Record(noise(1, BATCH_BYTES_MAX - RECORD_OVERHEAD_BYTES))],
            [Record(noise(seed, share)) for seed in range(16)],
            [Record(str(number).encode()) for number in range(1000)],
            [Record(b"b", headers=[(b"h", b"v")] * 50) for _ in range(1000)],
        ]:
            ack = await stream.append(AppendInput(records))
            self.assertEqual(ack.end.seq_num - ack.start.seq_num, len(records))
            appended += records
        read = []
        while len(read) < len(appended):
            records = (await stream.read(start=SeqNum(len(read)))).records
            self.assertTrue(0 < len(records) <= 1000)
            self.assertLessEqual(metered_bytes(records), BATCH_BYTES_MAX)
            read += records
        self.assertEqual(contents(read), contents(appended))

    async def test_reads_start_by_number_by_time_and_from_the_tail(self):
        stream = await self.stream()
        await stream.append(at(10, 20, 20, 30))
        for start, expected in [
            (SeqNum(0), [0, 1, 2, 3]),
            (SeqNum(3), [3]),
            (Timestamp(0), [0, 1, 2, 3]),
            (Timestamp(20), [1, 2, 3]),
            (Timestamp(30), [3]),
            (TailOffset(2), [2, 3]),
            (TailOffset(9), [0, 1, 2, 3]),
        ]:
            read = await stream.read(start=start)
            self.assertEqual(seq_nums(read.records), expected, start)
        for start in (SeqNum(4), SeqNum(99), Timestamp(31), TailOffset(0)):
            with self.assertRaises(ReadUnwrittenError) as caught:
                await stream.read(start=start)
            self.assertEqual(caught.exception.tail.seq_num, 4, start)
            self.assertEqual(caught.exception.status_code, 416)
        with self.assertRaises(ReadUnwrittenError):
            await stream.read(start=SeqNum(99), clamp_to_tail=True)
        clamped = await stream.read(start=SeqNum(99), clamp_to_tail=True, wait=1)
        self.assertEqual(clamped.records, [])

    async def test_reads_end_at_their_bounds(self):
        stream = await self.stream()
        await stream.append(at(10, 20, 30))
        size = metered_bytes([Record(b"10")])
        for bounds, expected in [
            ({"limit": ReadLimit(count=2)}, [0, 1]),
            ({"limit": ReadLimit(count=0)}, []),
            ({"limit": ReadLimit(bytes=2 * size)}, [0, 1]),
            ({"limit": ReadLimit(bytes=2 * size - 1)}, [0]),
            ({"limit": ReadLimit(count=1, bytes=2 * size)}, [0]),
            ({"until_timestamp": 30}, [0, 1]),
            ({"until_timestamp": 10}, []),
        ]:
            read = await stream.read(start=SeqNum(0), **bounds)
            self.assertEqual(seq_nums(read.records), expected, bounds)
        await self.refused(stream.read(start=Timestamp(5), until_timestamp=5), "invalid")

    async def test_a_waiting_read_returns_what_arrives(self):
        stream = await self.stream()
        await stream.append(batch(b"old"))
        start = time.monotonic()

        async def later():
            await asyncio.sleep(0.3)
            return await stream.append(batch(b"new", b"newer"))

        # This client does not add the wait to its own time limit of 5 s.
        read, ack = await asyncio.gather(stream.read(start=SeqNum(1), wait=4), later())
        self.assertEqual(bodies(read.records), [b"new", b"newer"])
        self.assertEqual(read.tail, ack.tail)
        self.assertLess(time.monotonic() - start, 3, "not only when the wait is over")
        self.assertEqual((await stream.read(start=SeqNum(3), wait=1)).records, [])

    async def test_a_failed_condition_names_the_actual_state_and_changes_nothing(self):
        stream = await self.stream()
        await stream.append(batch(b"a", b"b", match_seq_num=0))
        with self.assertRaises(SeqNumMismatchError) as caught:
            await stream.append(batch(b"c", match_seq_num=0))
        self.assertEqual(caught.exception.expected_seq_num, 2)
        fence = AppendInput([CommandRecord.fence("t1")], fencing_token="")
        await stream.append(fence)
        for conditions in ({"fencing_token": "t0"}, {"fencing_token": ""}):
            for position in ({}, {"match_seq_num": 0}):
                with self.assertRaises(FencingTokenMismatchError) as caught:
                    await stream.append(batch(b"d", **conditions, **position))
                self.assertEqual(caught.exception.expected_fencing_token, "t1")
        await stream.append(batch(b"d", fencing_token="t1", match_seq_num=3))
        await stream.append(batch(b"e"))
        self.assertEqual((await stream.check_tail()).seq_num, 5)

    async def test_a_trim_takes_records_away_and_commands_can_be_ignored(self):
        stream = await self.stream()
        await stream.append(batch(b"a", b"b", b"c"))
        await stream.append(AppendInput([CommandRecord.trim(2)]))
        # Trimming is done in the background; the whole case is bounded.
        while (read := await stream.read(start=SeqNum(0))).records[0].seq_num != 2:
            await asyncio.sleep(0.05)
        self.assertEqual(seq_nums(read.records), [2, 3])
        self.assertTrue(read.records[1].is_command_record())
        self.assertEqual(read.records[1].body, (2).to_bytes(8, "big"))
        visible = await stream.read(start=SeqNum(0), ignore_command_records=True)
        self.assertEqual(seq_nums(visible.records), [2])

    async def test_invalid_batches_are_refused_whole(self):
        basin = await self.basin()
        require = Timestamping(mode=TimestampingMode.CLIENT_REQUIRE)
        await basin.create_stream("s", config=StreamConfig(timestamping=require))
        stream = basin.stream("s")
        half = AppendInput([Record(b"a", timestamp=1), Record(b"b")])
        await self.refused(stream.append(half), "invalid")
        unknown = AppendInput([Record(b"", headers=[(b"", b"nope")], timestamp=1)])
        await self.refused(stream.append(unknown), "invalid")
        self.assertEqual((await stream.check_tail()).seq_num, 0)

    async def test_many_calls_at_once_keep_their_answers_apart(self):
        stream = await self.stream()
        numbers = [str(number).encode() for number in range(150)]
        acks = await asyncio.gather(*(stream.append(batch(number)) for number in numbers))
        read = (await stream.read(start=SeqNum(0))).records
        for number, ack in zip(numbers, acks, strict=True):
            self.assertEqual(read[ack.start.seq_num].body, number)
