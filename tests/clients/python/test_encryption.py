"""Streams encrypted with the client's key."""

import base64

from s2_sdk import (
    CommandRecord,
    AppendInput,
    Encryption,
    ReadLimit,
    Record,
    S2ServerError,
    SeqNum,
)

from common import Case, batch, bodies, contents, noise, read_back

KEY = bytes([7] * 32)
OTHER_KEY = bytes([8] * 32)


class EncryptedStreams(Case):
    async def encrypted(self):
        """An encrypted stream in a new basin for each cipher, as a function of its key."""
        for cipher in Encryption:
            basin = await self.basin(stream_cipher=cipher)
            created = await basin.create_stream("s")
            self.assertEqual(created.cipher, cipher)
            yield lambda key=None, basin=basin: basin.stream("s", encryption_key=key)

    async def test_what_was_appended_with_a_key_is_read_with_it_in_every_way(self):
        records = [
            Record(b"text"),
            Record(b""),
            Record(noise(2, 5000), headers=[(b"k", b"v"), (b"\xff\x00", b"\xfe")]),
        ]
        async for stream in self.encrypted():
            keyed = stream(KEY)
            await keyed.append(AppendInput(records))
            async with keyed.append_session() as session:
                ticket = await session.submit(batch(b"more"))
                await ticket
            read = await read_back(stream(base64.b64encode(KEY).decode()), 4)
            self.assertEqual(contents(read[:3]), contents(records))
            unary = await keyed.read(start=SeqNum(0), limit=ReadLimit(count=4))
            self.assertEqual(unary.records, read)
            self.assertEqual((await stream().check_tail()).seq_num, 4)

    async def test_other_keys_and_none_are_refused(self):
        async for stream in self.encrypted():
            await stream(KEY).append(batch(b"a", b"b"))
            await self.refused(stream().append(batch(b"c")), "bad_header")
            await self.refused(stream().read(start=SeqNum(0)), "bad_header")
            await self.refused(stream(KEY[1:]).append(batch(b"c")), "bad_header")
            await self.refused(stream(OTHER_KEY).read(start=SeqNum(0)), "decryption_failed")
            await stream(OTHER_KEY).append(batch(b"c"))
            read = []
            with self.assertRaises(S2ServerError) as caught:
                async for part in stream(KEY).read_session(start=SeqNum(0)):
                    read.extend(part.records)
            self.assertEqual(caught.exception.code, "decryption_failed")
            self.assertEqual(bodies(read), [b"a", b"b"])

    async def test_commands_are_obeyed(self):
        async for stream in self.encrypted():
            await stream(KEY).append(AppendInput([CommandRecord.fence("t")]))
            with self.assertRaises(S2ServerError):
                await stream(KEY).append(batch(b"a", fencing_token="u"))
            await stream(KEY).append(batch(b"a", fencing_token="t"))
