// The signed bytes and the two kinds of keys, written from the contract alone.

import assert from 'node:assert/strict';
import crypto from 'node:crypto';

export const sha256 = (bytes) => crypto.createHash('sha256').update(bytes).digest();

const signedBytes = (purpose, body) =>
  Buffer.concat([Buffer.from(`countersign/v1/${purpose}\0`, 'ascii'), body]);

export function ed25519FromRaw(raw) {
  assert.equal(raw.length, 32);
  const x = Buffer.from(raw).toString('base64url');
  return crypto.createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } });
}

export function publicKeyFromRaw(algorithm, raw) {
  if (algorithm === 'ED25519') return ed25519FromRaw(raw);
  assert.equal(raw.length, 65);
  assert.equal(raw[0], 4);
  const [x, y] = [raw.subarray(1, 33), raw.subarray(33)].map((half) => half.toString('base64url'));
  return crypto.createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', x, y } });
}

// RFC 7638 thumbprint of an Ed25519 key.
export function thumbprint(raw) {
  const x = Buffer.from(raw).toString('base64url');
  return sha256(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).toString('base64url');
}

export function verify(key, purpose, body, signature) {
  assert.equal(signature.length, 64);
  const message = signedBytes(purpose, body);
  const good = key.asymmetricKeyType === 'ed25519'
    ? crypto.verify(null, message, key, signature)
    : crypto.verify('sha256', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
  assert(good, `the signature of the ${purpose} does not match`);
}

export class DeviceKey {
  constructor(algorithm) {
    this.algorithm = algorithm;
    const { privateKey, publicKey } = algorithm === 'ED25519'
      ? crypto.generateKeyPairSync('ed25519')
      : crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.private = privateKey;
    const { x, y } = publicKey.export({ format: 'jwk' });
    this.raw = algorithm === 'ED25519'
      ? Buffer.from(x, 'base64url')
      : Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  }

  sign(purpose, body) {
    const message = signedBytes(purpose, body);
    return this.algorithm === 'ED25519'
      ? crypto.sign(null, message, this.private)
      : crypto.sign('sha256', message, { key: this.private, dsaEncoding: 'ieee-p1363' });
  }
}
