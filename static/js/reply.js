/* Saves what is typed while it is typed, and sends chosen files ahead of the form, three at a time.
 *
 * A save is the form itself, without files, POSTed to the draft's address with a name for the new version (`next`); `version` keeps
 * every name that may be the one kept there, so that an answer lost on the way is not taken for another window's change.
 * Files go by draft-ietf-httpbis-resumable-upload: PUT begins one, PATCH sends it, HEAD says where to go on after a broken connection.
 * Without this module the same form does all of it. Nothing typed is kept in the browser but in the form. */

const form = document.getElementById("reply");
const picker = document.getElementById("files");
const list = document.getElementById("uploads");
const news = document.getElementById("upload-news");
const saveNews = document.getElementById("save-news");
const ending = document.getElementById("session");
const pattern = document.getElementById("upload");
const AT_ONCE = 3;
const WAITS = [1, 2, 4, 8, 15, 30, 30, 30];
const queue = [];
const active = new Map();
let made = 0;

const part = (row, name) => row.querySelector(`[data-${name}]`);
const later = (seconds) => new Promise((done) => {
  setTimeout(done, seconds * 1000);
  addEventListener("online", done, { once: true });
});

function say(name, values = {}) {
  return form.dataset[`say${name}`].replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
}

function amount(bytes) {
  const units = ["bytes", "KB", "MB", "GB"];
  let unit = 0;
  for (; bytes >= 999.5 && unit < 3; unit += 1) bytes /= 1000;
  const digits = unit && bytes < 9.95 ? 1 : 0;
  return `${bytes.toLocaleString(form.dataset.lang, { maximumFractionDigits: digits })} ${units[unit]}`;
}

const rows = () => [...list.children];
const bytesBefore = (row) => rows().filter((other) => other !== row && !other.dataset.failed)
  .reduce((sum, other) => sum + Number(other.dataset.size), 0);

// -- files

function add(file) {
  const row = pattern.content.firstElementChild.cloneNode(true);
  const job = { row, file, address: "", tries: 0, restarts: 0, request: null, over: false };
  made += 1;
  row.dataset.size = file.size;
  part(row, "name").textContent = file.name;
  part(row, "name").id = `file-${made}`;
  const bar = row.querySelector("progress");
  bar.id = `sent-${made}`;
  bar.setAttribute("aria-labelledby", `${bar.id} file-${made}`);
  part(row, "remove-button").setAttribute("aria-label", say("Remove", { name: file.name }));
  part(row, "again").addEventListener("click", () => enqueue(job));
  row.job = job;
  list.append(row);
  enqueue(job);
}

function enqueue(job) {
  const { row, file } = job;
  delete row.dataset.failed;
  job.over = false;
  job.tries = 0;
  job.restarts = 0;
  part(row, "status").classList.remove("wrong");
  part(row, "status").removeAttribute("role");
  part(row, "again").hidden = true;
  if (rows().length > Number(form.dataset.mostFiles)) return fail(row, "TooMany", { most: form.dataset.mostFiles });
  if (bytesBefore(row) + file.size > Number(form.dataset.mostBytes)) {
    return fail(row, "TooLarge", { most: amount(Number(form.dataset.mostBytes)) });
  }
  part(row, "status").textContent = say("Waiting");
  queue.push(job);
  return next();
}

function next() {
  while (active.size < AT_ONCE && queue.length) {
    const job = queue.shift();
    active.set(job.row, job);
    job.row.querySelector("progress").hidden = false;
    send(job).catch(() => fail(job.row, "Fault")).finally(() => {
      active.delete(job.row);
      next();
    });
  }
}

const asked = (address, method, headers) => fetch(address, {
  method, redirect: "manual", headers: { "X-CSRF-Token": form.dataset.csrf, ...headers },
}).catch(() => null);

/* Until the file is attached or refused: asks where to go on, then sends from there. */
async function send(job) {
  while (!job.over) {
    const at = job.address ? await stands(job) : await begin(job);
    if (job.over) return;
    if (at === null) {
      if (!await wait(job)) return;
    } else if (at >= 0) {
      const answer = await rest(job, at);
      if (job.over) return;
      if (answer.status === 201) attached(job, answer.getResponseHeader("Location"));
      else if (answer.status === 404) startAgain(job);
      else if (answer.status && !(answer.status === 409 && answer.getResponseHeader("Upload-Offset"))) refused(job, answer.status);
      else if (!await wait(job)) return;
    }
  }
}

