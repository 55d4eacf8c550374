// What every page does: navigation, theme, dialogs, copying, and the tab's one live stream.
// Pages listen to the document's "live" event; its detail is what /live/now gives.

export const csrf = () => document.querySelector('meta[name="csrf-token"]').content;

export function toast(sentence) {
  const box = document.createElement("div");
  box.textContent = sentence;
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), 7000);
}

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// ── live ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const POLL_MS = 3000;
const FAILURES_BEFORE_POLLING = 3;
let failures = 0;

function tell(seen) {
  document.dispatchEvent(new CustomEvent("live", { detail: seen }));
}

function listen() {
  const isLogPage = document.getElementById("log") !== null;
  const source = new EventSource(isLogPage ? `/live/stream?logs&${location.search.slice(1)}` : "/live/stream");
  source.onmessage = (event) => {
    failures = 0;
    tell(JSON.parse(event.data));
  };
  source.addEventListener("log", (event) => document.dispatchEvent(new CustomEvent("log", { detail: JSON.parse(event.data) })));
  source.onerror = () => {
    failures += 1;
    showState("unknown", "Connecting");
    if (source.readyState === EventSource.CLOSED || failures >= FAILURES_BEFORE_POLLING) {
      source.close();
      poll();
    }
  };
  addEventListener("pagehide", () => source.close());
}

async function poll() {
  try {
    const answer = await fetch("/live/now", { headers: { Accept: "application/json" } });
    if (answer.status === 401) return location.reload();
    tell(await answer.json());
    failures = 0;
  } catch {
    tell({ problem: "The console does not answer. This page asks again every few seconds.", appliance: null });
  }
  setTimeout(poll, POLL_MS);
}

// ── what is on every page ────────────────────────────────────────────────────────────────────────────────────────

const slot = (name) => document.querySelector(`[data-live="${name}"]`);

function state(seen) {
  if (!seen.appliance) return ["bad", "Not running"];
  if (seen.appliance.is_rotating) return ["busy", "Rotating"];
  if (!seen.appliance.split) return ["bad", "No workers"];
  return ["good", "Serving"];
}

function showState(is, words) {
  const shown = slot("state");
  shown.dataset.is = is;
  shown.lastElementChild.textContent = words;
}

document.addEventListener("live", ({ detail: seen }) => {
  showState(...state(seen));
  slot("split").textContent = seen.appliance?.split ? `Split ${seen.appliance.split}` : "No split";
  const problem = seen.problem || seen.store_problem || "";
  slot("problem").hidden = !problem;
  slot("problem").textContent = problem;
});

// What two bars side by side do not show: shares that add up to more than the device overlap, and 100/100 is no division.
export function splitNote(split) {
  const [prefill, decode] = (split ?? "0/0").split("/").map(Number);
  if (prefill + decode === 200) return "One worker computes both phases on the whole device, until a person divides it.";
  return prefill + decode > 100 ? `The two overlap in ${prefill + decode - 100} % of the device.` : "";
}

document.addEventListener("click", (event) => {
  const on = (selector) => event.target.closest(selector);
  if (on("[data-toggle-navigation]")) {
    const isOpen = document.querySelector(".side").classList.toggle("is-open");
    on("[data-toggle-navigation]").setAttribute("aria-expanded", isOpen);
  } else if (on("[data-switch-theme]")) {
    const next = document.documentElement.dataset.bsTheme === "dark" ? "light" : "dark";
    localStorage.setItem("semi-pd-theme", next);
    document.documentElement.dataset.bsTheme = next;
    document.dispatchEvent(new Event("theme"));
  } else if (on("[data-open]")) {
    document.getElementById(on("[data-open]").dataset.open).showModal();
  } else if (on("[data-close]")) {
    on("dialog").close();
  } else if (on("[data-copy]")) {
    copy(document.getElementById(on("[data-copy]").dataset.copy));
  }
});

export async function copy(source) {
  await navigator.clipboard.writeText(source.value ?? source.textContent);
  toast("Copied.");
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector(".side").classList.remove("is-open");
});

document.addEventListener("htmx:responseError", () => toast("The console could not answer this: see its log."));

document.addEventListener("htmx:configRequest", (event) => {
  event.detail.headers["X-CSRFToken"] = csrf();
});

document.querySelectorAll("form[data-submit-on-change]").forEach((form) =>
  form.addEventListener("change", () => form.requestSubmit()));

document.querySelectorAll("[data-ratio]").forEach((one) => {
  one.style.flexGrow = one.dataset.ratio;
});

// What scrolls must be reached from the keyboard, and what does not need not be.
function markScrolling() {
  for (const box of document.querySelectorAll(".table-wrap")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

document.addEventListener("htmx:afterSwap", (event) => {
  event.target.querySelectorAll("[data-ratio]").forEach((one) => { one.style.flexGrow = one.dataset.ratio; });
  markScrolling();
});
addEventListener("resize", markScrolling);
document.fonts.ready.then(markScrolling);
markScrolling();

listen();
