"""Drives a broker through pika's blocking connection.

One run of the steps listed in ../README.md. Every step asserts what the broker must do; the first
that fails ends the program with exit code 1 and the step's name.
"""

import contextlib
import datetime
import decimal
import os
import signal
import sys
import uuid

import pika
from pika.exceptions import ChannelClosedByBroker, UnroutableError

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
    "amount": decimal.Decimal("12.34"),
    "text": "grün",
    "nothing": None,
    "moment": datetime.datetime(2024, 2, 29, 12, 0, 0, tzinfo=datetime.timezone.utc),
    "list": [1, "two", False],
    "table": {"inner": "value"},
}


class Failed(Exception):
    """A broker that did not do what the step asked for."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def equal(actual, expected, what):
    check(actual == expected, f"{what}: expected {expected!r}, got {actual!r}")


class Scenario:
    def __init__(self, connection, user):
        self.user = user
        prefix = f"matrix-pika-{uuid.uuid4().hex}"
        self.connection = connection
        self.channel = connection.channel()
        self.exchange = f"{prefix}.events"
        self.work = f"{prefix}.work"
        self.audit = f"{prefix}.audit"

    def run(self):
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
                self.run_step(step)
        except Exception:
            # What failed is worth more than a clean-up that fails for the same reason.
            with contextlib.suppress(Exception):
                self.clean_up()
            raise
        self.run_step(self.clean_up)

    def run_step(self, step):
        signal.alarm(STEP_SECONDS_MAX + 1)
        try:
            step()
        except Exception as error:
            raise Failed(f"{step.__name__}: {error!r}") from error

    def declare_and_bind(self):
        self.channel.exchange_declare(self.exchange, "topic")
        for queue, pattern in ((self.work, "order.*"), (self.audit, "order.last")):
            declared = self.channel.queue_declare(queue).method
            equal(declared.queue, queue, "name of the declared queue")
            equal((declared.message_count, declared.consumer_count), (0, 0), "counts")
            self.channel.queue_bind(queue, self.exchange, pattern)

    def publish_with_confirms(self):
        self.channel.confirm_delivery()
        for number in range(MESSAGES):
            last = number == MESSAGES - 1
            key = "order.last" if last else f"order.{number}"
            message = (body(number), properties(number, self.user))
            self.channel.basic_publish(self.exchange, key, *message, mandatory=True)

    def consume_and_settle(self):
        self.deliveries = []
        self.channel.basic_qos(prefetch_count=PREFETCH)
        tag = self.channel.basic_consume(self.work, self.on_delivery)
        self.await_deliveries(PREFETCH)
        ready = self.channel.queue_declare(self.work, passive=True).method.message_count
        equal(ready, MESSAGES - PREFETCH, "ready messages while the prefetch window is full")
        equal(len(self.deliveries), PREFETCH, "deliveries while the prefetch window is full")
        settled = 0
        while settled < MESSAGES + 1:
            self.await_deliveries(settled + 1)
            self.settle(*self.deliveries[settled])
            settled += 1
        self.channel.basic_cancel(tag)
        self.check_deliveries()

    def on_delivery(self, _channel, method, props, payload):
        self.deliveries.append((method, props, payload))

    def await_deliveries(self, count):
        while len(self.deliveries) < count:
            before = len(self.deliveries)
            self.connection.process_data_events(time_limit=STEP_SECONDS_MAX)
            check(len(self.deliveries) > before, f"no delivery number {before + 1}")

    def settle(self, method, props, _payload):
        number = int(props.message_id)
        if number == REQUEUED and not method.redelivered:
            self.channel.basic_nack(method.delivery_tag, requeue=True)
        elif number == REJECTED:
            self.channel.basic_reject(method.delivery_tag, requeue=False)
        elif number == NACKED:
            self.channel.basic_nack(method.delivery_tag, requeue=False)
        else:
            self.channel.basic_ack(method.delivery_tag)

    def check_deliveries(self):
        first = [d for d in self.deliveries if not d[0].redelivered]
        again = [d for d in self.deliveries if d[0].redelivered]
        equal([d[2] for d in first], [body(n) for n in range(MESSAGES)], "bodies, in order")
        equal([d[2] for d in again], [body(REQUEUED)], "redelivered bodies")
        for number, (method, props, _) in enumerate(first):
            equal(method.exchange, self.exchange, "exchange of the delivery")
            equal(props.headers, HEADERS, "headers")
            equal(vars(props), vars(properties(number, self.user)), "properties")
        left = self.channel.queue_declare(self.work, passive=True).method
        equal((left.message_count, left.consumer_count), (0, 0), "counts after settling all")

    def see_return(self):
        try:
            self.channel.basic_publish(self.exchange, "nowhere", b"lost", mandatory=True)
        except UnroutableError as error:
            (returned,) = error.messages
            equal(returned.method.reply_code, 312, "reply code of the return")
            equal(returned.method.reply_text, "NO_ROUTE", "reply text of the return")
            equal(returned.method.routing_key, "nowhere", "routing key of the return")
            equal(returned.body, b"lost", "body of the return")
        else:
            raise Failed("an unroutable mandatory message was not returned")

    def get(self):
        method, props, payload = self.channel.basic_get(self.audit)
        check(method is not None, "the second queue holds no message")
        equal(payload, body(MESSAGES - 1), "body")
        equal(props.headers, HEADERS, "headers")
        equal((method.redelivered, method.message_count), (False, 0), "redelivered and count")
        self.channel.basic_ack(method.delivery_tag)
        equal(self.channel.basic_get(self.audit), (None, None, None), "get from an empty queue")

    def see_not_found(self):
        self.closes(404, lambda: self.channel.queue_declare(f"{self.work}.missing", passive=True))

    def see_precondition_failed(self):
        self.closes(406, lambda: self.channel.queue_declare(self.work, durable=True))

    def closes(self, code, action):
        try:
            action()
        except ChannelClosedByBroker as closed:
            equal(closed.reply_code, code, "reply code of the channel close")
        else:
            raise Failed(f"the channel was not closed with {code}")
        check(self.connection.is_open, "the connection did not survive a channel exception")
        self.channel = self.connection.channel()

    def use_recovered_channel(self):
        self.channel.confirm_delivery()
        self.channel.basic_publish("", self.work, b"after", mandatory=True)
        method, _, payload = self.channel.basic_get(self.work, auto_ack=True)
        check(method is not None, "the message published after recovery is missing")
        equal((payload, method.routing_key), (b"after", self.work), "body and routing key")

    def clean_up(self):
        channel = self.connection.channel()
        for queue in (self.work, self.audit):
            channel.queue_delete(queue)
        channel.exchange_delete(self.exchange)


def body(number):
    return f"body {number}".encode() * (number + 1)


def properties(number, user):
    return pika.BasicProperties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers=HEADERS,
        delivery_mode=2,
        priority=4,
        correlation_id=f"correlation-{number}",
        reply_to="replies",
        expiration="60000",
        message_id=str(number),
        timestamp=1_700_000_000,
        type="order",
        user_id=user,
        app_id="matrix",
    )


def out_of_time(*_):
    raise Failed("out of time")


def main():
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(STEP_SECONDS_MAX + 1)
    parameters = pika.URLParameters(os.environ["AMQP_URL"])
    parameters.socket_timeout = STEP_SECONDS_MAX
    parameters.blocked_connection_timeout = STEP_SECONDS_MAX
    connection = pika.BlockingConnection(parameters)
    try:
        Scenario(connection, parameters.credentials.username).run()
    finally:
        connection.close()
    print(f"ok pika {pika.__version__}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(f"FAIL pika: {error!r}", file=sys.stderr)
        sys.exit(1)
