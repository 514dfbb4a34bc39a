"""Scenario: the broker's signing key is replaced."""

import protos
from checks import equal, scenario
from identity_provider import ended, seconds


@scenario("signing-key rotation: phones follow from key to key, old receipts stay good")
def rotation(world):
    idp = world.idp
    user, phone, offline = idp.new_user("P256", "ED25519")
    stream = phone.subscribe()
    stream.next("caught_up")
    before = idp.ask(user, device_id=phone.device_id)
    phone.respond(stream.next("challenge"), "APPROVE", before.number_to_match)
    stream.next("withdrawal")
    before = idp.wait(before.challenge_id)
    old_key = before.signed_challenge.key_id

    admin = protos.admin_grpc.AdminServiceStub(idp.channel)
    operator = (("authorization", f"Bearer {world.broker.admin_key}"),)
    request = protos.admin.RotateSigningKeyRequest(lead_time=seconds(0))
    new_key = admin.RotateSigningKey(request, metadata=operator, timeout=20).key
    assert new_key.key_id != old_key, "the same key"
    published = {key["kid"] for key in idp.jwks()["keys"]}
    assert {old_key, new_key.key_id} <= published, f"published: {published}"

    # One phone is told at once, the other learns when it next asks.
    phone.learn(stream.next("key_update").key_successions)
    assert new_key.key_id in phone.trusted, "the open app did not learn the key"
    assert new_key.key_id not in offline.trusted, "learnt while offline"
    challenge = idp.ask(user)
    equal(challenge.signed_challenge.key_id, new_key.key_id, "key that signs")
    phone.open(stream.next("challenge"))
    answer = offline.respond(offline.only_pending(), "APPROVE", challenge.number_to_match)
    ended(answer, "APPROVED", "USER_APPROVED")
    decided = idp.get(challenge.challenge_id)
    equal(idp.decode(decided.receipt).header["kid"], new_key.key_id, "key of the receipt")
    idp.check_receipt(decided, offline, "APPROVE")
    idp.check_receipt(idp.get(before.challenge_id), phone, "APPROVE")
    stream.close()

    # A phone that registers now is given the new key to pin.
    newcomer = idp.new_phone(user, "ED25519")
    assert new_key.key_id in newcomer.trusted, "the newcomer does not trust the new key"
