"""What the crowd or the hostile client does, case by case, until it is told to end.

Each counts what it did under names of its own in `told`.
"""

import asyncio
import multiprocessing
import os
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from typing import Awaitable, Callable

from load_parts import wire
from load_parts.wire import connect, expect

CROWD = 10_000  # idle connections
CROWD_HEARTBEAT_S = 10
OPENING_AT_ONCE = 200
CHURN_PER_SECOND = 1_000
CHURN_OPENERS = 16  # processes, each with one connection at a time
CHURN_PATIENCE_SECONDS = 30
DEAF_PER_SECOND = 500  # messages for the one who does not read
DEAF_BYTES = 16_384
SLOW_SOCKETS = 500  # on each port
SLOW_BYTE_SECONDS = 1.0


async def crowd(port: int, tls_port: int, told: Counter) -> None:
    """Idle connections that send their heartbeats and expect those of the broker."""
    opening = asyncio.Semaphore(OPENING_AT_ONCE)

    async def one() -> None:
        async with opening:
            reader, writer = await connect(port, CROWD_HEARTBEAT_S)
        told["open"] += 1
        last_read = time.monotonic()
        try:
            while True:
                try:
                    await asyncio.wait_for(reader.readexactly(len(wire.HEARTBEAT)), CROWD_HEARTBEAT_S / 2)
                    last_read = time.monotonic()
                except asyncio.TimeoutError:
                    writer.write(wire.HEARTBEAT)
                if time.monotonic() - last_read > 2 * CROWD_HEARTBEAT_S:
                    told["without heartbeats"] += 1
                    return
        finally:
            told["open"] -= 1
            told["lost"] += 1

    await asyncio.gather(*(one() for _ in range(CROWD)), return_exceptions=True)


async def churn(port: int, tls_port: int, told: Counter) -> None:
    """Connections that are opened, open a channel and are closed: from many processes, so that it is not their
    interpreter that is measured."""
    counts = multiprocessing.Array("q", 3 * CHURN_OPENERS, lock=False)
    for number in range(CHURN_OPENERS):
        multiprocessing.Process(target=open_and_close, args=(port, number, counts, os.getpid()), daemon=True).start()
    while True:
        await asyncio.sleep(0.1)
        told["connections"], told["failed"] = sum(counts[0::3]), sum(counts[1::3])
        told["longest ms"] = max(counts[2::3])


def open_and_close(port: int, number: int, counts, parent: int) -> None:
    """One of the openers; it ends with its parent. Who is late catches up."""
    began = time.monotonic()
    due = began + number / CHURN_PER_SECOND
    while os.getppid() == parent:
        time.sleep(max(0.0, due - time.monotonic()))
        due += CHURN_OPENERS / CHURN_PER_SECOND
        started = time.monotonic()
        try:
            wire.come_and_go(port, CHURN_PATIENCE_SECONDS)
            counts[3 * number] += 1
        except OSError:
            counts[3 * number + 1] += 1
        counts[3 * number + 2] = max(counts[3 * number + 2], int(1000 * (time.monotonic() - started)))


async def deaf(port: int, tls_port: int, told: Counter) -> None:
    """A consumer that never reads, of a queue that another connection fills."""
    _, writer = await consumer(port)
    writer.transport.pause_reading()
    await fill(port, told)


async def hearing(port: int, tls_port: int, told: Counter) -> None:
    """The same with a consumer that reads: what the messages cost, and not the silence."""
    reader, _ = await consumer(port)
    await asyncio.gather(fill(port, told), read_all(reader))


async def read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass
    raise ConnectionError("closed")


async def consumer(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await connect(port)
    writer.write(wire.channel_open(1) + wire.short_queue_declare(1, "deaf") + wire.consume(1, "deaf"))
    for expected in ((20, 11), (50, 11), (60, 21)):
        await expect(reader, *expected)
    return reader, writer


async def fill(port: int, told: Counter) -> None:
    filling_reader, filling = await connect(port)
    filling.write(wire.channel_open(1))
    await expect(filling_reader, 20, 11)
    message = wire.publish(1, "deaf", bytes(DEAF_BYTES), False)
    began = time.monotonic()
    while True:
        filling.write(message)
        told["messages"] += 1
        await filling.drain()
        await asyncio.sleep(max(0.0, began + told["messages"] / DEAF_PER_SECOND - time.monotonic()))


async def slow(port: int, tls_port: int, told: Counter) -> None:
    """Sockets that send one byte at a time and never come to the point; a closed one is opened again. They begin one
    after the other, so that they do not send all at once."""

    async def one(number: int, to: int, bytes_to_send: bytes) -> None:
        await asyncio.sleep(SLOW_BYTE_SECONDS * number / SLOW_SOCKETS)
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", to)
                began = time.monotonic()
                closed = asyncio.create_task(reader.read())
                for byte in bytes_to_send:
                    writer.write(bytes([byte]))
                    done, _ = await asyncio.wait([closed], timeout=SLOW_BYTE_SECONDS)
                    if done:
                        break
                told["closed"] += 1
                told["lived for ms"] += int((time.monotonic() - began) * 1000)
                closed.cancel()
                writer.close()
            except OSError as error:
                told[f"failed: {error}"] += 1
                await asyncio.sleep(SLOW_BYTE_SECONDS)

    sent = {port: wire.PROTOCOL_HEADER + wire.START_OK, tls_port: client_hello()}
    sockets = [one(number, to, sent[to]) for number in range(SLOW_SOCKETS) for to in sent]
    await asyncio.gather(*sockets)


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


async def channels(port: int, tls_port: int, told: Counter) -> None:
    """One connection that opens and closes channels without a pause."""
    reader, writer = await connect(port)
    numbers = range(1, 1001)
    cycle = b"".join(wire.channel_open(number) for number in numbers)
    cycle += b"".join(wire.channel_close(number) for number in numbers)

    async def count() -> None:
        while True:
            await wire.read_method(reader)
            told["answers"] += 1

    counting = asyncio.create_task(count())
    while not counting.done():
        writer.write(cycle)
        await writer.drain()
    counting.result()


async def unroutable(port: int, tls_port: int, told: Counter) -> None:
    """Mandatory messages without a queue, from a client that never reads what comes back."""
    reader, writer = await connect(port)
    writer.write(wire.channel_open(1))
    await expect(reader, 20, 11)
    writer.transport.pause_reading()
    messages = wire.publish(1, "nowhere", bytes(1_024), True) * 16
    while True:
        writer.write(messages)
        told["messages"] += 16
        await writer.drain()


@dataclass(frozen=True)
class Case:
    title: str
    run: Callable[[int, int, Counter], Awaitable[None]]
    seconds: float | None = None  # instead of what is asked for
    full: tuple[str, int] | None = None  # what is counted when it is in full swing


CASES: dict[str, Case] = {
    "crowd": Case(f"{CROWD:,} idle connections with heartbeats", crowd, full=("open", CROWD)),
    "churn": Case(f"{CHURN_PER_SECOND:,} connections a second opened and closed, for a minute", churn, seconds=60),
    "deaf": Case(f"a consumer that never reads, {DEAF_PER_SECOND} messages of {DEAF_BYTES // 1024} KiB a second for it",
                 deaf),
    "hearing": Case("the same with a consumer that reads, for comparison", hearing),
    "slow": Case(f"{SLOW_SOCKETS} sockets a port, plain and TLS, one byte a second", slow),
    "channels": Case("`channel.open` and `channel.close` without a pause", channels),
    "unroutable": Case("unroutable mandatory messages, the returns never read", unroutable),
}
