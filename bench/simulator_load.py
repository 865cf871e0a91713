"""How much one simulator process carries: machines that poll as agents do, each from its own thread of events.

    python3 bench/simulator_load.py [--machines 1000] [--period 6] [--seconds 30]

Each machine does, once per period and with a new connection for each request: GET goal state, GET vmSettings with
its ETag (304), PUT status through the host plugin. The clients are one asyncio process; the simulator is another,
with a state file. Printed as JSON: requests per second, answer times, CPU share and memory of the simulator,
and the load average, since answer times mean nothing on a machine that is busy otherwise. It ends after the time
to create the machines and --seconds, plus at most the limit of an answer; exit status 1 if an answer was wrong or
a rule was broken.
"""
from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LIMIT = 30.0  # seconds for one answer
ROOT = Path(__file__).resolve().parents[1]
STATUS = {"version": "1.1", "timestampUTC": "2026-11-23T09:17:40Z", "aggregateStatus": {
    "guestAgentStatus": {"version": "3.0.0", "status": "Ready"},
    "handlerAggregateStatus": [
        {"handlerName": f"Contoso.Sim.Handler{index}", "handlerVersion": "1.0.0", "status": "Ready", "code": 0,
         "runtimeSettingsStatus": {"sequenceNumber": 0, "settingsStatus": {"status": {
             "name": "x", "operation": "Enable", "status": "success", "code": 0,
             "formattedMessage": {"lang": "en-US", "message": "m" * 400}}}}} for index in range(3)]},
    "guestOSInfo": {}, "supportedFeatures": []}


def control(url: str, method: str, path: str, content: object = None) -> Any:
    body = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url + path, body, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=LIMIT) as answer:
        return json.loads(answer.read())


async def ask(url: str, method: str, headers: dict[str, str], body: bytes, times: list[float]) -> tuple[int, bytes]:
    parts = urlsplit(url)
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [f"{method} {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"Host: {parts.netloc}",
             "Connection: close", *(f"{key}: {value}" for key, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
    answer = await asyncio.wait_for(reader.read(), LIMIT)
    writer.close()
    times.append(time.perf_counter() - start)
    return int(answer.split(b" ", 2)[1]), answer


async def machine(number: int, details: dict[str, str], urls: dict[str, str], args: argparse.Namespace,
                  times: list[float], wrong: list[int], end: float) -> None:
    wire = {"x-ms-version": "2012-11-30", "x-ms-agent-name": "bench", "x-ms-containerid": details["container_id"]}
    plugin = {"x-ms-version": "2015-09-01", "x-ms-containerid": details["container_id"],
              "x-ms-host-config-name": details["config_name"]}
    content = json.dumps(STATUS).encode()
    upload = b""
    etag = ""
    await asyncio.sleep(args.period * number / args.machines)
    while time.monotonic() < end:
        due = time.monotonic() + args.period
        status, _ = await ask(f"{urls['wire server']}/machine/?comp=goalstate", "GET", wire, b"", times)
        if status != 200:
            wrong.append(status)
        status, answer = await ask(f"{urls['host plugin']}/vmSettings", "GET",
                                   {**plugin, **({"If-None-Match": etag} if etag else {})}, b"", times)
        if status == 200:
            found = re.search(rb"ETag: (\S+)", answer)
            etag = found[1].decode() if found else ""
            uri = json.loads(answer.partition(b"\r\n\r\n")[2])["statusUploadBlob"]["value"]
            upload = json.dumps({"requestUri": uri, "content": base64.b64encode(content).decode(), "headers": [
                {"headerName": "Content-Length", "headerValue": str(len(content))},
                {"headerName": "x-ms-blob-type", "headerValue": "BlockBlob"},
                {"headerName": "x-ms-version", "headerValue": "2014-02-14"}]}).encode()
        elif status != 304:
            wrong.append(status)
        status, _ = await ask(f"{urls['host plugin']}/status", "PUT",
                              {**plugin, "Content-Type": "application/json"}, upload, times)
        if status != 200:
            wrong.append(status)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def load(urls: dict[str, str], machines: list[dict[str, str]], args: argparse.Namespace,
               process: int) -> dict[str, object]:
    times: list[float] = []
    wrong: list[int] = []
    before, start = cpu_seconds(process), time.monotonic()
    end = start + args.seconds
    await asyncio.gather(*(machine(number, one, urls, args, times, wrong, end)
                           for number, one in enumerate(machines)))
    took, spent = time.monotonic() - start, cpu_seconds(process) - before
    times.sort()
    return {"machines": len(machines), "period_seconds": args.period, "seconds": round(took, 1),
            "requests": len(times), "requests_per_second": round(len(times) / took), "wrong_answers": len(wrong),
            "answer_ms": {"median": round(times[len(times) // 2] * 1000, 2),
                          "p99": round(times[len(times) * 99 // 100] * 1000, 2), "max": round(times[-1] * 1000, 1)},
            "simulator_cpu_percent": round(spent / took * 100, 1),
            "simulator_cpu_ms_per_request": round(spent / len(times) * 1000, 3),
            "load_average": round(os.getloadavg()[0], 1), "simulator_rss_mb": round(resident(process))}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--period", type=float, default=6.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [sys.executable, "-m", "waagent.simulator", "serve", "--host", "127.0.0.1", "--wire-port", "0",
             "--plugin-port", "0", "--no-imds", "--control", "0", "--shared-certificate",
             "--state", f"{directory}/state"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            urls: dict[str, str] = {}
            for line in process.stdout or ():
                if line.strip() == "ready":
                    break
                label, _, url = line.strip().rpartition(" ")
                urls[label.strip()] = url
            api = urls["control"]
            start = time.monotonic()
            machines = [control(api, "POST", "/api/machines", {"name": f"vm{number:04}"})
                        for number in range(args.machines)]
            created = time.monotonic() - start
            found = asyncio.run(load(urls, machines, args, process.pid))
            found["create_seconds"] = round(created, 1)
            found["violations"] = len(control(api, "GET", "/api/violations"))
        finally:
            process.terminate()
            process.wait()
    print(json.dumps(found, indent=2))
    return 1 if found["wrong_answers"] or found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
