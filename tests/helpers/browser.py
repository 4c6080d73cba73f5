# SPDX-License-Identifier: MIT
"""A headless Chromium that opens reports, clicks in them and takes pictures."""
import json
import os
import shutil
import subprocess
import time

import pytest

from helpers import gs

NPM = gs.WORK / "npm"


def start(width=1280, height=900, dark=False):
    """A browser window; the caller quits it.  Skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed")
    from selenium.webdriver.chrome.service import Service  # pylint: disable=import-outside-toplevel
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--allow-file-access-from-files", f"--window-size={width},{height}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(service=Service(driver), options=options)
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
    return browser


def complaints(browser):
    """What the page has said on its console: errors of scripts, blocked loads."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def wait_for(condition, what, seconds=20):
    """Waits until condition() is true, and returns what it returned."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never came: {what}")


def speedscope():
    """The directory of the speedscope application, from npm; installed on first use."""
    release = NPM / "node_modules" / "speedscope" / "dist" / "release"
    if not release.is_dir():
        npm = shutil.which("npm")
        if not npm:
            pytest.skip("npm is not installed")
        NPM.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", NPM, "speedscope"],
                              check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              env=dict(os.environ, CI="1"), timeout=300)
        if done.returncode:
            pytest.skip(f"npm cannot install speedscope: {done.stdout[-200:]}")
    return release


def as_javascript(text):
    return json.dumps(text)
