"""Open the built site in headless Chromium: pictures of its pages, and whether it works.

``python tools/browse_site.py docs/_build/html --out shots`` visits every page at 1280 and 390
pixels, light and dark. It fails where a page is wider than the window, has an error in its
console, or asks another host for anything; where search does not find ``MLPClassifier``; and where
tabs do not switch. Needs the dependency group ``docs-browser``, chromium and chromedriver.
"""

# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import argparse
import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

WIDTHS = (1280, 390)
THEMES = ("light", "dark")
FLAGS = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
# What is wider than its page, by tag and class: boxes that scroll by themselves may hold more.
TOO_WIDE = """
const article = document.querySelector(".bd-article-container"), found = [];
const pages = [document.documentElement, article].filter(e => e && e.scrollWidth > e.clientWidth);
const scrolls = e => e !== article && getComputedStyle(e).overflowX !== "visible";
for (const page of pages)
    for (const e of page.querySelectorAll("*")) {
        const right = page.getBoundingClientRect().left + page.clientWidth + 1;
        let box = e.parentElement;
        while (box !== page && !scrolls(box)) box = box.parentElement;
        if (box === page && e.getBoundingClientRect().right > right)
            found.push(e.tagName + "." + e.className);
    }
return found.length ? found.slice(0, 3) : pages.map(page => page.tagName + " scrolls");
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Requests are not logged."""


def browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def faults(driver: webdriver.Chrome, address: str) -> list[str]:
    """Errors of the console, and requests that left this machine, since the last call."""
    found = [e["message"] for e in driver.get_log("browser") if e["level"] == "SEVERE"]
    for entry in driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            url = event["params"]["request"]["url"]
            if not url.startswith((address, "data:", "blob:", "chrome:", "about:")):
                found.append(f"asks {url}")
    return found


def visit(driver: webdriver.Chrome, address: str, page: str, out: Path | None) -> list[str]:
    """Open a page in each width and theme; return what is wrong with it."""
    found = []
    for width in WIDTHS:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get(f"{address}/{page}")
        settled = "return !window.MathJax || !MathJax.startup || MathJax.startup.promise"
        driver.execute_script(settled)
        for wide in driver.execute_script(TOO_WIDE):
            found.append(f"{width} pixels: {wide} is too wide")
        for theme in THEMES if out else ():
            driver.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
            height = driver.execute_script("return document.documentElement.scrollHeight")
            size["height"] = min(height, 6000)
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            name = f"{page.removesuffix('.html').replace('/', '-')}-{width}-{theme}.png"
            driver.save_screenshot(str(out / name))
    return found + faults(driver, address)


def use(driver: webdriver.Chrome, address: str) -> list[str]:
    """Search for a name and switch tabs, as a reader would; return what does not work."""
    found = []
    size = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(f"{address}/search.html?q=MLPClassifier")
    hits = "ul.search li a[href*='xpnet.MLPClassifier.html']"
    try:
        WebDriverWait(driver, 20).until(lambda d: d.find_elements(By.CSS_SELECTOR, hits))
    except Exception as error:
        found.append(f"search does not find MLPClassifier: {error!r}")
    driver.get(f"{address}/index.html")
    tabs = driver.find_elements(By.CSS_SELECTOR, ".sd-tab-set > label")
    shown = ".sd-tab-set > .sd-tab-content"
    for i, tab in enumerate(tabs):
        driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", tab)
        tab.click()
        visible = [c.is_displayed() for c in driver.find_elements(By.CSS_SELECTOR, shown)]
        if [j for j, on in enumerate(visible) if on] != [i]:
            found.append(f"tab {tab.text!r} does not show its content alone")
    if not tabs:
        found.append("the first page has no tabs")
    return found + faults(driver, address)


def main() -> None:
    parser = argparse.ArgumentParser(description="Open the built site in headless Chromium.")
    parser.add_argument("site", type=Path, help="the folder with index.html")
    parser.add_argument("--out", type=Path, help="a folder for pictures of all pages")
    parser.add_argument("--only", default="**/*.html", help="pages, by a glob pattern")
    options = parser.parse_args()
    pages = [path.relative_to(options.site).as_posix() for path in options.site.glob(options.only)]
    left_out = ("_static", "_modules", "search", "genindex", "py-modindex", "reports")
    pages = sorted(page for page in pages if not page.startswith(left_out))
    if not pages:
        parser.error(f"there are no such pages in {options.site}: `nox -s docs` builds the site")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    server = ThreadingHTTPServer(("localhost", 0), partial(Quiet, directory=options.site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address, driver = f"http://localhost:{server.server_port}", browser()
    try:
        wrong = {page: visit(driver, address, page, options.out) for page in pages}
        wrong["search and tabs"] = use(driver, address)
    finally:
        driver.quit()
    for page, said in wrong.items():
        for line in said:
            print(f"{page}: {line}")
    print(f"{len(pages)} pages, {sum(map(len, wrong.values()))} faults")
    raise SystemExit(any(wrong.values()))


if __name__ == "__main__":
    main()
