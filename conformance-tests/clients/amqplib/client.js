// Drives a broker through amqplib's promise interface.
//
// One run of the steps listed in ../README.md. Every step asserts what the broker must do; the
// first that fails ends the program with exit code 1 and the step's name.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import amqplib from 'amqplib';

const RUN_MS_MAX = 50_000;
const STEP_MS_MAX = 10_000;
const MESSAGES = 10;
const PREFETCH = 3;
const REQUEUED = 2;
const REJECTED = 3;
const NACKED = 4;

const HEADERS = {
  flag: true,
  small: 7,
  large: 2 ** 40,
  negative: -5,
  ratio: 0.25,
  text: 'grün',
  nothing: null,
  list: [1, 'two', false],
  table: { inner: 'value' },
  // amqplib leaves these types tagged on the way in, as it takes them on the way out.
  moment: { '!': 'timestamp', value: 1_709_208_000 },
  amount: { '!': 'decimal', value: { digits: 1234, places: 2 } },
};

class Scenario {
  constructor(connection, user) {
    const prefix = `matrix-amqplib-${randomUUID()}`;
    this.connection = connection;
    this.user = user;
    this.exchange = `${prefix}.events`;
    this.work = `${prefix}.work`;
    this.audit = `${prefix}.audit`;
  }

  async run() {
    const steps = [
      this.declareAndBind,
      this.publishWithConfirms,
      this.consumeAndSettle,
      this.seeReturn,
      this.get,
      this.seeNotFound,
      this.seePreconditionFailed,
      this.useRecoveredChannel,
    ];
    await this.openChannel();
    try {
      for (const step of steps) await this.runStep(step);
    } catch (error) {
      // What failed is worth more than a clean-up that fails for the same reason.
      await this.runStep(this.cleanUp).catch(() => {});
      throw error;
    }
    await this.runStep(this.cleanUp);
  }

  runStep(step) {
    return within(STEP_MS_MAX, step.name, step.call(this));
  }

  async openChannel() {
    this.channel = await this.connection.createConfirmChannel();
    // Without a listener the channel's error event would end the process; the steps look for it.
    this.channel.on('error', () => {});
  }

  async declareAndBind() {
    await this.channel.assertExchange(this.exchange, 'topic', { durable: false });
    for (const [queue, pattern] of [[this.work, 'order.*'], [this.audit, 'order.last']]) {
      const declared = await this.channel.assertQueue(queue, { durable: false });
      assert.deepEqual({ ...declared }, { queue, messageCount: 0, consumerCount: 0 });
      await this.channel.bindQueue(queue, this.exchange, pattern);
    }
  }

  // Publishes all at once, so that confirms may arrive in any grouping.
  async publishWithConfirms() {
    const confirmed = [];
    for (let number = 0; number < MESSAGES; number++) {
      const key = number === MESSAGES - 1 ? 'order.last' : `order.${number}`;
      confirmed.push(this.publish(this.exchange, key, body(number), properties(number, this.user)));
    }
    await Promise.all(confirmed);
  }

  publish(exchange, key, content, options) {
    return new Promise((resolve, reject) => {
      const settled = (nacked) => (nacked ? reject(nacked) : resolve());
      this.channel.publish(exchange, key, content, { mandatory: true, ...options }, settled);
    });
  }

  async consumeAndSettle() {
    const arrived = new Arrivals();
    await this.channel.prefetch(PREFETCH);
    const { consumerTag } = await this.channel.consume(this.work, (m) => arrived.push(m));
    await arrived.reach(PREFETCH);
    assert.deepEqual(await this.counts(), [MESSAGES - PREFETCH, 1], 'counts at a full window');
    assert.equal(arrived.messages.length, PREFETCH, 'deliveries at a full window');
    for (let settled = 0; settled < MESSAGES + 1; settled++) {
      await arrived.reach(settled + 1);
      this.settle(arrived.messages[settled]);
    }
    await this.channel.cancel(consumerTag);
    this.checkDeliveries(arrived.messages);
    assert.deepEqual(await this.counts(), [0, 0], 'counts after settling all');
  }

  async counts() {
    const { messageCount, consumerCount } = await this.channel.checkQueue(this.work);
    return [messageCount, consumerCount];
  }

  settle(message) {
    const number = Number(message.properties.messageId);
    if (number === REQUEUED && !message.fields.redelivered) {
      this.channel.nack(message, false, true);
    } else if (number === REJECTED) {
      this.channel.reject(message, false);
    } else if (number === NACKED) {
      this.channel.nack(message, false, false);
    } else {
      this.channel.ack(message);
    }
  }

