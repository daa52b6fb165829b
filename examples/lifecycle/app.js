// An application with log-in and log-out that has no Redis client and no session library.
const http = require('http');

// session asks pillion for a change by a field of the response; pillion takes it out.
const session = (verb, params = '') => ({ 'Pillion-Session': verb + params });
const data = (object) => `; data=:${Buffer.from(JSON.stringify(object)).toString('base64')}:`;

const routes = {
  'POST /login': (req, q) => [session('create', `; user="${Number(q.get('user'))}"` + data({ plan: 'free' }))],
  'GET /profile': (req) => [{}, { user: req.headers['x-user-id'], plan: req.headers['x-plan'] }],
  'POST /upgrade': () => [session('update', data({ plan: 'pro' }))],
  'POST /rotate': () => [session('rotate')],
  'POST /logout': () => [session('destroy')],
  'POST /logout-everywhere': () => [session('destroy-all')],
};

http.createServer((req, res) => {
  const url = new URL(req.url, 'http://app');
  const route = routes[`${req.method} ${url.pathname}`];
  const [headers, body] = route ? route(req, url.searchParams) : [{}];
  res.writeHead(route ? 200 : 404, { 'Content-Type': 'application/json', ...headers });
  res.end(JSON.stringify(body ?? { ok: Boolean(route) }));
}).listen(Number(process.env.PORT ?? 8000), '127.0.0.1');
