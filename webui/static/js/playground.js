// The chat: streamed by the console from the endpoint, and only ever shown as text.

import { csrf, element } from "./console.js";

const box = (name) => document.getElementById(name);
const log = box("chat-log");
let messages = [];
let stopping = null;
let language = "curl";

function parameters() {
  const given = {};
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
    if (box(name).value !== "") given[name] = Number(box(name).value);
  }
  return given;
}

function conversation() {
  const system = box("system").value.trim();
  return [...(system ? [{ role: "system", content: system }] : []), ...messages];
}

function add(role) {
  box("chat-empty")?.remove();
  const text = element("p", { class: "turn-text" });
  const figures = element("div", { class: "turn-figures" });
  log.append(element("div", { class: `turn turn-${role}` }, text, figures));
  return { text, figures };
}

const badge = (words, kind = "") => element("span", { class: `badge-soft ${kind}` }, words);

function showFigures(box, { ttft_ms, tpot_ms, tokens, finish_reason }) {
  const parts = [];
  if (ttft_ms != null) parts.push(badge(`TTFT ${ttft_ms.toFixed(0)} ms`, "is-prefill"));
  if (tpot_ms != null) parts.push(badge(`TPOT ${tpot_ms.toFixed(1)} ms`, "is-decode"));
  parts.push(badge(`${tokens} tokens`));
  if (finish_reason === "length") parts.push(badge("cut at most tokens", "is-warn"));
  box.replaceChildren(...parts);
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.slice("data: ".length));
  }
}

async function ask(question) {
  messages.push({ role: "user", content: question });
  add("user").text.textContent = question;
  const shown = add("assistant");
  shown.text.textContent = "…";
  let text = "";
  stopping = new AbortController();
  setBusy(true);
  try {
    const answer = await fetch("/playground/chat", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": csrf() },
      body: JSON.stringify({ messages: conversation(), ...parameters() }),
      signal: stopping.signal,
    });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    for await (const event of events(answer)) {
      if (event.text) {
        text += event.text;
        shown.text.textContent = text;
        log.scrollTop = log.scrollHeight;
      } else if (event.figures) {
        showFigures(shown.figures, event.figures);
        if (!text) shown.text.textContent = "(The answer is empty.)";
      } else if (event.problem) throw new Error(event.problem);
    }
  } catch (error) {
    if (error.name === "AbortError") shown.figures.append(badge("stopped", "is-warn"));
    else {
      shown.text.textContent = text || error.message;
      shown.figures.append(badge("failed", "is-bad"), text ? error.message : "");
    }
  }
  if (text) messages.push({ role: "assistant", content: text });
  else messages.pop();
  log.scrollTop = log.scrollHeight;
  setBusy(false);
  showCode();
}

function setBusy(isBusy) {
  box("send").hidden = isBusy;
  box("stop").hidden = !isBusy;
  if (!isBusy) box("question").focus();
}

function showCode() {
  const { model, endpoint } = log.dataset;
  const last = box("question").value || messages.findLast(({ role }) => role === "user")?.content || box("question").placeholder;
  const system = box("system").value.trim();
  const asked = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content: last }];
  const body = { model, messages: asked, ...parameters() };
  box("code").textContent = language === "curl" ? curl(endpoint, body) : python(endpoint, body);
}

function curl(endpoint, body) {
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  return `curl ${endpoint}/chat/completions \\\n  -H "Authorization: Bearer $KEY" \\\n  -H 'Content-Type: application/json' \\\n  -d '${json}'`;
}

function python(endpoint, { model, messages: asked, ...rest }) {
  const options = Object.entries(rest).map(([name, value]) => `\n    ${name}=${value},`).join("");
  return `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${endpoint}", api_key=os.environ["KEY"])\nanswer = client.chat.completions.create(\n    model=${JSON.stringify(model)},\n    messages=${JSON.stringify(asked)},${options}\n)\nprint(answer.choices[0].message.content)`;
}

box("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = box("question").value.trim();
  box("question").value = "";
  if (question) ask(question);
});
box("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    box("chat-form").requestSubmit();
  }
});
box("stop").addEventListener("click", () => stopping?.abort());
box("clear").addEventListener("click", () => {
  stopping?.abort();
  messages = [];
  log.replaceChildren();
});
document.querySelector('[aria-label="Language"]').addEventListener("click", (event) => {
  language = event.target.dataset.language ?? language;
  for (const one of event.currentTarget.children) one.setAttribute("aria-pressed", one.dataset.language === language);
  showCode();
});
for (const field of [...box("parameters").querySelectorAll("input, textarea"), box("question")]) field.addEventListener("input", showCode);
showCode();
