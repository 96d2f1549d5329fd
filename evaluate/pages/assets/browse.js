/* A collection: filter the list, draw the map, and show the nearest videos. The address names the
   open video, so that links to it and the browser's history work. */
const get = (id) => document.getElementById(id);
const { places, height, near, cosines, columns, sheet, still, coloured } = JSON.parse(
  get("data").dataset.videos,
);
const links = [...document.querySelectorAll(".list a")];
const names = links.map((link) => link.querySelector(".name").textContent);
const films = get("films").children;
const sheets = [...get("sheets").children].map((one) => one.dataset.uri);
const [list, detail, canvas, box] = ["videos", "detail", "canvas", "box"].map(get);
const matches = links.map(() => true);
let opened = -1; // position of the open video
let now = -1; // position of the video at the pointer or keyboard focus
let onMap = false; // whether it was opened from the map

/* Names, classes, groups. */
const fields = ["name", "class", "group"].map(get);
const narrow = () => {
  const [name, kind, group] = fields.map((field) => field?.value.trim().toLowerCase() ?? "");
  let count = 0;
  links.forEach((link, i) => {
    matches[i] =
      names[i].toLowerCase().includes(name) &&
      (!kind || link.dataset.class === kind) &&
      (!group || link.dataset.group === group);
    link.parentElement.hidden = !matches[i];
    count += matches[i];
  });
  const text = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");
  const all = count === links.length ? "" : ` of ${text(links.length)}`;
  get("said").textContent = `${text(count)}${all} video${links.length === 1 ? "" : "s"}`;
  get("none").hidden = count > 0;
  if (!matches[tabStop]) moveTabStop(matches.indexOf(true));
  if (opened >= 0) close();
  lay();
};

/* The list is one stop of the Tab key; arrow keys move in it, and among the nearest. */
let tabStop = 0;
const moveTabStop = (i) => {
  links[tabStop].tabIndex = -1;
  tabStop = Math.max(i, 0);
  links[tabStop].tabIndex = 0;
};
const step = (event, items) => {
  const wide = getComputedStyle(items[0].closest("ol")).gridTemplateColumns.split(" ").length;
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide }[event.key];
  if (!by) return;
  event.preventDefault();
  const at = items.indexOf(document.activeElement);
  items[at < 0 ? 0 : at + by]?.focus();
};
links.forEach((link, i) => {
  link.tabIndex = i ? -1 : 0;
  link.addEventListener("focus", () => {
    moveTabStop(i);
    now = i;
    draw();
  });
});
list.addEventListener("keydown", (event) => step(event, links.filter((_, i) => matches[i])));
detail.addEventListener("keydown", (event) => {
  const items = [...get("near").querySelectorAll("a")];
  if (items.length) step(event, items);
});

/* The video that is open. */
const known = new Map(links.map((link, i) => [link.hash, i]));
const title = document.title;
const isNarrow = matchMedia("(max-width: 59.99rem)");
const fill = (stage, i) => {
  const style = films[i]?.dataset.style;
  const film = document.createElement("span");
  film.className = style ? "film" : "nofilm";
  if (style) film.style.cssText = style;
  else film.textContent = "no picture";
  stage?.replaceChildren(film);
};
const factsOf = (i) => links[i].querySelector(".soft").textContent;
const card = (i, cosine) => {
  const item = get("card").content.firstElementChild.cloneNode(true);
  item.firstElementChild.href = links[i].hash;
  const [stage, name, facts, number] = item.firstElementChild.children;
  if (films.length) fill(stage, i);
  else stage.remove();
  name.textContent = names[i];
  facts.textContent = factsOf(i);
  number.textContent = cosine.toFixed(3);
  item.firstElementChild.addEventListener("focus", () => {
    now = i;
    draw();
  });
  return item;
};
const show = () => {
  const before = opened;
  const within = detail.contains(document.activeElement) || document.activeElement === document.body;
  opened = known.get(location.hash) ?? -1;
  list.hidden = opened >= 0;
  detail.hidden = opened < 0;
  document.title = opened < 0 ? title : `${names[opened]} – ${title}`;
  now = -1;
  if (opened >= 0) {
    get("detail-name").textContent = names[opened];
    get("detail-facts").textContent = factsOf(opened);
    fill(get("film"), opened);
    get("near").replaceChildren(...near[opened].map((i, k) => card(i, cosines[opened][k])));
    get("alone").hidden = near[opened].length > 0;
    detail.scrollTop = 0;
    get("detail-name").focus({ preventScroll: true });
    if (isNarrow.matches) detail.scrollIntoView(); // it lies below the map
  } else if (before >= 0 && within) {
    (onMap ? canvas : links[matches[before] ? before : tabStop]).focus();
  }
  onMap &&= opened >= 0;
  draw();
};
const close = () => {
  history.pushState(null, "", location.href.split("#")[0]);
  show();
};
const play = (on) => {
  document.body.classList.toggle("playing", on);
  if (get("play")) get("play").textContent = on ? "Pause" : "Play";
};
get("play")?.addEventListener("click", () => play(!document.body.classList.contains("playing")));
get("close").addEventListener("click", close);
addEventListener("hashchange", show);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape" && opened >= 0) close();
  if (event.key !== "/" || !get("keys").checked || event.target.matches("input, select")) return;
  event.preventDefault();
  fields[0].select();
});

