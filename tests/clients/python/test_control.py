"""Basins, streams, locations, metrics."""

import asyncio
import os
import time
from datetime import timedelta
from unittest import mock

from s2_sdk import (
    S2,
    AccountMetricSet,
    Accumulation,
    AppendInput,
    BasinConfig,
    BasinMetricSet,
    Endpoints,
    EnsureStatus,
    Gauge,
    Label,
    MetricUnit,
    ReadUnwrittenError,
    Record,
    S2ServerError,
    SeqNum,
    StreamConfig,
    StreamMetricSet,
    Timeout,
    TimeseriesInterval,
    Timestamping,
    TimestampingMode,
)

from common import (
    IS_REFERENCE,
    TOKEN,
    URL,
    Case,
    basin_name,
    batch,
    bodies,
    client,
    read_back,
    take,
)

# Names with slashes, blanks, percent signs, dots, and more bytes than characters.
NAMES = ["日本/x y", "a//b", "50%2F", "Grüße / %zz + ?x=1&y#z", " ", "...", "tab\there", "🦀"]


class Basins(Case):
    async def test_a_created_basin_is_listed_and_cannot_be_created_again(self):
        name = basin_name()
        created = await self.s2.create_basin(name)
        self.assertEqual((created.name, created.deleted_at), (name, None))
        page = await self.s2.list_basins(prefix=name)
        self.assertEqual(page.items, [created])
        self.assertFalse(page.has_more)
        await self.refused(self.s2.create_basin(name), "resource_already_exists")

    async def test_ensure_tells_created_updated_and_unchanged_apart(self):
        name = basin_name()
        seen = []
        for on_append in (True, True, False):
            config = BasinConfig(create_stream_on_append=on_append)
            ensured = await self.s2.ensure_basin(name, config=config)
            seen.append(ensured.status)
        seen.append((await self.s2.ensure_basin(name)).status)
        self.assertEqual(
            seen,
            [
                EnsureStatus.CREATED,
                EnsureStatus.CONFIG_UNCHANGED,
                EnsureStatus.CONFIG_UPDATED,
                EnsureStatus.CONFIG_UNCHANGED,
            ],
        )

    async def test_listing_pages_in_order_and_honours_prefix_and_start(self):
        base = basin_name()
        names = [f"{base}-{number}" for number in range(5)]
        for name in reversed(names):
            await self.s2.create_basin(name)
        seen, more = [], True
        while more:
            page = await self.s2.list_basins(
                prefix=f"{base}-", start_after=seen[-1] if seen else "", limit=2
            )
            seen += [info.name for info in page.items]
            more = page.has_more
        self.assertEqual(seen, names)
        listed = self.s2.list_all_basins(prefix=f"{base}-", start_after=names[1])
        self.assertEqual([info.name async for info in listed], names[2:])

    async def test_configuration_is_kept_and_reconfiguration_leaves_the_rest_alone(self):
        defaults = StreamConfig(
            storage_class="standard",
            retention_policy=3600,
            timestamping=Timestamping(mode=TimestampingMode.ARRIVAL, uncapped=True),
            delete_on_empty_min_age=90,
        )
        basin = await self.basin(default_stream_config=defaults, create_stream_on_append=True)
        got = await self.s2.get_basin_config(basin.name)
        self.assertEqual(
            got,
            BasinConfig(
                default_stream_config=defaults,
                create_stream_on_append=True,
                create_stream_on_read=False,
            ),
        )
        change = BasinConfig(
            default_stream_config=StreamConfig(retention_policy="infinite"),
            create_stream_on_read=True,
        )
        changed = await self.s2.reconfigure_basin(basin.name, config=change)
        defaults.retention_policy = "infinite"
        self.assertEqual(changed.default_stream_config, defaults)
        self.assertTrue(changed.create_stream_on_append and changed.create_stream_on_read)
        zero = BasinConfig(default_stream_config=StreamConfig(retention_policy=0))
        await self.refused(self.s2.reconfigure_basin(basin.name, config=zero), "invalid")

    async def test_a_deleted_basin_is_pending_or_gone(self):
        basin = await self.basin()
        await self.s2.delete_basin(basin.name)
        await self.s2.delete_basin(basin.name, ignore_not_found=True)
        visible = [info async for info in self.s2.list_all_basins(prefix=basin.name)]
        self.assertEqual(visible, [])
        every = self.s2.list_all_basins(prefix=basin.name, include_deleted=True)
        self.assertTrue(all([info.deleted_at is not None async for info in every]))
        never = basin_name()
        await self.refused(self.s2.delete_basin(never), "basin_not_found")
        await self.s2.delete_basin(never, ignore_not_found=True)
        await self.refused(self.s2.get_basin_config(never), "basin_not_found")
        await self.refused(self.s2.basin(never).list_streams(), "basin_not_found")


