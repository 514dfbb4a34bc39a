"""Checks an export of the audit trail, from the comments of audit.proto alone."""

import json
import pathlib
import uuid

from google.protobuf import json_format

import protos
import signing

HEAD = "countersign/v1/audit-head"
EXPORT = "countersign/v1/audit-export"
FORMAT = "countersign-audit/1"
ZERO = bytes(32)


class Altered(Exception):
    """The export is not as the broker made it."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise Altered(what)


def key_set(jwks: dict) -> dict[str, signing.Ed25519Public]:
    """Keys by their thumbprints, which are computed, not believed."""
    raw = [signing.from_base64url(key["x"]) for key in jwks["keys"] if key["crv"] == "Ed25519"]
    return {signing.key_id(x): signing.Ed25519Public(x) for x in raw}


def verify(signed, label: str, keys: dict, what: str) -> None:
    require(signed.key_id in keys, f"{what}: by a key that is not trusted")
    try:
        keys[signed.key_id].verify(label, signed.body, signed.signature)
    except signing.Refused as refused:
        raise Altered(f"{what}: {refused}") from None


def open_head(signed, keys: dict):
    head = protos.audit.AuditHead.FromString(signed.body)
    verify(signed, HEAD, keys, f"head of entry {head.sequence}")
    return head


class Chain:
    """One writer's, as far as it was read."""

    def __init__(self, head=None):
        self.first = 1 if head is None else head.sequence + 1
        self.last = self.vouched = self.first - 1
        self.link = ZERO if head is None else head.link

    def extend(self, first: int, digests: list[bytes], link: bytes) -> None:
        require(first == self.last + 1, f"entry {first} follows entry {self.last}")
        require(bool(digests), f"no digests from {first} on")
        for digest in digests:
            require(len(digest) == 32, f"a digest of {len(digest)} bytes")
            self.link = signing.sha256(self.link + digest)
        self.last += len(digests)
        require(link == self.link, f"the link after entry {self.last} is another")

    def vouch(self, head) -> None:
        require(head.sequence == self.last, f"head of {head.sequence} after entry {self.last}")
        require(head.link == self.link, f"the head of entry {head.sequence} is of another chain")
        self.vouched = self.last


def check(header, lines, keys: dict) -> list:
    """The entries that are there in full, each proven."""
    ends = {}
    for signed in header.heads:
        head = open_head(signed, keys)
        require(head.issuer == header.issuer, "a head by another broker")
        require(head.writer not in ends, f"two ends of writer {head.writer}")
        ends[head.writer] = head
    chains: dict[int, Chain] = {}
    entries, places, seal = [], ZERO, None
    for line in lines:
        require(seal is None, "something stands after the seal")
        kind = line.WhichOneof("line")
        if kind == "entry":
            entry = line.entry
            check_content(entry)
            require(header.tenant_id in ("", entry.tenant_id), "an entry of somebody else")
            chain = chains.setdefault(entry.writer, Chain())
            chain.extend(entry.sequence, [signing.sha256(entry.content)], entry.link)
            place = entry.writer.to_bytes(8, "big") + entry.sequence.to_bytes(8, "big")
            places = signing.sha256(places + place)
            entries.append(entry)
        elif kind == "digests":
            run = line.digests
            chain = chains.setdefault(run.writer, Chain())
            chain.extend(run.first_sequence, list(run.digests), run.link)
        elif kind == "head":
            head = open_head(line.head, keys)
            if head.writer in chains:
                chains[head.writer].vouch(head)
            else:
                chains[head.writer] = Chain(head)
        else:
            require(kind == "seal", f"a line of kind {kind}")
            seal = protos.audit.AuditSeal.FromString(line.seal.body)
            verify(line.seal, EXPORT, keys, "seal")
    require(seal is not None, "no seal")
    require(seal.issuer == header.issuer, "the seal's issuer")
    require(seal.tenant_id == header.tenant_id, "the seal's organisation")
    require(seal.export_time == header.export_time, "the seal's time")
    require(list(seal.heads) == [signed.body for signed in header.heads], "the seal's heads")
    require(seal.entries == len(entries), "the number of entries in full")
    require(seal.places_digest == places, "which entries are in full")
    require(set(chains) == set(ends), "the writers")
    for writer, end in ends.items():
        chain = chains[writer]
        require(chain.last == end.sequence, f"ends at {chain.last}, not {end.sequence}")
        require(chain.link == end.link, "the link at the end")
        require(chain.vouched == chain.last, f"no head for what follows {chain.vouched}")
        require(chain.first <= max(end.first_kept, 1), f"starts at {chain.first}")
    return entries


def check_content(entry) -> None:
    """What stands there for people is what is hashed."""
    content = protos.audit.AuditContent.FromString(entry.content)
    tenant = str(uuid.UUID(bytes=content.tenant_id)) if content.HasField("tenant_id") else ""
    told = (content.time_ms, tenant, *(getattr(content, name) for name in SAME))
    shown = (entry.time.ToNanoseconds() / 10**6, entry.tenant_id, *(getattr(entry, name) for name in SAME))
    require(told == shown, f"entry {entry.sequence} says {shown}, its content {told}")
    require(len(content.salt) == 16, f"salt of entry {entry.sequence}")


SAME = ("actor", "address", "action", "object", "outcome", "user_id")


def from_stream(stream) -> tuple:
    """Header and lines of an ExportAudit."""
    parts = list(stream)
    require(bool(parts) and parts[0].HasField("header"), "no header")
    require(not any(part.HasField("header") for part in parts[1:]), "a second header")
    return parts[0].header, [line for part in parts for line in part.lines]


def from_file(path: pathlib.Path) -> tuple:
    """Header and lines of the file of `countersign audit export`."""
    objects = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    require(bool(objects) and objects[0].pop("type") == "header", "no header")
    require(objects[0].pop("format") == FORMAT, "format")
    heads = [_signed(head) for head in objects[0].pop("heads")]
    objects[0]["jwks"] = json.dumps(objects[0]["jwks"])
    header = json_format.ParseDict(objects[0] | {"heads": heads}, protos.audit.AuditExportHeader())
    lines = []
    for each in objects[1:]:
        kind = each.pop("type")
        told = _signed(each) if kind in ("head", "seal") else each
        lines.append(json_format.ParseDict({kind: told}, protos.audit.AuditLine()))
    return header, lines


def _signed(told: dict) -> dict:
    """A head or seal without what is repeated of its body for people."""
    return {name: told[name] for name in ("body", "key_id", "signature")}
