# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose certificates each module trusts: what its options say, whatever the environment says."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.corepin.proxmox.plugins.modules import api_session, guest_info, guest_placement
from pve_lab import Cluster, Lab

from .conftest import connection, described, plan_for

if t.TYPE_CHECKING:
    from ..conftest import ModuleRunner

MODULES = {"api_session": api_session, "guest_info": guest_info, "guest_placement": guest_placement}
VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

Call = t.Callable[..., t.Dict[str, t.Any]]


@pytest.fixture(scope="module")
def stranger() -> t.Iterator[str]:
    """The file of a certificate authority that has nothing to do with the lab of the test."""
    with Lab(Cluster.from_dict(described())) as other:
        yield other.ca_path


@pytest.fixture(params=MODULES)
def call(request: pytest.FixtureRequest, lab: Lab, run_module: ModuleRunner) -> Call:
    """Call one of the modules with the lab's connection and further options."""
    options: dict[str, t.Any] = {"_ansible_no_log": request.param == "api_session"}
    if request.param == "guest_placement":
        options["plan"] = plan_for(lab.cluster, {101: {"affinity": "4-7"}})
    return lambda **changes: run_module(MODULES[request.param], **{**connection(lab), **options, **changes})


def fails_at_tls(result: t.Mapping[str, t.Any]) -> bool:
    return bool(result.get("failed")) and "The TLS connection to" in result["msg"] and "ca_path" in result["msg"]


def test_an_unknown_authority_is_refused_and_a_named_one_accepted(lab: Lab, call: Call, stranger: str) -> None:
    assert fails_at_tls(call(ca_path=None))
    assert fails_at_tls(call(ca_path=stranger))
    assert lab.requests == []
    assert "failed" not in call()


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_environment_does_not_replace_what_the_options_say(
    lab: Lab, call: Call, stranger: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, stranger)
    assert "failed" not in call()
    assert "failed" not in call(ca_path=None, validate_certs=False)
    monkeypatch.setenv(variable, lab.ca_path)
    seen = lab.mark()
    assert fails_at_tls(call(ca_path=stranger))
    assert lab.requests_since(seen) == []


def test_a_session_keeps_to_what_it_was_made_with(
    lab: Lab, run_module: ModuleRunner, stranger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = run_module(api_session, _ansible_no_log=True, **connection(lab))["api_session"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", stranger)
    assert "failed" not in run_module(guest_info, api_session=session)
    assert fails_at_tls(run_module(guest_info, api_session={**session, "ca_path": stranger}, ca_path=lab.ca_path, validate_certs=False))
    trusting = run_module(api_session, _ansible_no_log=True, **{**connection(lab), "ca_path": None, "validate_certs": False})["api_session"]
    assert "failed" not in run_module(guest_info, api_session=trusting)
