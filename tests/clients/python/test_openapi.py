"""schemathesis on the server's OpenAPI description: no 5xx, no answer that breaks the description.

SSD_LLM_OPENAPI names the description where it is not at one of the usual paths; SSD_LLM_EXAMPLES is how many cases each
operation gets (the short form is 8).
"""

import os
import pathlib
import subprocess
import sys

import pytest
import support

USUAL = ["/openapi.json", "/openapi.yaml", "/api/openapi.json", "/docs/openapi.json"]
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance"


def description():
    given = os.environ.get("SSD_LLM_OPENAPI")
    if given:
        return given
    for path in USUAL:
        if support.get(path).status_code == 200:
            return support.URL + path
    pytest.fail(f"no OpenAPI description at any of {', '.join(USUAL)}")


@pytest.mark.timeout(1800)
def test_every_operation_keeps_to_its_description(tmp_path):
    program = pathlib.Path(sys.executable).with_name("schemathesis")
    command = [
        program, "run", description(), "--url", support.URL, "--checks", CHECKS, "--seed", "1", "--workers", "2",
        "--phases", "examples,coverage,fuzzing", "--max-examples", os.environ.get("SSD_LLM_EXAMPLES", "8"),
        "--request-timeout", "120", "--continue-on-failure", "--no-shrink", "--generation-database", "none",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]


def test_the_description_has_every_endpoint_of_the_apis():
    answer = support.get(description().removeprefix(support.URL))
    for path in ("/api/generate", "/api/chat", "/api/tags", "/v1/chat/completions", "/v1/responses", "/v1/messages"):
        assert path in answer.text, path
