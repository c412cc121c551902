// The console's own API.

export class Refused extends Error {
  constructor(body, status) {
    super(body.message || `The console answered HTTP ${status}.`);
    this.code = body.error;
    this.errors = body.errors ?? {};
    this.status = status;
  }
}

let csrf = '';

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: 'same-origin', ...options });
  } catch {
    throw new Refused({ error: 'unreachable', message: 'The console cannot be reached. It is not known whether this arrived; look at the channel before trying again.' }, 0);
  }
  const body = await response.json().catch(() => ({}));
  if (!body.ok) throw new Refused(body, response.status);
  return body;
}

export const get = (path, params = {}) => ask(`${path}?${new URLSearchParams(params)}`, {});

export const post = (path, body) => ask(path, {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', 'X-Console-CSRF': csrf },
  body: JSON.stringify(body),
});

export async function me() {
  const found = await get('/api/me');
  csrf = found.csrf;
  return found;
}
