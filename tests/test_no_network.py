"""Nothing leaves the machine: the product runs from the examples to a video file and asks no one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Runs in a Python of its own: an audit hook cannot be taken off again. The hook sees every socket that Python
# code opens, in any package, and refuses those that lead off the machine.
WATCHED = """
import ipaddress
import json
import sys
import tempfile

noted = tempfile.TemporaryFile(buffering=0)  # forked processes write to it as well


def attempts():
    noted.seek(0)
    return noted.read().decode().splitlines()


def is_local(host):
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.bind"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path: a socket of this machine
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if not is_local(host):
        noted.write(f"{event} {host}\\n".encode())
        raise OSError(f"{event} to {host} is forbidden in this test")


sys.addaudithook(watch)
"""

COUNT_PACKETS = """
def counters():
    # What this network namespace was asked to send, whether or not there was a way out.
    values = {}
    lines = open("/proc/net/snmp").read().splitlines()
    for names, numbers in zip(lines[::2], lines[1::2]):
        protocol = names.split(":")[0]
        for name, number in zip(names.split()[1:], numbers.split()[1:]):
            values[protocol + name] = int(number)
    for line in open("/proc/net/snmp6").read().splitlines():
        name, number = line.split()
        values[name] = int(number)
    wanted = ("IpOutNoRoutes", "TcpActiveOpens", "UdpOutDatagrams", "Ip6OutNoRoutes", "Udp6OutDatagrams")
    return {name: values.get(name, 0) for name in wanted}
"""

RUN_PRODUCT = """
from realtime.cli import main

code = main([
    "--source", "examples/rendered.jpg", "--camera", "examples/driver.mp4", "--output", sys.argv[1],
])
"""


def run(script: str, *arguments: str, prefix: list[str] | None = None) -> dict[str, Any]:
    """Run a script in the checkout; its last line of output is JSON."""
    result = subprocess.run(
        [*(prefix or []), sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        stdin=subprocess.DEVNULL,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    report["errors"] = result.stderr[-4000:]
    return report


@pytest.fixture(scope="module")
def empty_network() -> list[str]:
    """A command prefix: a network namespace with no way out; [] where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is not None:
        for prefix in ([unshare, "--net"], [unshare, "--map-root-user", "--net"]):
            if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
                return prefix
    return []


def test_the_watch_sees_an_attempt() -> None:
    report = run(
        WATCHED
        + """
import os
import socket
import urllib.request

for attempt in (
    lambda: urllib.request.urlopen("http://192.0.2.1/", timeout=1),
    lambda: socket.getaddrinfo("icface.invalid", 443),
    lambda: socket.getaddrinfo("localhost", 80),
):
    try:
        attempt()
    except OSError:
        pass
if os.fork() == 0:  # OpenVINO sends its reports in such a process
    try:
        socket.getaddrinfo("forked.invalid", 443)
    finally:
        os._exit(0)
os.wait()
print(json.dumps({"attempts": attempts()}))
"""
    )
    hosts = ["192.0.2.1", "icface.invalid", "forked.invalid"]
    assert report["attempts"] == [f"socket.getaddrinfo {host}" for host in hosts]


def test_the_packet_count_sees_an_attempt(empty_network: list[str]) -> None:
    if not empty_network:
        pytest.skip("this machine lets no process have a network namespace of its own")
    report = run(
        "import json, socket\n"
        + COUNT_PACKETS
        + """
with socket.socket() as s:
    s.settimeout(1)
    try:
        s.connect(("192.0.2.1", 80))  # a documentation address; the namespace has no route to it or any other
    except OSError:
        pass
print(json.dumps(counters()))
""",
        prefix=empty_network,
    )
    assert report["IpOutNoRoutes"] == 1


@pytest.mark.slow
def test_the_product_runs_and_asks_no_one(empty_network: list[str], tmp_path: Path) -> None:
    """The hook watches Python code; for compiled engines and trackers the kernel counts."""
    output = tmp_path / "out.mp4"
    report = run(
        WATCHED
        + COUNT_PACKETS
        + RUN_PRODUCT
        + """
print(json.dumps({"code": code, "attempts": attempts(), "packets": counters() if sys.argv[2:] else {}}))
""",
        str(output),
        *(["count"] if empty_network else []),
        prefix=empty_network,
    )
    assert report["code"] == 0, report["errors"]
    assert report["attempts"] == []
    if empty_network:
        assert not any(report["packets"].values()), f"something would have been sent: {report['packets']}"
    assert output.stat().st_size > 10_000


PANEL = """
import fcntl
import http.client
import signal
import socket
import struct
import threading
import urllib.parse
from pathlib import Path

folder = Path(sys.argv[1])
if sys.argv[2:]:  # in a namespace of its own the loopback device is down
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP

from realtime import panel
from realtime.cli import main

done = {}
serve = panel.Panel.serve


def visit(desk, url):
    address = urllib.parse.urlsplit(url)
    headers = {"Authorization": "Bearer " + address.fragment.partition("=")[2], "Origin": "http://" + address.netloc}
    page = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    clip = Path("tests/fuzz/corpus/video/h264.mp4").read_bytes()
    page.request("POST", "/api/tracks?name=clip.mp4", clip, headers)
    done["upload"] = page.getresponse().status
    page.close()
    desk.perform({"does": "record"})
    (job,) = desk.jobs.all.values()
    job.process.wait(120)
    desk.jobs.listed()
    done["job"] = job.error
    done["track"] = desk.perform({"does": "stop_recording"})


def visited(self, *arguments):
    url = serve(self, *arguments)

    def stay():
        try:
            visit(self.desk, url)
        except BaseException as error:
            done["error"] = repr(error)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=stay, daemon=True).start()
    return url


panel.Panel.serve = visited
flags = ["--preset", "avatar-idle", "--panel", "--null", "--size", "256", "--quality", "fast"]
code = main(["examples/rendered.jpg", *flags])
recorded = [path.suffix for path in folder.rglob("recordings/*") if path.stat().st_size > 100]
print(json.dumps({
    "code": code, "done": done, "recorded": sorted(recorded), "attempts": attempts(),
    "packets": counters() if sys.argv[2:] else {},
}))
"""


@pytest.mark.slow
def test_the_panel_records_and_reads_a_video_and_asks_no_one(
    empty_network: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page stays on loopback. The video is read in a process of its own, which the kernel counts as well."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    count = ["count"] if empty_network else []
    report = run(WATCHED + COUNT_PACKETS + PANEL, str(tmp_path), *count, prefix=empty_network)
    assert report["code"] == 0, report["errors"]
    assert report["done"].get("error") is None and report["done"]["upload"] == 200
    assert "no face was seen" in report["done"]["job"], "it was read to its end"
    assert {".csv", ".mp4"} <= set(report["recorded"])
    assert report["attempts"] == []
    if empty_network:
        report["packets"].pop("TcpActiveOpens")  # the page's own, to loopback
        assert not any(report["packets"].values()), f"something would have been sent: {report['packets']}"
