"""The built book: no warning, no broken link, nothing loaded from elsewhere; and how it looks in Chromium."""

import base64
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dfrepro.files import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTHS = (375, 820, 1440)
pytestmark = pytest.mark.long
broken = runpy.run_path(str(ROOT / "docs" / "links.py"))["broken"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("book")
    command = [sys.executable, "-m", "sphinx", "-q", "--keep-going", "-W", "-b", "html", str(ROOT / "docs"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def test_the_book_builds_without_a_warning_and_has_no_broken_link(built):
    assert len(list(built.glob("_notebooks/*.html"))) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert broken(built) == []


def test_pages_load_nothing_from_elsewhere(built):
    for path in built.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe|link rel="stylesheet")[^>]*(?:src|href)="(?:https?:)?//', path.read_text()
        )
        assert not loaded, path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    websocket = pytest.importorskip("websocket")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    profile = tmp_path_factory.mktemp("profile")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
               f"--user-data-dir={profile}", "about:blank"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Browser(websocket, profile)
    finally:
        process.kill()


class Browser:
    """Chromium over its debugging protocol: visits a page and says what went wrong on it."""

    def __init__(self, websocket, profile: Path):
        import time
        import urllib.request

        told = profile / "DevToolsActivePort"
        for _ in range(200):
            if told.exists() and told.read_text().count("\n"):
                break
            time.sleep(0.1)
        port = told.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            (page,) = [target for target in json.load(answer) if target["type"] == "page"]
        self.socket = websocket.create_connection(page["webSocketDebuggerUrl"], suppress_origin=True, timeout=60)
        self.count, self.events = 0, []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params) -> dict:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def visit(self, page: Path, width: int, dark: bool = False, query: str = "") -> list[str]:
        """Load a page; return the errors of its console."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri() + query)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))
        self.evaluate("new Promise(done => setTimeout(done, 150))")
        return [str(event["params"]) for event in self.events if is_error(event)]

    def evaluate(self, expression: str):
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


def is_error(event: dict) -> bool:
    kind, params = event["method"], event["params"]
    return (
        kind == "Runtime.exceptionThrown"
        or (kind == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"))
        or (kind == "Log.entryAdded" and params["entry"]["level"] == "error")
    )


# text that is hard to read: its contrast with the first opaque ground behind it is below 3 (WCAG's floor is 4.5 for
# small text and 3 for large; 3 finds what is illegible and not what is only quiet)
PALE = """(() => {
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = c => { const f = c.slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
                       return .2126 * f[0] + .7152 * f[1] + .0722 * f[2]; };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                        if (c.length && (c.length < 4 || c[3] > .5)) return c; } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('article :is(p, li, td, th, h1, h2, h3, pre, span, figcaption, code)')) {
    if (!e.checkVisibility() || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const a = light(rgb(getComputedStyle(e).color)), b = light(ground(e));
    if ((Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 3) found.push(e.tagName + ' ' + e.textContent.slice(0, 40));
  }
  return found.slice(0, 5);
})()"""
WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
EMPTY = "[...document.images].filter(i => i.complete && !i.naturalWidth && i.loading !== 'lazy').map(i => i.src)"


@pytest.mark.timeout(1800)
def test_every_page_reads_well_at_three_widths_in_the_light_and_in_the_dark(built, browser):
    faults = []
    for path in sorted(built.rglob("*.html")):
        if "_modules" in path.parts or "_static" in path.parts:
            continue
        for width in WIDTHS:
            for dark in (False, True):
                where = f"{path.relative_to(built)} at {width} px{', dark' if dark else ''}"
                faults += [f"{where}: console: {error}" for error in browser.visit(path, width, dark)]
                if (beyond := browser.evaluate(WIDE)) > 1:
                    faults.append(f"{where}: {beyond} px wider than the screen")
                faults += [f"{where}: no picture at {source}" for source in browser.evaluate(EMPTY)]
                faults += [f"{where}: pale: {text}" for text in browser.evaluate(PALE)]
    assert not faults, "\n".join(faults)


def test_search_finds_a_word_of_a_notebook(built, browser):
    browser.visit(built / "search.html", 1440, query="?q=saliency")
    results = (
        "new Promise(done => setTimeout(() => done(document.querySelectorAll('#search-results li').length), 3000))"
    )
    assert browser.evaluate(results) > 0
    assert [event for event in browser.events if is_error(event)] == []  # also of what came after the page had loaded
