"""Access tokens: issued, listed, revoked; and used, where the server asks who its clients are."""

import unittest
from datetime import UTC, datetime, timedelta

from s2_sdk import (
    AccessTokenScope,
    AppendInput,
    CommandRecord,
    ExactMatch,
    Operation,
    OperationGroupPermissions,
    Permission,
    PrefixMatch,
    S2ServerError,
    SeqNum,
)

from common import IS_ENFORCED, IS_REFERENCE, Case, basin_name, batch, bodies, client

EVERYTHING = AccessTokenScope(
    basins=PrefixMatch(""),
    streams=PrefixMatch(""),
    access_tokens=PrefixMatch(""),
    op_groups=OperationGroupPermissions(
        account=Permission.READ_WRITE, basin=Permission.READ_WRITE, stream=Permission.READ_WRITE
    ),
)


@unittest.skipIf(IS_REFERENCE, "the reference server has no access tokens")
class Tokens(Case):
    async def test_a_token_is_issued_listed_and_revoked(self):
        id = f"{basin_name()}/é b"
        scope = AccessTokenScope(
            basins=ExactMatch("some-basin"),
            streams=PrefixMatch("p/"),
            op_groups=OperationGroupPermissions(stream=Permission.READ),
            ops=[Operation.APPEND, Operation.TRIM],
        )
        expires_at = datetime.now(UTC).replace(microsecond=123456) + timedelta(hours=1)
        secret = await self.s2.issue_access_token(
            id, scope=scope, expires_at=expires_at, auto_prefix_streams=True
        )
        self.assertGreater(len(secret), 40)
        page = await self.s2.list_access_tokens(prefix=id)
        (info,) = page.items
        self.assertFalse(page.has_more)
        self.assertEqual((info.id, info.expires_at), (id, expires_at))
        self.assertTrue(info.auto_prefix_streams)
        self.assertEqual(info.scope.basins, scope.basins)
        self.assertEqual(info.scope.streams, scope.streams)
        self.assertIsNone(info.scope.access_tokens)
        self.assertEqual(info.scope.op_groups.stream, Permission.READ)
        self.assertEqual(set(info.scope.ops), {Operation.APPEND, Operation.TRIM})
        again = self.s2.issue_access_token(id, scope=scope)
        await self.refused(again, "resource_already_exists")
        await self.s2.revoke_access_token(id)
        await self.refused(self.s2.revoke_access_token(id), "access_token_not_found")
        self.assertEqual((await self.s2.list_access_tokens(prefix=id)).items, [])

    async def test_all_tokens_are_listed_in_order(self):
        base = basin_name()
        ids = [f"{base}-{number}" for number in range(5)]
        for id in reversed(ids):
            await self.s2.issue_access_token(id, scope=EVERYTHING)
        page = await self.s2.list_access_tokens(prefix=f"{base}-", start_after=ids[0], limit=2)
        self.assertEqual([info.id for info in page.items], ids[1:3])
        self.assertTrue(page.has_more)
        listed = [info.id async for info in self.s2.list_all_access_tokens(prefix=f"{base}-")]
        self.assertEqual(listed, ids)

    async def test_senseless_tokens_are_refused_in_these_words(self):
        id = basin_name()
        nothing = AccessTokenScope(basins=PrefixMatch(""))
        error = await self.refused(self.s2.issue_access_token(id, scope=nothing), "invalid")
        self.assertIn("Access token permissions cannot be empty", str(error))
        exact = AccessTokenScope(streams=ExactMatch("s"), ops=[Operation.READ])
        call = self.s2.issue_access_token(id, scope=exact, auto_prefix_streams=True)
        error = await self.refused(call, "invalid")
        words = "Auto prefixing is only allowed for streams with prefix matching"
        self.assertIn(words, str(error))


@unittest.skipUnless(IS_ENFORCED, "this server asks nobody who they are")
class Enforced(Case):
    async def issued(self, **scope):
        """A client with a token of its own."""
        secret = await self.s2.issue_access_token(basin_name(), scope=AccessTokenScope(**scope))
        return await self.enterAsyncContext(client(token=secret))

    async def test_who_is_unknown_is_refused(self):
        stranger = await self.enterAsyncContext(client(token="somebody-unknown"))
        await self.refused(stranger.list_basins(), "authn")

    async def test_a_token_permits_what_it_says_until_it_is_revoked(self):
        basin, stream = await self.named_stream()
        id = basin_name()
        scope = AccessTokenScope(
            basins=ExactMatch(basin), streams=ExactMatch("s"), ops=[Operation.APPEND, Operation.READ]
        )
        secret = await self.s2.issue_access_token(id, scope=scope)
        holder = await self.enterAsyncContext(client(token=secret))
        theirs = holder.basin(basin).stream("s")
        await theirs.append(batch(b"a"))
        read = await theirs.read(start=SeqNum(0))
        self.assertEqual(bodies(read.records), [b"a"])
        fence = AppendInput([CommandRecord.fence("f")])
        for call in (theirs.check_tail(), theirs.append(fence), holder.list_basins()):
            await self.refused(call, "permission_denied")
        await self.s2.revoke_access_token(id)
        await self.refused(theirs.append(batch(b"b")), "authn")
        self.assertEqual((await stream.check_tail()).seq_num, 1)

    async def test_a_token_that_prefixes_sees_its_streams_alone(self):
        basin = await self.basin()
        await basin.create_stream("other")
        scope = AccessTokenScope(
            basins=ExactMatch(basin.name),
            streams=PrefixMatch("tenant/"),
            op_groups=OperationGroupPermissions(
                basin=Permission.READ_WRITE, stream=Permission.READ_WRITE
            ),
        )
        secret = await self.s2.issue_access_token(
            basin_name(), scope=scope, auto_prefix_streams=True
        )
        tenant = await self.enterAsyncContext(client(token=secret))
        theirs = tenant.basin(basin.name)
        self.assertEqual((await theirs.create_stream("s")).name, "s")
        await theirs.stream("s").append(batch(b"a"))
        listed = [info.name for info in (await theirs.list_streams()).items]
        self.assertEqual(listed, ["s"])
        listed = [info.name for info in (await basin.list_streams()).items]
        self.assertEqual(listed, ["other", "tenant/s"])

    async def test_no_token_hands_out_more_than_it_has(self):
        holder = await self.issued(
            access_tokens=PrefixMatch("team/"),
            ops=[Operation.ISSUE_ACCESS_TOKEN, Operation.LIST_BASINS],
        )
        team = f"team/{basin_name()}"
        await self.refused(holder.issue_access_token(team, scope=EVERYTHING), "permission_denied")
        scope = AccessTokenScope(ops=[Operation.LIST_BASINS])
        elsewhere = holder.issue_access_token(basin_name(), scope=scope)
        await self.refused(elsewhere, "permission_denied")
        secret = await holder.issue_access_token(team, scope=scope)
        least = await self.enterAsyncContext(client(token=secret))
        self.assertEqual((await least.list_basins()).items, [])
        with self.assertRaises(S2ServerError):
            await least.create_basin(basin_name())
