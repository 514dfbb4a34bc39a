// Checks the golden vectors of proto/vectors/ with Node's own cryptography.
//
// Usage: node vectors.js

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import { publicKeyFromRaw, sha256, thumbprint, verify } from './signing.js';

let passed = 0;
for (const name of ['challenge', 'response', 'device-proof', 'enroll', 'key-succession']) {
  const file = new URL(`../../../proto/vectors/${name}.json`, import.meta.url);
  for (const vector of JSON.parse(readFileSync(file, 'utf8')).vectors) {
    const [body, signature, raw] = [vector.body, vector.signature, vector.key.public_key].map(
      (hex) => Buffer.from(hex, 'hex'));
    const key = publicKeyFromRaw(vector.key.algorithm, raw);
    const purpose = vector.label.replace('countersign/v1/', '');
    assert.equal(sha256(body).toString('hex'), vector.body_sha256, vector.name);
    verify(key, purpose, body, signature);
    assert.throws(() => verify(key, 'another', body, signature), vector.name);
    if (vector.key.key_id) assert.equal(thumbprint(raw), vector.key.key_id, vector.name);
    passed += 1;
  }
}
console.log(`${passed} passed, 0 failed`);