class Streams(Case):
    async def test_any_name_works_in_every_call(self):
        basin = await self.basin()
        names = [*NAMES, "ü" * 256]
        for name in names:
            created = await basin.create_stream(name)
            self.assertEqual((created.name, created.cipher), (name, None))
            stream = basin.stream(name)
            await stream.append(batch(b"one"))
            async with stream.append_session() as session:
                await (await session.submit(batch(b"two")))
            self.assertEqual(bodies((await stream.read(start=SeqNum(0))).records), [b"one", b"two"])
            self.assertEqual(bodies(await read_back(stream, 2)), [b"one", b"two"])
            self.assertEqual((await stream.check_tail()).seq_num, 2)
            await basin.get_stream_config(name)
            page = await basin.list_streams(prefix=name)
            self.assertIn(name, [info.name for info in page.items])
        listed = [info.name async for info in basin.list_all_streams()]
        self.assertEqual(listed, sorted(names, key=str.encode))
        for name in names:
            await basin.delete_stream(name)
        self.assertEqual([info async for info in basin.list_all_streams()], [])

    async def test_listing_pages_in_order_and_honours_prefix_and_start(self):
        basin = await self.basin()
        for name in ("q/1", "p/3", "p/1", "p/2", "o"):
            await basin.create_stream(name)
        for start_after, limit, expected, more in [
            ("", 2, ["p/1", "p/2"], True),
            ("p/2", 2, ["p/3"], False),
            ("", 3, ["p/1", "p/2", "p/3"], False),
            ("p/3", 2, [], False),
        ]:
            page = await basin.list_streams(prefix="p/", start_after=start_after, limit=limit)
            self.assertEqual(([info.name for info in page.items], page.has_more), (expected, more))
        listed = basin.list_all_streams(prefix="p/", start_after="p/1", include_deleted=True)
        self.assertEqual([info.name async for info in listed], ["p/2", "p/3"])

    async def test_ensure_tells_created_updated_and_unchanged_apart(self):
        basin = await self.basin()
        seen = []
        for age in (60, 60, 61):
            config = StreamConfig(retention_policy=age)
            seen.append((await basin.ensure_stream("s", config=config)).status)
        seen.append((await basin.ensure_stream("s")).status)
        self.assertEqual(
            seen,
            [
                EnsureStatus.CREATED,
                EnsureStatus.CONFIG_UNCHANGED,
                EnsureStatus.CONFIG_UPDATED,
                EnsureStatus.CONFIG_UPDATED,
            ],
        )
        await self.refused(basin.create_stream("s"), "resource_already_exists")

    async def test_configuration_is_resolved_and_reconfiguration_leaves_the_rest_alone(self):
        basin = await self.basin()
        await basin.create_stream("plain")
        self.assertEqual(
            await basin.get_stream_config("plain"),
            StreamConfig(
                storage_class="express",
                retention_policy=604_800,
                timestamping=Timestamping(mode=TimestampingMode.CLIENT_PREFER, uncapped=False),
                delete_on_empty_min_age=0,
            ),
        )
        config = StreamConfig(
            storage_class="standard",
            retention_policy="infinite",
            timestamping=Timestamping(mode=TimestampingMode.CLIENT_REQUIRE, uncapped=False),
            delete_on_empty_min_age=70,
        )
        await basin.create_stream("s", config=config)
        self.assertEqual(await basin.get_stream_config("s"), config)
        config.retention_policy = 120
        config.timestamping.uncapped = True
        change = StreamConfig(retention_policy=120, timestamping=Timestamping(uncapped=True))
        self.assertEqual(await basin.reconfigure_stream("s", config=change), config)
        zero = StreamConfig(retention_policy=0)
        await self.refused(basin.reconfigure_stream("s", config=zero), "invalid")
        await self.refused(basin.reconfigure_stream("other", config=change), "stream_not_found")

    async def test_a_deleted_stream_starts_anew(self):
        basin = await self.basin()
        await basin.create_stream("s")
        stream = basin.stream("s")
        await stream.append(batch(b"old"))
        await basin.delete_stream("s")
        await basin.delete_stream("s", ignore_not_found=True)
        await self.refused(stream.check_tail(), "stream_deletion_pending", "stream_not_found")
        # The purge happens in the background; the whole case is bounded.
        while not await self.is_created(basin, "s"):
            await asyncio.sleep(0.1)
        self.assertEqual((await stream.check_tail()).seq_num, 0)
        await self.refused(basin.delete_stream("never"), "stream_not_found")
        await basin.delete_stream("never", ignore_not_found=True)

    async def is_created(self, basin, name):
        try:
            await basin.create_stream(name)
            return True
        except S2ServerError as error:
            self.assertEqual(error.code, "stream_deletion_pending")
            return False

    async def test_first_appends_and_reads_create_streams_with_the_given_configuration(self):
        given = StreamConfig(retention_policy=3600, delete_on_empty_min_age=300)
        basin = await self.basin(create_stream_on_append=True, create_stream_on_read=True)
        append = AppendInput([Record(b"a")], stream_config=given)
        await basin.stream("append").append(append)
        async with basin.stream("append session").append_session(stream_config=given) as session:
            await session.submit(batch(b"a"))
        async with basin.stream("producer").producer(stream_config=given) as producer:
            await producer.submit(Record(b"a"))
        with self.assertRaises(ReadUnwrittenError) as caught:
            await basin.stream("read").read(start=SeqNum(0), stream_config=given)
        self.assertEqual(caught.exception.tail.seq_num, 0)
        following = basin.stream("read session")
        async with following.read_session(start=SeqNum(0), stream_config=given) as session:
            await session.caught_up()
            await following.append(batch(b"a"))
            self.assertEqual(bodies(await take(session, 1)), [b"a"])
        for name in ("append", "append session", "producer", "read", "read session"):
            config = await basin.get_stream_config(name)
            self.assertEqual(config.retention_policy, 3600, name)
            self.assertEqual(config.delete_on_empty_min_age, 300, name)
            self.assertEqual(config.storage_class, "express", name)
        closed = (await self.basin()).stream("missing")
        await self.refused(closed.append(batch(b"a")), "stream_not_found")
        await self.refused(closed.read(start=SeqNum(0)), "stream_not_found")


