"""What comes is what was published: every message, whole, in its key's order; and junk comes as junk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from eventseam.contracts.codec import DEFAULT_CAPS
from eventseam.errors import ContractError
from eventseam.ports.transport import Feature, Received
from eventseam.testing.conformance.scenario import scenario
from eventseam.testing.conformance.scene import in_first_order
from eventseam.testing.conformance.stage import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventseam.ports.transport import Sink
    from eventseam.testing.conformance.scene import Got, Scene

_ATTRIBUTES = (
    "id", "type", "source", "channel", "key", "time", "correlation_id", "causation_id", "trace", "content_type",
    "schema_id", "details",
)  # fmt: skip
_STRUCTURED = b"application/cloudevents+json"
_HEADERS_TOO_MANY = DEFAULT_CAPS.headers_max + 1


@scenario()
async def every_message_that_was_published_comes(scene: Scene) -> None:
    """Several batches of many keys; nothing is lost, and nothing comes that nobody has published."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent = scene.messages(channel, 200, 20)
    sink = broker.sink()
    for begin in range(0, 200, 50):
        await scene.publish(sink, sent[begin : begin + 50])
    await reader.until_came(sent)
    invented = set(reader.ids) - {message.envelope.id for message in sent}
    assert not invented, f"{len(invented)} messages came that nobody has published"


@scenario()
async def a_message_comes_whole(scene: Scene) -> None:
    """Every attribute of its envelope, and its body; keys and texts of any language."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    plain = scene.message(channel, "key-1")
    sent = [plain, *(_changed(plain, scene.message(channel, key).envelope.id, key) for key in _KEYS)]
    await scene.publish(broker.sink(), sent)
    await reader.until_came(sent)
    for message in sent:
        _compare(message, _one(reader.got, message.envelope.id))


_KEYS = ("a b", "zoë-☃", "日本/ß", "'; DROP TABLE orders; --", 'quote"back\\slash', "x" * 500)


def _changed(message: Received, message_id: str, key: str) -> Received:
    """A message in which every attribute says something."""
    envelope = msgspec.structs.replace(
        message.envelope,
        id=message_id,
        key=key,
        correlation_id="flow-ü",
        causation_id="cause-1",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        schema_id="https://schemas.example/told/1",
        details="https://details.example/told?id=ü",
    )
    return Received(0, envelope, '{"text":"☃ \\u0001 \\"quoted\\"","list":[1,2.5,null,true]}'.encode())


@scenario()
async def bodies_come_whole_from_empty_to_the_largest(scene: Scene) -> None:
    """Nothing, bytes that are no text, JSON, and JSON of as many bytes as the capabilities say."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    most = min(broker.capabilities.body_bytes_max, DEFAULT_CAPS.body_bytes_max)
    bodies = [
        ("application/octet-stream", b""),
        ("application/octet-stream", b"\x00\xff\xfe\x80 no text \r\n"),
        ("text/plain", "ünï\ncode".encode()),
        ("application/json", b'{"a":[1,{"b":"\\u2603"}]}'),
        ("application/json", b'"' + b"x" * (most - 2) + b'"'),
    ]
    sent = [_with_body(scene.message(channel, f"key-{number}"), *each) for number, each in enumerate(bodies)]
    await scene.publish(broker.sink(), sent)
    await reader.until_came(sent)
    for message in sent:
        _compare(message, _one(reader.got, message.envelope.id))


@scenario()
async def a_message_that_is_too_large_costs_no_other(scene: Scene) -> None:
    """It is refused with ContractError, or it comes as well: never lost in silence, never in the way of others."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    size = 2 * broker.capabilities.body_bytes_max + 65_536
    huge = _with_body(scene.message(channel, "key-2"), "application/json", b'"' + b"x" * size + b'"')
    small = [scene.message(channel, f"key-{number}", number) for number in (1, 2, 3)]
    accepted = await _publish_each(scene, broker.sink(), [small[0], huge, *small[1:]])
    assert set(_ids(small)) <= set(_ids(accepted)), "a message of a few bytes was refused beside one that is too large"
    await reader.until_came(accepted)


@scenario(Fault.INJECT)
async def what_is_no_message_comes_with_its_problem(scene: Scene) -> None:
    """Junk of foreign programs never raises, never disappears, and never costs a neighbour."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sink, sent = broker.sink(), scene.messages(channel, 20, 10)
    await scene.publish(sink, sent[:10])
    for headers, body in _junk():
        await scene.stage.inject(channel, b"key-1", headers, body)
    await scene.publish(sink, sent[10:])
    await reader.until_came(sent)
    ours = set(_ids(sent))

    def problems() -> list[str]:
        return [each.message.problem or "" for each in reader.got if each.message.envelope.id not in ours]

    await reader.until(lambda: len(problems()) >= len(_junk()), lambda: f"of {len(_junk())} only came: {problems()}")
    plain = sum(not headers for headers, _ in _junk())  # which its channel may take for a message of one type
    assert sum(map(bool, problems())) >= len(_junk()) - plain, f"junk came without a problem: {problems()}"
    honest = [each for each in reader.got if each.message.envelope.id in ours]
    assert not any(each.message.problem for each in honest), "an honest message came with a problem"


