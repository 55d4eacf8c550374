// Charts over time that share a cursor: lines, a target, and marks for what happened.

const SYNC = uPlot.sync("semi-pd");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const MARK_COLOURS = { rotation: "--violet", decision: "--decode", target: "--prefill", start: "--good", stop: "--bad", store: "--bad" };

// Seconds between two times on an axis. uPlot's own go from one minute to five, and a narrow chart of five had one time.
const HOUR = 3600, DAY = 24 * HOUR;
const STEPS = [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, ...[1, 2, 3, 4, 6, 8, 12].map((count) => count * HOUR), ...[1, 2, 3, 5, 7, 10].map((count) => count * DAY)];

export function short(value) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size >= 10000) return `${(value / 1000).toFixed(0)}k`;
  if (size >= 1000) return `${(value / 1000).toFixed(1)}k`;
  return size >= 100 || Number.isInteger(value) ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function clock(at, span) {
  const options = span > 2 * 86400 ? { day: "2-digit", month: "short" } : { hour: "2-digit", minute: "2-digit", ...(span <= 900 && { second: "2-digit" }) };
  return new Intl.DateTimeFormat(undefined, { ...options, hourCycle: "h23" }).format(at * 1000);
}

// `series`: [{ name, label, colour, fill, dash, width, stepped }] with colours as names of CSS variables;
// `name` is the column. `unit` is written behind values; `top` bounds the scale from below.
export class Chart {
  constructor(box, { series, unit = "", top = 1, height = 208, most = null }) {
    Object.assign(this, { box, series, unit, top, height, most });
    this.marks = [];
    this.data = [[], ...series.map(() => [])];
    this.legend = document.createElement("div");
    this.legend.className = "chart-legend";
    this.tip = document.createElement("div");
    this.tip.className = "chart-tip";
    this.tip.hidden = true;
    this.draw();
    new ResizeObserver(() => this.plot.setSize({ width: box.clientWidth, height })).observe(box);
    document.addEventListener("theme", () => this.draw());
  }

  set(times, columns, marks, range) {
    this.data = [times, ...this.series.map(({ name }) => columns[name])];
    this.marks = marks;
    this.range = range;
    this.plot.setData(this.data, false);
    this.plot.batch(() => {
      this.plot.setScale("x", { min: range[0], max: range[1] });
    });
    this.showValues(this.plot.cursor.idx ?? times.length - 1);
  }

  draw() {
    this.plot?.destroy();
    this.box.replaceChildren();
    this.plot = new uPlot(this.options(), this.data, this.box);
    this.legend.replaceChildren(...this.series.map((one) => {
      const entry = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.style.color = css(one.colour);
      const value = document.createElement("b");
      entry.append(swatch, one.label, value);
      return entry;
    }));
    this.box.before(this.legend);
    this.plot.over.append(this.tip);
    if (this.range) this.plot.setScale("x", { min: this.range[0], max: this.range[1] });
    this.showValues(this.data[0].length - 1);
  }

  options() {
    const axis = { stroke: css("--tblr-secondary"), font: '11px "Inter", sans-serif', grid: { stroke: css("--grid"), width: 1 }, ticks: { show: false } };
    return {
      width: this.box.clientWidth || 400,
      height: this.height,
      padding: [10, 18, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: SYNC.key, setSeries: false }, points: { size: 6 }, drag: { x: false, y: false }, y: false },
      scales: {
        x: { time: true },
        y: { range: (_, low, high) => [0, this.most ?? Math.max(this.top, (high ?? 0) * 1.12)] },
      },
      axes: [
        { ...axis, grid: { show: false }, values: (plot, ticks) => ticks.map((at) => clock(at, plot.scales.x.max - plot.scales.x.min)), space: 62, incrs: STEPS, size: 28 },
        { ...axis, values: (_, ticks) => ticks.map((one) => short(one) + (this.unit === "%" ? "%" : "")), size: 46, space: 36 },
      ],
      series: [{}, ...this.series.map((one) => this.line(one))],
      hooks: { draw: [(plot) => this.drawMarks(plot)], setCursor: [(plot) => this.follow(plot)] },
    };
  }

  line({ colour, fill, dash, width = 1.6, stepped }) {
    return {
      stroke: css(colour),
      width,
      dash,
      fill: fill ? css(colour) + "22" : undefined,
      points: { show: false },
      paths: stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
      spanGaps: false,
    };
  }

  drawMarks({ ctx, bbox, scales, valToPos }) {
    ctx.save();
    for (const { at, kind } of this.marks) {
      if (at < scales.x.min || at > scales.x.max) continue;
      const x = Math.round(this.plot.valToPos(at, "x", true));
      ctx.strokeStyle = ctx.fillStyle = css(MARK_COLOURS[kind] ?? "--tblr-secondary");
      ctx.globalAlpha = 0.55;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.globalAlpha = 1;
      ctx.beginPath();
      ctx.arc(x, bbox.top, 3.5 * devicePixelRatio, 0, 7);
      ctx.fill();
    }
    ctx.restore();
  }

  follow(plot) {
    const { left, idx } = plot.cursor;
    this.showValues(idx ?? this.data[0].length - 1);
    const near = left >= 0 && plot.cursor.event ? this.marks.find(({ at }) => Math.abs(plot.valToPos(at, "x") - left) < 7) : null;
    this.tip.hidden = !near;
    if (!near) return;
    this.tip.textContent = `${clock(near.at, 600)}  ${near.sentence}`;
    this.tip.style.top = "12px";
    const isRight = left > plot.over.clientWidth / 2;
    this.tip.style.left = isRight ? "" : `${left + 12}px`;
    this.tip.style.right = isRight ? `${plot.over.clientWidth - left + 12}px` : "";
  }

  showValues(index) {
    [...this.legend.children].forEach((entry, position) => {
      const value = this.data[position + 1]?.[index];
      entry.lastChild.textContent = value == null ? "–" : `${short(value)}${this.unit === "%" ? " %" : ""}`;
    });
  }
}
