/* The console works without this: it shows what a relay does without loading the page, and ticks whole lists. */

const EVERY_MS = 3000;
const live = document.querySelector("[data-live]");

function line(one) {
  const item = document.createElement("li");
  const at = document.createElement("time");
  const from = document.createElement("span");
  item.className = one.good ? "good" : "bad";
  at.dateTime = one.at;
  at.textContent = one.shown;
  from.className = "hint";
  from.textContent = `from ${one.origin || "?"}`;
  item.append(at, ` ${one.text} `, from);
  return item;
}

async function look() {
  if (document.hidden) return;
  const answer = await fetch(live.dataset.live).catch(() => null);
  if (!answer || !answer.ok) return;
  const list = live.querySelector("ul");
  const { lately } = await answer.json();
  const newest = lately.length ? lately[0].at : "";
  if (!newest || newest === list.dataset.newest) return;
  list.dataset.newest = newest;
  list.replaceChildren(...lately.map(line));
}

if (live) setInterval(look, EVERY_MS);

const all = document.querySelector("[data-all]");
if (all) {
  all.hidden = false;
  const box = all.querySelector("input");
  const each = document.querySelectorAll("input[name=d]");
  box.addEventListener("change", () => { for (const one of each) one.checked = box.checked; });
}

const errors = document.getElementById("errors");
if (errors) errors.focus();
