// Plays an identity provider and phones against a real broker with Node's
// stock gRPC, from the contract alone: enrolment, approval, denial, receipts
// and a gRPC-Web call, with both kinds of device keys, and codes.
//
// Usage: node run.js PATH-TO-countersign PATH-TO-device-sim

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { createLocalJWKSet, jwtVerify } from 'jose';
import protobuf from 'protobufjs';

import { Broker } from './broker.js';
import { scenarios as codes } from './codes.js';
import { DeviceKey, ed25519FromRaw, publicKeyFromRaw, sha256, thumbprint, verify } from './signing.js';

const root = fileURLToPath(new URL('../../../proto', import.meta.url));
const files = ['approval', 'enrollment', 'device'].map((name) => `countersign/v1/${name}.proto`);
const options = { includeDirs: [root], keepCase: true, enums: String, longs: Number, defaults: true };
const services = grpc.loadPackageDefinition(protoLoader.loadSync(files, options)).countersign.v1;

// Bodies are signed as serialized, so they are made apart from the calls.
const messages = new protobuf.Root();
messages.resolvePath = (_, target) =>
  target.startsWith('google/') ? target : `${root}/${target}`;
messages.loadSync(files, { keepCase: true });
const type = (name) => messages.lookupType(`countersign.v1.${name}`);
const encode = (name, fields) => Buffer.from(type(name).encode(type(name).fromObject(fields)).finish());
const decode = (name, bytes) =>
  type(name).toObject(type(name).decode(bytes), { enums: String, longs: Number, defaults: true });

const now = () => ({ seconds: Math.floor(Date.now() / 1000), nanos: (Date.now() % 1000) * 1e6 });
const call = (client, method, request, metadata = new grpc.Metadata()) =>
  new Promise((resolve, reject) => {
    const deadline = Date.now() + 30_000;
    client[method](request, metadata, { deadline }, (error, answer) =>
      error ? reject(error) : resolve(answer));
  });

class IdentityProvider {
  constructor(broker) {
    this.broker = broker;
    const credentials = grpc.credentials.createInsecure();
    this.approval = new services.ApprovalService(broker.address, credentials);
    this.enrollment = new services.EnrollmentService(broker.address, credentials);
    this.metadata = new grpc.Metadata();
    this.metadata.set('authorization', `Bearer ${broker.apiKey}`);
  }

  approve(method, request) {
    return call(this.approval, method, request, this.metadata);
  }

  enroll(method, request) {
    return call(this.enrollment, method, request, this.metadata);
  }

  async create(user_id) {
    const context = { application_name: 'Office 365', location: 'Gent, België' };
    const request = { request_id: randomUUID(), user_id, context };
    return (await this.approve('CreateChallenge', request)).challenge;
  }

  async wait(challenge_id) {
    const request = { challenge_id, timeout: { seconds: 20 } };
    return (await this.approve('WaitChallenge', request)).challenge;
  }

  async checkReceipt(challenge, phone) {
    const jwks = await this.broker.get('/.well-known/jwks.json').then(JSON.parse);
    const { payload } = await jwtVerify(challenge.receipt, createLocalJWKSet(jwks), {
      algorithms: ['EdDSA'],
      audience: this.broker.apiKeyId,
      subject: challenge.user_id,
    });
    const bytes = (name) => Buffer.from(payload[name], 'base64url');
    assert.equal(payload.jti, challenge.challenge_id);
    assert.equal(`CHALLENGE_STATE_${payload.decision}`, challenge.state);
    assert.deepEqual(bytes('challenge_body'), challenge.signed_challenge.body);
    const { x } = jwks.keys.find((key) => key.kid === payload.challenge_key_id);
    const brokerKey = ed25519FromRaw(Buffer.from(x, 'base64url'));
    verify(brokerKey, 'challenge', bytes('challenge_body'), bytes('challenge_signature'));
    const raw = Buffer.from(payload.device_key.public_key, 'base64url');
    assert.equal(payload.device_key.alg, phone.key.algorithm);
    assert.deepEqual(raw, phone.key.raw);
    const deviceKey = publicKeyFromRaw(payload.device_key.alg, raw);
    verify(deviceKey, 'response', bytes('response_body'), bytes('response_signature'));
    const response = decode('ResponseBody', bytes('response_body'));
    assert.deepEqual(Buffer.from(response.challenge_digest), sha256(bytes('challenge_body')));
    return response;
  }
}

