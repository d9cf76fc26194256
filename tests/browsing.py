"""A real browser, headless, for pages that scripts draw."""

import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def chromium(profile, **logged):
    """Yield a driver of Chromium; skip where there is none.

    Args:
        profile: an empty folder.
        logged: which logs are kept, such as `browser="ALL"`.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium drives the browser: pip install -e .[dev]")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no browser: install Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    flags = "headless=new no-sandbox disable-gpu disable-background-networking disable-component-update no-first-run"
    for flag in (*flags.split(), f"user-data-dir={profile}", "window-size=1400,900"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", logged)
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()
