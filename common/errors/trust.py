"""Errors of identity, consent and the link between coordinator and sites: exit status 7."""

from __future__ import annotations

from common.errors.base import ConsiliumError


class TrustError(ConsiliumError):
    """Somebody is not who they should be, or may not do what they try."""

    exit_code = 7


class KeyUnsafe(TrustError):  # noqa: D101
    code = "key-unsafe"
    public = "A private key can be read by others than its owner."
    hint = "Run `chmod 600` on the file named above, and `chmod 700` on its folder; then try again."


class KeyUnreadable(TrustError):  # noqa: D101
    code = "key-unreadable"
    public = "A private key cannot be read with what was given."
    hint = "Check the path and the passphrase file; a key that is lost is made anew by enrolling again."


class IdentityExists(TrustError):  # noqa: D101
    code = "identity-exists"
    public = "There is an identity here already."
    hint = "Nothing was changed. Choose another folder, or move the old identity away first."


class NotEnrolled(TrustError):  # noqa: D101
    code = "not-enrolled"
    public = "This site has no certificate of a coordinator yet."
    hint = "Ask the coordinator for an invitation and run `consilium site enrol --invitation FILE`."


class SiteUninvited(TrustError):  # noqa: D101
    code = "site-uninvited"
    public = "No site of that name was ever invited."
    hint = "`consilium coordinator sites` lists those that were."


class CertificateRefused(TrustError):  # noqa: D101
    code = "certificate-refused"
    public = "A certificate is not one that this federation gave for this purpose."
    hint = "Compare the CA fingerprints of both sides by telephone; do not go on if they differ."


class CertificateExpired(TrustError):  # noqa: D101
    code = "certificate-expired"
    public = "A certificate is not valid at this time."
    hint = "Check the clocks of both sides; if they are right, the site enrols anew with a new invitation."


class SiteRevoked(TrustError):  # noqa: D101
    code = "site-revoked"
    public = "The coordinator has revoked this site."
    hint = "Speak to the coordinator; a new invitation is needed to take part again."


class InvitationInvalid(TrustError):  # noqa: D101
    code = "invitation-invalid"
    public = "The invitation is not one that this coordinator gave, or it was changed."
    hint = "Ask the coordinator for a new one, sent on a way that you trust."


class InvitationUsed(TrustError):  # noqa: D101
    code = "invitation-used"
    public = "The invitation has been used already."
    hint = "If it was not you, tell the coordinator at once: `consilium coordinator revoke SITE`."


class InvitationExpired(TrustError):  # noqa: D101
    code = "invitation-expired"
    public = "The invitation has expired."
    hint = "Ask the coordinator for a new one."


class EnrolmentLimited(TrustError):  # noqa: D101
    code = "enrolment-limited"
    public = "Too many attempts to enrol; the coordinator takes no more for a while."
    hint = "Wait a minute and try again; tell the coordinator if you were not the one who tried."


class SiteConnectedTwice(TrustError):  # noqa: D101
    code = "site-connected-twice"
    public = "This site is connected already, from elsewhere with the same key."
    hint = "Stop one of the two. If there should be only one, the key was copied: ask to be revoked."


class CoordinatorUnreachable(TrustError):  # noqa: D101
    code = "coordinator-unreachable"
    public = "The coordinator cannot be reached."
    hint = "`consilium site check` says which step fails: name, port, proxy, certificate or clock."


class TlsIntercepted(TrustError):  # noqa: D101
    code = "tls-intercepted"
    public = "Something between here and the coordinator answers in its name with another certificate."
    hint = "Ask your network team to exempt the coordinator's address from TLS inspection."


class ProtocolMismatch(TrustError):  # noqa: D101
    code = "protocol-mismatch"
    public = "The two sides speak versions of the link that do not go together."
    hint = "Run the same Consilium release at the coordinator and at every site."


class EnvelopeRefused(TrustError):  # noqa: D101
    code = "envelope-refused"
    public = "A message is not signed by the one it claims to come from, or was changed."
    hint = "Nothing was done with it. Check who has access to the keys of both sides."


class EnvelopeReplayed(TrustError):  # noqa: D101
    code = "envelope-replayed"
    public = "A message has been received before, and counts once."
    hint = "Nothing was done with it. If this repeats, somebody may be replaying traffic."


class ClockSkewed(TrustError):  # noqa: D101
    code = "clock-skewed"
    public = "The clocks of the two sides are too far apart to tell a new message from an old one."
    hint = "Set the clock at both sides by NTP; 5 minutes of difference are borne."


class BlobRefused(TrustError):  # noqa: D101
    code = "blob-refused"
    public = "Weights that arrived are not those that were announced, or more than was agreed."
    hint = "Nothing of them was used. Send them again; if it repeats, compare releases."


class ContractInvalid(TrustError):  # noqa: D101
    code = "contract-invalid"
    public = "A study's contract cannot be read or is not signed by the coordinator."
    hint = "Nothing was run. Ask the coordinator to propose the study again."


class ContractExpired(TrustError):  # noqa: D101
    code = "contract-expired"
    public = "The contract of the study has expired."
    hint = "The coordinator proposes it again with a later date, and the sites approve it anew."


class ModelNotInEvidence(TrustError):  # noqa: D101
    code = "model-not-in-evidence"
    public = "The model's file is not the one that the audit logs name."
    hint = "Do not use it. Get the file again from the coordinator, and the logs from both sides."


class StudyUnknown(TrustError):  # noqa: D101
    code = "study-unknown"
    public = "No study of that name or digest has been proposed."
    hint = "`consilium site studies`, or `consilium study status` at the coordinator, lists those that were."


class StudyUnapproved(TrustError):  # noqa: D101
    code = "study-unapproved"
    public = "The hospital has not approved this study."
    hint = "At the hospital: `consilium site studies`, then `consilium site approve STUDY`."


class StudyWithdrawn(TrustError):  # noqa: D101
    code = "study-withdrawn"
    public = "The hospital has withdrawn its approval of this study."
    hint = "Nothing more leaves the hospital for it. Only the hospital can approve it again."


class ApproverRefused(TrustError):  # noqa: D101
    code = "approver-refused"
    public = "The hospital's policy asks for other approvers than were named."
    hint = "[consent] in policy.toml says how many different people must approve, and who may."


class CodeDiffers(TrustError):  # noqa: D101
    code = "code-differs"
    public = "The code that touches data here is not the code that the contract names."
    hint = "Install the release that the contract names, or have the study proposed and approved anew."


class TaskOutsideContract(TrustError):  # noqa: D101
    code = "task-outside-contract"
    public = "The coordinator asked for something that the approved contract does not hold."
    hint = "Nothing was run and nothing was sent. Ask the coordinator why; the audit log holds the request."


class PolicyRefused(TrustError):  # noqa: D101
    code = "policy-refused"
    public = "The hospital's policy does not allow this study."
    hint = "policy.toml at the hospital says what it allows; only the hospital can change it."
