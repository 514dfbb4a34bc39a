// Scenarios: sign in by a text message's code, and by an authenticator app's.

import assert from 'node:assert/strict';
import { randomInt, randomUUID } from 'node:crypto';

import grpc from '@grpc/grpc-js';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { URI } from 'otpauth';

// The reason in the google.rpc.ErrorInfo of a refusal: a google.rpc.Status whose
// details are Any with that message inside, here looked for without its schema.
const tells = (error, code, reason) => {
  assert.equal(error.code, grpc.status[code], error.message);
  const [status] = error.metadata.get('grpc-status-details-bin');
  assert(status.includes('type.googleapis.com/google.rpc.ErrorInfo'), 'no ErrorInfo');
  assert(status.includes(reason), `another reason than ${reason}: ${error.message}`);
  return status;
};

async function refused(promise, code, reason) {
  try {
    await promise;
  } catch (error) {
    return tells(error, code, reason);
  }
  assert.fail(`the call went through, ${code} was due`);
}

// The receipt of a right code: nothing is claimed of a device.
async function checkCodeReceipt(idp, challenge, amr, authenticatorId) {
  assert.deepEqual(
    [challenge.state, challenge.reason, challenge.decided_by_authenticator_id],
    ['CHALLENGE_STATE_APPROVED', 'DECISION_REASON_CODE_VERIFIED', authenticatorId]);
  const jwks = await idp.broker.get('/.well-known/jwks.json').then(JSON.parse);
  const { payload } = await jwtVerify(challenge.receipt, createLocalJWKSet(jwks), {
    algorithms: ['EdDSA'],
    audience: idp.broker.apiKeyId,
    subject: challenge.user_id,
    typ: 'countersign-receipt+jwt',
  });
  assert.equal(payload.jti, challenge.challenge_id);
  assert.equal(payload.decision, 'APPROVED');
  assert.deepEqual(payload.amr, amr);
  assert.equal(payload.authenticator_id, authenticatorId);
  for (const name of ['device_id', 'device_key', 'response_body', 'response_signature']) {
    assert(!(name in payload), name);
  }
}

const wrong = (code) => String((Number(code) + 1) % 10 ** code.length).padStart(code.length, '0');

async function byText(idp) {
  const { gateways } = idp.broker;
  const user_id = `${randomUUID()}@example.be`;
  const number = `+3247${String(randomInt(10 ** 7)).padStart(7, '0')}`;
  const masked = `+XX XXXXXXX${number.slice(-2)}`;
  const added = await idp.enroll('AddPhone', { user_id, phone_number: number });
  assert.equal(added.code_delivery.masked_destination, masked);
  const { authenticator_id } = added.authenticator;
  const code = await gateways.code(number);
  const guess = { user_id, authenticator_id, code: wrong(code) };
  await refused(idp.enroll('ConfirmPhone', guess), 'INVALID_ARGUMENT', 'WRONG_CODE');
  const confirmed = await idp.enroll('ConfirmPhone', { user_id, authenticator_id, code });
  assert.equal(confirmed.authenticator.phone_number.confirmed, true);

  const options = await idp.approve('GetSignInOptions', { user_id });
  assert.equal(options.next_step, 'NEXT_STEP_ENTER_CODE');
  assert.deepEqual(options.methods.map((it) => it.masked_destination), [masked]);
  const before = await gateways.last(number);
  const asked = await idp.create(user_id);
  assert.deepEqual([asked.state, asked.method], ['CHALLENGE_STATE_PENDING', 'METHOD_SMS']);
  assert.equal(asked.code_delivery.masked_destination, masked);
  const { challenge_id } = asked;
  const waiting = idp.wait(challenge_id);
  const status = await refused(
    idp.approve('SendCode', { challenge_id }), 'RESOURCE_EXHAUSTED', 'RESEND_TOO_SOON');
  assert(status.includes('type.googleapis.com/google.rpc.RetryInfo'), 'no RetryInfo');
  const texted = await gateways.code(number, before);
  await refused(
    idp.approve('VerifyCode', { challenge_id, code: wrong(texted) }), 'INVALID_ARGUMENT', 'WRONG_CODE');
  const { challenge } = await idp.approve('VerifyCode', { challenge_id, code: texted });
  await checkCodeReceipt(idp, challenge, ['otp', 'sms'], authenticator_id);
  assert.equal((await waiting).receipt, challenge.receipt);
  await refused(
    idp.approve('VerifyCode', { challenge_id, code: texted }), 'FAILED_PRECONDITION', 'ALREADY_DECIDED');
}

async function byApp(idp) {
  const user_id = `${randomUUID()}@example.be`;
  const added = await idp.enroll('AddTotp', { user_id, account_name: 'tom.cool@example.be' });
  const app = URI.parse(added.otpauth_uri);
  assert.equal(app.secret.base32, added.secret);
  assert.deepEqual(
    [app.issuer, app.label, app.algorithm, app.digits, app.period],
    ['Eagle IT BVBA', 'tom.cool@example.be', 'SHA1', 6, 30]);
  const { authenticator_id } = added.authenticator;
  const used = app.generate();
  await idp.enroll('ConfirmTotp', { user_id, authenticator_id, code: used });
  const { challenge_id, method } = await idp.create(user_id);
  assert.equal(method, 'METHOD_TOTP');
  // A time step counts once; the next one is taken too (RFC 6238, section 5.2).
  await refused(
    idp.approve('VerifyCode', { challenge_id, code: used }), 'INVALID_ARGUMENT', 'WRONG_CODE');
  const code = app.generate({ timestamp: Date.now() + 30_000 });
  const { challenge } = await idp.approve('VerifyCode', { challenge_id, code });
  await checkCodeReceipt(idp, challenge, ['otp'], authenticator_id);
}

export const scenarios = [
  ['a code by text message, without a device', byText],
  ["an authenticator app's code, by npm's otpauth", byApp],
];
