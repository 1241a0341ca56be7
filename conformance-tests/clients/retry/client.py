"""Sends messages round a retry topology, a thousand times each, and counts their deaths.

```text
 work ──reject──▶ (retry exchange) ──▶ wait, which nobody reads ──TTL──▶ (work exchange) ──▶ work
```

Every round adds one to two entries of `x-death`: rejected in `work`, expired in `wait`. The circle
must go on for ever, for a rejection is part of it; nothing may be lost, doubled or counted wrongly.
"""

import calendar
import os
import signal
import sys
import time
import uuid

import pika

RUN_SECONDS_MAX = 55
STEP_SECONDS_MAX = 10
ROUNDS = 1000
MESSAGES = 5
WAIT_MS = 1
HEADERS = {"kept": "as it was", "number": 7}


class Failed(Exception):
    """A message that did not come back as it should."""


def equal(actual, expected, what):
    if actual != expected:
        raise Failed(f"{what}: expected {expected!r}, got {actual!r}")


class Retries:
    def __init__(self, channel):
        prefix = f"matrix-retry-{uuid.uuid4().hex}"
        self.channel = channel
        self.work, self.wait = f"{prefix}.work", f"{prefix}.wait"
        self.work_exchange, self.retry_exchange = f"{prefix}.in", f"{prefix}.retry"
        self.rounds = [0] * MESSAGES
        self.began = int(time.time())
        self.first_deaths = {}

    def declare(self):
        channel = self.channel
        for exchange in (self.work_exchange, self.retry_exchange):
            channel.exchange_declare(exchange, "direct", durable=True)
        to_retry = {"x-dead-letter-exchange": self.retry_exchange}
        to_work = {"x-dead-letter-exchange": self.work_exchange, "x-message-ttl": WAIT_MS}
        channel.queue_declare(self.work, durable=True, arguments=to_retry)
        channel.queue_declare(self.wait, durable=True, arguments=to_work)
        channel.queue_bind(self.work, self.work_exchange, "job")
        channel.queue_bind(self.wait, self.retry_exchange, "job")

    def delete(self):
        for queue in (self.work, self.wait):
            self.channel.queue_delete(queue)
        for exchange in (self.work_exchange, self.retry_exchange):
            self.channel.exchange_delete(exchange)

    def publish(self):
        self.channel.confirm_delivery()
        for number in range(MESSAGES):
            properties = pika.BasicProperties(
                headers=HEADERS, delivery_mode=2, message_id=str(number), correlation_id="job"
            )
            self.channel.basic_publish(
                self.work_exchange, "job", f"job {number}".encode(), properties, mandatory=True
            )

    def run(self):
        """Rejects every message until its rounds are over, then takes it."""
        self.channel.basic_qos(prefetch_count=2)
        left = MESSAGES
        for delivery, properties, body in self.channel.consume(self.work):
            number = int(properties.message_id)
            self.check(number, delivery, properties, body)
            if self.rounds[number] < ROUNDS:
                self.rounds[number] += 1
                self.channel.basic_reject(delivery.delivery_tag, requeue=False)
                continue
            self.channel.basic_ack(delivery.delivery_tag)
            left -= 1
            if left == 0:
                break
        equal(self.channel.cancel(), 0, "messages that came too often")
        equal(self.rounds, [ROUNDS] * MESSAGES, "rounds")
        for queue in (self.work, self.wait):
            left = self.channel.queue_declare(queue, passive=True).method.message_count
            equal(left, 0, f"messages left in {queue}")

    def check(self, number, delivery, properties, body):
        rounds = self.rounds[number]
        what = f"message {number} in round {rounds}"
        equal(body, f"job {number}".encode(), f"{what}: body")
        equal(delivery.redelivered, False, f"{what}: redelivered")
        address = (delivery.exchange, delivery.routing_key)
        equal(address, (self.work_exchange, "job"), f"{what}: address")
        kept = (properties.delivery_mode, properties.correlation_id)
        equal(kept, (2, "job"), f"{what}: properties")
        headers = dict(properties.headers)
        deaths = headers.pop("x-death", [])
        own = {key: value for key, value in headers.items() if not key.startswith("x-")}
        equal(own, HEADERS, f"{what}: headers")
        if rounds == 0:
            equal((deaths, headers), ([], HEADERS), f"{what}: headers")
            return
        self.check_deaths(deaths, number, what)
        first = [headers[f"x-first-death-{part}"] for part in ("reason", "queue", "exchange")]
        equal(first, ["rejected", self.work, self.work_exchange], f"{what}: first death")

    def check_deaths(self, deaths, number, what):
        rounds = self.rounds[number]
        expected = [
            ("expired", self.wait, self.retry_exchange),
            ("rejected", self.work, self.work_exchange),
        ]
        found = [(death["reason"], death["queue"], death["exchange"]) for death in deaths]
        equal(found, expected, f"{what}: deaths, the latest first")
        for death in deaths:
            equal(death["count"], rounds, f"{what}: count of {death['reason']}")
            equal(death["routing-keys"], ["job"], f"{what}: keys of {death['reason']}")
            equal("original-expiration" in death, False, f"{what}: has an original expiration")
            # pika reads a timestamp as naive UTC. The time stays that of the first of these deaths.
            died = calendar.timegm(death["time"].timetuple())
            first = self.first_deaths.setdefault((number, death["reason"]), died)
            equal(died, first, f"{what}: time of the first {death['reason']}")
            equal(self.began <= died <= time.time(), True, f"{what}: died in this run")


def out_of_time(*_):
    raise Failed("out of time")


def main():
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(RUN_SECONDS_MAX)
    parameters = pika.URLParameters(os.environ["AMQP_URL"])
    parameters.socket_timeout = STEP_SECONDS_MAX
    connection = pika.BlockingConnection(parameters)
    retries = Retries(connection.channel())
    retries.declare()
    try:
        retries.publish()
        retries.run()
    finally:
        if retries.channel.is_open:
            retries.delete()
    connection.close()
    print(f"ok retry {pika.__version__}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(f"FAIL retry: {error!r}", file=sys.stderr)
        sys.exit(1)
