"""A pytest plugin that names the running broker to aiormq's tests.

Their package uses the fixtures `rabbitmq_container` and `amqp_direct_url` and leaves them out, for they
start a broker in Docker. It changes no test; nothing listens on the port that is named for TLS.
"""

import pytest
from tests.docker_client import ContainerInfo
from yarl import URL


@pytest.fixture(scope="session")
def rabbitmq_container():
    return ContainerInfo(id="running", ports={"5672/tcp": 5672, "5671/tcp": 5671}, host="127.0.0.1")


@pytest.fixture(scope="session")
def amqp_direct_url(rabbitmq_container):
    return URL.build(
        scheme="amqp", user="guest", password="guest", path="//",
        host=rabbitmq_container.host, port=rabbitmq_container.ports["5672/tcp"],
    )
