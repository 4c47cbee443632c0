/* Sends chosen files one after the other while the reply is being written; the form then carries text and draft only.
 *
 * PUT {upload}?name=NAME, raw body, X-CSRF-Token; 201 with Location, which DELETE takes away again. Without this module the
 * same form sends everything at once. Nothing typed is kept anywhere but in the form. */

const form = document.getElementById("reply");
const picker = document.getElementById("files");
const list = document.getElementById("uploads");
const news = document.getElementById("upload-news");
const pattern = document.getElementById("upload");
const queue = [];
let current = null;

const part = (row, name) => row.querySelector(`[data-${name}]`);

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

function add(file) {
  const row = pattern.content.firstElementChild.cloneNode(true);
  row.dataset.size = file.size;
  part(row, "name").textContent = file.name;
  part(row, "remove-button").setAttribute("aria-label", say("Remove", { name: file.name }));
  part(row, "again").addEventListener("click", () => enqueue(row, file));
  list.append(row);
  enqueue(row, file);
}

function enqueue(row, file) {
  delete row.dataset.failed;
  part(row, "status").classList.remove("wrong");
  part(row, "status").removeAttribute("role");
  part(row, "again").hidden = true;
  if (rows().length > Number(form.dataset.mostFiles)) return fail(row, "TooMany", { most: form.dataset.mostFiles });
  if (bytesBefore(row) + file.size > Number(form.dataset.mostBytes)) {
    return fail(row, "TooLarge", { most: amount(Number(form.dataset.mostBytes)) });
  }
  part(row, "status").textContent = say("Waiting");
  queue.push({ row, file });
  return next();
}

function next() {
  if (current || !queue.length) return;
  current = queue.shift();
  const { row, file } = current;
  const bar = row.querySelector("progress");
  const request = new XMLHttpRequest();
  current.request = request;
  bar.hidden = false;
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.loaded / Math.max(file.size, 1);
    part(row, "status").textContent = say("Sending", { sent: amount(event.loaded), size: amount(file.size) });
  });
  request.addEventListener("load", () => {
    if (request.status === 201) attached(row, file, request.getResponseHeader("Location"));
    else refused(row, request.status);
  });
  request.addEventListener("error", () => fail(row, "Connection"));
  request.addEventListener("loadend", () => { current = null; next(); });
  request.open("PUT", `${form.dataset.upload}?name=${encodeURIComponent(file.name)}`);
  request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
  request.setRequestHeader("X-CSRF-Token", form.dataset.csrf);
  request.send(file);
}

function attached(row, file, address) {
  row.dataset.remove = address;
  row.querySelector("progress").hidden = true;
  part(row, "status").textContent = say("Done", { size: amount(file.size) });
  news.textContent = say("Added", { name: file.name });
}

function refused(row, status) {
  if (status === 401 || status === 403) fail(row, "SignedOut");
  else if (status === 413) fail(row, "TooLarge", { most: amount(Number(form.dataset.mostBytes)) });
  else if (status === 409) fail(row, "TooMany", { most: form.dataset.mostFiles });
  else if (status === 415) fail(row, "Infected");
  else fail(row, "Fault");
}

function fail(row, why, values) {
  row.dataset.failed = "yes";
  row.querySelector("progress").hidden = true;
  part(row, "again").hidden = ["TooMany", "TooLarge", "Infected"].includes(why);
  part(row, "status").classList.add("wrong");
  part(row, "status").setAttribute("role", "alert");
  part(row, "status").textContent = say(why, values);
}

async function remove(row) {
  const waiting = queue.findIndex((job) => job.row === row);
  if (waiting >= 0) queue.splice(waiting, 1);
  if (current && current.row === row) current.request.abort();
  if (row.dataset.remove) {
    const headers = { "X-CSRF-Token": form.dataset.csrf };
    const answer = await fetch(row.dataset.remove, { method: "DELETE", headers }).catch(() => null);
    if (!answer || !(answer.ok || answer.status === 404)) {
      news.textContent = say("NotRemoved");
      return;
    }
  }
  news.textContent = say("Removed", { name: part(row, "name").textContent });
  row.remove();
  picker.focus();
}

function beforeSending(event) {
  if (event.submitter && "removeButton" in event.submitter.dataset) return;
  if (current || queue.length) stop(event, "Busy");
  else if (rows().some((row) => row.dataset.failed)) stop(event, "Unfinished");
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
}
