"""Enrolment: one invitation lets one site in once, and the audit log names everybody who tried."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import (
    AuditBroken,
    CertificateRefused,
    ConsiliumError,
    EnrolmentLimited,
    InvitationExpired,
    InvitationInvalid,
    InvitationUsed,
    SiteRevoked,
    SiteUninvited,
)
from common.identity import (
    Authority,
    identity_of,
    new_federation,
    new_tls_key,
    public_of,
    public_text,
    read_invitation,
    site_request,
    write_invitation,
)
from server.link.enrolment import TOGETHER, TRIES_EACH, host_of

PEER = "ipv4:192.0.2.1:5000"


def test_an_invitation_can_be_sent_and_read(desk: Any, tmp_path: Path) -> None:
    invitation = desk.enrolment.invite("north", hours=2)
    write_invitation(tmp_path / "north.invitation", invitation)
    assert read_invitation(tmp_path / "north.invitation", desk.clock()) == invitation
    assert invitation.address == "127.0.0.1:8443"
    assert invitation.authority_fingerprint == desk.home.authority.fingerprint
    assert public_of(invitation.coordinator_key) == desk.home.signing_key.public_key()
    assert invitation.expires == "2026-03-01T14:00:00+00:00"
    assert desk.events() == [
        ("site.invited", {"site": "north", "invitation": invitation.id, "expires": invitation.expires})
    ]


def test_an_invitation_may_name_another_address(desk: Any) -> None:
    assert desk.enrolment.invite("north", address="192.0.2.9:443").address == "192.0.2.9:443"


@pytest.mark.parametrize("name", ["", "North", "a.b", "-a", "../x", "a" * 41])
def test_a_site_must_have_a_name(desk: Any, name: str) -> None:
    with pytest.raises(CertificateRefused):
        desk.enrolment.invite(name)
    assert desk.home.store.members.invitations() == []


def test_a_site_enrols(desk: Any) -> None:
    invitation = desk.enrolment.invite("north")
    member = desk.enrol(invitation)
    assert (member.identity.role, member.identity.name) == ("site", "north")
    row = desk.enrolment.admit(member.identity)
    assert row == desk.home.store.members.site("north") == desk.home.store.members.node(row.node_id)
    assert (row.fingerprint, row.serial) == (member.identity.fingerprint, member.identity.serial)
    assert row.public == public_text(member.key.public_key())
    assert (row.enrolled, row.expires) == ("2026-03-01T12:00:00+00:00", "2026-03-31T12:00:00+00:00")
    assert desk.events()[-1] == (
        "site.enrolled",
        {
            "site": "north",
            "node": row.node_id,
            "invitation": invitation.id,
            "serial": row.serial,
            "fingerprint": row.fingerprint,
        },
    )
    (remembered,) = desk.home.store.members.invitations()
    assert remembered.used_at == "2026-03-01T12:00:00+00:00"


def test_sites_are_kept_apart(desk: Any) -> None:
    members = [desk.join(name) for name in ("north", "south", "east")]
    rows = [desk.enrolment.admit(member.identity) for member in members]
    assert [row.name for row in rows] == ["north", "south", "east"]
    assert len({row.node_id for row in rows}) == 3
    assert [row.name for row in desk.home.store.members.sites()] == ["east", "north", "south"]


def test_an_invitation_is_used_once(desk: Any) -> None:
    invitation = desk.enrolment.invite("north")
    first = desk.enrol(invitation)
    with pytest.raises(InvitationUsed):
        desk.enrol(invitation)
    assert desk.enrolment.admit(first.identity).name == "north"
    assert desk.events()[-1] == (
        "enrolment.refused",
        {"code": "invitation-used", "role": "invitation", "name": invitation.id},
    )


def test_threads_with_one_invitation_get_one_certificate(desk: Any) -> None:
    """Both pass the first look at the invitation: the last word is the database's."""
    start, signing = Barrier(2), Barrier(2, timeout=30)
    invitation = desk.enrolment.invite("north")
    issue = desk.home.authority.site_certificate

    class Slow:
        """The authority, with both threads inside before either goes on."""

        def __getattr__(self, name: str) -> Any:
            return getattr(desk.home.authority, name)

        def site_certificate(self, *asked: Any) -> bytes:
            signing.wait()
            return bytes(issue(*asked))

    desk.enrolment._authority = Slow()

    def enrol(_: int) -> str:
        start.wait()
        try:
            return str(desk.enrol(invitation).identity.fingerprint)
        except InvitationUsed as error:
            return error.code

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(enrol, range(2)))
    assert ends.count("invitation-used") == 1
    (enrolled,) = (end for end in ends if end != "invitation-used")
    assert desk.home.store.members.site("north").fingerprint == enrolled
    assert [event for event, _ in desk.events()][1:] == ["site.enrolled", "enrolment.refused"]