class Phone {
  constructor(broker, algorithm) {
    this.client = new services.DeviceService(broker.address, grpc.credentials.createInsecure());
    this.key = new DeviceKey(algorithm);
    this.trusted = new Map();
  }

  async enroll(uri) {
    const { protocol, host, searchParams: query } = new URL(uri);
    assert.deepEqual([protocol, host, query.get('v')], ['countersign:', 'enroll', '1']);
    const body = encode('EnrollmentBody', {
      ticket: query.get('t'),
      key_algorithm: `KEY_ALGORITHM_${this.key.algorithm}`,
      public_key: this.key.raw,
      key_protection: 'KEY_PROTECTION_SOFTWARE',
      platform: 'PLATFORM_ANDROID',
      display_name: `Node phone (${this.key.algorithm})`,
      language: 'nl-BE',
      app_version: '1.0',
      enroll_time: now(),
    });
    const request = { body, signature: this.key.sign('enroll', body) };
    const answer = await call(this.client, 'Enroll', request);
    for (const { key_id, public_key } of answer.broker_keys) {
      if (sha256(public_key).toString('base64url') === query.get('k')) {
        assert.equal(key_id, thumbprint(public_key));
        this.trusted.set(key_id, ed25519FromRaw(public_key));
      }
    }
    assert.equal(this.trusted.size, 1, "none of the broker's keys is the one in the QR code");
    this.deviceId = answer.device_id;
    return answer;
  }

  proven(method, name, request) {
    const body = encode('DeviceProof', {
      device_id: this.deviceId,
      method: `/countersign.v1.DeviceService/${method}`,
      request_digest: sha256(encode(name, request)),
      issue_time: now(),
      nonce: crypto.getRandomValues(Buffer.alloc(16)),
    });
    const signature = this.key.sign('device-proof', body);
    const metadata = new grpc.Metadata();
    metadata.set('countersign-device-proof-bin', encode('SignedDeviceProof', { body, signature }));
    return metadata;
  }

  async pending() {
    const metadata = this.proven('ListPendingChallenges', 'ListPendingChallengesRequest', {});
    return (await call(this.client, 'ListPendingChallenges', {}, metadata)).challenges;
  }

  async acknowledge(challenge_id) {
    const request = { challenge_id };
    const metadata = this.proven('AcknowledgeChallenge', 'AcknowledgeChallengeRequest', request);
    await call(this.client, 'AcknowledgeChallenge', request, metadata);
  }

  open({ body, key_id, signature }) {
    assert(this.trusted.has(key_id), 'signed by a key that is not trusted');
    verify(this.trusted.get(key_id), 'challenge', body, signature);
    return decode('ChallengeBody', body);
  }

  respond(signed, decision, number = '') {
    const body = encode('ResponseBody', {
      challenge_id: this.open(signed).challenge_id,
      challenge_digest: sha256(signed.body),
      device_id: this.deviceId,
      decision: `DECISION_${decision}`,
      number,
      respond_time: now(),
      user_verification: 'USER_VERIFICATION_PIN',
      locale: 'nl-BE',
    });
    const response = { body, signature: this.key.sign('response', body) };
    return call(this.client, 'Respond', { response });
  }
}

