"""Fixtures of all suites. The server is found by SSD_LLM_URL and must already run; scripts/client-tests.sh starts one."""

import time

import httpx
import pytest
import support


@pytest.fixture(scope="session", autouse=True)
def server():
    """Waits for the server once, and gives up with its address in the message."""
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{support.URL}/health", timeout=5).status_code == 200:
                return support.URL
        except httpx.TransportError:
            pass
        if time.monotonic() > end:
            pytest.exit(f"no healthy server at {support.URL}: start one, or set SSD_LLM_URL", returncode=3)
        time.sleep(0.2)


@pytest.fixture(scope="session")
def model(server):
    return support.model()


@pytest.fixture
def needs_tools(server):
    if "tools" not in support.capabilities():
        pytest.skip("the model's template has no tools")


@pytest.fixture
def needs_no_tools(server):
    if "tools" in support.capabilities():
        pytest.skip("the model's template has tools")


@pytest.fixture
def needs_no_vision(server):
    if "vision" in support.capabilities():
        pytest.skip("the model can see")