def test_an_invitation_ends(desk: Any) -> None:
    invitation = desk.enrolment.invite("north", hours=1)
    bootstrap = desk.bootstrap(invitation)  # the connection was opened in time
    desk.clock.turn(hours=1)
    with pytest.raises(InvitationExpired):
        desk.enrolment.enrol(bootstrap, desk.request("north"), invitation.id, PEER)
    assert desk.events()[-1][1]["code"] == "invitation-expired"


def test_an_invitation_of_nobody_is_refused(desk: Any) -> None:
    """A certificate that the right authority signed, for an id that was never given out or another one's."""
    known = desk.enrolment.invite("north")
    for name in ("0" * 32, known.id):
        _, pem = desk.home.authority.bootstrap(name, desk.clock(), 1)
        with pytest.raises(InvitationInvalid):
            desk.enrolment.enrol(desk.identity(pem), desk.request("north"), name, PEER)
    assert [facts["code"] for _, facts in desk.events()[1:]] == ["invitation-invalid"] * 2
    assert desk.enrol(known).identity.name == "north"


def test_the_request_names_the_invitation_of_its_certificate(desk: Any) -> None:
    one, other = desk.enrolment.invite("north"), desk.enrolment.invite("south")
    with pytest.raises(InvitationInvalid):
        desk.enrolment.enrol(desk.bootstrap(one), desk.request("north"), other.id, PEER)


def test_a_site_cannot_enrol_as_another(desk: Any) -> None:
    invitation = desk.enrolment.invite("north")
    with pytest.raises(CertificateRefused):
        desk.enrolment.enrol(desk.bootstrap(invitation), desk.request("south"), invitation.id, PEER)
    assert desk.events()[-1][1]["code"] == "certificate-refused"
    assert desk.home.store.members.sites() == []
    assert desk.enrol(invitation).identity.name == "north"  # a refused request uses nothing up


def test_a_request_for_another_kind_of_key_is_refused(desk: Any) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA384
    from cryptography.hazmat.primitives.serialization import Encoding

    invitation = desk.enrolment.invite("north")
    wanted = x509.load_pem_x509_csr(desk.request("north"))
    builder = x509.CertificateSigningRequestBuilder(subject_name=wanted.subject)
    for extension in wanted.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    other = builder.sign(ec.generate_private_key(ec.SECP384R1()), SHA384()).public_bytes(Encoding.PEM)
    for request in (other, b"", b"-----BEGIN CERTIFICATE REQUEST-----\n"):
        with pytest.raises(CertificateRefused):
            desk.enrolment.enrol(desk.bootstrap(invitation), request, invitation.id, PEER)
    assert desk.enrol(invitation).identity.name == "north"


def test_each_call_takes_its_own_kind_of_certificate(desk: Any) -> None:
    member, invitation = desk.join("north"), desk.enrolment.invite("south")
    bootstrap = desk.bootstrap(invitation)
    with pytest.raises(CertificateRefused):
        desk.enrolment.enrol(member.identity, desk.request("south"), invitation.id, PEER)
    with pytest.raises(CertificateRefused):
        desk.enrolment.renew(bootstrap, desk.request("south"))
    with pytest.raises(CertificateRefused):
        desk.enrolment.admit(bootstrap)
    assert [facts["role"] for event, facts in desk.events() if event == "enrolment.refused"] == [
        "site",
        "invitation",
    ]


def test_a_site_of_another_federation_is_nobody_here(desk: Any) -> None:
    other = Authority.new(new_federation(), desk.clock())
    pem = other.site_certificate(
        site_request(new_tls_key(), other.federation, "north"), "north", desk.clock()
    )
    with pytest.raises(CertificateRefused):
        desk.enrolment.admit(identity_of(pem, other.pem, desk.clock()))


