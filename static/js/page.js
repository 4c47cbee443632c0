/* Fits the message's frame to its content, so that a long message scrolls in the page.
 *
 * The framed document is hostile: only its own window is heard, only a sane number is taken, and only so many times a
 * layout (a mail sized by the window's height would otherwise grow for ever). Without this the frame keeps 80vh. */

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

// The frame may have spoken before this module listened, and is slow to notice a new width while out of sight.
function ask() {
  frame.contentWindow.postMessage("height", "*");
}

if (frame) {
  addEventListener("message", fit);
  addEventListener("resize", () => { changes = 0; ask(); });
  frame.addEventListener("load", ask);
  ask();
}
