// The steps of the clients from npm, one for each line of the input; what client_python.py says holds here, too.
import { createInterface } from 'node:readline';

export const REDIRECT_URI = 'http://127.0.0.1/callback';

/// The client's side of a log-in, with a browser that goes where it is sent and remembers what it was given there.
export class Login {
  brought = null;

  constructor(name) {
    this.redirectUrl = REDIRECT_URI;
    this.clientMetadata = {
      client_name: name,
      redirect_uris: [REDIRECT_URI],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  }

  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.own; }
  saveTokens(tokens) { this.own = tokens; }
  codeVerifier() { return this.verifier; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }

  async redirectToAuthorization(url) {
    const answer = await fetch(url, { redirect: 'manual' });
    const location = answer.headers.get('location') ?? '';
    if (!location.startsWith(`${REDIRECT_URI}?`)) {
      throw new Error(`the log-in ended at ${location} with ${answer.status}: ${await answer.text()}`);
    }
    this.brought = new URL(location).searchParams;
  }
}

/// Takes `step`, and once more after each log-in that it asks for.
export async function patiently(login, finish, step) {
  for (let logins = 0; ; logins += 1) {
    try {
      return await step();
    } catch (error) {
      const wants = [error, error.cause].some((one) => one?.constructor?.name === 'UnauthorizedError');
      if (!wants || !login.brought || logins === 3) throw error;
      const brought = login.brought;
      login.brought = null;
      await finish(brought);
    }
  }
}

export async function take(connect, tools, call) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, ...text] = line.split(' ');
    let came;
    try {
      if (name === 'connect') came = await connect();
      else if (name === 'tools') came = (await tools()).tools.map((tool) => tool.name).sort().join();
      else came = (await call({ name, arguments: { text: text.join(' ') } })).content[0].text;
    } catch (error) {
      came = `FAILED ${error.constructor.name}: ${error.message}`;
    }
    console.log(line, '->', String(came).replaceAll(/\s+/g, ' '));
  }
  process.exit(0);
}
