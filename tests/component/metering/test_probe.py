"""The probe, which checks from outside whether usage becomes consumption."""

import asyncio
import subprocess
import sys

from tests.support.drivers.metering import Metering
from tests.support.drivers.processes import ROOT


async def run_probe(metering: Metering, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "services.metering", "probe", "--once", *arguments]
    env = {"PATH": "/usr/bin:/bin", **metering.env}

    def call() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)

    return await asyncio.to_thread(call)


async def test_the_probe_fails_when_its_usage_is_not_counted(metering: Metering) -> None:
    await metering.process.wait_ready()
    known = ["--subscription", "sub-1", "--product", "calls", "--meter", "call"]
    for _ in range(2):
        done = await run_probe(metering, *known)
        assert done.returncode == 0, done.stderr
        assert "was counted after" in done.stdout
    done = await run_probe(metering, *known[:4], "--meter", "nonsense", "--within", "3")
    assert done.returncode == 1
    assert "not counted within 3 s" in done.stderr
    metering.process.kill()
    done = await run_probe(metering, *known, "--within", "3")
    assert done.returncode == 1
