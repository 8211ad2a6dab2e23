// Access tokens: issued, listed, revoked; and used, where the server asks who its clients are.

import assert from "node:assert/strict";

import { AppendInput, AppendRecord, S2Error } from "@s2-dev/streamstore";

import {
  all,
  basinName,
  batch,
  bodies,
  client,
  count,
  failure,
  fromSeqNum,
  isEnforced,
  isReference,
  newBasin,
  refused,
  rule,
  s2,
} from "./common.mjs";

const both = { read: true, write: true };
const everything = {
  basins: { prefix: "" },
  streams: { prefix: "" },
  accessTokens: { prefix: "" },
  opGroups: { account: both, basin: both, stream: both },
};

/** A client that presents this secret. */
const holder = (accessToken) => client({ accessToken });

if (!isReference) {
  rule("a token is issued, listed and revoked", async () => {
    const id = `${basinName()}/é b`;
    const scope = {
      basins: { exact: "some-basin" },
      streams: { prefix: "p/" },
      opGroups: { stream: { read: true } },
      ops: ["trim", "append"],
    };
    const expiresAt = new Date(Date.now() + 3_600_000);
    const issued = await s2.accessTokens.issue({ id, scope, expiresAt, autoPrefixStreams: true });
    assert.ok(issued.accessToken.length > 40);
    const { accessTokens, hasMore } = await s2.accessTokens.list({ prefix: id });
    assert.equal(hasMore, false);
    assert.equal(accessTokens.length, 1);
    const [info] = accessTokens;
    assert.deepEqual([info.id, info.expiresAt.getTime()], [id, expiresAt.getTime()]);
    assert.equal(info.autoPrefixStreams, true);
    assert.deepEqual(info.scope.basins, scope.basins);
    assert.deepEqual(info.scope.streams, scope.streams);
    assert.equal(info.scope.accessTokens ?? null, null);
    assert.deepEqual(info.scope.opGroups.stream, { read: true, write: false });
    assert.deepEqual(info.scope.ops.toSorted(), ["append", "trim"]);
    await refused(s2.accessTokens.issue({ id, scope }), "resource_already_exists");
    await s2.accessTokens.revoke({ id });
    await refused(s2.accessTokens.revoke({ id }), "access_token_not_found");
    assert.deepEqual((await s2.accessTokens.list({ prefix: id })).accessTokens, []);
  });

  rule("all tokens are listed in order", async () => {
    const base = basinName();
    const ids = [0, 1, 2, 3, 4].map((number) => `${base}-${number}`);
    for (const id of ids.toReversed()) await s2.accessTokens.issue({ id, scope: everything });
    const prefix = `${base}-`;
    const page = await s2.accessTokens.list({ prefix, startAfter: ids[0], limit: 2 });
    const pageIds = page.accessTokens.map((info) => info.id);
    assert.deepEqual([pageIds, page.hasMore], [ids.slice(1, 3), true]);
    const listed = [];
    for await (const info of s2.accessTokens.listAll({ prefix, limit: 2 })) listed.push(info.id);
    assert.deepEqual(listed, ids);
  });

  rule("senseless tokens are refused in these words", async () => {
    const id = basinName();
    const issue = (scope, options) => s2.accessTokens.issue({ id, scope, ...options });
    const empty = await failure(issue({ basins: { prefix: "" } }), S2Error);
    assert.equal(empty.code, "invalid");
    assert.match(empty.message, /Access token permissions cannot be empty/);
    const exact = { streams: { exact: "s" }, ops: ["read"] };
    const prefixing = await failure(issue(exact, { autoPrefixStreams: true }), S2Error);
    const words = /Auto prefixing is only allowed for streams with prefix matching/;
    assert.match(prefixing.message, words);
    await refused(issue(everything, { expiresAt: new Date(0) }), "invalid");
  });
}

if (isEnforced) {
  rule("who is unknown is refused", async () => {
    await refused(holder("somebody-unknown").basins.list({}), "authn");
  });

  rule("a token permits what it says until it is revoked", async () => {
    const basin = await newBasin();
    await basin.streams.create({ stream: "s" });
    const id = basinName();
    const scope = {
      basins: { exact: basin.name },
      streams: { exact: "s" },
      ops: ["append", "read"],
    };
    const { accessToken } = await s2.accessTokens.issue({ id, scope });
    const other = holder(accessToken);
    const theirs = other.basin(basin.name).stream("s");
    await theirs.append(batch(["a"]));
    assert.deepEqual(bodies(await all(theirs, fromSeqNum(0, count(1)), "string")), ["a"]);
    await refused(theirs.checkTail(), "permission_denied");
    await refused(theirs.append(AppendInput.create([AppendRecord.fence("f")])), "permission_denied");
    await refused(other.basins.list({}), "permission_denied");
    await s2.accessTokens.revoke({ id });
    await refused(theirs.append(batch(["b"])), "authn");
    assert.equal((await basin.stream("s").checkTail()).tail.seqNum, 1);
  });

  rule("a token that prefixes sees its streams alone", async () => {
    const basin = await newBasin();
    await basin.streams.create({ stream: "other" });
    const scope = {
      basins: { exact: basin.name },
      streams: { prefix: "tenant/" },
      opGroups: { basin: both, stream: both },
    };
    const id = basinName();
    const issued = await s2.accessTokens.issue({ id, scope, autoPrefixStreams: true });
    const theirs = holder(issued.accessToken).basin(basin.name);
    assert.equal((await theirs.streams.create({ stream: "s" })).name, "s");
    await theirs.stream("s").append(batch(["a"]));
    const names = async (of) => (await of.streams.list({})).streams.map((info) => info.name);
    assert.deepEqual(await names(theirs), ["s"]);
    assert.deepEqual(await names(basin), ["other", "tenant/s"]);
  });
}
