"""The names in certificates: each stands for one role and one holder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import CertificateRefused
from common.identity import (
    SITE_NAME,
    coordinator_name,
    domain,
    invitation_dns,
    is_site_name,
    new_federation,
    new_invitation_id,
    site_dns,
)
from common.identity.names import dns_name, federation_of, holder_of

FEDERATION = "0123456789ab"
SITES = st.from_regex(SITE_NAME, fullmatch=True).filter(str.isascii)


def test_names_are_inside_the_federations_domain() -> None:
    assert domain(FEDERATION) == "0123456789ab.consilium.internal"
    assert coordinator_name(FEDERATION) == "coordinator.0123456789ab.consilium.internal"
    assert site_dns(FEDERATION, "alder") == "alder.sites.0123456789ab.consilium.internal"
    assert invitation_dns(FEDERATION, "f" * 32) == f"{'f' * 32}.invitations.0123456789ab.consilium.internal"


@given(SITES)
def test_a_sites_name_is_found_again(site: str) -> None:
    assert holder_of(FEDERATION, site_dns(FEDERATION, site)) == ("site", site)
    assert all(len(label) < 64 for label in site_dns(FEDERATION, site).split("."))


@given(st.text("abz-.*09@A ", max_size=60))
def test_what_stands_for_somebody_is_spelt_in_one_way(text: str) -> None:
    dns = f"{text}.{domain(FEDERATION)}"
    try:
        role, name = holder_of(FEDERATION, dns)
    except CertificateRefused:
        return
    assert dns_name(FEDERATION, role, name) == dns


def test_even_a_site_that_is_called_so_is_no_coordinator() -> None:
    assert holder_of(FEDERATION, site_dns(FEDERATION, "coordinator")) == ("site", "coordinator")
    assert holder_of(FEDERATION, coordinator_name(FEDERATION)) == ("coordinator", "coordinator")


@pytest.mark.parametrize(
    "dns",
    [
        "",
        "coordinator",
        "alder.sites.ffffffffffff.consilium.internal",
        "sites.0123456789ab.consilium.internal",
        "alder.0123456789ab.consilium.internal",
        "a.b.sites.0123456789ab.consilium.internal",
        "*.sites.0123456789ab.consilium.internal",
        "Alder.sites.0123456789ab.consilium.internal",
        "alder.sites.0123456789ab.consilium.internal.",
        "alder.sites.0123456789ab.consilium.internal\n",
        "alder.invitations.0123456789ab.consilium.internal",
        "alder.coordinator.0123456789ab.consilium.internal",
        "coordinator.0123456789ab.consilium.internal.example.com",
    ],
)
def test_other_names_stand_for_nobody(dns: str) -> None:
    with pytest.raises(CertificateRefused):
        holder_of(FEDERATION, dns)


@pytest.mark.parametrize("site", ["", "-a", "a-", "a" * 41, "Alder", "a.b", "a_b", "alder\n", "é", "٣"])
def test_sites_are_not_called_so_and_the_hint_says_how(site: str) -> None:
    assert not is_site_name(site)
    with pytest.raises(CertificateRefused) as caught:
        site_dns(FEDERATION, site)
    assert "1 to 40" in caught.value.hint


@pytest.mark.parametrize("federation", ["", "0123456789a", "0123456789aB", "0123456789ab\n", "../../etc/pw"])
def test_other_federations_there_are_none(federation: str) -> None:
    with pytest.raises(CertificateRefused):
        domain(federation)
    with pytest.raises(CertificateRefused):
        federation_of(f"{federation}.consilium.internal")


def test_new_ones_differ_and_are_good_for_names() -> None:
    federations, ids = {new_federation() for _ in range(50)}, {new_invitation_id() for _ in range(50)}
    assert len(federations) == len(ids) == 50
    assert all(federation_of(domain(each)) == each for each in federations)
    assert all(invitation_dns(FEDERATION, each) for each in ids)


def test_a_bare_suffix_belongs_to_no_federation() -> None:
    for name in ("consilium.internal", "0123456789ab.consilium.example", "x.0123456789ab.consilium.internal"):
        with pytest.raises(CertificateRefused):
            federation_of(name)
