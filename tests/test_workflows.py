"""What runs on others' machines: the workflow on GitHub, and the hooks of pre-commit."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

TOP = Path(__file__).parents[1]
WORKFLOWS = sorted((TOP / ".github/workflows").glob("*.yml"))
PYTHON = "Programming Language :: Python :: "


@pytest.fixture(scope="module")
def jobs():
    """The jobs of the workflow that releases."""
    return yaml.safe_load((TOP / ".github/workflows/release.yml").read_text())["jobs"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow__actions_are_pinned(path):
    """No action is run by a name that its owner can move; a comment says which version it is."""
    used = re.findall(r"uses: *(.*)", path.read_text())

    assert used
    assert [] == [each for each in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)]


def test_workflow__each_python(jobs):
    """The wheel is tested on each Python that the package says it runs on."""
    classifiers = metadata("tiktok-oauth-session").get_all("Classifier")
    promised = [each.removeprefix(PYTHON) for each in classifiers if re.match(PYTHON + r"3\.", each)]

    assert promised == jobs["test"]["strategy"]["matrix"]["python"]


def test_workflow__publishes_what_was_tested(jobs):
    """Only what was built for the tests is published, by a job that may sign and do nothing else."""
    publish = jobs["publish"]

    assert {"id-token": "write"} == publish["permissions"]
    assert {"test", "checks"} == set(publish["needs"])
    assert "github.ref_type == 'tag'" == publish["if"]
    assert [] == [step for step in publish["steps"] if "run" in step or "checkout" in step["uses"]]
    assert publish["steps"][-1]["with"]["attestations"] is True


def test_hooks__are_the_tools_of_the_checks():
    """Before a commit runs what `.ci/run` runs afterwards."""
    (ours,) = yaml.safe_load((TOP / ".pre-commit-config.yaml").read_text())["repos"]
    checks = (TOP / ".ci/run").read_text()

    for hook in ours["hooks"]:
        tool, *arguments = hook["entry"].removesuffix(" --force-exclude").split()
        assert " ".join([f'"$tools/{tool}"', *arguments]) in checks
