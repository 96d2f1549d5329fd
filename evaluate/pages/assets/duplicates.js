/* Decisions to keep or drop are counted, stored in this browser, and saved as CSV. */
const { key, cells } = JSON.parse(document.getElementById("saved").dataset.saved);
const boxes = [...document.querySelectorAll("input[data-video]")];
const groups = [...document.querySelectorAll("[data-group]")].map((section) => ({
  section,
  boxes: [...section.querySelectorAll("input[data-video]")],
}));
const groupOf = new Map(groups.flatMap((group) => group.boxes.map((box) => [box, group])));
const said = document.getElementById("said");
const keys = document.getElementById("keys");

/* If the browser does not allow storage, decisions last while the page is open. */
let decided = {};
try {
  const found = JSON.parse(localStorage.getItem(key));
  if (found && typeof found === "object") decided = found;
} catch {
  decided = {};
}
const remember = () => {
  try {
    localStorage.setItem(key, JSON.stringify(decided));
  } catch {
    said.textContent += " (this browser cannot store them)";
  }
};

const show = () => {
  for (const box of boxes) {
    const card = box.closest(".card");
    card.classList.toggle("dropped", !box.checked);
    card.querySelector(".verdict").textContent = box.checked ? "kept" : "dropped";
  }
  const empty = groups.filter((group) => !group.boxes.some((box) => box.checked));
  for (const group of groups) group.section.querySelector(".none").hidden = !empty.includes(group);
  const kept = boxes.filter((box) => box.checked).length;
  said.textContent =
    `${kept} kept, ${boxes.length - kept} dropped` +
    (empty.length ? `; nothing is kept of ${empty.length} group${empty.length > 1 ? "s" : ""}` : "");
};

for (const box of boxes) {
  const before = decided[box.dataset.video];
  if (typeof before === "boolean") box.checked = before;
  box.addEventListener("change", () => {
    decided[box.dataset.video] = box.checked;
    show();
    remember();
  });
  box.closest(".card").querySelector(".stage").addEventListener("click", () => {
    box.closest(".card").classList.toggle("tapped");
  });
}
show();

document.getElementById("reset").addEventListener("click", () => {
  const made = Object.keys(decided).length;
  if (made && !confirm(`Discard your ${made > 1 ? `${made} decisions` : "decision"}?`)) return;
  decided = {};
  for (const box of boxes) box.checked = box.defaultChecked;
  show();
  remember();
});

document.getElementById("save").addEventListener("click", () => {
  const rows = boxes.map(
    (box, i) =>
      `${cells[i]},${box.checked ? "keep" : "drop"},${groupOf.get(box).section.dataset.group}\n`,
  );
  const file = new Blob(["video,decision,group\n", ...rows], { type: "text/csv" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = "decisions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
});

const next = { j: 1, ArrowDown: 1, ArrowRight: 1, k: -1, ArrowUp: -1, ArrowLeft: -1 };
const nextGroup = { n: 1, p: -1 };
document.addEventListener("keydown", (event) => {
  const at = boxes.indexOf(document.activeElement);
  const nowhere = document.activeElement === document.body || document.activeElement.id === "main";
  if (!keys.checked || event.ctrlKey || event.altKey || event.metaKey) return;
  if (at < 0 && !(nowhere && event.key.length === 1)) return;
  let to;
  if (event.key in next) to = boxes[at < 0 ? 0 : at + next[event.key]];
  else if (event.key in nextGroup) {
    const group = groups.indexOf(groupOf.get(boxes[at]));
    to = groups[at < 0 ? 0 : group + nextGroup[event.key]]?.boxes[0];
  } else return;
  event.preventDefault();
  to?.focus({ preventScroll: true });
  to?.closest(".card").scrollIntoView({ block: "nearest" });
});
