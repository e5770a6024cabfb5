"""Identity: names, keys, certificates and invitations, by ``cryptography`` alone.

An authority gives every party one certificate with one name and one role. Private keys never leave the
machine that they were made on, except the short-lived one in an invitation.
"""

from common.identity.authority import Authority, site_request
from common.identity.certificates import Anchor, Identity, anchor_of, identity_of
from common.identity.invitation import Invitation, read_invitation, signed, write_invitation
from common.identity.keys import (
    PrivateKey,
    PublicKey,
    fingerprint,
    key_of,
    key_pem,
    new_signing_key,
    new_tls_key,
    public_of,
    public_text,
    read_key,
    read_passphrase,
    sign,
    verify,
    write_key,
)
from common.identity.names import (
    SITE_NAME,
    Role,
    coordinator_name,
    domain,
    invitation_dns,
    is_site_name,
    new_federation,
    new_invitation_id,
    site_dns,
)

__all__ = [
    "SITE_NAME", "Anchor", "Authority", "Identity", "Invitation", "PrivateKey", "PublicKey", "Role",
    "anchor_of", "coordinator_name", "domain", "fingerprint", "identity_of", "invitation_dns",
    "is_site_name", "key_of", "key_pem", "new_federation", "new_invitation_id", "new_signing_key",
    "new_tls_key", "public_of", "public_text", "read_invitation", "read_key", "read_passphrase", "sign",
    "signed", "site_dns", "site_request", "verify", "write_invitation", "write_key",
]  # fmt: skip
