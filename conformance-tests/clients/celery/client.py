"""Runs Celery tasks through a broker: a worker process, 100 calls, results by rpc://.

The other programs cover the protocol; this one covers the way Celery uses it: late acks,
a prefetch window that is widened for tasks that wait for their time, a direct exchange per task
queue, control and event exchanges, one reply queue.
"""

import contextlib
import datetime
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import uuid

os.environ.setdefault("MATRIX_PREFIX", f"matrix-celery-{uuid.uuid4().hex}")

import celery

import tasks

NAME = "celery" if tasks.QUEUE_TYPE == "classic" else f"celery-{tasks.QUEUE_TYPE}"
RUN_SECONDS_MAX = 55
RESULT_SECONDS_MAX = 30
WORKER_START_SECONDS_MAX = 20
WORKER_STOP_SECONDS_MAX = 10
CALLS = 100
# Five times the worker's prefetch window.
SCHEDULED = 20
SCHEDULED_AHEAD_SECONDS = 2
DELAY_LEVELS = 28


class Failed(Exception):
    """A run that did not give what the calls asked for."""


def equal(actual, expected, what):
    if actual != expected:
        raise Failed(f"{what}: expected {expected!r}, got {actual!r}")


class Worker:
    """The worker process; leaving the block stops it by its process id."""

    def __enter__(self):
        self.log = tempfile.TemporaryFile(mode="w+")
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker"]
        command += ["--pool=solo", "--loglevel=INFO", "--hostname", f"{tasks.PREFIX}@matrix"]
        self.process = subprocess.Popen(
            command, cwd=pathlib.Path(__file__).parent, stdout=self.log, stderr=self.log
        )
        return self

    def await_ready(self):
        """A pong shows that the worker consumes; it answers over the control exchange."""
        deadline = time.monotonic() + WORKER_START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"the worker ended with {self.process.returncode}")
            if tasks.app.control.ping(timeout=1):
                return
        raise Failed("the worker answered no ping")

    def stop(self):
        """Ends the worker as an operator would; it must go by itself, and cleanly."""
        self.process.send_signal(signal.SIGTERM)
        equal(self.process.wait(WORKER_STOP_SECONDS_MAX), 0, "exit code of the worker")

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            self.log.seek(0)
            sys.stderr.write(self.log.read())
        self.log.close()


def run_calls():
    calls = [tasks.multiply.delay(number, 3) for number in range(CALLS)]
    for number, call in enumerate(calls):
        equal(call.get(timeout=RESULT_SECONDS_MAX), number * 3, f"result of call {number}")


def see_failure():
    call = tasks.fail.delay("as expected")
    try:
        call.get(timeout=RESULT_SECONDS_MAX)
    except Exception as error:
        equal((type(error).__name__, str(error)), ("Unlucky", "as expected"), "failure")
    else:
        raise Failed("a failing task gave a result")


def see_retry():
    call = tasks.succeed_at_second_attempt.delay()
    equal(call.get(timeout=RESULT_SECONDS_MAX), 1, "retries of the retried task")


def run_scheduled():
    """Tasks with an ETA stay unacknowledged until it comes, and the worker widens its prefetch window
    for each; of a quorum queue, they wait in queues with a TTL instead. So a call that came behind all of them runs before the first of them is due."""
    first = time.time() + SCHEDULED_AHEAD_SECONDS
    # The last that is published is the first that is due.
    etas = [first + 0.02 * (SCHEDULED - number) for number in range(SCHEDULED)]
    calls = [tasks.tell_time.apply_async(eta=moment(eta)) for eta in etas]
    overtaking = tasks.tell_time.delay().get(timeout=RESULT_SECONDS_MAX)
    if overtaking >= first:
        raise Failed(f"a call ran {overtaking - first:.2f} s late, behind tasks that were not due")
    ran = [call.get(timeout=RESULT_SECONDS_MAX) for call in calls]
    early = [number for number, at in enumerate(ran) if at < etas[number]]
    equal(early, [], "scheduled tasks that ran before their time")
    if tasks.QUEUE_TYPE == "classic":
        # In quorum queues the delay has whole seconds, and tasks due in one second come as published.
        equal(ran, sorted(ran, reverse=True), "order in which scheduled tasks ran")


def moment(seconds):
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc)


def see_nothing_left():
    """With the worker gone, every task message must have been acknowledged."""
    with tasks.app.connection_for_read() as connection:
        left = connection.default_channel.queue_declare(tasks.PREFIX, passive=True)
        equal((left.message_count, left.consumer_count), (0, 0), "task queue after the run")


def clean_up():
    with tasks.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_delete(tasks.PREFIX)
        if tasks.QUEUE_TYPE == "quorum":
            delete_delays(channel)
        for exchange in ("{}", "{}.events", "{}.control.pidbox", "reply.{}.control.pidbox"):
            channel.exchange_delete(exchange.format(tasks.PREFIX))


def delete_delays(channel):
    """What Celery declares for tasks with an ETA: a queue and an exchange for each bit of a delay."""
    for level in range(DELAY_LEVELS):
        channel.queue_delete(f"celery_delayed_{level}")
        channel.exchange_delete(f"celery_delayed_{level}")
    channel.exchange_delete("celery_delayed_delivery")


def out_of_time(*_):
    raise Failed("out of time")


def main():
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(RUN_SECONDS_MAX)
    tasks.app.connection_for_write().ensure_connection(max_retries=1, timeout=5).release()
    try:
        with Worker() as worker:
            worker.await_ready()
            run_calls()
            see_failure()
            see_retry()
            run_scheduled()
            run_calls()
            worker.stop()
        see_nothing_left()
    except Exception:
        # What failed is worth more than a clean-up that fails for the same reason.
        with contextlib.suppress(Exception):
            clean_up()
        raise
    clean_up()
    print(f"ok {NAME} {celery.__version__}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(f"FAIL {NAME}: {error!r}", file=sys.stderr)
        sys.exit(1)