  checkDeliveries(messages) {
    const first = messages.filter((m) => !m.fields.redelivered);
    const again = messages.filter((m) => m.fields.redelivered);
    const all = Array.from({ length: MESSAGES }, (_, number) => String(body(number)));
    assert.deepEqual(first.map((m) => String(m.content)), all, 'bodies, in order');
    assert.deepEqual(again.map((m) => String(m.content)), [String(body(REQUEUED))], 'redelivered');
    first.forEach((message, number) => {
      assert.equal(message.fields.exchange, this.exchange);
      assert.deepEqual(message.properties.headers, HEADERS);
      for (const [name, value] of Object.entries(properties(number, this.user))) {
        assert.deepEqual(message.properties[name], value, name);
      }
    });
  }

  async seeReturn() {
    const returns = [];
    this.channel.on('return', (message) => returns.push(message));
    await this.publish(this.exchange, 'nowhere', Buffer.from('lost'), {});
    assert.equal(returns.length, 1, 'returns before the confirm of an unroutable message');
    const [{ fields, content }] = returns;
    assert.deepEqual([fields.replyCode, fields.replyText], [312, 'NO_ROUTE']);
    assert.deepEqual([fields.exchange, fields.routingKey], [this.exchange, 'nowhere']);
    assert.equal(String(content), 'lost');
  }

  async get() {
    const message = await this.channel.get(this.audit);
    assert.ok(message, 'the second queue holds no message');
    assert.equal(String(message.content), String(body(MESSAGES - 1)));
    assert.deepEqual([message.fields.redelivered, message.fields.messageCount], [false, 0]);
    this.channel.ack(message);
    assert.equal(await this.channel.get(this.audit), false, 'get from an empty queue');
  }

  async seeNotFound() {
    await this.closes(404, () => this.channel.checkQueue(`${this.work}.missing`));
  }

  async seePreconditionFailed() {
    await this.closes(406, () => this.channel.assertQueue(this.work, { durable: true }));
  }

  async closes(code, action) {
    const closed = once(this.channel, 'error');
    await assert.rejects(action(), (error) => error.code === code, `rejected with ${code}`);
    const [error] = await closed.catch((reason) => [reason]);
    assert.equal(error.code, code, 'code of the channel close');
    await this.openChannel();
  }

  async useRecoveredChannel() {
    await this.publish('', this.work, Buffer.from('after'), {});
    const message = await this.channel.get(this.work, { noAck: true });
    assert.ok(message, 'the message published after recovery is missing');
    assert.deepEqual([String(message.content), message.fields.routingKey], ['after', this.work]);
  }

  async cleanUp() {
    const channel = await this.connection.createChannel();
    await channel.deleteQueue(this.work);
    await channel.deleteQueue(this.audit);
    await channel.deleteExchange(this.exchange);
  }
}

// Deliveries so far, and a way to wait for the nth without polling.
class Arrivals {
  messages = [];
  #wake = () => {};

  push(message) {
    this.messages.push(message);
    this.#wake();
  }

  async reach(count) {
    while (this.messages.length < count) {
      await new Promise((resolve) => { this.#wake = resolve; });
    }
    assert.ok(!this.messages.includes(null), 'the broker cancelled the consumer');
  }
}

function body(number) {
  return Buffer.from(`body ${number}`.repeat(number + 1));
}

function properties(number, userId) {
  return {
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    headers: HEADERS,
    deliveryMode: 2,
    priority: 4,
    correlationId: `correlation-${number}`,
    replyTo: 'replies',
    expiration: '60000',
    messageId: String(number),
    timestamp: 1_700_000_000,
    type: 'order',
    userId,
    appId: 'matrix',
  };
}

async function within(ms, what, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('out of time')), ms);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    throw new Error(`${what}: ${error.message}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

function clientVersion() {
  const manifest = new URL('package.json', import.meta.resolve('amqplib'));
  return JSON.parse(readFileSync(manifest)).version;
}

async function main() {
  const url = process.env.AMQP_URL;
  const user = decodeURIComponent(new URL(url).username || 'guest');
  const connection = await amqplib.connect(url, { timeout: STEP_MS_MAX });
  await new Scenario(connection, user).run();
  await within(STEP_MS_MAX, 'close', connection.close());
  console.log(`ok amqplib ${clientVersion()}`);
}

try {
  await within(RUN_MS_MAX, 'run', main());
  process.exit(0);
} catch (error) {
  console.error('FAIL amqplib:', error);
  process.exit(1);
}
