// The emulated gateways of `device-sim gateways`, and the phones' text messages.

import { spawn } from 'node:child_process';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const KINDS = ['apns', 'apns-sandbox', 'fcm', 'twilio', 'webhook', 'smpp'];

export class Gateways {
  constructor(binary, port) {
    this.control = `http://127.0.0.1:${port}`;
    this.log = '';
    const args = ['gateways', `--control-port=${port}`, ...KINDS.map((kind) => `--${kind}-port=0`)];
    this.process = spawn(path.resolve(binary), args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (text) => { this.log += text; });
    }
  }

  // The broker's configuration for these gateways; waits until they are there.
  async brokerToml(callbackUrl) {
    const deadline = Date.now() + 60_000;
    for (;;) {
      if (this.process.exitCode !== null) throw new Error(`device-sim gateways ended:\n${this.log}`);
      try {
        return await this.get('/broker.toml', { callback_url: callbackUrl }).then((it) => it.text());
      } catch (error) {
        if (Date.now() > deadline) throw new Error(`no gateways after 60 s: ${error}\n${this.log}`);
        await sleep(50);
      }
    }
  }

  async get(target, query) {
    const answer = await fetch(`${this.control}${target}?${new URLSearchParams(query)}`);
    if (!answer.ok) throw new Error(`${target}: ${answer.status}`);
    return answer;
  }

  // The newest message so far, for `after`.
  async last(number) {
    const texts = await this.get('/sms/inbox', { to: number }).then((it) => it.json());
    return Math.max(0, ...texts.map(({ seq }) => seq));
  }

  // The code in the next text with one. Others tell of changes to the account.
  async code(number, after = 0) {
    for (;;) {
      const query = { to: number, after, wait: 30 };
      const texts = await this.get('/sms/inbox', query).then((it) => it.json());
      if (texts.length === 0) throw new Error(`no text for ${number} within 30 s`);
      for (const { text, seq } of texts) {
        const code = /^\d{4,10}\b/.exec(text);
        if (code) return code[0];
        after = seq;
      }
    }
  }

  async stop() {
    this.process.kill('SIGKILL');
    await this.ended;
  }
}
