"""A pytest plugin that hands the running broker to aio-pika's tests in place of a container.

It stands in for the client of Docker that the tests bring, before they get hold of it, and changes no
test. What it cannot do, such as to run a command in a container, fails with a word about it; nothing
listens on the port that is named for TLS.
"""

from tests import docker_client

PORTS = {"5672/tcp": 5672, "5671/tcp": 5671}


class RunningBroker(docker_client.DockerClient):
    def run(self, image, ports, environment=None):
        return docker_client.ContainerInfo(
            id="running", ports={port: PORTS[port] for port in ports}, host="127.0.0.1"
        )

    def kill(self, container_id):
        """Tests clean up by this; the broker ends with the suite."""

    def remove(self, container_id):
        """As kill."""

    def _request(self, method, path, body=None):
        raise RuntimeError(f"the broker runs in no container: {method} {path}")


docker_client.DockerClient = RunningBroker
docker_client.check_docker_available = lambda: docker_client.DockerHostInfo(is_tcp=False)