/* A name for a header (RFC 8187 3.2): it stands in no address, which others write down. */
const named = (name) => encodeURIComponent(name).replace(/['()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);

async function begin(job) {
  const { file } = job;
  const headers = {
    "Upload-Complete": "?0", "Upload-Length": `${file.size}`, "Content-Type": file.type || "application/octet-stream",
    "Content-Disposition": `attachment; filename*=UTF-8''${named(file.name)}`,
  };
  const answer = await asked(`${form.dataset.draft}/files${form.elements.new ? "?new=yes" : ""}`, "PUT", headers);
  if (!answer) return null;
  if (answer.status !== 201) {
    refused(job, answer.status);
    return -1;
  }
  job.address = answer.headers.get("Location");
  job.row.dataset.remove = job.address;
  return 0;
}

async function stands(job) {
  const answer = await asked(job.address, "HEAD");
  if (!answer || answer.status >= 500) return null;
  if (answer.status === 404) startAgain(job);
  else if (answer.status !== 204) refused(job, answer.status);
  else if (answer.headers.get("Upload-Complete") === "?1") attached(job, job.address);
  else return Number(answer.headers.get("Upload-Offset"));
  return -1;
}

function startAgain(job) {
  job.address = "";
  delete job.row.dataset.remove;
  job.restarts += 1;
  if (job.restarts > 3) fail(job.row, "Connection");
}

function rest(job, at) {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    const { row, file } = job;
    const bar = row.querySelector("progress");
    job.request = request;
    request.upload.addEventListener("progress", (event) => {
      job.tries = 0;
      bar.value = (at + event.loaded) / Math.max(file.size, 1);
      part(row, "status").textContent = say("Sending", { sent: amount(at + event.loaded), size: amount(file.size) });
    });
    request.addEventListener("loadend", () => done(request));
    request.open("PATCH", job.address);
    request.setRequestHeader("Content-Type", "application/partial-upload");
    request.setRequestHeader("Upload-Offset", at);
    request.setRequestHeader("Upload-Complete", "?1");
    request.setRequestHeader("X-CSRF-Token", form.dataset.csrf);
    request.send(file.slice(at));
  });
}

/* Before another try; false when there were enough. */
async function wait(job) {
  const { row, file } = job;
  if (job.tries >= WAITS.length) {
    fail(row, "Connection");
    return false;
  }
  const sent = row.querySelector("progress").value * file.size;
  part(row, "status").textContent = say("Broken", { sent: amount(sent), size: amount(file.size) });
  await later(WAITS[job.tries]);
  job.tries += 1;
  return !job.over;
}

function attached(job, address) {
  const { row, file } = job;
  job.over = true;
  row.dataset.remove = address;
  row.querySelector("progress").hidden = true;
  part(row, "status").textContent = say("Done", { size: amount(file.size) });
  news.textContent = say("Added", { name: file.name });
}

function refused(job, status) {
  const { row } = job;
  if (status === 401 || status === 403) fail(row, "SignedOut");
  else if (status === 413) fail(row, "TooLarge", { most: amount(Number(form.dataset.mostBytes)) });
  else if (status === 409) fail(row, "TooMany", { most: form.dataset.mostFiles });
  else if (status === 415) fail(row, "Infected");
  else fail(row, "Fault");
}

function fail(row, why, values) {
  row.job.over = true;
  row.dataset.failed = "yes";
  row.querySelector("progress").hidden = true;
  part(row, "again").hidden = ["TooMany", "TooLarge", "Infected"].includes(why);
  part(row, "status").classList.add("wrong");
  part(row, "status").setAttribute("role", "alert");
  part(row, "status").textContent = say(why, values);
}

function halt(row) {
  const waiting = queue.findIndex((job) => job.row === row);
  if (waiting >= 0) queue.splice(waiting, 1);
  if (!row.job) return;
  row.job.over = true;
  if (row.job.request) row.job.request.abort();
}

async function remove(row) {
  halt(row);
  if (row.dataset.remove) {
    const answer = await asked(row.dataset.remove, "DELETE");
    if (!answer || !(answer.ok || answer.status === 404)) {
      news.textContent = say("NotRemoved");
      return;
    }
  }
  news.textContent = say("Removed", { name: part(row, "name").textContent });
  row.remove();
  picker.focus();
}

