"""AMQP 0-9-1 as far as a crowd and an attacker need it, put together by hand.

What it is not: a client. Arguments of what the broker says are skipped, and nothing that it says is optional.
"""

import asyncio
import socket
import ssl
import struct

FRAME_END = b"\xce"


def short(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + FRAME_END


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    return frame(1, channel, struct.pack(">HH", class_id, method_id) + arguments)


PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
START_OK = method(0, 10, 11, long(b"") + short("PLAIN") + long(b"\0guest\0guest") + short("en_US"))
OPEN = method(0, 10, 40, short("/") + short("") + b"\0")
CLOSE = method(0, 10, 50, struct.pack(">H", 200) + short("bye") + struct.pack(">HH", 0, 0))
HEARTBEAT = frame(8, 0, b"")


def tune_ok(heartbeat_s: int) -> bytes:
    return method(0, 10, 31, struct.pack(">HIH", 2047, 131072, heartbeat_s))


def channel_open(channel: int) -> bytes:
    return method(channel, 20, 10, short(""))


def channel_close(channel: int) -> bytes:
    return method(channel, 20, 40, struct.pack(">H", 200) + short("bye") + struct.pack(">HH", 0, 0))


def queue_declare(channel: int, name: str) -> bytes:
    return method(channel, 50, 10, struct.pack(">H", 0) + short(name) + b"\x00" + long(b""))


def short_queue_declare(channel: int, name: str) -> bytes:
    """An auto-delete queue of a thousand messages, so that what fills is not the memory."""
    arguments = short("x-max-length") + b"I" + struct.pack(">i", 1_000)
    return method(channel, 50, 10, struct.pack(">H", 0) + short(name) + b"\x08" + long(arguments))


def queue_delete(channel: int, name: str) -> bytes:
    return method(channel, 50, 40, struct.pack(">H", 0) + short(name) + b"\x00")


def consume(channel: int, queue: str) -> bytes:
    return method(channel, 60, 20, struct.pack(">H", 0) + short(queue) + short("deaf") + b"\x02" + long(b""))


def publish(channel: int, routing_key: str, body: bytes, mandatory: bool) -> bytes:
    head = method(channel, 60, 40, struct.pack(">H", 0) + short("") + short(routing_key) + bytes([mandatory]))
    properties = frame(2, channel, struct.pack(">HHQH", 60, 0, len(body), 0))
    return head + properties + frame(3, channel, body)


async def read_method(reader: asyncio.StreamReader) -> tuple[int, int]:
    """The next method's class and number; its arguments are skipped."""
    while True:
        kind, _, size = struct.unpack(">BHI", await reader.readexactly(7))
        payload = await reader.readexactly(size + 1)
        if kind == 1:
            return struct.unpack(">HH", payload[:4])


async def expect(reader: asyncio.StreamReader, class_id: int, method_id: int) -> None:
    check(await read_method(reader), (class_id, method_id))


def check(got: tuple[int, int], expected: tuple[int, int]) -> None:
    if got != expected:
        raise ConnectionError(f"expected method {expected}, got {got}")


async def connect(
    port: int, heartbeat_s: int = 0, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096, ssl=tls)
    writer.write(PROTOCOL_HEADER)
    await expect(reader, 10, 10)
    writer.write(START_OK)
    await expect(reader, 10, 30)
    writer.write(tune_ok(heartbeat_s) + OPEN)
    await expect(reader, 10, 41)
    return reader, writer


def come_and_go(port: int, patience_s: float) -> None:
    """A connection that opens a channel and is closed in order, each question once the last is answered."""
    talk = [(PROTOCOL_HEADER, (10, 10)), (START_OK, (10, 30)), (tune_ok(0) + OPEN, (10, 41)),
            (channel_open(1), (20, 11)), (CLOSE, (10, 51))]
    with socket.create_connection(("127.0.0.1", port), patience_s) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for question, answer in talk:
            peer.sendall(question)
            check(receive_method(peer), answer)


def receive_method(peer: socket.socket) -> tuple[int, int]:
    """The method that is the only thing to come."""
    received = b""
    while len(received) < 8 or len(received) < struct.unpack(">I", received[3:7])[0] + 8:
        more = peer.recv(4096)
        if not more:
            raise ConnectionError("closed")
        received += more
    return struct.unpack(">HH", received[7:11])
