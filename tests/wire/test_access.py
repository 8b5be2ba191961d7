"""Tokens and rules on a real server: who is accepted, what they may do, and what is recorded."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from duebus import Delivery, Nack, NewEvent
from duebus.errors import DueBusError, InvalidArgument, PermissionDenied, Unauthenticated
from duebus.v1 import admin_pb2, event_bus_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from jwt.algorithms import ECAlgorithm
from support.secured import SIGNAL_TIMEOUT_S, Secured, client, make_secured, rule
from support.wire import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duebus.aio import Client
    from support.server_process import ServerProcess

RULES = (
    rule("shop", "dispatch", topics="order.*")
    + rule("billing", "subscribe", topics="order.*")
    + rule("audit", "subscribe", "dispatch", topics="audit.*")
    + rule("ops", "admin", "stop", "dispatch", "subscribe")
    + rule("helper", "admin", topics="order.*")
    + rule("viewer", "view")
    + rule("viewer", "payload", topics="audit.*")
)


@pytest.fixture
def secured(tmp_path: Path) -> Secured:
    return make_secured(tmp_path, "shop", "billing", "audit", "ops", "helper", "viewer")


@pytest.fixture
def with_rules(start_server: Callable[..., ServerProcess], secured: Secured) -> ServerProcess:
    audit = ("--audit-log", str(secured.folder / "audit.jsonl"))
    return start_server(*secured.token_flags(), *secured.acl_flags(RULES), *audit)


async def denied(call: Any) -> dict[str, str]:
    """The metadata of a call that is denied."""
    with pytest.raises(PermissionDenied) as caught:
        await call
    assert caught.value.code is grpc.StatusCode.PERMISSION_DENIED
    assert caught.value.reason == "PERMISSION_DENIED"
    return dict(caught.value.metadata)


async def first_of(bus: Client, topic: str) -> Delivery:
    """The first delivery of a topic; the stream ends after it, with the leases in force for a long time."""
    async with bus.subscribe(topic, disconnect_grace=60) as subscription:
        return await anext(aiter(subscription))


# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "duebus_unknown", ""])
async def test_a_call_without_a_known_token_is_unauthenticated(
    start_server: Callable[..., ServerProcess], secured: Secured, token: str | None
) -> None:
    server = start_server(*secured.token_flags())
    async with client(server.address, token) as bus:
        for call in (bus.dispatch("order.created", 1), bus.admin.get_topic("order.created"), bus.stop(), bus.ack("x")):
            with pytest.raises(Unauthenticated) as caught:
                await call
            assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        with pytest.raises(Unauthenticated):
            await first_of(bus, "order.created")
    assert server.process.poll() is None


async def test_without_rules_every_known_identity_may_do_everything(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.token_flags())
    async with client(server.address, secured.tokens["shop"]) as bus:
        await bus.dispatch("order.created", 1)
        assert await bus.ack(await first_of(bus, "order.created")) == []
        assert (await bus.admin.get_topic("order.created")).queued == 0


async def test_health_is_open_and_reflection_is_not(with_rules: ServerProcess, secured: Secured) -> None:
    async with connect(with_rules.address) as wire:
        health: Any = health_pb2_grpc.HealthStub(wire.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(wire.channel)
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        refused = (
            reflection.ServerReflectionInfo()
        )  # sends no request, because one in flight could fail before the answer
        assert await refused.code() is grpc.StatusCode.UNAUTHENTICATED
        header = (("authorization", f"Bearer {secured.tokens['shop']}"),)
        answer = await reflection.ServerReflectionInfo(iter(asked), metadata=header).read()
        assert "duebus.v1.EventBus" in [service.name for service in answer.list_services_response.service]


# --- what -------------------------------------------------------------------------------------------------------------


async def test_dispatch_and_subscribe_need_a_rule(with_rules: ServerProcess, secured: Secured) -> None:
    async with (
        client(with_rules.address, secured.tokens["shop"]) as shop,
        client(with_rules.address, secured.tokens["billing"]) as billing,
    ):
        await shop.dispatch("order.created", 1)
        expected = {"identity": "shop", "verb": "dispatch", "topic": "pay"}
        assert await denied(shop.dispatch("pay", 1)) == expected
        assert (await denied(first_of(shop, "order.created")))["verb"] == "subscribe"
        assert (await denied(billing.dispatch("order.created", 1)))["verb"] == "dispatch"
        assert (await first_of(billing, "order.created")).json() == 1
        assert await denied(shop.stop()) == {"identity": "shop", "verb": "stop"}


async def test_settles_need_the_right_to_subscribe_to_the_topic_of_every_token(
    with_rules: ServerProcess, secured: Secured
) -> None:
    async with (
        client(with_rules.address, secured.tokens["audit"]) as audit,
        client(with_rules.address, secured.tokens["ops"]) as ops,
    ):
        await ops.dispatch("order.created", 1)
        await audit.dispatch("audit.log", 2)
        order, entry = await first_of(ops, "order.created"), await first_of(audit, "audit.log")
        for call in (
            audit.ack(order),
            audit.ack(entry, order),
            audit.nack(order),
            audit.nack_many([Nack(delivery=entry), Nack(delivery=order)]),
            audit.extend([entry, order], 60),
        ):
            assert await denied(call) == {"identity": "audit", "verb": "subscribe", "topic": "order.created"}
        assert await audit.ack(entry) == [], "no part of the denied call was carried out"
        assert await ops.ack(order) == []


async def test_a_forged_lease_token_is_malformed_even_for_callers_without_rights(
    with_rules: ServerProcess, secured: Secured
) -> None:
    async with client(with_rules.address, secured.tokens["helper"]) as helper:
        (failure,) = await helper.ack("bm90IGEgdG9rZW4=")
        assert failure.reason == "malformed"


async def test_every_admin_call_needs_the_right_admin(with_rules: ServerProcess, secured: Secured) -> None:
    async with client(with_rules.address, secured.tokens["shop"]) as shop, connect(with_rules.address) as wire:
        await shop.dispatch("order.created", 1)
        service = admin_pb2.DESCRIPTOR.services_by_name["EventBusAdmin"]
        for method in service.methods:
            raw = wire.raw(f"EventBusAdmin/{method.name}")
            for identity, code in (("shop", "PERMISSION_DENIED"), ("unknown", "UNAUTHENTICATED")):
                header = (("authorization", f"Bearer {secured.tokens.get(identity, identity)}"),)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await raw(b"", metadata=header)
                assert caught.value.code().name == code, method.name


async def test_admins_of_some_topics_see_only_those(with_rules: ServerProcess, secured: Secured) -> None:
    async with (
        client(with_rules.address, secured.tokens["helper"]) as helper,
        client(with_rules.address, secured.tokens["ops"]) as ops,
    ):
        await ops.dispatch("order.created", 1)
        assert (await helper.admin.get_topic("order.created")).queued == 1
        assert await denied(helper.admin.get_topic("pay")) == {"identity": "helper", "verb": "view", "topic": "pay"}
        assert await denied(anext(aiter(helper.admin.list_topics()))) == {"identity": "helper", "verb": "view"}
        assert [topic.topic async for topic in ops.admin.list_topics()] == ["order.created"]


async def test_an_overlong_topic_is_refused_before_rules_errors_and_logs_see_it(
    with_rules: ServerProcess, secured: Secured
) -> None:
    long = "x" * 100_000
    async with client(with_rules.address, secured.tokens["shop"]) as shop:
        for call in (shop.admin.get_topic(long), shop.dispatch(long, 1)):
            with pytest.raises(InvalidArgument) as caught:
                await call
            assert caught.value.reason == "INVALID_ARGUMENT"
    assert "x" * 1_000 not in (secured.folder / "audit.jsonl").read_text()


async def test_a_viewer_sees_everything_but_data_and_changes_nothing(
    with_rules: ServerProcess, secured: Secured
) -> None:
    async with (
        client(with_rules.address, secured.tokens["ops"]) as ops,
        client(with_rules.address, secured.tokens["viewer"]) as viewer,
    ):
        for topic in ("order.created", "audit.log"):
            await ops.dispatch_many(topic, [NewEvent(data="secret", id="e")])
        assert [topic.topic async for topic in viewer.admin.list_topics()] == ["audit.log", "order.created"]
        assert (await viewer.admin.get_topic("order.created")).queued == 1
        [listed] = [event async for event in viewer.admin.list_events("order.created", "ready", group="")]
        shown = await viewer.admin.get_event("order.created", "e")
        for event in (listed, shown):
            assert (event.event_id, event.data, event.data_withheld) == ("e", b"", True)
        assert [key async for key in viewer.admin.list_keys("order.created", group="")] == []
        for event in (await viewer.admin.get_event("audit.log", "e"), await ops.admin.get_event("order.created", "e")):
            assert (event.text(), event.data_withheld) == ("secret", False)
        expected = {"identity": "viewer", "verb": "admin", "topic": "order.created"}
        assert await denied(viewer.admin.delete_topic("order.created")) == expected
        assert await denied(viewer.admin.cancel("order.created", ["e"])) == expected
        assert await denied(viewer.admin.purge("order.created")) == expected


async def test_two_authorization_headers_are_refused(with_rules: ServerProcess, secured: Secured) -> None:
    async with connect(with_rules.address) as wire:
        headers = tuple(("authorization", f"Bearer {secured.tokens[name]}") for name in ("ops", "shop"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wire.raw("EventBusAdmin/ListTopics")(b"", metadata=headers)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_misspelled_method_is_unimplemented(with_rules: ServerProcess, secured: Secured) -> None:
    paths = (
        "/duebus.v1.EventBus//Dispatch",
        "/duebus.v1.EventBus/Dispatch/",
        "/duebus.v1.EventBus/../EventBus/Stop",
        "/duebus.v1.eventbus/Stop",
        "/grpc.health.v1.Health/../../duebus.v1.EventBus/Stop",
        "/grpc.health.v1.Health/Stop",
        "/DUEBUS.v1.EventBus/Stop",
        "duebus.v1.EventBus/Stop",
    )
    async with connect(with_rules.address) as wire:
        for path in paths:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await wire.channel.unary_unary(path, None, None)(b"")
            assert caught.value.code().name in ("UNIMPLEMENTED", "UNAUTHENTICATED", "INTERNAL"), path
    assert with_rules.process.poll() is None


def part(**fields: str) -> str:
    """A part of a JSON Web Token."""
    return urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


async def test_json_web_tokens_identify_callers_and_forged_ones_do_not(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    keys = secured.folder / "keys.json"
    keys.write_text(json.dumps({"keys": [{**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "k"}]}))
    server = start_server("--jwks", str(keys), "--jwt-audience", "duebus", *secured.acl_flags(RULES))

    def made(signed_by: Any = key, algorithm: str = "ES256", **claims: Any) -> str:
        good = {"sub": "shop", "aud": "duebus", "exp": int(time.time()) + 600, **claims}
        return jwt.encode(good, signed_by, algorithm, headers={"kid": "k"})

    header, payload, _ = made().split(".")
    confused = f"{part(alg='HS256', kid='k')}.{payload}"
    signature = urlsafe_b64encode(hmac.digest(public, confused.encode(), "sha256")).rstrip(b"=").decode()
    forged = {
        "none": made("", "none"),
        "none, by hand": f"{part(alg='none', kid='k')}.{payload}.",
        "the public key as a secret": f"{confused}.{signature}",
        "no signature": f"{header}.{payload}.",
        "another's": made(ec.generate_private_key(ec.SECP256R1())),
        "expired": made(exp=int(time.time()) - 60),
        "not yet": made(nbf=int(time.time()) + 60),
        "for another service": made(aud="other"),
        "without an end": jwt.encode({"sub": "shop", "aud": "duebus"}, key, "ES256", headers={"kid": "k"}),
        "deep": urlsafe_b64encode(b"[" * 6_000).decode() + ".e30.x",
    }
    async with client(server.address, made()) as shop:
        await shop.dispatch("order.created", 1)
        assert await denied(shop.dispatch("pay", 1)) == {"identity": "shop", "verb": "dispatch", "topic": "pay"}
    for name, token in forged.items():
        async with client(server.address, token) as bus:
            with pytest.raises(Unauthenticated):
                await bus.dispatch("order.created", name)
    log = server.log.read_text()
    assert "unexpected error" not in log
    assert not [name for name, token in forged.items() if token in log]


# --- changes ----------------------------------------------------------------------------------------------------------


async def test_a_removed_token_ends_its_streams_and_calls(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.token_flags())
    async with client(server.address, secured.tokens["shop"]) as shop:
        async with shop.subscribe("order.created") as subscription:
            secured.write_tokens("billing")
            with pytest.raises(Unauthenticated):
                await asyncio.wait_for(anext(aiter(subscription)), SIGNAL_TIMEOUT_S)
        with pytest.raises(Unauthenticated):
            await shop.dispatch("order.created", 1)
    async with client(server.address, secured.tokens["billing"]) as billing:
        await billing.dispatch("order.created", 1)


async def test_a_removed_rule_ends_its_streams(with_rules: ServerProcess, secured: Secured) -> None:
    async with (
        client(with_rules.address, secured.tokens["billing"]) as billing,
        billing.subscribe("order.created") as subscription,
    ):
        secured.acl_flags(RULES.replace('identity = "billing"', 'identity = "nobody"'))
        with pytest.raises(PermissionDenied):
            await asyncio.wait_for(anext(aiter(subscription)), SIGNAL_TIMEOUT_S)


async def test_a_broken_change_leaves_everything_as_it_was(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.token_flags())
    secured.tokens_file.write_text("oops\n")
    async with client(server.address, secured.tokens["shop"]) as shop:
        await until_logged(server, "changed file not used", shop)
        await shop.dispatch("order.created", 1)
    assert f"{secured.tokens_file}:1: is not of the form IDENTITY sha256:HEX" in server.log.read_text()


async def until_logged(server: ServerProcess, words: str, bus: Client) -> None:
    """Call until the server has checked its files and logged the result."""
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while words not in server.log.read_text():
            await bus.dispatch("order.created", 1)


# --- what is recorded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["shop", "ops"])
async def test_an_invalid_topic_is_not_recorded(with_rules: ServerProcess, secured: Secured, identity: str) -> None:
    async with client(with_rules.address, secured.tokens[identity]) as caller:
        with pytest.raises(InvalidArgument):
            await caller.admin.get_topic("\x1b]0;owned\x07")
    (line,) = [json.loads(line) for line in (secured.folder / "audit.jsonl").read_text().splitlines()]
    assert (line["verb"], line["topic"], line["outcome"]) == ("GetTopic", "", "INVALID_ARGUMENT")
    assert "\x1b]" not in with_rules.log.read_text()


async def test_request_ids_are_separate_for_each_identity(
    start_server: Callable[..., ServerProcess], secured: Secured
) -> None:
    server = start_server(*secured.token_flags())
    async with connect(server.address) as wire:

        async def ids(identity: str) -> list[str]:
            request = event_bus_pb2.DispatchRequest(topic="pay", request_id="guess", events=[event_bus_pb2.Event()])
            metadata = [("authorization", f"Bearer {secured.tokens[identity]}")]
            return list((await wire.bus.Dispatch(request, metadata=metadata)).event_ids)

        assert await ids("shop") == await ids("shop")
        assert await ids("billing") != await ids("shop")


async def test_each_admin_action_is_recorded_with_its_caller_and_outcome(
    with_rules: ServerProcess, secured: Secured
) -> None:
    async with client(with_rules.address, secured.tokens["ops"]) as ops:
        await ops.dispatch("order.created", 1)
        await ops.admin.get_topic("order.created")
        with pytest.raises(DueBusError):
            await ops.admin.get_topic("nothing")
        async with client(with_rules.address, secured.tokens["shop"]) as shop:
            await denied(shop.admin.get_topic("order.created"))
        async with client(with_rules.address, "wrong") as nobody:
            with pytest.raises(Unauthenticated):
                await nobody.admin.get_topic("order.created")
        await ops.stop()
    assert with_rules.wait() == 0
    lines = [json.loads(line) for line in (secured.folder / "audit.jsonl").read_text().splitlines()]
    assert [(line["identity"], line["verb"], line["topic"], line["outcome"]) for line in lines] == [
        ("ops", "GetTopic", "order.created", "OK"),
        ("ops", "GetTopic", "nothing", "NOT_FOUND"),
        ("shop", "GetTopic", "order.created", "PERMISSION_DENIED"),
        ("", "GetTopic", "", "UNAUTHENTICATED"),
        ("ops", "Stop", "", "OK"),
    ]
    assert all(line["peer"].startswith("ipv4:127.0.0.1:") for line in lines)


async def test_without_a_file_actions_are_logged(start_server: Callable[..., ServerProcess], secured: Secured) -> None:
    server = start_server(*secured.token_flags(), "--log-format", "json")
    async with client(server.address, secured.tokens["ops"]) as ops:
        await ops.stop()
    assert server.wait() == 0
    (line,) = [entry for line in server.log.read_text().splitlines() if (entry := json.loads(line)).get("logger")]
    assert (line["logger"], line["identity"], line["verb"], line["outcome"]) == ("audit", "ops", "Stop", "OK")


async def words_of(call: Any) -> str:
    """The text of a call's error; empty if it succeeds."""
    try:
        await call
    except DueBusError as error:
        return f"{error} {error.metadata}"
    return ""


async def test_no_token_is_in_any_log(with_rules: ServerProcess, secured: Secured) -> None:
    wrong = "duebus_wrong-but-still-nobody-elses-business"
    for token in (*secured.tokens.values(), wrong):
        async with client(with_rules.address, token) as bus:
            for call in (bus.dispatch("order.created", 1), bus.admin.get_topic("order.created"), bus.ack("x")):
                message = await words_of(call)
                assert token not in message
    secured.tokens_file.write_text(f"shop {wrong}\n")
    async with client(with_rules.address, secured.tokens["ops"]) as ops:
        await until_logged(with_rules, "changed file not used", ops)
        await ops.stop()
    assert with_rules.wait() == 0
    logs = with_rules.log.read_text() + (secured.folder / "audit.jsonl").read_text()
    assert not [token for token in (*secured.tokens.values(), wrong) if token in logs]
