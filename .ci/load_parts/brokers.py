"""The brokers that are measured, each started for one case and ended after it.

Invariant: every process started here is ended by its id.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RABBITMQ_PORT = 5684
RABBITMQ_TLS_PORT_OFFSET = 12_000
RABBITMQ_SCRIPT = ROOT / "conformance-tests/reference/rabbitmq"
CERTIFICATES_SCRIPT = ROOT / "conformance-tests/clients/certificates"
START_SECONDS_MAX = 60


@dataclass(frozen=True)
class Running:
    name: str
    pid: int
    port: int
    tls_port: int
    certificates: Path
    log: Path  # a file or a folder of files

    def memory_mib(self, of: str) -> float:
        return int(re.search(rf"{of}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1]) / 1024

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_lines(self) -> int:
        files = self.log.iterdir() if self.log.is_dir() else [self.log]
        return sum(file.read_bytes().count(b"\n") for file in files if file.is_file())


@contextmanager
def leveret(binary: Path, *arguments: str) -> Iterator[Running]:
    """A Leveret that keeps nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder, port, tls_port = Path(name), free_port(), free_port()
        certificates = make_certificates(folder)
        settings = (f"listeners=127.0.0.1:{tls_port}", f"cacertfile={certificates}/ca.pem",
                    f"certfile={certificates}/server.pem", f"keyfile={certificates}/server.key",
                    "verify=verify_peer", "fail_if_no_peer_cert=true")
        tls = [part for setting in settings for part in ("--set", f"tls.{setting}")]
        log = folder / "log"
        with log.open("w") as standard_error:
            process = subprocess.Popen(
                [str(binary), "--listen", f"127.0.0.1:{port}", "--ephemeral", *tls, *arguments], stderr=standard_error)
        try:
            wait_for_port(port, process, log)
            yield Running("Leveret", process.pid, port, tls_port, certificates, log)
        finally:
            end(process)


@contextmanager
def rabbitmq() -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder))
        subprocess.run([RABBITMQ_SCRIPT, "start", str(RABBITMQ_PORT)], check=True, stdout=sys.stderr,
                       env={**os.environ, "REFERENCE_CERTIFICATES": str(certificates)})
        try:
            home = Path((TARGET / f"reference/{RABBITMQ_PORT}/directory").read_text().strip())
            yield Running("RabbitMQ 3.10.8", int((home / "node.pid").read_text()), RABBITMQ_PORT,
                          RABBITMQ_PORT + RABBITMQ_TLS_PORT_OFFSET, certificates, home / "log")
        finally:
            subprocess.run([RABBITMQ_SCRIPT, "stop", str(RABBITMQ_PORT)], check=False, stdout=sys.stderr)


def make_certificates(folder: Path) -> Path:
    subprocess.run([CERTIFICATES_SCRIPT, folder / "certificates"], check=True, timeout=60)
    return folder / "certificates"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"load: nothing listens on port {port}: {log.read_text()}")


def end(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
