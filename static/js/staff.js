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

/* Only what is new is added, so that a screen reader says it once. */
async function look() {
  if (document.hidden) return;
  const answer = await fetch(live.dataset.live).catch(() => null);
  if (!answer || !answer.ok) return;
  const { lately } = await answer.json();
  const known = new Set([...live.querySelectorAll("time")].map((at) => at.dateTime));
  const added = lately.filter((one) => !known.has(one.at));
  if (!added.length) return;
  live.querySelector("[data-none]")?.remove();
  live.prepend(...added.map(line));
}

if (live) {
  document.querySelector("[data-live-hint]").hidden = false;
  setInterval(look, EVERY_MS);
}

const all = document.querySelector("[data-all]");
if (all) {
  all.hidden = false;
  const box = all.querySelector("input");
  const each = document.querySelectorAll("input[name=d]");
  box.addEventListener("change", () => { for (const one of each) one.checked = box.checked; });
}
