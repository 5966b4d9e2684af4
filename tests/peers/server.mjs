// node server.mjs LIBRARY: an MLLP server that answers every message; writes its port, then each control id it received,
// a line each, and ends when its standard input does.
import { createServer } from 'node:net';

process.stdin.on('end', () => process.exit(0)).resume();

const freePort = () =>
  new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
const say = (line) => process.stdout.write(`${line}\n`);

async function medplum(port) {
  const { Hl7Server } = await import('@medplum/hl7');
  const server = new Hl7Server((connection) => {
    connection.addEventListener('message', ({ message }) => {
      say(message.getSegment('MSH').getField(10).toString());
      connection.send(message.buildAck());
    });
  });
  await server.start(port);
}

async function simple(port) {
  const { default: hl7 } = await import('simple-hl7');
  const app = hl7.tcp();
  app.use((request, response) => {
    say(request.msg.header.getField(8));
    response.end();
  });
  app.start(port);
  await new Promise((resolve) => setTimeout(resolve, 0)); // it has no event for this; listening begins in this turn
}

async function node(port) {
  const { default: Server } = await import('node-hl7-server');
  const server = new Server({ bindAddress: '127.0.0.1' });
  const listener = server.createInbound({ port }, async (request, response) => {
    say(request.getMessage().get('MSH.10').toString());
    await response.sendResponse('AA');
  });
  await new Promise((resolve) => listener.on('listen', resolve));
}

const port = await freePort();
await { '@medplum/hl7': medplum, 'simple-hl7': simple, 'node-hl7-server': node }[process.argv[2]](port);
say(port);