def _junk() -> list[tuple[list[tuple[str, bytes]], bytes]]:
    """Headers and bodies of which no envelope can be made."""
    kind = ("content-type", _STRUCTURED)
    forged = b'{"specversion":"1.0","id":"line\\u000abreak","source":"s","type":"t","data":1}'
    return [
        ([], b"no headers at all"),
        ([], b"\x00\xff\xfe"),
        ([kind], b"{"),
        ([kind], b""),
        ([kind], forged),
        ([kind, ("event-id", b"\xff\xfe\x80")], b'{"specversion":"1.0","id":"1","source":"s","type":"t"}'),
        ([kind, ("note", b"a\x01b")], b'{"specversion":"1.0","id":"1","source":"s","type":"t"}'),
        ([kind, *((f"header-{number}", b"x") for number in range(_HEADERS_TOO_MANY))], b"{}"),
    ]


@scenario(Fault.INJECT)
async def a_foreign_message_without_a_key_is_alone(scene: Scene) -> None:
    """A CloudEvent that has no key of any kind comes, and its own id is its key."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    body = msgspec.json.encode({"specversion": "1.0", "id": "lonely", "source": "far", "type": "t", "data": {"n": 1}})
    await scene.stage.inject(channel, None, [("content-type", _STRUCTURED)], body)
    await reader.until(lambda: len(reader.got) > 0, lambda: "it never came")
    message = reader.got[0].message
    assert message.problem is None, f"it came with a problem: {message.problem}"
    assert (message.envelope.id, message.envelope.key) == ("lonely", "lonely"), f"it came as {message.envelope}"


@scenario(Feature.ORDER)
async def messages_of_a_key_come_in_the_order_of_their_publishing(scene: Scene) -> None:
    """Forty keys in flight, over eight batches."""
    broker = await scene.broker()
    channel = await scene.channel(broker)
    reader = await scene.reader(broker, channel)
    sent = scene.messages(channel, 400, 40)
    sink = broker.sink()
    for begin in range(0, 400, 50):
        await scene.publish(sink, sent[begin : begin + 50])
    await reader.until_came(sent)
    wrong = in_first_order(reader, sent)
    assert not wrong, wrong


@scenario(Feature.ORDER)
async def a_key_has_one_slot_in_all_channels(scene: Scene) -> None:
    """So that its messages have one owner, one lane and one order."""
    broker = await scene.broker()
    channels = [await scene.channel(broker) for _ in range(2)]
    reader = await scene.reader(broker, *channels)
    sent = [message for channel in channels for message in scene.messages(channel, 60, 20)]
    await scene.publish(broker.sink(), sent)
    await reader.until_came(sent)
    slots: dict[str, set[int]] = {}
    for each in reader.got:
        slots.setdefault(each.message.envelope.key, set()).add(each.slot)
    torn = {key: sorted(found) for key, found in slots.items() if len(found) > 1}
    assert not torn, f"keys came in several slots: {torn}"


@scenario()
async def two_clients_publish_at_once(scene: Scene) -> None:
    """Each of them loses nothing by the other."""
    brokers = [await scene.broker(), await scene.broker()]
    channel = await scene.channel(brokers[0])
    reader = await scene.reader(brokers[0], channel)
    batches = [[scene.message(channel, f"{who}-{n % 5}", n) for n in range(50)] for who in range(len(brokers))]
    async with asyncio.TaskGroup() as group:
        for broker, batch in zip(brokers, batches, strict=True):
            group.create_task(scene.publish(broker.sink(), batch))
    await reader.until_came([message for batch in batches for message in batch])


def _with_body(message: Received, content_type: str, body: bytes) -> Received:
    envelope = msgspec.structs.replace(message.envelope, content_type=content_type)
    return Received(0, envelope, body)


async def _publish_each(scene: Scene, sink: Sink, batch: list[Received]) -> list[Received]:
    """Publish as the relay does: where a batch is refused, one by one. Those that were accepted."""
    try:
        await scene.publish(sink, batch)
    except ContractError:
        if len(batch) == 1:
            return []
        return [message for each in batch for message in await _publish_each(scene, sink, [each])]
    return batch


def _ids(messages: list[Received]) -> list[str]:
    return [message.envelope.id for message in messages]


def _one(got: Sequence[Got], message_id: str) -> Received:
    return next(each.message for each in got if each.message.envelope.id == message_id)


def _compare(sent: Received, came: Received) -> None:
    """Raise AssertionError where a message is not what was published. JSON may be written in another way."""
    assert came.problem is None, f"a message came with a problem: {came.problem}"
    for name in _ATTRIBUTES:
        was, now = getattr(sent.envelope, name), getattr(came.envelope, name)
        assert was == now, f"{name} was {was!r} and came as {now!r}"
    was_body, body = _bytes(sent.body), _bytes(came.body)
    if sent.envelope.content_type == "application/json":
        was_body, body = msgspec.json.decode(was_body), msgspec.json.decode(body)
    assert was_body == body, f"a body of {len(_bytes(sent.body)):,} bytes came otherwise, as {len(_bytes(came.body)):,}"


def _bytes(body: bytes | str) -> bytes:
    return body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