class Account(Case):
    async def test_locations_are_listed_and_one_is_the_default(self):
        every = await self.unless_missing(self.s2.list_locations())
        default = await self.s2.get_default_location()
        self.assertIn(default, every)
        self.assertEqual(default.default_storage_class, "express")
        self.assertEqual(await self.s2.set_default_location(default.name), default)
        await self.refused(self.s2.set_default_location("nowhere:1"), "invalid")
        name = basin_name()
        created = await self.s2.create_basin(name, location=default.name)
        self.assertEqual(created.location, default.name)
        await self.refused(self.s2.ensure_basin(name, location="nowhere:1"), "invalid")

    async def test_every_metric_set_is_answered(self):
        basin, stream = await self.named_stream()
        await stream.append(batch(b"a", b"b"))
        end = int(time.time())
        hour = {"start": end - 3600, "end": end}
        account = self.s2.account_metrics
        answers = [await self.unless_missing(account(set=AccountMetricSet.ACTIVE_BASINS, **hour))]
        self.assertTrue(all(isinstance(metric, Label) for metric in answers[0]))
        self.check(await account(set=AccountMetricSet.ACCOUNT_OPS, **hour), MetricUnit.OPERATIONS)
        usage = AccountMetricSet.ESTIMATED_BILLABLE_USAGE
        self.check(await account(set=usage, **hour), MetricUnit.USD)
        for chosen in BasinMetricSet:
            is_bytes = chosen in (
                BasinMetricSet.STORAGE,
                BasinMetricSet.READ_THROUGHPUT,
                BasinMetricSet.APPEND_THROUGHPUT,
            )
            interval = None if chosen == BasinMetricSet.STORAGE else TimeseriesInterval.MINUTE
            got = await self.s2.basin_metrics(basin, set=chosen, interval=interval, **hour)
            self.check(got, MetricUnit.BYTES if is_bytes else MetricUnit.OPERATIONS)
        got = await self.s2.stream_metrics(basin, "s", set=StreamMetricSet.STORAGE, **hour)
        self.check(got, MetricUnit.BYTES)

    def check(self, metrics, unit):
        for metric in metrics:
            self.assertIsInstance(metric, (Accumulation, Gauge))
            self.assertEqual(metric.unit, unit)

    async def test_impossible_metric_ranges_are_refused(self):
        if IS_REFERENCE:
            self.skipTest("the reference server has no such call")
        now, day = int(time.time()), 24 * 3600
        for start, end in [(now, now - 60), (now, now + 600), (now - 91 * day, now), (None, None)]:
            call = self.s2.account_metrics(set=AccountMetricSet.ACTIVE_BASINS, start=start, end=end)
            await self.refused(call, "invalid")

    async def test_the_environment_names_the_endpoints(self):
        ends = {"S2_ACCOUNT_ENDPOINT": URL, "S2_BASIN_ENDPOINT": URL}
        with mock.patch.dict(os.environ, ends):
            endpoints = Endpoints.from_env()
        timeout = Timeout(request=timedelta(seconds=4), connection=timedelta(seconds=2))
        async with S2(TOKEN, endpoints=endpoints, timeout=timeout) as s2:
            await s2.list_basins(limit=1)
        s2 = client()
        await s2.list_basins(limit=1)
        await s2.close()
