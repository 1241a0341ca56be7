"""Drives a broker over TLS through pika's blocking connection.

One run of the steps over TLS listed in ../README.md. Every step asserts what the broker or the client must
do; the first that fails ends the program with exit code 1 and the step's name.
"""

import os
import signal
import ssl
import sys

import pika
from pika.exceptions import AMQPConnectionError

STEP_SECONDS_MAX = 10
BODY = os.urandom(1 << 20)


class Failed(Exception):
    """A broker or a client that did not do what the step asked for."""


def check(condition, message):
    if not condition:
        raise Failed(message)


def file(name):
    return os.path.join(os.environ["MATRIX_CERTIFICATES"], name)


def context(authority="ca", shown="client", version=None):
    made = ssl.create_default_context(cafile=file(f"{authority}.pem"))
    if shown:
        made.load_cert_chain(file(f"{shown}.pem"), file(f"{shown}.key"))
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def connect(name=None, credentials=None, **how):
    parameters = pika.URLParameters(os.environ["AMQPS_URL"])
    parameters.ssl_options = pika.SSLOptions(context(**how), name or parameters.host)
    parameters.socket_timeout = STEP_SECONDS_MAX
    if credentials:
        parameters.credentials = credentials
    return pika.BlockingConnection(parameters)


def work(version):
    connection = connect(version=version)
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, BODY, mandatory=True)
    _, _, body = channel.basic_get(queue, auto_ack=True)
    check(body == BODY, "the body came back another")
    connection.close()


def log_in_by_certificate():
    credentials = pika.credentials.ExternalCredentials()
    connect(credentials=credentials).channel().connection.close()


def refused(*reasons, **how):
    try:
        connect(**how).close()
    except (AMQPConnectionError, ssl.SSLError, OSError) as error:
        said = repr(error)
        told = not reasons or any(reason in said for reason in reasons)
        check(told, f"refused for another reason: {said}")
        return
    raise Failed("it was not refused")


STEPS = [
    ("work over TLS 1.2", lambda: work(ssl.TLSVersion.TLSv1_2)),
    ("work over TLS 1.3", lambda: work(ssl.TLSVersion.TLSv1_3)),
    ("log in by certificate", log_in_by_certificate),
    (
        "refuse a broker of another authority",
        lambda: refused("CERTIFICATE_VERIFY_FAILED", authority="other-ca"),
    ),
    (
        "refuse a broker of another name",
        lambda: refused("CERTIFICATE_VERIFY_FAILED", name="localhost"),
    ),
    ("see a certificate of another authority refused", lambda: refused(shown="other-client")),
    ("see no certificate refused", lambda: refused(shown=None)),
    ("work as before", lambda: work(None)),
]


def main():
    for name, step in STEPS:
        signal.alarm(STEP_SECONDS_MAX)
        try:
            step()
        except Exception as error:
            raise Failed(f"{name}: {error!r}") from error
    print(f"ok pika-tls {pika.__version__}")


def out_of_time(*_):
    raise Failed("out of time")


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, out_of_time)
    try:
        main()
    except Exception as error:
        print(f"FAIL pika-tls: {error}", file=sys.stderr)
        sys.exit(1)
