// The split page: groups as they change, and the form's slider, fields and confirmation.

import { element, splitNote, toast } from "./console.js";

const box = (name) => document.getElementById(name);
const [slider, prefill, decode] = [box("slider"), box("prefill"), box("decode")];

function fill(bar, shares, words) {
  [...box(bar).children].forEach((part, index) => {
    part.style.flexGrow = shares[index];
    part.querySelector("b").textContent = words[index];
  });
}

function showWanted() {
  fill("wanted-bar", [prefill.value, decode.value], [`${prefill.value} %`, `${decode.value} %`]);
}

function choose(share) {
  [slider.value, prefill.value, decode.value] = [share, share, 100 - share];
  showWanted();
}

slider.addEventListener("input", () => choose(Number(slider.value)));
for (const field of [prefill, decode]) field.addEventListener("input", showWanted);
document.addEventListener("click", (event) => {
  const rung = event.target.closest("[data-choose]");
  if (!rung) return;
  choose(Number(rung.dataset.choose.split("/")[0]));
  box("preview-button").focus();
});

document.addEventListener("htmx:afterSwap", ({ target }) => {
  if (target.id === "preview") box("confirm").showModal();
});

function group({ slot, split, stage, epoch, pids }, inForce) {
  const badge = element("span", { class: `badge-soft ${stage === "active" ? "is-good" : "is-warn"}` }, stage);
  return element("tr", {}, element("td", {}, slot), element("td", { class: "num text-start" }, split), element("td", {}, badge),
    element("td", { class: "num" }, String(epoch)), element("td", { class: "num" }, pids.join(", ") || "–"));
}

let known = null;
let said = null;

document.addEventListener("live", ({ detail: { appliance } }) => {
  if (!appliance) return;
  const shares = (appliance.split ?? "50/50").split("/").map(Number);
  fill("split-bar", shares, appliance.split ? shares.map((share) => `${share} %`) : ["–", "–"]);
  box("split-note").textContent = splitNote(appliance.split);
  box("groups").replaceChildren(...appliance.groups.map((one) => group(one, appliance.split)));
  box("rotation-sentence").textContent = appliance.rotation?.sentence ?? "";
  const { sentence, old_gone_seconds: gone, pause } = appliance.rotation ?? {};
  const now = `${appliance.rotations} ${sentence} ${gone} ${pause} ${appliance.split}`;
  if (known === null) said = sentence;
  if (known !== null && known !== now) {
    document.body.dispatchEvent(new Event("rotated"));
    if (!appliance.is_rotating && sentence !== said) toast(said = sentence);
    markInForce(appliance.split);
  }
  known = now;
});

function markInForce(split) {
  for (const row of document.querySelectorAll(".ladder tbody tr")) {
    const isInForce = row.dataset.split === split;
    if (isInForce) row.dataset.is = "in-force";
    else delete row.dataset.is;
    const share = row.dataset.split;
    row.lastElementChild.replaceChildren(isInForce
      ? element("span", { class: "badge-soft is-good" }, "in force")
      : element("button", { class: "btn-quiet", type: "button", "data-choose": share }, "Choose", element("span", { class: "visually-hidden" }, ` ${share}`)));
  }
}

showWanted();
