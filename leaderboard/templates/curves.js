// Curves in the place of their image: a legend that hides lines and tells the values under the
// pointer, or under the slider, and a panel for each line where many would knot.
(() => {
  "use strict";

  const [PANEL, HEIGHT, FULL_HEIGHT] = [180, 118, 300];
  const EDGE = { left: 40, right: 8, top: 18, bottom: 20 };

  const html = (name, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };
  const svg = (name, attributes = {}, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  // A round step, so that about `count` ticks lie between the ends.
  const ticks = ([low, high], count) => {
    const raw = (high - low || 1) / count;
    const unit = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= raw);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const first = Math.ceil(low / step - 1e-9);
    const number = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({ length: number }, (_, i) => (first + i) * step).map((v) => [v, v.toFixed(digits)]);
  };

  const range = (values) => [Math.min(...values), Math.max(...values)];

  class Curves {
    constructor(figure) {
      const data = JSON.parse(figure.dataset.curves);
      this.lines = data.lines.map((line) => ({
        ...line, points: line.points.map(([step, x, mean, low, high, marked = 0]) => ({ step, x, mean, low, high, marked })),
      }));
      this.chooseDashes();
      [this.x, this.y, this.isPath, this.by] = [data.x, data.y, data.path, data.by];
      const points = this.lines.flatMap((line) => line.points);
      this.steps = [...new Set(points.map((point) => point.step))].sort((a, b) => a - b);
      this.digits = Math.max(...points.map((point) => Math.abs(point.mean))) >= 10 ? 1 : 2;
      this.hidden = new Set();
      this.first = data.read === null ? this.lastShared() : this.steps.indexOf(data.read);
      this.build(figure, data.panels);
      new ResizeObserver(() => this.width !== this.holder.clientWidth && this.draw()).observe(this.holder);
    }

    build(figure, panels) {
      this.holder = html("div", { className: "drawing" });
      this.holder.addEventListener("pointermove", (event) => this.follow(event));
      this.panels = html("input", { type: "checkbox", checked: panels });
      this.panels.addEventListener("input", () => this.draw());
      this.slider = html("input", { type: "range", min: 0, max: this.steps.length - 1, value: this.first });
      this.slider.addEventListener("input", () => this.mark());
      this.where = html("output");
      const tools = html("div", { className: "tools" },
        html("label", {}, `${this.by[0].toUpperCase()}${this.by.slice(1)} `, this.slider, this.where),
        html("label", {}, this.panels, " one panel a method"));
      const keys = html("ul", { className: "keys" }, ...this.lines.map((line) => html("li", {}, this.key(line))));
      keys.setAttribute("aria-label", "Lines: press one to hide or show it");
      const picture = figure.querySelector("picture");
      picture.hidden = true;
      picture.after(this.holder, tools, keys);
      this.alternative = picture.querySelector("img").alt;
    }

    key(line) {
      line.value = html("span", { className: "at" });
      const swatch = svg("svg", { viewBox: "0 0 22 8", class: "swatch", "aria-hidden": "true" },
        svg("path", { d: "M1 4H21", class: this.look(line) }));
      const button = html("button", { type: "button" }, swatch, html("span", { className: "name" }, line.label), line.value);
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        if (!this.hidden.delete(line)) this.hidden.add(line);
        button.setAttribute("aria-pressed", String(!this.hidden.has(line)));
        this.draw();
      });
      return button;
    }

    // Where all lines are read at first: the last step that each of them has, and else the very last.
    lastShared() {
      const shared = this.steps.findLastIndex((step) => this.lines.every((line) => line.points.some((point) => point.step === step)));
      return shared > 0 ? shared : this.steps.length - 1;
    }

    // Lines that share a panel differ in their dashes, too: from the line before, and from those of the same colour.
    chooseDashes() {
      this.lines.forEach((line, i) => {
        const taken = this.lines.slice(0, i).filter((other) => other.colour === line.colour).map((other) => other.dash);
        line.dash = [i, i + 1, i + 2, i + 3].map((k) => k % 4).find((dash) => !taken.includes(dash)) ?? i % 4;
      });
    }

    look(line, apart = false) {
      return `c${line.colour}${apart ? "" : ` d${line.dash}`}`;
    }

    get visible() {
      return this.lines.filter((line) => !this.hidden.has(line));
    }

    draw() {
      const width = this.width = this.holder.clientWidth;
      const lines = this.visible;
      const apart = this.panels.checked && lines.length > 1;
      const columns = apart ? Math.max(1, Math.min(lines.length, Math.floor(width / PANEL))) : 1;
      const size = { width: width / columns, height: apart ? HEIGHT : FULL_HEIGHT };
      const rows = Math.ceil((apart ? lines.length : 1) / columns);
      const height = rows * size.height + 16;
      const points = (lines.length ? lines : this.lines).flatMap((line) => line.points);
      this.ends = { x: range(points.map((p) => p.x)), y: range(points.flatMap((p) => [p.low, p.high])) };
      const boxes = apart
        ? lines.map((line, i) => ({ own: [line], left: (i % columns) * size.width, top: Math.floor(i / columns) * size.height }))
        : [{ own: lines, left: 0, top: 0 }];
      this.boxes = boxes.map((box) => ({ ...box, ...size, title: apart ? box.own[0].label : this.y }));
      const image = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": this.alternative });
      image.append(...this.boxes.map((box) => this.panel(box)),
        svg("text", { x: width - EDGE.right, y: height - 3, "text-anchor": "end" }, this.x));
      this.holder.replaceChildren(image);
      this.mark();
    }

    at(box, x, y) {
      const share = (value, [low, high]) => (value - low) / (high - low || 1);
      return [
        box.left + EDGE.left + share(x, this.ends.x) * (box.width - EDGE.left - EDGE.right),
        box.top + box.height - EDGE.bottom - share(y, this.ends.y) * (box.height - EDGE.top - EDGE.bottom),
      ].map((v) => Math.round(10 * v) / 10);
    }

    panel(box) {
      const group = svg("g");
      const [bottom, top] = this.ends.y;
      for (const [value, text] of ticks(this.ends.y, box.height > 200 ? 5 : 3)) {
        const [x, y] = this.at(box, this.ends.x[0], value);
        group.append(svg("path", { d: `M${x} ${y}H${box.left + box.width - EDGE.right}`, class: "grid" }),
          svg("text", { x: x - 5, y: y + 3.5, "text-anchor": "end" }, text));
      }
      for (const [value, text] of ticks(this.ends.x, Math.max(2, Math.floor(box.width / 90)))) {
        const [x, y] = this.at(box, value, bottom);
        group.append(svg("text", { x, y: y + 14, "text-anchor": "middle" }, text));
      }
      const room = Math.max(6, Math.floor((box.width - 14) / 6.6));
      const title = box.title.length > room ? `${box.title.slice(0, room - 1)}…` : box.title;
      group.append(svg("text", { x: box.left + 4, y: this.at(box, 0, top)[1] - 7, class: "title" }, title));
      const path = (line) => `M${line.points.map((p) => this.at(box, p.x, p.mean).join(" ")).join("L")}`;
      for (const line of this.visible.filter((other) => !box.own.includes(other))) {
        group.append(svg("path", { d: path(line), class: "other" }));
      }
      for (const line of box.own) {
        const daggers = line.points.filter((p) => p.marked).map((p) => {
          const [x, y] = this.at(box, p.x, p.mean);
          return svg("text", { x, y: y - 3, "text-anchor": "middle" }, "†");
        });
        group.append(this.band(box, line), ...daggers, svg("path", { d: path(line), class: this.look(line, box.own.length === 1) }));
      }
      return group;
    }

    band(box, line) {
      const edge = (name) => line.points.map((p) => this.at(box, p.x, p[name]).join(" "));
      const d = this.isPath
        ? line.points.map((p, i) => `M${edge("low")[i]}L${edge("high")[i]}`).join("")
        : `M${[...edge("low"), ...edge("high").reverse()].join("L")}Z`;
      return svg("path", { d, class: `${this.isPath ? "bars" : "band"} c${line.colour}` });
    }

    // The step whose point lies nearest to the pointer: along the axis, in a path anywhere.
    follow(event) {
      const frame = this.holder.getBoundingClientRect();
      const [px, py] = [event.clientX - frame.left, event.clientY - frame.top];
      const box = this.boxes.find((b) => px >= b.left && px < b.left + b.width && py >= b.top && py < b.top + b.height);
      let best = { distance: Infinity };
      for (const point of (box?.own ?? []).flatMap((line) => line.points)) {
        const [x, y] = this.at(box, point.x, point.mean);
        const distance = this.isPath ? Math.hypot(x - px, y - py) : Math.abs(x - px);
        if (distance < best.distance) best = { distance, step: point.step };
      }
      if (best.step === undefined) return;
      this.slider.value = this.steps.indexOf(best.step);
      this.mark();
    }

    // Dots at the slider's step, and the values in the legend.
    mark() {
      const step = this.steps[this.slider.value];
      this.where.value = String(step);
      this.slider.setAttribute("aria-valuetext", `${this.by} ${step}`);
      const text = (value) => value.toFixed(this.digits).replace(/^-(0\.?0*)$/, "$1");
      for (const line of this.lines) {
        const point = line.points.find((p) => p.step === step);
        const ends = point && point.low < point.high ? ` [${text(point.low)}, ${text(point.high)}]` : "";
        const place = point && this.isPath ? ` at ${text(point.x)}` : "";
        line.value.textContent = point ? `${text(point.mean)}${point.marked ? "†" : ""}${ends}${place}` : "–";
      }
      const image = this.holder.firstElementChild;
      image.querySelectorAll("circle").forEach((dot) => dot.remove());
      for (const box of this.boxes) {
        for (const line of box.own) {
          const point = line.points.find((p) => p.step === step);
          if (!point) continue;
          const [cx, cy] = this.at(box, point.x, point.mean);
          image.append(svg("circle", { cx, cy, r: 3.5, class: `c${line.colour}` }));
        }
      }
    }
  }

  for (const figure of document.querySelectorAll("figure[data-curves]")) new Curves(figure);
})();
