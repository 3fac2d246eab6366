"""A headless Chromium, driven by the DevTools protocol: a WebSocket client of a few lines, for tests of a page."""

import base64
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time
import urllib.request

from patience import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page."""

    def __init__(self, folder):
        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run",
             f"--user-data-dir={folder}", "--disable-dev-shm-usage", "about:blank"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        port = ""
        while not port:
            found = re.search(r"127\.0\.0\.1:(\d+)/", self._process.stderr.readline())
            port = found[1] if found else ""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        self._socket = socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        path = page["webSocketDebuggerUrl"].partition(f":{port}")[2]
        self._socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass
        self._count = 0
        self.events = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """The result of one command; events that come before it are in `events`."""
        self._count += 1
        self._send(json.dumps({"id": self._count, "method": method, "params": params}).encode())
        while True:
            message = json.loads(self._receive())
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def run(self, code):
        """The value of an expression of JavaScript."""
        done = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, code):
        """The value of an expression once it is true."""
        until = time.monotonic() + PATIENCE / 5
        while not (value := self.run(code)):
            assert time.monotonic() < until, (code, self.run("document.body.innerText"))
            time.sleep(0.02)
        return value

    def press(self, key, text=""):
        """A key, down and up."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text if kind == "keyDown" else "")

    def type(self, text):
        """Text at the cursor."""
        self.call("Input.insertText", text=text)

    def choose_file(self, selector, path):
        """A file for an input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self):
        """What is seen, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def addresses(self):
        """All addresses that were asked for."""
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]

    def close(self):
        """End the browser."""
        self._socket.close()
        self._file.close()
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._process.stderr.close()

    def _send(self, data):
        size = len(data)
        head = bytes([0x81]) + (
            bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + struct.pack(">H", size) if size < 65536
            else bytes([0xFF]) + struct.pack(">Q", size)
        )  # fmt: skip
        # A mask of zeros leaves the data as it is.
        self._socket.sendall(head + bytes(4) + data)

    def _receive(self):
        parts = []
        while True:
            first, size = self._file.read(2)
            if size == 126:
                (size,) = struct.unpack(">H", self._file.read(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self._file.read(8))
            parts.append(self._file.read(size))
            if first & 0x80:
                return b"".join(parts)