// A unary gRPC-Web call by plain fetch: one data frame, then one of trailers.
async function grpcWeb(broker, method, headers, body) {
  const frame = Buffer.alloc(5 + body.length);
  frame.writeUInt32BE(body.length, 1);
  body.copy(frame, 5);
  const answer = await fetch(`http://${broker.address}/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/grpc-web+proto', 'x-grpc-web': '1', ...headers },
    body: frame,
  });
  assert.equal(answer.status, 200);
  let rest = Buffer.from(await answer.arrayBuffer());
  const frames = new Map();
  while (rest.length > 0) {
    const length = rest.readUInt32BE(1);
    frames.set(rest[0], rest.subarray(5, 5 + length));
    rest = rest.subarray(5 + length);
  }
  return { message: frames.get(0), trailers: String(frames.get(0x80)) };
}

async function signIn(idp, algorithm) {
  const user = `${randomUUID()}@example.be`;
  const ticket = await idp.enroll('CreateEnrollment', { user_id: user });
  const phone = new Phone(idp.broker, algorithm);
  const registration = await phone.enroll(ticket.enrollment_uri);
  assert.equal(registration.user_id, user);
  const redeemed = await idp.enroll('WaitEnrollment', { enrollment_id: ticket.enrollment_id });
  assert.equal(redeemed.state, 'ENROLLMENT_STATE_REDEEMED');
  assert.equal(redeemed.authenticator.authenticator_id, phone.deviceId);
  return { user, phone };
}

const scenarios = [];
for (const algorithm of ['ED25519', 'P256']) {
  scenarios.push([`approve [${algorithm}]`, async (idp) => {
    const { user, phone } = await signIn(idp, algorithm);
    const challenge = await idp.create(user);
    assert.equal(challenge.state, 'CHALLENGE_STATE_PENDING');
    const waiting = idp.wait(challenge.challenge_id);
    const [signed] = await phone.pending();
    assert.equal(phone.open(signed).context.location, 'Gent, België');
    await phone.acknowledge(challenge.challenge_id);
    const answer = await phone.respond(signed, 'APPROVE', challenge.number_to_match);
    assert.equal(answer.state, 'CHALLENGE_STATE_APPROVED');
    const decided = await waiting;
    assert.equal(decided.state, 'CHALLENGE_STATE_APPROVED');
    const response = await idp.checkReceipt(decided, phone);
    assert.equal(response.decision, 'DECISION_APPROVE');
    await assert.rejects(phone.respond(signed, 'DENY'), { code: grpc.status.FAILED_PRECONDITION });
  }]);
  scenarios.push([`deny [${algorithm}]`, async (idp) => {
    const { user, phone } = await signIn(idp, algorithm);
    const challenge = await idp.create(user);
    const [signed] = await phone.pending();
    await phone.respond(signed, 'DENY');
    const decided = await idp.wait(challenge.challenge_id);
    assert.equal(decided.state, 'CHALLENGE_STATE_DENIED');
    assert.equal(decided.reason, 'DECISION_REASON_USER_DENIED');
    const response = await idp.checkReceipt(decided, phone);
    assert.equal(response.decision, 'DECISION_DENY');
  }]);
}
scenarios.push(['gRPC-Web by plain fetch, on the same port', async (idp) => {
  const { user } = await signIn(idp, 'ED25519');
  const { challenge_id } = await idp.create(user);
  const method = 'countersign.v1.ApprovalService/GetChallenge';
  const request = encode('GetChallengeRequest', { challenge_id });
  const headers = { authorization: `Bearer ${idp.broker.apiKey}` };
  const { message, trailers } = await grpcWeb(idp.broker, method, headers, request);
  assert.match(trailers, /grpc-status: ?0/i);
  const { challenge } = decode('GetChallengeResponse', message);
  assert.equal(challenge.challenge_id, challenge_id);
  assert.equal(challenge.state, 'CHALLENGE_STATE_PENDING');
}]);

scenarios.push(...codes);

const [binary, deviceSim] = process.argv.slice(2);
if (deviceSim === undefined) {
  console.error('usage: node run.js PATH-TO-countersign PATH-TO-device-sim');
  process.exit(2);
}
const broker = new Broker(binary, deviceSim);
let passed = 0;
let failed = 0;
try {
  await broker.start();
  const idp = new IdentityProvider(broker);
  for (const [title, scenario] of scenarios) {
    try {
      await scenario(idp);
      passed += 1;
      console.log(`ok      ${title}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${title}:`, error);
    }
  }
  if (failed > 0) console.log(`--- the broker's log ---\n${broker.log}`);
} finally {
  await broker.stop();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
