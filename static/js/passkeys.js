/* Passkey ceremonies: signing in, proving more, adding one. Each is two requests of JSON, with the browser's own dialog between.
 *
 * [data-passkey] holds a button, a line for what happens, and the words for it; it stays hidden where the browser can't do this.
 * Where people sign in, the browser may also offer a passkey at the field marked "webauthn". PRF results never leave the page. */

const able = window.PublicKeyCredential && PublicKeyCredential.parseRequestOptionsFromJSON;
let pending = null;

/* [data-at] is where a ceremony's addresses begin: nothing for recipients, a path of the console for staff. */
async function post(path, root, body) {
  const address = (root.dataset.at || "") + path;
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": root.dataset.csrf };
  const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(body || {}) });
  return { status: answer.status, said: await answer.json().catch(() => ({})) };
}

function tell(root, words) {
  root.querySelector("[role=status]").textContent = words;
}

/* One ceremony at a time: a pending offer at the field is withdrawn when a button is pressed, and none begins after that. */
function fresh() {
  if (pending) pending.abort();
  pending = new AbortController();
  return pending.signal;
}

function json(credential) {
  const said = credential.toJSON();
  if (said.clientExtensionResults) delete said.clientExtensionResults.prf;
  return said;
}

/* What the server answered: on to the next page, or its words. */
function follow(root, { status, said }, credential) {
  if (said.to && status !== 200) { location.assign(said.to); return false; }
  if (status !== 200) {
    tell(root, said.say || root.dataset.sayConnection);
    if (said.unknown && PublicKeyCredential.signalUnknownCredential) {
      PublicKeyCredential.signalUnknownCredential({ rpId: said.rp_id, credentialId: credential.id }).catch(() => {});
    }
    return false;
  }
  return true;
}

async function use(root, mediation) {
  const act = root.dataset.passkey;
  const more = act === "step-up";
  const signal = fresh();
  const options = await post(`/passkeys/options?for=${more ? "step-up" : "sign-in"}`, root);
  if (signal.aborted || !follow(root, options)) return;
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options.said);
  const credential = json(await navigator.credentials.get({ publicKey, signal, ...(mediation ? { mediation } : {}) }));
  const where = more ? "/passkeys/step-up" : "/passkeys/sign-in";
  const sent = more ? { delivery: root.dataset.delivery } : { door: root.dataset.delivery };
  const answer = await post(where, root, { credential, ...sent });
  if (!follow(root, answer, credential)) return;
  tell(root, root.dataset.sayDone);
  if (act === "resume") {
    document.getElementById("code").required = false;
    document.getElementById("resume").requestSubmit();
  } else {
    location.assign(answer.said.to);
  }
}

async function add(root) {
  const options = await post("/passkeys/add/options", root);
  if (!follow(root, options)) return;
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.said);
  const credential = json(await navigator.credentials.create({ publicKey, signal: fresh() }));
  const name = document.getElementById("name").value;
  const answer = await post("/passkeys/add", root, { credential, name, delivery: root.dataset.delivery });
  if (!follow(root, answer, credential)) return;
  tell(root, root.dataset.sayDone);
  location.assign(answer.said.to);
}

async function press(root) {
  const button = root.querySelector("button");
  button.disabled = true;
  tell(root, root.dataset.sayWait);
  try {
    await (root.dataset.passkey === "add" ? add(root) : use(root));
  } catch (error) {
    if (error.name === "InvalidStateError") tell(root, root.dataset.sayHere);
    else if (error.name === "TypeError") tell(root, root.dataset.sayConnection);
    else tell(root, root.dataset.sayStopped);
  } finally {
    button.disabled = false;
  }
}

/* Where a field says so, the browser shows passkeys among what it offers to fill in. */
async function offer(root) {
  const field = document.querySelector("input[autocomplete~=webauthn]");
  if (!field || !PublicKeyCredential.isConditionalMediationAvailable) return;
  if (!(await PublicKeyCredential.isConditionalMediationAvailable()) || pending) return;
  await use(root, "conditional").catch(() => {});
}

/* Keeps the browser's own list in step. It is complete: an incomplete one would make the browser delete passkeys. */
function signal(list) {
  const { rp: rpId, handle: userId, credentials, user } = list.dataset;
  const all = credentials ? credentials.split(" ") : [];
  PublicKeyCredential.signalAllAcceptedCredentials?.({ rpId, userId, allAcceptedCredentialIds: all }).catch(() => {});
  PublicKeyCredential.signalCurrentUserDetails?.({ rpId, userId, name: user, displayName: user }).catch(() => {});
}

if (able) {
  for (const root of document.querySelectorAll("[data-passkey]")) {
    root.hidden = false;
    root.querySelector("button").addEventListener("click", () => press(root));
    if (root.dataset.passkey === "sign-in") offer(root);
  }
  const list = document.querySelector("[data-signals]");
  if (list) signal(list);
}