/* The map: pictures where there is space, dots elsewhere. */
const tile = [40, 30];
const edge = 26;
let images = [];
let zoom = 1;
let spots = []; // positions of the videos, in pixels of the whole map
let tiled = new Set(); // videos drawn as pictures
const lay = () => {
  if (!canvas) return;
  const [wide, high] = [box.clientWidth * zoom, box.clientHeight * zoom];
  get("ground").style.cssText = zoom > 1 ? `width:${wide}px;height:${high}px` : "height:100%";
  const scale = Math.min((wide - 2 * edge) / 1000, (high - 2 * edge) / height);
  spots = places.map(([x, y]) => [
    wide / 2 + scale * (x - 500),
    high / 2 + scale * (y - height / 2),
  ]);
  const taken = new Map();
  tiled = new Set();
  spots.forEach(([x, y], i) => {
    if (!matches[i] || !images.length) return;
    const [column, row] = [Math.floor(x / tile[0]), Math.floor(y / tile[1])];
    for (const c of [column - 1, column, column + 1]) {
      for (const r of [row - 1, row, row + 1]) {
        const other = spots[taken.get(`${c} ${r}`)];
        if (other && Math.abs(other[0] - x) < tile[0] && Math.abs(other[1] - y) < tile[1]) return;
      }
    }
    taken.set(`${column} ${row}`, i);
    tiled.add(i);
  });
  draw();
};
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
const draw = () => {
  if (!spots.length) return;
  const [wide, high, fine] = [box.clientWidth, box.clientHeight, devicePixelRatio];
  canvas.width = wide * fine;
  canvas.height = high * fine;
  canvas.style.cssText = `width:${wide}px;height:${high}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(fine, 0, 0, fine, -box.scrollLeft * fine, -box.scrollTop * fine);
  const [ink, accent, soft] = ["--ink", "--accent", "--soft"].map(colour);
  const paints = [0, 1, 2, 3, 4, 5, 6, 7].map((k) => colour(`--k${k}`));
  const paintOf = (i) => (coloured ? paints[links[i].dataset.class] : soft);
  const dot = (i, radius, paint) => {
    pen.fillStyle = paint;
    pen.beginPath();
    pen.arc(...spots[i], radius, 0, 7);
    pen.fill();
  };
  const picture = (i, large, frame, border) => {
    const image = images[Math.floor(i / sheet)];
    if (!image) return dot(i, border * 3, frame);
    const [w, h] = tile.map((side) => side * large);
    const [x, y] = [spots[i][0] - w / 2, spots[i][1] - h / 2];
    const at = i % sheet;
    const from = [(at % columns) * still[0], Math.floor(at / columns) * still[1]];
    pen.drawImage(image, ...from, ...still, x, y, w, h);
    pen.strokeStyle = frame;
    pen.lineWidth = border;
    pen.strokeRect(x, y, w, h);
  };
  pen.globalAlpha = opened < 0 ? 0.5 : 0.3;
  spots.forEach((_, i) => matches[i] || dot(i, 2, soft));
  pen.globalAlpha = opened < 0 ? 1 : 0.3;
  spots.forEach((_, i) => matches[i] && !tiled.has(i) && dot(i, 3.5, paintOf(i)));
  for (const i of tiled) picture(i, 1, paintOf(i), coloured ? 2 : 1);
  pen.globalAlpha = 1;
  if (opened >= 0) {
    pen.strokeStyle = accent;
    pen.lineWidth = 1;
    pen.beginPath();
    for (const i of near[opened]) {
      pen.moveTo(...spots[opened]);
      pen.lineTo(...spots[i]);
    }
    pen.stroke();
    for (const i of near[opened].toReversed()) picture(i, 1, accent, 2);
    picture(opened, 1.6, ink, 3);
  }
  if (now >= 0) picture(now, 2, accent, 3);
};
const lookAt = (i) => {
  now = i;
  get("readout").textContent = `${names[i]}, ${factsOf(i)}`;
  const [x, y] = [spots[i][0] - box.scrollLeft, spots[i][1] - box.scrollTop];
  if (x < 0 || y < 0 || x > box.clientWidth || y > box.clientHeight) {
    box.scrollTo(spots[i][0] - box.clientWidth / 2, spots[i][1] - box.clientHeight / 2);
  }
  draw();
};
const under = (event) => {
  const [x, y] = [event.offsetX + box.scrollLeft, event.offsetY + box.scrollTop];
  let [best, least] = [-1, 18 ** 2];
  spots.forEach(([across, down], i) => {
    if (!matches[i]) return;
    const [a, b] = [across - x, down - y];
    const inside = tiled.has(i) && Math.abs(a) < tile[0] / 2 && Math.abs(b) < tile[1] / 2;
    const far = inside ? 0 : a * a + b * b;
    if (far < least) [best, least] = [i, far];
  });
  return best;
};
/* The nearest video in a direction; sideways distance counts more. */
const towards = ([dx, dy]) => {
  if (now < 0) return opened >= 0 ? opened : matches.indexOf(true);
  let [best, least] = [now, Infinity];
  spots.forEach(([x, y], i) => {
    const [a, b] = [x - spots[now][0], y - spots[now][1]];
    const ahead = a * dx + b * dy;
    const far = ahead + 2 * Math.abs(a * dy + b * dx);
    if (matches[i] && ahead > 0 && far < least) [best, least] = [i, far];
  });
  return best;
};
const zoomTo = (wanted) => {
  const centre = [box.scrollLeft + box.clientWidth / 2, box.scrollTop + box.clientHeight / 2];
  const middle = (now < 0 ? centre : spots[now]).map((at) => at / zoom);
  zoom = Math.min(Math.max(wanted, 1), 8);
  lay();
  box.scrollTo(middle[0] * zoom - box.clientWidth / 2, middle[1] * zoom - box.clientHeight / 2);
  draw();
};
const openFromMap = (i) => {
  onMap = opened < 0 || onMap;
  location.hash = links[i].hash;
};
if (canvas) {
  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  let dragged = 0;
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1 && event.pointerType === "mouse") {
      dragged += Math.abs(event.movementX) + Math.abs(event.movementY);
      return box.scrollBy(-event.movementX, -event.movementY);
    }
    dragged = 0;
    const i = under(event);
    if (i >= 0 && i !== now) lookAt(i);
  });
  canvas.addEventListener("pointerleave", () => {
    now = -1;
    draw();
  });
  canvas.addEventListener("click", (event) => {
    const i = under(event);
    if (i >= 0 && dragged < 5) openFromMap(i);
    dragged = 0;
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in directions) lookAt(towards(directions[event.key]));
    else if (event.key === "Enter" && now >= 0) openFromMap(now);
    else if (event.key === "+" || event.key === "=") zoomTo(zoom * 1.5);
    else if (event.key === "-") zoomTo(zoom / 1.5);
    else return;
    event.preventDefault();
  });
  get("in").addEventListener("click", () => zoomTo(zoom * 1.5));
  get("out").addEventListener("click", () => zoomTo(zoom / 1.5));
  box.addEventListener("scroll", draw);
  new ResizeObserver(lay).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

/* Pictures load after the text: sheets of stills for the list and the map. */
const decorate = async () => {
  sheets.forEach((uri, s) => {
    document.styleSheets[0].insertRule(`.still.s${s} { background-image: url(${uri}); }`);
  });
  links.forEach((link, i) => {
    const box = link.querySelector(".still");
    if (!box) return;
    const at = i % sheet;
    box.classList.add(`s${Math.floor(i / sheet)}`);
    box.style.backgroundPosition =
      `${-(at % columns) * still[0]}px ${-Math.floor(at / columns) * still[1]}px`;
  });
  if (opened >= 0 && isNarrow.matches && !scrollY) detail.scrollIntoView(); // the map has its height
  images = await Promise.all(
    sheets.map(async (uri) => {
      const image = new Image();
      image.src = uri;
      await image.decode();
      return image;
    }),
  );
  lay();
};
document.body.classList.toggle("plain", !sheets.length);
for (const field of fields) field?.addEventListener("input", narrow);
play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
show();
requestAnimationFrame(() => setTimeout(decorate));
