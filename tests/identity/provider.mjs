// A real OpenID Connect provider for tests/contract/test_identity.py: node provider.mjs PORT, its own keys at each start.
// Whoever signs in as NAME is NAME@clinic.example; the login form takes any password. Prints "ready" when it listens.

import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const [port, ...clients] = process.argv.slice(2);
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA'];

const keys = [];
for (const alg of ALGORITHMS) {
  const options = { extractable: true, ...(alg === 'EdDSA' && { crv: 'Ed25519' }) };
  const { privateKey } = await jose.generateKeyPair(alg, options);
  const kid = `${alg}-${Date.now()}`;
  keys.push({ ...(await jose.exportJWK(privateKey)), alg, kid, use: 'sig' });
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: clients.map((one) => JSON.parse(one)),
  jwks: { keys },
  cookies: { keys: ['for tests'] },
  conformIdTokenClaims: false, // claims of a scope are in the ID token, as staff portals want them
  pkce: { required: () => true },
  enabledJWA: { idTokenSigningAlgValues: ALGORITHMS },
  features: { devInteractions: { enabled: true } },
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'role', 'realm_access', 'https://clinic.example/roles'],
  },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      name: `${id[0].toUpperCase()}${id.slice(1)} Reyes`,
      email: `${id}@clinic.example`,
      email_verified: id !== 'mallory',
      role: 'sender',
      realm_access: { roles: ['sender', 'admin'] },
      'https://clinic.example/roles': ['auditor'],
    }),
  }),
});

provider.listen(port, '127.0.0.1', () => console.log('ready'));
