/* Each frame's height (else 80vh), the end of the session told in time, print buttons. */
// A frame is hostile: only its own window is heard, a sane number, and so often a layout (vh would grow for ever).

const MOST_PIXELS = 200000;
const MOST_CHANGES = 30;
const changes = new Map();
for (const frame of document.querySelectorAll("iframe.mail")) changes.set(frame, 0);

function fit(event) {
  const frame = [...changes.keys()].find((one) => one.contentWindow === event.source);
  if (!frame || !Number.isFinite(event.data) || event.data <= 0) return;
  const height = `${Math.min(Math.ceil(event.data), MOST_PIXELS)}px`;
  if (height === frame.style.height || changes.get(frame) >= MOST_CHANGES) return;
  changes.set(frame, changes.get(frame) + 1);
  frame.style.height = height;
}

// It may have spoken before, and is slow to notice a new width out of sight.
function ask(frame) {
  frame.contentWindow.postMessage("height", "*");
}

if (changes.size) addEventListener("message", fit);
for (const frame of changes.keys()) {
  addEventListener("resize", () => { changes.set(frame, 0); ask(frame); });
  frame.addEventListener("load", () => ask(frame));
  ask(frame);
}

// A tab that slept knows the time when it wakes.

const WARN_MS = 120000;
const banner = document.getElementById("session");
const writing = document.getElementById("reply") || document.getElementById("resume");
let idleAt = 0;
let overAt = 0;

function from(seconds) {
  idleAt = Date.now() + Number(seconds.ends_in) * 1000;
  overAt = Date.now() + Number(seconds.over_in) * 1000;
}

function look() {
  const now = Date.now();
  const words = banner.querySelector("p");
  const button = banner.querySelector("button");
  if (now >= Math.min(idleAt, overAt)) {
    if (!writing || !banner.dataset.sayEnded) { location.assign("/inbox"); return; }
    words.textContent = banner.dataset.sayEnded;
    button.hidden = true;
    banner.hidden = false;
  } else if (now >= Math.min(idleAt, overAt) - WARN_MS) {
    button.hidden = overAt - WARN_MS <= now;
    banner.hidden = false;
  } else {
    banner.hidden = true;
  }
}

async function stay() {
  const headers = { "X-CSRF-Token": document.querySelector("input[name=csrf]").value };
  const answer = await fetch("/session/stay", { method: "POST", headers }).catch(() => null);
  if (answer && answer.ok) from(await answer.json());
  else if (answer && answer.status === 401) idleAt = 0;
  look();
}

if (banner) {
  from({ ends_in: banner.dataset.endsIn, over_in: banner.dataset.overIn });
  banner.querySelector("button").addEventListener("click", stay);
  document.addEventListener("visibilitychange", look);
  setInterval(look, 5000);
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}
