// Overview: the chosen range from the history, then a second at a time from the live stream.

import { element, splitNote } from "./console.js";
import { Chart, short } from "./charts.js";

const box = (name) => document.getElementById(name);
const latencies = (phase, colour) => [
  { name: `${phase}_p50_ms`, label: "p50", colour: "--tblr-secondary", width: 1.2 },
  { name: `${phase}_p95_ms`, label: "p95", colour, width: 2, fill: true },
  { name: `${phase}_p99_ms`, label: "p99", colour: "--violet", width: 1.2 },
  { name: `${phase}_target_ms`, label: "target", colour: "--bad", dash: [6, 4], width: 1.4, stepped: true },
];

const charts = [
  new Chart(box("chart-ttft"), { series: latencies("ttft", "--prefill"), unit: "ms" }),
  new Chart(box("chart-tpot"), { series: latencies("tpot", "--decode"), unit: "ms" }),
  new Chart(box("chart-tokens"), {
    series: [
      { name: "prefill_tokens_per_second", label: "prefill", colour: "--prefill", fill: true },
      { name: "decode_tokens_per_second", label: "decode", colour: "--decode", fill: true },
    ],
    unit: "/s", height: 160, top: 10,
  }),
  new Chart(box("chart-queues"), {
    series: [
      { name: "waiting", label: "waiting", colour: "--bad" },
      { name: "prefilling", label: "prefill", colour: "--prefill" },
      { name: "decoding", label: "decode", colour: "--decode" },
    ],
    height: 160, top: 4,
  }),
  new Chart(box("chart-split"), {
    series: [
      { name: "prefill_share", label: "prefill", colour: "--prefill", stepped: true, fill: true },
      { name: "decode_share", label: "decode", colour: "--decode", stepped: true },
    ],
    unit: "%", height: 160, most: 105,
  }),
  new Chart(box("chart-kv"), { series: [{ name: "kv_percent", label: "in use", colour: "--good", fill: true }], unit: "%", height: 160, most: 105 }),
];
if (box("chart-power")) {
  charts.push(
    new Chart(box("chart-power"), { series: [{ name: "gpu_power_watts", label: "watts", colour: "--prefill", fill: true }], unit: "W", height: 160 }),
    new Chart(box("chart-memory"), { series: [{ name: "gpu_memory_gib", label: "GiB", colour: "--violet", fill: true }], unit: "GiB", height: 160 }),
  );
}

const DERIVED = {
  kv_percent: (row) => (row.kv_total_pages ? (100 * row.kv_used_pages) / row.kv_total_pages : null),
  prefill_share: (row) => (row.split_in_force ? Number(row.split_in_force.split("/")[0]) : null),
  decode_share: (row) => (row.split_in_force ? Number(row.split_in_force.split("/")[1]) : null),
  gpu_memory_gib: (row) => (row.gpu_memory_bytes == null ? null : row.gpu_memory_bytes / 2 ** 30),
};

let span = 300;
let step = 1;
let rows = [];
let marks = [];

async function load() {
  const answer = await fetch(`/history?span=${span}`, { headers: { Accept: "application/json" } });
  if (!answer.ok) return;
  const found = await answer.json();
  const names = Object.keys(found.series);
  rows = found.series.time.map((_, index) => Object.fromEntries(names.map((name) => [name, found.series[name][index]])));
  step = found.step_seconds;
  marks = found.marks;
  show(found.until);
}

// Where a row is missing the controller did not run: an empty one breaks the lines there.
function withGaps(all) {
  const out = [];
  for (const row of all) {
    const before = out.at(-1);
    if (before && row.time - before.time > 3 * step) out.push({ time: before.time + step });
    out.push(row);
  }
  return out;
}

function show(now) {
  const range = [now - span, now];
  const seen = withGaps(rows.filter((row) => row.time >= range[0]));
  const column = (name) => seen.map(DERIVED[name] ?? ((row) => row[name] ?? null));
  for (const chart of charts) {
    chart.set(seen.map((row) => row.time), Object.fromEntries(chart.series.map(({ name }) => [name, column(name)])), marks, range);
  }
  box("charts-empty").hidden = seen.length > 0;
  showEvents();
}

