"""What things cost that do nothing: the broker's resident memory with them less that without, divided by their number.

What it is not: a measure of what the allocator could give back. What is resident after they have gone is told too.
"""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Awaitable, Callable

from load_parts import wire
from load_parts.brokers import Running
from load_parts.wire import connect, expect

OPENING_AT_ONCE = 100
DECLARED_AT_ONCE = 500
HEARTBEAT_S = 0  # so that nothing wakes what is idle
SETTLE_SECONDS = 5


async def connections(running: Running, count: int, measured: Callable[[], None]) -> None:
    """Connections with a channel each."""
    await open_all(running.port, None, count, measured)


async def tls_connections(running: Running, count: int, measured: Callable[[], None]) -> None:
    """The same over TLS 1.3, each with a client's certificate."""
    await open_all(running.tls_port, client_context(running.certificates), count, measured)


def client_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.load_cert_chain(certificates / "client.pem", certificates / "client.key")
    context.check_hostname = False
    return context


async def open_all(port: int, tls: ssl.SSLContext | None, count: int, measured: Callable[[], None]) -> None:
    opening = asyncio.Semaphore(OPENING_AT_ONCE)
    # What the first one costs is not what each one costs.
    kept = [await one_with_channel(port, tls, opening)]
    measured()
    kept += await asyncio.gather(*(one_with_channel(port, tls, opening) for _ in range(count)))
    await asyncio.sleep(SETTLE_SECONDS)
    measured()
    for _, writer in kept:
        writer.transport.abort()
    await asyncio.sleep(SETTLE_SECONDS)
    measured()


async def one_with_channel(port: int, tls: ssl.SSLContext | None, opening: asyncio.Semaphore):
    async with opening:
        reader, writer = await connect(port, HEARTBEAT_S, tls)
        writer.write(wire.channel_open(1))
        await expect(reader, 20, 11)
        return reader, writer


async def queues(running: Running, count: int, measured: Callable[[], None]) -> None:
    """Transient queues without messages, declared by one channel."""
    reader, writer = await one_with_channel(running.port, None, asyncio.Semaphore())
    measured()
    await ask_for_all(reader, writer, count, wire.queue_declare, (50, 11))
    await asyncio.sleep(SETTLE_SECONDS)
    measured()
    await ask_for_all(reader, writer, count, wire.queue_delete, (50, 41))
    await asyncio.sleep(SETTLE_SECONDS)
    measured()


async def ask_for_all(reader, writer, count: int, question: Callable[[int, str], bytes], answer: tuple[int, int]) -> None:
    for first in range(0, count, DECLARED_AT_ONCE):
        names = [f"queue-{number:06}" for number in range(first, min(first + DECLARED_AT_ONCE, count))]
        writer.write(b"".join(question(1, name) for name in names))
        for _ in names:
            await expect(reader, *answer)


@dataclass(frozen=True)
class Idle:
    title: str
    count: int
    count_rabbitmq: int  # what it can do within minutes
    run: Callable[[Running, int, Callable[[], None]], Awaitable[None]]


IDLE: dict[str, Idle] = {
    "idle-connections": Idle("idle connections with a channel", 10_000, 10_000, connections),
    "idle-tls-connections": Idle("the same over TLS", 10_000, 10_000, tls_connections),
    "idle-queues": Idle("idle queues", 100_000, 10_000, queues),
}


def resident_kib_each(what: Idle, count: int, running: Running) -> str:
    """One line of the table."""
    seen: list[float] = []
    asyncio.run(what.run(running, count, lambda: seen.append(running.memory_mib("VmRSS"))))
    without, with_all, gone = seen
    return (f"{count:,} {what.title} | {running.name} | {1024 * (with_all - without) / count:.2f} KiB | "
            f"{without:.0f} MiB | {with_all:.0f} MiB | {gone:.0f} MiB")