def test_a_certificate_that_was_not_given_out_admits_nobody(desk: Any) -> None:
    """As one made with a stolen copy of the authority's key."""
    member = desk.join("north")
    pem = desk.home.authority.site_certificate(desk.request("north"), "north", desk.clock())
    with pytest.raises(CertificateRefused):
        desk.enrolment.admit(desk.identity(pem))
    with pytest.raises(CertificateRefused):
        desk.enrolment.admit(replace(member.identity, name="south"))
    assert desk.enrolment.admit(member.identity).name == "north"


def test_a_revoked_site_is_out_until_a_new_invitation(desk: Any) -> None:
    member, waiting = desk.join("north"), desk.enrolment.invite("north")
    node_id = desk.enrolment.admit(member.identity).node_id
    assert desk.enrolment.revoke("north")
    assert not desk.enrolment.revoke("north")
    assert [event for event, _ in desk.events()].count("site.revoked") == 1
    refusals: list[Callable[[], object]] = [
        lambda: desk.enrolment.admit(member.identity),
        lambda: desk.enrolment.renew(member.identity, desk.request("north")),
        lambda: desk.enrol(waiting),
    ]
    for refused in refusals:
        with pytest.raises(SiteRevoked):
            refused()
    assert desk.home.store.members.site("north").revoked_at is not None
    assert desk.home.store.members.keys(node_id) == ()
    again = desk.join("north")
    assert desk.enrolment.admit(again.identity).node_id == node_id
    assert desk.home.store.members.site("north").revoked_at is None
    with pytest.raises(SiteRevoked):  # the old certificate stays what it was
        desk.enrolment.admit(member.identity)


def test_others_stay_in_when_one_is_revoked(desk: Any) -> None:
    other, invited = desk.join("south"), desk.enrolment.invite("east")
    desk.join("north")
    desk.enrolment.revoke("north")
    assert desk.enrolment.admit(other.identity).name == "south"
    assert desk.enrol(invited).identity.name == "east"


def test_who_was_only_invited_can_be_revoked(desk: Any) -> None:
    invitation = desk.enrolment.invite("north")
    assert desk.enrolment.revoke("north")
    with pytest.raises(SiteRevoked):
        desk.enrol(invitation)
    with pytest.raises(SiteUninvited):
        desk.enrolment.revoke("south")


def test_a_site_that_enrols_anew_leaves_its_old_certificate_behind(desk: Any) -> None:
    lost = desk.join("north")
    found = desk.join("north")
    with pytest.raises(SiteRevoked):
        desk.enrolment.admit(lost.identity)
    row = desk.enrolment.admit(found.identity)
    assert desk.home.store.members.keys(row.node_id) == (public_text(found.key.public_key()),)


@pytest.mark.parametrize("same_key", [True, False])
def test_a_site_renews_its_certificate(desk: Any, same_key: bool) -> None:
    member = desk.join("north")
    node_id = desk.enrolment.admit(member.identity).node_id
    desk.clock.turn(days=20)
    key = member.key if same_key else new_tls_key()
    new = desk.identity(desk.enrolment.renew(member.identity, desk.request("north", key)))
    assert (new.name, new.public) == ("north", key.public_key())
    assert new.not_after > member.identity.not_after
    # The answer may have been lost on its way: the site can go on with what it has, and ask again.
    assert desk.enrolment.admit(new) == desk.enrolment.admit(member.identity)
    assert desk.enrolment.admit(new).fingerprint == new.fingerprint
    keys = dict.fromkeys(public_text(each.public_key()) for each in (key, member.key))
    assert desk.home.store.members.keys(node_id) == tuple(keys)
    assert desk.events()[-1] == (
        "site.renewed",
        {"site": "north", "serial": new.serial, "fingerprint": new.fingerprint},
    )
    desk.enrolment.revoke("north")
    for identity in (new, member.identity):
        with pytest.raises(SiteRevoked):
            desk.enrolment.admit(identity)


