/* The frame's height (else 80vh), the end of the session told in time, print buttons. */
// The frame is hostile: only its own window is heard, a sane number, and so often a layout (vh would grow for ever).

const MOST_PIXELS = 200000;
const MOST_CHANGES = 30;
const frame = document.querySelector("iframe.mail");
let changes = 0;

function fit(event) {
  if (event.source !== frame.contentWindow || !Number.isFinite(event.data) || event.data <= 0) return;
  const height = `${Math.min(Math.ceil(event.data), MOST_PIXELS)}px`;
  if (height === frame.style.height || changes >= MOST_CHANGES) return;
  changes += 1;
  frame.style.height = height;
}

// It may have spoken before, and is slow to notice a new width out of sight.
function ask() {
  frame.contentWindow.postMessage("height", "*");
}

if (frame) {
  addEventListener("message", fit);
  addEventListener("resize", () => { changes = 0; ask(); });
  frame.addEventListener("load", ask);
  ask();
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
