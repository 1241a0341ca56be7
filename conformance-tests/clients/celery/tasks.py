"""The Celery application shared by the worker and by the program that calls it.

MATRIX_PREFIX keeps the queues and exchanges of one run apart from every other run. With
MATRIX_QUEUE_TYPE=quorum the task queue is a quorum queue, and a task with an ETA waits in Celery's
chain of queues with a TTL instead of in the worker.
"""

import os
import time

from celery import Celery

PREFIX = os.environ["MATRIX_PREFIX"]
QUEUE_TYPE = os.environ.get("MATRIX_QUEUE_TYPE", "classic")

app = Celery("tasks", broker=os.environ["AMQP_URL"], backend="rpc://")
app.conf.update(
    task_default_queue=PREFIX,
    task_default_exchange=PREFIX,
    task_default_exchange_type="topic" if QUEUE_TYPE == "quorum" else "direct",
    task_default_routing_key=PREFIX,
    task_default_queue_type=QUEUE_TYPE,
    task_queues=None,
    event_queue_prefix=PREFIX,
    event_exchange=f"{PREFIX}.events",
    control_exchange=f"{PREFIX}.control",
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=False,
    broker_connection_timeout=10,
    task_acks_late=True,
    worker_prefetch_multiplier=4,
    task_ignore_result=False,
    result_expires=120,
)


class Unlucky(Exception):
    """What the failing task raises; its text must reach the caller."""


@app.task
def multiply(left, right):
    return left * right


@app.task
def fail(text):
    raise Unlucky(text)


@app.task(bind=True, max_retries=2)
def succeed_at_second_attempt(self):
    if self.request.retries == 0:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task
def tell_time():
    return time.time()