def test_a_site_renews_for_itself_only(desk: Any) -> None:
    member = desk.join("north")
    desk.join("south")
    with pytest.raises(CertificateRefused):
        desk.enrolment.renew(member.identity, desk.request("south"))
    assert desk.events()[-1] == (
        "enrolment.refused",
        {"code": "certificate-refused", "role": "site", "name": "north"},
    )


def test_nobody_enrols_whom_the_audit_log_cannot_name(desk: Any) -> None:
    invitation, member = desk.enrolment.invite("south"), desk.join("north")
    log = desk.home.audit.path
    log.write_bytes(log.read_bytes().replace(b'"site":"south"', b'"site":"north"'))
    refusals: list[Callable[[], object]] = [
        lambda: desk.enrolment.invite("east"),
        lambda: desk.enrol(invitation),
        lambda: desk.enrolment.renew(member.identity, desk.request("north")),
    ]
    for refused in refusals:
        with pytest.raises(AuditBroken):
            refused()
    members = desk.home.store.members
    assert [each.site for each in members.invitations()] == ["north", "south"]
    assert members.invitation(invitation.id).used_at is None
    assert members.keys(1) == (public_text(member.key.public_key()),)


def test_a_revocation_counts_even_where_it_cannot_be_logged(desk: Any) -> None:
    member = desk.join("north")
    desk.home.audit.path.write_bytes(b"")
    with pytest.raises(AuditBroken):
        desk.enrolment.revoke("north")
    with pytest.raises(SiteRevoked):
        desk.enrolment.admit(member.identity)


def tries(desk: Any, peers: list[str]) -> list[str]:
    """What each try to enrol with a used invitation comes to."""
    invitation = desk.enrolment.invite("north")
    desk.enrol(invitation, "ipv4:198.51.100.1:1")
    codes = []
    for peer in peers:
        with pytest.raises(ConsiliumError) as refused:
            desk.enrolment.enrol(desk.bootstrap(invitation), b"", invitation.id, peer)
        codes.append(refused.value.code)
    return codes


def test_one_address_may_try_five_times_a_minute(desk: Any) -> None:
    codes = tries(desk, [f"ipv4:192.0.2.1:{port}" for port in range(5000, 5008)])
    assert codes == ["invitation-used"] * TRIES_EACH + ["enrolment-limited"] * 3
    noted = [facts["code"] for event, facts in desk.events() if event == "enrolment.refused"]
    assert noted == ["invitation-used"] * TRIES_EACH + ["enrolment-limited"]  # the log is not flooded
    other = desk.enrolment.invite("south")
    assert desk.enrol(other, "ipv4:192.0.2.2:1").identity.name == "south"
    late = desk.enrolment.invite("east")
    with pytest.raises(EnrolmentLimited):
        desk.enrol(late)
    desk.clock.turn(seconds=12)  # a token a twelfth of a minute
    assert desk.enrol(late).identity.name == "east"


def test_all_together_may_try_thirty_times_a_minute(desk: Any) -> None:
    codes = tries(desk, [f"ipv4:203.0.113.{host}:1" for host in range(35)])
    assert codes == ["invitation-used"] * (TOGETHER * TRIES_EACH - 1) + ["enrolment-limited"] * 6


def test_a_site_that_renews_all_the_time_is_stopped(desk: Any) -> None:
    member, other = desk.join("north"), desk.join("south")
    for _ in range(TRIES_EACH):
        desk.enrolment.renew(member.identity, desk.request("north"))
    with pytest.raises(EnrolmentLimited):
        desk.enrolment.renew(member.identity, desk.request("north"))
    assert desk.enrolment.renew(other.identity, desk.request("south"))


def test_the_log_holds_no_address(desk: Any) -> None:
    tries(desk, ["ipv4:192.0.2.77:4711"] * 7)
    assert b"192.0.2" not in desk.home.audit.path.read_bytes()


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:192.0.2.7:50412", "192.0.2.7"),
        ("ipv6:[2001:db8::1]:443", "2001:db8::/64"),
        ("ipv6:%5B2001:db8::ffff%5D:1", "2001:db8::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("unix:/run/link", "unix:/run/link"),
        ("ipv4:nonsense", "ipv4:nonsense"),
        ("", ""),
    ],
)
def test_who_called_is_known_without_the_port(peer: str, host: str) -> None:
    assert host_of(peer) == host
