"""Weights on their way, each way resumed where it was cut off."""

from __future__ import annotations

from collections.abc import Iterator

from common.errors import BlobRefused
from common.link.behind import Behind
from common.link.blobs import BlobStore
from common.link.link_pb2 import BlobRequest, BlobStatus
from common.link.link_pb2_grpc import LinkStub
from common.link.pieces import Piece, encoded, paced


def fetch(link: LinkStub, blobs: BlobStore, digest: str, size: int) -> None:
    """Have a blob of the coordinator in the store, whole and checked.

    Args:
        link: The coordinator.
        blobs: Where it is put.
        digest: Which.
        size: Its length as it was announced: nothing longer is taken.

    Raises:
        BlobRefused: What arrives is not what was asked for, or more than there is room for.
        DiskFull, OutputUnwritable: It cannot be kept.
        grpc.RpcError: The call failed; what had arrived stays for the next attempt.
    """
    if blobs.has(digest):
        return
    began = blobs.offset(digest)
    try:
        _fetch_from(link, blobs, digest, size, began)
    except BlobRefused:
        if not began:
            raise
        # A power cut may have spoilt what was there; the coordinator is not to blame before a second time.
        blobs.remove(digest)
        _fetch_from(link, blobs, digest, size, 0)


def _fetch_from(link: LinkStub, blobs: BlobStore, digest: str, size: int, offset: int) -> None:
    stream: Iterator[Piece] = link.FetchBlob(BlobRequest(digest=digest, offset=offset))
    with Behind(blobs.append) as keeping:
        for chunk in stream:
            if (chunk.digest, chunk.offset, chunk.size) != (digest, offset, size):
                raise BlobRefused(f"asked for blob {digest[:12]} from byte {offset}, was sent something else")
            keeping.go_on(digest, offset, size, chunk.data)
            offset += len(chunk.data)
        keeping.result()
    blobs.finish(digest)


def upload(link: LinkStub, blobs: BlobStore, digest: str, timeout_s: float) -> None:
    """Have a blob of the store at the coordinator, whole and checked.

    Args:
        link: The coordinator.
        blobs: Where it lies.
        digest: Which.
        timeout_s: How long the coordinator may take to say how much it has.

    Raises:
        BlobRefused: The coordinator does not have it all the same.
        grpc.RpcError: A call failed; what had arrived stays there for the next attempt.
    """
    there: BlobStatus = link.BlobOffset(BlobRequest(digest=digest), timeout=timeout_s)
    if there.complete:
        return
    # At least one byte is sent: with it the coordinator checks a blob of which it has all bytes already.
    offset = min(there.offset, blobs.size(digest) - 1)
    stored: BlobStatus = link.StoreBlob(_chunks(blobs, digest, offset))
    if not stored.complete:
        raise BlobRefused(f"the coordinator has {stored.offset} bytes of {digest} and says that is not all")


def _chunks(blobs: BlobStore, digest: str, offset: int) -> Iterator[bytes]:
    size = blobs.size(digest)
    for data in blobs.chunks(digest, offset, paced()):
        yield encoded(digest, offset, size, data)
        offset += len(data)