// -- what is typed

const SAVE_MS = 1500;
const SAVE_AT_LEAST_MS = 10000;
const MOST_SIGNS = 100000;
const KEEPALIVE_SIGNS = 15000; // a browser lets 64 KB out of a page that is being left
const typed = () => JSON.stringify([form.text.value, form.formatted.checked, form.to_all?.checked, form.subject?.value]);
let kept = "";
let firstChange = 0;
let timer = 0;
let saving = null;
let stopped = false;

function soon(ms = SAVE_MS) {
  clearTimeout(timer);
  if (stopped) return;
  firstChange = firstChange || Date.now();
  timer = setTimeout(save, Math.min(ms, Math.max(0, firstChange + SAVE_AT_LEAST_MS - Date.now())));
}

function save(leaving = false) {
  clearTimeout(timer);
  if (saving || stopped || typed() === kept) return;
  firstChange = 0;
  saving = put(leaving === true).finally(() => { saving = null; });
}

async function put(leaving) {
  const now = typed();
  const body = new FormData(form);
  const name = crypto.randomUUID();
  body.delete("files");
  body.set("next", name);
  form.version.value += ` ${name}`;
  const answer = await fetch(form.dataset.draft, {
    method: "POST", body, redirect: "manual", signal: AbortSignal.timeout(20000),
    keepalive: leaving && form.text.value.length < KEEPALIVE_SIGNS,
  }).catch(() => null);
  if (answer && answer.ok) {
    form.version.value = name;
    kept = now;
    const time = new Date().toLocaleTimeString(form.dataset.lang, { hour: "numeric", minute: "2-digit" });
    saveNews.textContent = say("Saved", { time });
    if (ending && !ending.hidden) ending.querySelector("button").click(); // who types is here
    if (typed() !== kept) soon();
  } else if (answer && answer.status === 409) {
    apart();
  } else if (answer && (answer.status === 404 || answer.status === 410)) {
    stopped = true;
    saveNews.textContent = say("Gone");
  } else {
    saveNews.textContent = say(answer && answer.status === 422 && form.text.value.length <= MOST_SIGNS ? "Full" : "Unsaved");
    if (!answer || answer.status >= 500) {
      firstChange = Date.now();
      soon(SAVE_AT_LEAST_MS);
    }
  }
}

/* Another window saved this reply: what is here becomes one of its own, with the files that were chosen here. */
function apart() {
  const base = form.dataset.draft.replace(/[^/]*$/, "");
  form.draft.value = crypto.randomUUID();
  form.dataset.draft = base + form.draft.value;
  form.version.value = "";
  form.querySelector("[data-discard]").setAttribute("formaction", `${form.dataset.draft}/discard`);
  for (const row of rows()) {
    halt(row);
    row.remove();
    if (row.job) add(row.job.file);
  }
  saveNews.textContent = say("Apart");
  kept = "";
  soon();
}

// -- the form

function beforeSending(event) {
  const { submitter } = event;
  if (submitter && "removeButton" in submitter.dataset) return;
  if (submitter && "discard" in submitter.dataset) rows().forEach(halt);
  else if (active.size || queue.length) return stop(event, "Busy");
  else if (rows().some((row) => row.dataset.failed)) return stop(event, "Unfinished");
  clearTimeout(timer);
  if (saving) { // its answer says which version this form then knows
    event.preventDefault();
    saving.finally(() => setTimeout(() => form.requestSubmit(submitter)));
  } else {
    stopped = true;
  }
}

function stop(event, why) {
  event.preventDefault();
  news.textContent = say(why);
  news.scrollIntoView({ block: "center" });
}

if (form) {
  picker.removeAttribute("name");
  picker.addEventListener("change", () => {
    [...picker.files].forEach(add);
    picker.value = "";
  });
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-remove-button]");
    if (!button) return;
    event.preventDefault();
    remove(button.closest("li"));
  });
  form.addEventListener("submit", beforeSending);
  kept = "kept" in form.dataset ? typed() : "";
  form.addEventListener("input", () => { if (typed() !== kept) soon(); });
  if (typed() !== kept) soon();
  document.addEventListener("visibilitychange", () => { if (document.hidden) save(true); });
  addEventListener("pageshow", (event) => { if (event.persisted) stopped = false; });
}
