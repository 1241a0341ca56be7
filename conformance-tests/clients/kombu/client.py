"""Drives a broker through kombu over py-amqp.

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

import kombu
from amqp.exceptions import NotFound, PreconditionFailed

STEP_SECONDS_MAX = 10
MESSAGES = 10
PREFETCH = 3
REQUEUED = 2
REJECTED = 3
PRIORITY_MAX = 5
# One above the queue's maximum, which counts as the maximum, and one without a priority, which is 0.
PRIORITIES = [1, None, 5, 3, 9, 0, 3, 5, 1]

# py-amqp reads a timestamp as naive UTC.
HEADERS = {
    "flag": True,
    "small": 7,
    "large": 2**40,
    "negative": -5,
    "ratio": 0.25,
    "amount": decimal.Decimal("12.34"),
    "text": "grün",
    "nothing": None,
    "moment": datetime.datetime(2024, 2, 29, 12, 0, 0),
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
    def __init__(self, connection):
        prefix = f"matrix-kombu-{uuid.uuid4().hex}"
        self.connection = connection
        self.channel = connection.channel()
        self.exchange = kombu.Exchange(f"{prefix}.events", "topic", durable=False)
        self.work = self.queue(f"{prefix}.work", "order.*")
        self.audit = self.queue(f"{prefix}.audit", "order.last")
        self.urgent = kombu.Queue(f"{prefix}.urgent", durable=True, max_priority=PRIORITY_MAX)

    def queue(self, name, pattern):
        return kombu.Queue(name, self.exchange, routing_key=pattern, durable=False)

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
            self.use_priorities,
            self.requeue_by_priority,
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
        for queue in (self.work, self.audit):
            equal(queue(self.channel).declare(), queue.name, "name of the declared queue")

    def publish_with_confirms(self):
        """The transport option `confirm_publish` makes each publish wait for its confirm."""
        producer = kombu.Producer(self.channel, self.exchange)
        for number in range(MESSAGES):
            producer.publish(
                body(number),
                routing_key="order.last" if number == MESSAGES - 1 else f"order.{number}",
                mandatory=True,
                headers=HEADERS,
                timeout=STEP_SECONDS_MAX,
                confirm_timeout=STEP_SECONDS_MAX,
                **properties(number),
            )

    def consume_and_settle(self):
        deliveries = []
        consumer = kombu.Consumer(
            self.channel, [self.work], on_message=deliveries.append, prefetch_count=PREFETCH
        )
        with consumer:
            self.await_deliveries(deliveries, PREFETCH)
            ready = self.ready_messages(self.channel)
            equal(ready, MESSAGES - PREFETCH, "ready messages while the prefetch window is full")
            equal(len(deliveries), PREFETCH, "deliveries while the prefetch window is full")
            for settled in range(MESSAGES + 1):
                self.await_deliveries(deliveries, settled + 1)
                settle(deliveries[settled])
        self.check_deliveries(deliveries)
        equal(self.ready_messages(self.channel), 0, "ready messages after settling all")

    def await_deliveries(self, deliveries, count):
        while len(deliveries) < count:
            self.connection.drain_events(timeout=STEP_SECONDS_MAX)

    def ready_messages(self, channel):
        return self.work(channel).queue_declare(passive=True).message_count

    def check_deliveries(self, deliveries):
        first = [d for d in deliveries if not d.delivery_info["redelivered"]]
        again = [d for d in deliveries if d.delivery_info["redelivered"]]
        equal([d.payload for d in first], [body(n) for n in range(MESSAGES)], "bodies, in order")
        equal([d.payload for d in again], [body(REQUEUED)], "redelivered bodies")
        for number, delivery in enumerate(first):
            equal(delivery.delivery_info["exchange"], self.exchange.name, "exchange")
            equal(delivery.headers, HEADERS, "headers")
            equal(delivery.content_type, "application/json", "content type")
            for name, value in properties(number).items():
                if name != "expiration":
                    equal(delivery.properties[name], value, name)
            equal(delivery.properties["expiration"], "60000", "expiration")

    def see_return(self):
        returned = []
        producer = kombu.Producer(
            self.channel, self.exchange, on_return=lambda *args: returned.append(args)
        )
        producer.publish("lost", routing_key="nowhere", mandatory=True)
        equal(len(returned), 1, "returns before the confirm of an unroutable message")
        error, exchange, routing_key, _message = returned[0]
        equal((error.reply_code, error.reply_text), (312, "NO_ROUTE"), "reply of the return")
        equal((exchange, routing_key), (self.exchange.name, "nowhere"), "route of the return")

    def get(self):
        queue = self.audit(self.channel)
        message = queue.get()
        check(message is not None, "the second queue holds no message")
        equal(message.payload, body(MESSAGES - 1), "body")
        equal(message.delivery_info["redelivered"], False, "redelivered")
        equal(message.delivery_info["message_count"], 0, "messages left")
        message.ack()
        equal(queue.get(), None, "get from an empty queue")

    def see_not_found(self):
        missing = kombu.Queue(f"{self.work.name}.missing", durable=False)
        self.closes(404, NotFound, lambda: missing(self.channel).queue_declare(passive=True))

    def see_precondition_failed(self):
        durable = kombu.Queue(self.work.name, durable=True)
        self.closes(406, PreconditionFailed, lambda: durable(self.channel).queue_declare())

    def closes(self, code, exception, action):
        try:
            action()
        except exception as closed:
            equal(closed.reply_code, code, "reply code of the channel close")
        else:
            raise Failed(f"the channel was not closed with {code}")
        check(self.connection.connected, "the connection did not survive a channel exception")
        self.channel = self.connection.channel()

    def use_recovered_channel(self):
        kombu.Producer(self.channel).publish("after", routing_key=self.work.name, mandatory=True)
        message = self.work(self.channel).get(no_ack=True)
        check(message is not None, "the message published after recovery is missing")
        equal(message.payload, "after", "body")

    def use_priorities(self):
        """The highest priority comes first, and first in first out among equals."""
        self.publish_with_priorities()
        got = [self.urgent(self.channel).get(no_ack=True) for _ in PRIORITIES]
        equal([m.payload for m in got], by_priority(), "messages in order of priority")
        asked = [PRIORITIES[m.payload] for m in got]
        equal([m.properties.get("priority") for m in got], asked, "priority properties")

    def requeue_by_priority(self):
        """What comes back takes its place again, before what is less urgent."""
        self.publish_with_priorities()
        queue = self.urgent(self.channel)
        held = [queue.get() for _ in PRIORITIES[:6]]
        for message in reversed(held):
            message.requeue()
        got = [queue.get(no_ack=True) for _ in PRIORITIES]
        equal([m.payload for m in got], by_priority(), "messages after a requeue")
        again = [m.delivery_info["redelivered"] for m in got]
        equal(again, [True] * 6 + [False] * 3, "redelivered marks after a requeue")

    def publish_with_priorities(self):
        self.urgent(self.channel).declare()
        producer = kombu.Producer(self.channel)
        for number, priority in enumerate(PRIORITIES):
            producer.publish(
                number,
                serializer="json",
                routing_key=self.urgent.name,
                mandatory=True,
                delivery_mode=2,
                priority=priority,
                confirm_timeout=STEP_SECONDS_MAX,
            )

    def clean_up(self):
        with self.connection.channel() as channel:
            for queue in (self.work, self.audit, self.urgent):
                queue(channel).delete()
            self.exchange(channel).delete()


def settle(message):
    number = message.payload["number"]
    if number == REQUEUED and not message.delivery_info["redelivered"]:
        message.requeue()
    elif number == REJECTED:
        message.reject()
    else:
        message.ack()


def by_priority():
    urgency = [min(priority or 0, PRIORITY_MAX) for priority in PRIORITIES]
    return sorted(range(len(PRIORITIES)), key=lambda number: -urgency[number])


def body(number):
    return {"number": number, "text": "body " * (number + 1)}


def properties(number):
    return {
        "delivery_mode": 2,
        "priority": 4,
        "correlation_id": f"correlation-{number}",
        "reply_to": "replies",
        "expiration": 60,
        "message_id": str(number),
        "type": "order",
        "app_id": "matrix",
    }


def out_of_time(*_):
    raise Failed("out of time")


def main():
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(STEP_SECONDS_MAX + 1)
    connection = kombu.Connection(
        os.environ["AMQP_URL"],
        connect_timeout=STEP_SECONDS_MAX,
        transport_options={"confirm_publish": True, "read_timeout": STEP_SECONDS_MAX},
    )
    with connection:
        connection.connect()
        Scenario(connection).run()
    print(f"ok kombu {kombu.__version__}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(f"FAIL kombu: {error!r}", file=sys.stderr)
        sys.exit(1)
