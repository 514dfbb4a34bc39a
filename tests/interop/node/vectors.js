// Checks the golden vectors of proto/vectors/ with Node's own cryptography, those
// of encrypted prompts with hpke-js on top of it.
//
// Usage: node vectors.js

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { Chacha20Poly1305 } from '@hpke/chacha20poly1305';
import { CipherSuite, DhkemX25519HkdfSha256, HkdfSha256, HpkeError } from '@hpke/core';
import protobuf from 'protobufjs';

import { publicKeyFromRaw, sha256, thumbprint, verify } from './signing.js';

const proto = fileURLToPath(new URL('../../../proto', import.meta.url));
const read = (name) => JSON.parse(readFileSync(`${proto}/vectors/${name}.json`, 'utf8')).vectors;

let passed = 0;
for (const name of ['challenge', 'response', 'device-proof', 'enroll', 'key-succession', 'audit-head',
  'audit-export']) {
  for (const vector of read(name)) {
    const [body, signature, raw] = [vector.body, vector.signature, vector.key.public_key].map(
      (hex) => Buffer.from(hex, 'hex'));
    const key = publicKeyFromRaw(vector.key.algorithm, raw);
    const purpose = vector.label.replace('countersign/v1/', '');
    assert.equal(sha256(body).toString('hex'), vector.body_sha256, vector.name);
    verify(key, purpose, body, signature);
    assert.throws(() => verify(key, 'another', body, signature), vector.name);
    if (vector.key.key_id) assert.equal(thumbprint(raw), vector.key.key_id, vector.name);
    if (vector.related?.contents) {
      const link = vector.related.contents.reduce(
        (before, content) => sha256(Buffer.concat([before, sha256(Buffer.from(content, 'hex'))])),
        Buffer.alloc(32));
      assert.ok(body.includes(link), vector.name);
    }
    passed += 1;
  }
}

const messages = new protobuf.Root();
messages.resolvePath = (_, target) =>
  target.startsWith('google/') ? target : `${proto}/${target}`;
messages.loadSync('countersign/v1/challenge.proto', { keepCase: true });
const decode = (name, bytes) => messages.lookupType(`countersign.v1.${name}`).decode(bytes);

const suite = new CipherSuite({
  kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Chacha20Poly1305(),
});
async function open(vector, bytes) {
  const sealed = decode('SealedChallenge', bytes);
  const text = ['countersign/v1/sealed-challenge', vector.device_id, vector.challenge_id].join('\0');
  const recipientKey = await suite.kem.importKey(
    'raw', Buffer.from(vector.recipient_private_key, 'hex'), false);
  const keys = { recipientKey, enc: sealed.encapsulated_key, info: Buffer.from(text, 'ascii') };
  return Buffer.from(await suite.open(keys, sealed.ciphertext));
}

const broker = publicKeyFromRaw('ED25519', Buffer.from(read('challenge')[0].key.public_key, 'hex'));
for (const vector of read('sealed-challenge')) {
  const plaintext = await open(vector, Buffer.from(vector.push.c, 'base64'));
  assert.equal(plaintext.toString('hex'), vector.plaintext, vector.name);
  const challenge = decode('SignedChallenge', plaintext);
  verify(broker, 'challenge', challenge.body, challenge.signature);
  const body = decode('ChallengeBody', challenge.body);
  assert.equal(body.challenge_id, vector.challenge_id, vector.name);
  passed += 1;
}
for (const vector of read('rejected-sealed-challenges')) {
  await assert.rejects(open(vector, Buffer.from(vector.sealed, 'hex')), HpkeError, vector.name);
  passed += 1;
}
console.log(`${passed} passed, 0 failed`);
