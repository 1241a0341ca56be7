"""Runs Celery tasks through a broker: a worker process, 100 calls, results by rpc://.

The other programs cover the protocol; this one covers the way Celery uses it: late acks,
prefetch, a direct exchange per task queue, control and event exchanges, one reply queue.
"""

import contextlib
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

RUN_SECONDS_MAX = 55
RESULT_SECONDS_MAX = 30
WORKER_START_SECONDS_MAX = 20
WORKER_STOP_SECONDS_MAX = 10
CALLS = 100


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


def see_nothing_left():
    """With the worker gone, every task message must have been acknowledged."""
    with tasks.app.connection_for_read() as connection:
        left = connection.default_channel.queue_declare(tasks.PREFIX, passive=True)
        equal((left.message_count, left.consumer_count), (0, 0), "task queue after the run")


def clean_up():
    with tasks.app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_delete(tasks.PREFIX)
        for exchange in ("{}", "{}.events", "{}.control.pidbox", "reply.{}.control.pidbox"):
            channel.exchange_delete(exchange.format(tasks.PREFIX))


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
            worker.stop()
        see_nothing_left()
    except Exception:
        # What failed is worth more than a clean-up that fails for the same reason.
        with contextlib.suppress(Exception):
            clean_up()
        raise
    clean_up()
    print(f"ok celery {celery.__version__}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        print(f"FAIL celery: {error!r}", file=sys.stderr)
        sys.exit(1)
