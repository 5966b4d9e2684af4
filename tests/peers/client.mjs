// node client.mjs LIBRARY PORT < JSON list of messages: sends each, writes a JSON list of the answers' [MSA-1, MSA-2].
import { readFileSync } from 'node:fs';

const [library, port] = [process.argv[2], Number(process.argv[3])];
const messages = JSON.parse(readFileSync(0, 'utf8'));

async function medplum() {
  const { Hl7Client } = await import('@medplum/hl7');
  const { Hl7Message } = await import('@medplum/core');
  const client = new Hl7Client({ host: '127.0.0.1', port, keepAlive: true });
  const answers = [];
  for (const text of messages) {
    const answer = await client.sendAndWait(Hl7Message.parse(text));
    const msa = answer.getSegment('MSA');
    answers.push([msa.getField(1).toString(), msa.getField(2).toString()]);
  }
  await client.close();
  return answers;
}

async function simple() {
  const { default: hl7 } = await import('simple-hl7');
  const parser = new hl7.Parser({ segmentSeperator: '\r' });
  const client = hl7.Server.createTcpClient({ host: '127.0.0.1', port, keepalive: true });
  const send = (message) =>
    new Promise((resolve, reject) => client.send(message, (error, ack) => (error ? reject(error) : resolve(ack))));
  const answers = [];
  for (const text of messages) {
    const msa = (await send(parser.parse(text))).getSegment('MSA');
    answers.push([msa.getField(1), msa.getField(2)]);
    await new Promise(setImmediate); // it clears its buffer only after the callback
  }
  client.close();
  return answers;
}

async function node() {
  const { default: Client, Message } = await import('node-hl7-client');
  const client = new Client({ host: '127.0.0.1' });
  let answered;
  const connection = client.createConnection({ port, waitAck: true }, (response) => {
    const message = response.getMessage();
    answered([message.get('MSA.1').toString(), message.get('MSA.2').toString()]);
  });
  const answers = [];
  for (const text of messages) {
    const answer = new Promise((resolve) => (answered = resolve));
    await connection.sendMessage(new Message({ text }));
    answers.push(await answer);
  }
  await connection.close();
  return answers;
}

const answers = await { '@medplum/hl7': medplum, 'simple-hl7': simple, 'node-hl7-client': node }[library]();
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
