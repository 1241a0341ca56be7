"""Drives a broker through aio-pika.

One run of the steps listed in ../README.md. Every step asserts what the broker must do; the first
that fails ends the program with exit code 1 and the step's name.
"""

import asyncio
import contextlib
import datetime
import importlib.metadata
import os
import sys
import uuid

import aio_pika
import yarl
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.exceptions import (
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    QueueEmpty,
)

RUN_SECONDS_MAX = 50
STEP_SECONDS_MAX = 10
MESSAGES = 10
PREFETCH = 3
REQUEUED = 2
REJECTED = 3
NACKED = 4

HEADERS = {
    "flag": True,
    "small": 7,
    "large": 2**40,
    "negative": -5,
    "ratio": 0.25,
    "text": "grün",
    "nothing": None,
    "moment": datetime.datetime(2024, 2, 29, 12, 0, 0, tzinfo=datetime.timezone.utc),
    "list": [1, "two", False],
    "table": {"inner": "value"},
}

PROPERTIES = (
    "content_type",
    "content_encoding",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
)


class Failed(Exception):
    """A broker that did not do what the step asked for."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def equal(actual, expected, what):
    check(actual == expected, f"{what}: expected {expected!r}, got {actual!r}")


class Scenario:
    def __init__(self, connection, user):
        prefix = f"matrix-aio-pika-{uuid.uuid4().hex}"
        self.connection = connection
        self.user = user
        self.exchange_name = f"{prefix}.events"
        self.work_name = f"{prefix}.work"
        self.audit_name = f"{prefix}.audit"

    async def run(self):
        self.channel = await self.connection.channel(on_return_raises=True)
        steps = (
            self.declare_and_bind,
            self.publish_with_confirms,
            self.consume_and_settle,
            self.see_return,
            self.get,
            self.see_not_found,
            self.see_precondition_failed,
            self.use_recovered_channel,
        )
        try:
            for step in steps:
                await self.run_step(step)
        except Exception:
            # What failed is worth more than a clean-up that fails for the same reason.
            with contextlib.suppress(Exception):
                await self.run_step(self.clean_up)
            raise
        await self.run_step(self.clean_up)

    async def run_step(self, step):
        try:
            await asyncio.wait_for(step(), STEP_SECONDS_MAX)
        except Exception as error:
            raise Failed(f"{step.__name__}: {error!r}") from error

    async def declare_and_bind(self):
        self.exchange = await self.channel.declare_exchange(
            self.exchange_name, ExchangeType.TOPIC
        )
        self.work = await self.channel.declare_queue(self.work_name)
        self.audit = await self.channel.declare_queue(self.audit_name)
        for queue, pattern in ((self.work, "order.*"), (self.audit, "order.last")):
            result = queue.declaration_result
            equal((result.message_count, result.consumer_count), (0, 0), "counts")
            await queue.bind(self.exchange, pattern)

    async def publish_with_confirms(self):
        """Publishes all at once, so that confirms may arrive in any grouping."""
        published = []
        for number in range(MESSAGES):
            key = "order.last" if number == MESSAGES - 1 else f"order.{number}"
            publish = self.exchange.publish(message(number, self.user), key, mandatory=True)
            published.append(asyncio.create_task(publish))
        confirmations = await asyncio.gather(*published)
        kinds = [type(confirmation).__name__ for confirmation in confirmations]
        equal(kinds, ["Ack"] * MESSAGES, "confirmations")

    async def consume_and_settle(self):
        await self.channel.set_qos(prefetch_count=PREFETCH)
        arrived = asyncio.Queue()
        tag = await self.work.consume(arrived.put)
        deliveries = [await arrived.get() for _ in range(PREFETCH)]
        ready = await self.ready_messages()
        equal(ready, MESSAGES - PREFETCH, "ready messages while the prefetch window is full")
        check(arrived.empty(), "more deliveries than the prefetch window allows")
        for settled in range(MESSAGES + 1):
            if settled == len(deliveries):
                deliveries.append(await arrived.get())
            await settle(deliveries[settled])
        await self.work.cancel(tag)
        self.check_deliveries(deliveries)
        equal(await self.ready_messages(), 0, "ready messages after settling all")

    async def ready_messages(self):
        queue = await self.channel.declare_queue(self.work_name, passive=True)
        return queue.declaration_result.message_count

    def check_deliveries(self, deliveries):
        first = [d for d in deliveries if not d.redelivered]
        again = [d for d in deliveries if d.redelivered]
        equal([d.body for d in first], [body(n) for n in range(MESSAGES)], "bodies, in order")
        equal([d.body for d in again], [body(REQUEUED)], "redelivered bodies")
        for number, delivery in enumerate(first):
            equal(delivery.exchange, self.exchange_name, "exchange of the delivery")
            equal(delivery.headers, HEADERS, "headers")
            expected = message(number, self.user)
            for name in PROPERTIES:
                equal(getattr(delivery, name), getattr(expected, name), name)

    async def see_return(self):
        try:
            await self.exchange.publish(Message(b"lost"), "nowhere", mandatory=True)
        except DeliveryError as error:
            equal(error.frame.name, "Basic.Return", "frame")
            equal(error.frame.reply_code, 312, "reply code of the return")
            equal(error.frame.reply_text, "NO_ROUTE", "reply text of the return")
            equal(error.message.body, b"lost", "body of the return")
        else:
            raise Failed("an unroutable mandatory message was not returned")

    async def get(self):
        received = await self.audit.get()
        equal(received.body, body(MESSAGES - 1), "body")
        equal((received.redelivered, received.message_count), (False, 0), "redelivered and count")
        await received.ack()
        try:
            await self.audit.get()
        except QueueEmpty:
            return
        raise Failed("the acknowledged message is still there")

    async def see_not_found(self):
        missing = f"{self.work_name}.missing"
        await self.closes("NOT_FOUND", ChannelNotFoundEntity, missing, passive=True)

    async def see_precondition_failed(self):
        await self.closes("PRECONDITION_FAILED", ChannelPreconditionFailed, self.work_name, durable=True)

    async def closes(self, reason, exception, queue, **arguments):
        """aiormq picks the exception class by reply code alone: 404 and 406 here."""
        try:
            await self.channel.declare_queue(queue, **arguments)
        except exception as closed:
            equal(str(closed).split(" - ")[0], reason, "name in the channel close")
        else:
            raise Failed(f"the channel was not closed with {reason}")
        check(not self.connection.is_closed, "the connection did not survive")
        self.channel = await self.connection.channel(on_return_raises=True)

    async def use_recovered_channel(self):
        await self.channel.default_exchange.publish(Message(b"after"), self.work_name)
        queue = await self.channel.declare_queue(self.work_name, passive=True)
        received = await queue.get(no_ack=True)
        equal((received.body, received.routing_key), (b"after", self.work_name), "message")

    async def clean_up(self):
        channel = await self.connection.channel()
        for queue in (self.work_name, self.audit_name):
            await channel.queue_delete(queue)
        await channel.exchange_delete(self.exchange_name)


async def settle(delivery):
    number = int(delivery.message_id)
    if number == REQUEUED and not delivery.redelivered:
        await delivery.nack(requeue=True)
    elif number == REJECTED:
        await delivery.reject(requeue=False)
    elif number == NACKED:
        await delivery.nack(requeue=False)
    else:
        await delivery.ack()


def body(number):
    return f"body {number}".encode() * (number + 1)


def message(number, user):
    return Message(
        body(number),
        headers=HEADERS,
        content_type="text/plain",
        content_encoding="utf-8",
        delivery_mode=DeliveryMode.PERSISTENT,
        priority=4,
        correlation_id=f"correlation-{number}",
        reply_to="replies",
        expiration=60,
        message_id=str(number),
        timestamp=1_700_000_000,
        type="order",
        user_id=user,
        app_id="matrix",
    )


async def main():
    url = yarl.URL(os.environ["AMQP_URL"])
    connection = await aio_pika.connect(url, timeout=STEP_SECONDS_MAX)
    async with connection:
        await Scenario(connection, url.user or "guest").run()
    print(f"ok aio-pika {importlib.metadata.version('aio-pika')}")


if __name__ == "__main__":
    try:
        asyncio.run(asyncio.wait_for(main(), RUN_SECONDS_MAX))
    except Exception as error:
        print(f"FAIL aio-pika: {error!r}", file=sys.stderr)
        sys.exit(1)