function showEvents() {
  const list = box("events");
  const latest = marks.slice(-60).reverse();
  list.replaceChildren(...latest.map(({ at, kind, sentence }) => element("li", {},
    element("time", {}, new Date(at * 1000).toLocaleTimeString([], { hourCycle: "h23" })),
    element("i", { "data-kind": kind, title: kind }),
    element("span", {}, sentence))));
  box("events-empty").hidden = latest.length > 0;
}

function merge(recent) {
  if (!recent.length) return;
  const first = recent[0].at;
  marks = [...marks.filter(({ at }) => at < first), ...recent];
}

function tile(name, value, unit, more) {
  const shown = box(`tile-${name}`);
  shown.querySelector(".tile-value").replaceChildren(value, element("small", {}, unit));
  shown.querySelector(".tile-more").textContent = more;
}

function meter(name, ratio) {
  const bar = box(`tile-${name}`).querySelector(".meter i");
  bar.style.width = `${Math.min(100, 100 * (ratio ?? 0))}%`;
  bar.dataset.is = ratio > 1 ? "bad" : ratio > 0.85 ? "warn" : "good";
}

function showTiles({ appliance, sample }) {
  const seen = appliance?.slo.seen;
  const target = appliance?.slo.target;
  for (const [phase, wanted] of [["ttft", target?.ttft_target_ms], ["tpot", target?.tpot_target_ms]]) {
    const p95 = seen?.[`${phase}_ms`]?.[1];
    tile(phase, short(p95), p95 == null ? "" : " ms", wanted ? `p95, target ${short(wanted)} ms` : "");
    meter(phase, p95 == null ? 0 : p95 / wanted);
  }
  const scheduler = appliance?.scheduler;
  tile("requests", scheduler ? String(scheduler.decoding + scheduler.prefilling) : "–", " running", scheduler ? `${scheduler.waiting} waiting` : "");
  const tokens = sample ? (sample.decode_tokens_per_second ?? 0) : null;
  tile("tokens", short(tokens), tokens == null ? "" : " tokens/s", sample ? `decode; prefill ${short(sample.prefill_tokens_per_second ?? 0)}/s` : "");
  const used = scheduler ? scheduler.total_pages - scheduler.free_pages : null;
  tile("kv", scheduler ? short((100 * used) / scheduler.total_pages) : "–", " %", scheduler ? `${used} of ${scheduler.total_pages} pages` : "");
  meter("kv", scheduler ? used / scheduler.total_pages : 0);
}

function showSplit(appliance) {
  const [prefill, decode] = (appliance?.split ?? "50/50").split("/").map(Number);
  const [left, right] = document.querySelectorAll("#split-bar > div");
  left.style.flexGrow = prefill;
  right.style.flexGrow = decode;
  left.querySelector("b").textContent = appliance?.split ? `${prefill} %` : "–";
  right.querySelector("b").textContent = appliance?.split ? `${decode} %` : "–";
  box("split-note").textContent = splitNote(appliance?.split);
  const latest = appliance?.slo.latest_decision;
  box("policy-mode").textContent = appliance ? appliance.slo.mode : "–";
  box("policy-sentence").textContent = latest ? latest.sentence : "The policy has decided nothing yet.";
}

document.addEventListener("live", ({ detail: seen }) => {
  showTiles(seen);
  showSplit(seen.appliance);
  merge(seen.marks ?? []);
  if (seen.sample && step === 1 && seen.sample.time > (rows.at(-1)?.time ?? 0)) {
    rows.push(seen.sample);
    rows = rows.filter(({ time }) => time > seen.at - span - 5);
  }
  if (step === 1 && seen.at) show(seen.at);
  else showEvents();
});

document.getElementById("ranges").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  for (const one of button.parentElement.children) one.setAttribute("aria-pressed", one === button);
  span = Number(button.dataset.span);
  load();
});

load();
setInterval(() => { if (step > 1) load(); }, 60000);
