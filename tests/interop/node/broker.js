// Starts the broker as an operator would, and stops it.

import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { Gateways } from './gateways.js';

// A port below the range from which the kernel gives them to others (32768 and
// up on Linux), so that nobody takes it before the broker does.
const freePort = () => new Promise((resolve) => {
  const probe = net.createServer().on('error', () => resolve(freePort()));
  probe.listen(20_000 + Math.floor(Math.random() * 10_000), '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});

export class Broker {
  constructor(binary, deviceSim) {
    this.binary = path.resolve(binary);
    this.deviceSim = deviceSim;
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'countersign-interop-'));
    this.log = '';
  }

  async start() {
    this.address = `127.0.0.1:${await freePort()}`;
    const http = `127.0.0.1:${await freePort()}`;
    this.http = `http://${http}`;
    this.gateways = new Gateways(this.deviceSim, await freePort());
    const config = path.join(this.folder, 'broker.toml');
    fs.writeFileSync(config, await this.gateways.brokerToml(this.http));
    const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('COUNTERSIGN_'));
    this.environment = {
      ...Object.fromEntries(kept),
      COUNTERSIGN_CONFIG: config,
      COUNTERSIGN_DATA_DIR: path.join(this.folder, 'data'),
      COUNTERSIGN_GRPC__LISTEN: this.address,
      COUNTERSIGN_HTTP__LISTEN: http,
      COUNTERSIGN_ADDRESS: `http://${this.address}`,
    };
    this.environment.COUNTERSIGN_ADMIN_KEY = this.command('init', '--json').admin_key;
    this.process = spawn(this.binary, ['serve'], { env: this.environment, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream.on('data', (text) => { this.log += text; });
    }
    await this.untilReady();
    const { tenant_id } = this.command(
      'tenant', 'create', 'Eagle IT BVBA', '--country', 'BE', '--json');
    const key = this.command('key', 'create', '--tenant', tenant_id, '--role', 'idp', '--json');
    this.apiKey = key.api_key;
    this.apiKeyId = key.api_key_id;
  }

  command(...args) {
    const options = { env: this.environment, encoding: 'utf8', timeout: 60_000 };
    return JSON.parse(execFileSync(this.binary, args, options));
  }

  async get(target) {
    const answer = await fetch(this.http + target);
    if (!answer.ok) throw new Error(`${target}: ${answer.status}`);
    return answer.text();
  }

  async untilReady() {
    const deadline = Date.now() + 60_000;
    for (;;) {
      if (this.process.exitCode !== null) throw new Error(`countersign serve ended:\n${this.log}`);
      try {
        await this.get('/readyz');
        return;
      } catch (error) {
        if (Date.now() > deadline) throw new Error(`not ready after 60 s: ${error}\n${this.log}`);
        await sleep(50);
      }
    }
  }

  async stop() {
    if (this.process !== undefined && this.process.exitCode === null) {
      this.process.kill('SIGTERM');
      const killer = setTimeout(() => this.process.kill('SIGKILL'), 30_000);
      await this.ended;
      clearTimeout(killer);
    }
    await this.gateways?.stop();
    fs.rmSync(this.folder, { recursive: true, force: true });
  }
}
