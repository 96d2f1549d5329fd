/* The pointer's position on a drawing, in units of its viewBox. */
function placeIn(svg, event) {
  const box = svg.getBoundingClientRect();
  const view = svg.viewBox.baseVal;
  return [
    ((event.clientX - box.left) / box.width) * view.width,
    ((event.clientY - box.top) / box.height) * view.height,
  ];
}
const nearest = (values, wanted) =>
  values.reduce((best, v, i) => (Math.abs(v - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
const within = (value, count) => Math.min(Math.max(value, 0), count - 1);

/* Charts: the values at a step. */
for (const figure of document.querySelectorAll("[data-chart]")) {
  const data = JSON.parse(figure.dataset.chart);
  const svg = figure.querySelector("svg.chart");
  const readout = figure.querySelector(".readout");
  const cursor = svg.querySelector(".cursor");
  let now = data.at.length - 1;
  const show = (i) => {
    now = within(i, data.at.length);
    const said = data.lines.map(
      ([name, values, , spread]) =>
        (data.lines.length > 1 ? `${name} ` : "") +
        (values[now] === null
          ? "–"
          : values[now].toFixed(data.digits) +
            (typeof spread[now] === "number" ? ` ± ${spread[now].toFixed(data.digits)}` : "") +
            data.unit),
    );
    readout.textContent = `${data.xName} ${data.x[now]}: ${said.join(", ")}`;
    const rings = data.lines
      .map(([, , heights]) => heights[now])
      .filter((y) => y !== null)
      .map((y) => `M${data.at[now] - 3} ${y}a3 3 0 1 0 6 0a3 3 0 1 0-6 0`);
    cursor.setAttribute("d", rings.join(""));
  };
  svg.addEventListener("pointermove", (event) => show(nearest(data.at, placeIn(svg, event)[0])));
  svg.addEventListener("focus", () => show(now));
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(now + step * (event.shiftKey ? 10 : 1));
  });
}

/* Confusion: the cell under a pointer. */
for (const figure of document.querySelectorAll("[data-heat]")) {
  const { classes, cells, totals, room, cell } = JSON.parse(figure.dataset.heat);
  const svg = figure.querySelector("svg.heat");
  const readout = figure.querySelector(".readout");
  const cursor = svg.querySelector(".cursor");
  const times = new Map(cells.map(([row, column, n]) => [row * classes.length + column, n]));
  let [row, column] = [0, 0];
  const show = (r, c) => {
    [row, column] = [within(r, classes.length), within(c, classes.length)];
    const n = times.get(row * classes.length + column) ?? 0;
    const verb = row === column ? "is right" : `is taken for ${classes[column]}`;
    readout.textContent = `${classes[row]} ${verb}: ${n} of ${totals[row]} videos`;
    const [x, y] = [room + column * cell, room + row * cell];
    cursor.setAttribute("d", `M${x} ${y}h${cell}v${cell}h${-cell}z`);
  };
  svg.addEventListener("pointermove", (event) => {
    const [x, y] = placeIn(svg, event).map((v) => Math.floor((v - room) / cell));
    if (x >= 0 && y >= 0) show(y, x);
  });
  svg.addEventListener("focus", () => show(row, column));
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    show(row + step[0], column + step[1]);
  });
}

/* Map: the video under the pointer, and classes highlighted from the list. */
for (const figure of document.querySelectorAll("[data-map]")) {
  const { x, y, c, names, classes } = JSON.parse(figure.dataset.map);
  const svg = figure.querySelector("svg.map");
  const readout = figure.querySelector(".readout");
  const cursor = svg.querySelector(".cursor");
  const buttons = [...figure.querySelectorAll("[data-class][aria-pressed]")];
  const clear = figure.querySelector(".clear");
  const groups = new Map([...svg.querySelectorAll("[data-class]")].map((g) => [+g.dataset.class, g]));
  const picked = [];
  let now = -1;
  const counts = (i) => !picked.length || picked.includes(c[i]);
  const show = (i) => {
    now = i;
    readout.textContent = classes.length > 1 ? `${classes[c[i]]}: ${names[i]}` : names[i];
    cursor.setAttribute("cx", x[i]);
    cursor.setAttribute("cy", y[i]);
  };
  const step = (by) => {
    for (let i = 1; i <= x.length; i++) {
      const next = (now + by * i + 2 * x.length) % x.length;
      if (counts(next)) return show(next);
    }
  };
  svg.addEventListener("pointermove", (event) => {
    const [px, py] = placeIn(svg, event);
    let best = -1;
    let least = 40 ** 2;
    for (let i = 0; i < x.length; i++) {
      const far = (x[i] - px) ** 2 + (y[i] - py) ** 2;
      if (far < least && counts(i)) [best, least] = [i, far];
    }
    if (best >= 0) show(best);
  });
  svg.addEventListener("focus", () => (now < 0 ? step(1) : show(now)));
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
  });
  const draw = () => {  // a highlighted class has the same colour on the map and in the list
    figure.classList.toggle("picking", picked.length > 0);
    clear.hidden = !picked.length;
    for (const [i, group] of groups) {
      const at = picked.indexOf(i);
      for (const path of [group, buttons[i].querySelector("path")]) {
        path.classList.toggle("picked", at >= 0);
        for (const p of [0, 1, 2, 3]) path.classList.toggle(`p${p}`, at >= 0 && at % 4 === p);
      }
      if (at >= 0) svg.insertBefore(group, cursor);
    }
    for (const button of buttons) {
      button.setAttribute("aria-pressed", picked.includes(+button.dataset.class));
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const at = picked.indexOf(+button.dataset.class);
      if (at >= 0) picked.splice(at, 1);
      else picked.push(+button.dataset.class);
      draw();
    });
  }
  clear?.addEventListener("click", () => {
    picked.length = 0;
    draw();
    buttons[0].focus();
  });
  figure.querySelector(".filter")?.addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const button of buttons) {
      button.hidden = !button.textContent.toLowerCase().includes(wanted);
    }
  });
}
