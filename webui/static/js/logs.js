// Log lines as they come over the tab's live stream.

import { element } from "./console.js";

const MOST = 2000;
const log = document.getElementById("log");
const follow = document.getElementById("follow");
let isFollowing = true;

function line({ unit, at, level, event, more }) {
  const part = (name, text) => element("span", { class: `log-${name}` }, text);
  return element("div", { "data-level": level }, part("at", at.slice(11, 23)), " ", part("unit", unit), " ", part("level", level), ` ${event} `, part("at", more));
}

document.addEventListener("log", ({ detail: lines }) => {
  if (!isFollowing) return;
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  log.append(...lines.map(line));
  while (log.childElementCount > MOST) log.firstElementChild.remove();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
});

follow.addEventListener("click", () => {
  isFollowing = !isFollowing;
  follow.setAttribute("aria-pressed", isFollowing);
  follow.lastElementChild.textContent = isFollowing ? "Pause" : "Go on";
});

log.scrollTop = log.scrollHeight;
