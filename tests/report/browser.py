"""Headless Chromium over chromedriver's HTTP interface: enough to open a page, run a script and take a picture."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)


def missing() -> str:
    """Why there is no browser here; empty where there is one."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else ""


def axe() -> Path | None:
    """Where axe-core lies: $AXE_CORE, or node_modules after `npm install --no-save axe-core`."""
    local = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
    chosen = Path(os.environ.get("AXE_CORE", local))
    return chosen if chosen.is_file() else None


class Browser:
    """One session of a headless browser."""

    def __init__(self, address: str, session: str) -> None:
        self.at = f"{address}/session/{session}"

    def open(self, page: Path, *, width: int = 1440, height: int = 900) -> None:
        """Open a local file in a window of this size (emulated, so that it can be as narrow as a phone)."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        call("POST", f"{self.at}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page and return its value."""
        return call("POST", f"{self.at}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str, *arguments: object) -> Any:
        """Run a script that ends with a call of its last argument."""
        return call("POST", f"{self.at}/execute/async", {"script": script, "args": list(arguments)})

    def keys(self, text: str) -> None:
        """Press keys on what has the focus."""
        presses = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        call("POST", f"{self.at}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": presses}]})

    def command(self, name: str, parameters: dict[str, object]) -> Any:
        """A command of the DevTools protocol."""
        return call("POST", f"{self.at}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def console(self) -> list[str]:
        """Every message of the console since the last call."""
        return [entry["message"] for entry in call("POST", f"{self.at}/se/log", {"type": "browser"})]

    def picture(self, file: Path, *, whole: bool = False) -> None:
        """A screenshot as PNG, of the window or of the whole page."""
        shot = self.command("Page.captureScreenshot", {"captureBeyondViewport": whole})
        file.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start chromedriver and Chromium with a profile of their own, and end both."""
    with tempfile.TemporaryDirectory() as profile:
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        try:
            assert driver.stdout is not None
            line = next(text for text in driver.stdout if "successfully on port" in text)
            address = f"http://127.0.0.1:{line.strip().rstrip('.').split()[-1]}"
            options = {"args": [*FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            made = call("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
            try:
                yield Browser(address, made["sessionId"])
            finally:
                call("DELETE", f"{address}/session/{made['sessionId']}", None)
        finally:
            driver.terminate()
            driver.wait(10)
            time.sleep(0.2)


def call(method: str, url: str, body: object) -> Any:
    """One request of the WebDriver protocol; its value, or the error it names."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["value"]["message"]) from None
