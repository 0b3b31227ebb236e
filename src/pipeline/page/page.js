// Puts the page together: filters, keys, sliders, buttons.

/** Sizes of pictures in the grid, in pixels. */
const SIZES = [32, 48, 64, 96, 128, 192, 256];
const VIEW = "detailflow-view";
const FIELDS = ["group", "order", "level", "size"];

const picks = new Picks(head.job);
let pictures = [];

const grid = new Grid(byId("scroll"), byId("canvas"), picks, { onCurrent: (picture) => details.show(picture), onPick: pick });
const details = new Details(byId("details"), picks, { onPick: pick, onLevel: (place) => setRange("level", place) });

function pick(picture) {
  if (picture) picks.toggle(picture);
}

const count = (number) => number.toLocaleString("en");

/** What the filters say. */
function wanted() {
  const seeds = seedRanges(byId("seed").value);
  byId("seed").ariaInvalid = `${seeds === null}`;
  byId("seed-error").hidden = seeds !== null;
  const value = (id) => byId(id).value;
  return {
    text: value("text"), class: value("class"), tag: value("tag"), seeds: seeds ?? [],
    picked: byId("picked").checked, group: value("group"), order: value("order"),
  };
}

function filter() {
  grid.show(sectionsOf(pictures, picks, wanted()));
  byId("nothing").hidden = grid.pictures.length > 0;
  status();
}

function status(note) {
  const here = pictures.filter((picture) => picks.has(picture)).length;
  const others = picks.size - here;
  const shown = grid.pictures.length === pictures.length ? count(pictures.length) : `${count(grid.pictures.length)} of ${count(pictures.length)}`;
  const parts = [`${shown} pictures`, `${count(here)} picked${others ? ` and ${count(others)} on other pages` : ""}`];
  byId("status").textContent = byId("status").title = [note, parts.join(", ")].filter((part) => part).join(" · ");
  for (const id of ["save", "clear"]) byId(id).disabled = picks.size === 0;
}

/** Sets a slider as a hand does. */
function setRange(id, value) {
  byId(id).value = value;
  byId(id).dispatchEvent(new Event("input", { bubbles: true }));
}

const step = (id, by) => setRange(id, Number(byId(id).value) + by);

function showLevel() {
  const level = levels[byId("level").value];
  byId("level-value").textContent = byId("level").ariaValueText = level ? `${level.level} px` : "none";
  grid.setLevel(Number(byId("level").value));
  details.setLevel(grid.level);
}

function showSize() {
  const size = SIZES[byId("size").value];
  byId("size-value").textContent = byId("size").ariaValueText = `${size} px`;
  grid.setSize(size);
}

function save() {
  if (picks.size === 0) return;
  const link = element("a", { href: URL.createObjectURL(new Blob([picks.text()], { type: "application/json" })), download: "picks.json" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  status(`${count(picks.size)} picks saved as picks.json`);
}

async function load(file) {
  try {
    status(`${count(picks.add(await file.text()))} picks loaded`);
  } catch (error) {
    status(`${file.name}: ${error.message}`);
  }
}

function toggleDetails() {
  const hidden = (byId("details").hidden = !byId("details").hidden);
  byId("show-details").ariaPressed = `${!hidden}`;
}

function toggleFilters(open) {
  byId("filters").classList.toggle("open", open);
  byId("show-filters").ariaExpanded = `${byId("filters").classList.contains("open")}`;
}

/** Keys within the grid. */
const GRID_KEYS = {
  ArrowLeft: () => grid.go(grid.current - 1),
  ArrowRight: () => grid.go(grid.current + 1),
  ArrowUp: () => grid.goRows(-1),
  ArrowDown: () => grid.goRows(1),
  PageUp: () => grid.goRows(-grid.screen),
  PageDown: () => grid.goRows(grid.screen),
  Home: () => grid.go(0),
  End: () => grid.go(grid.pictures.length - 1),
  " ": () => pick(grid.pictures[grid.current]),
  Enter: () => pick(grid.pictures[grid.current]),
};

/** Keys anywhere but where text is written. */
const KEYS = {
  "[": () => step("level", -1),
  "]": () => step("level", 1),
  "-": () => step("size", -1),
  "+": () => step("size", 1),
  "=": () => step("size", 1),
  f: () => byId("picked").click(),
  s: save,
  i: toggleDetails,
  "/": () => {
    toggleFilters(true);
    byId("text").focus();
    byId("text").select();
  },
  "?": () => byId("help").showModal(),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const writes = event.target.matches("select, input:not([type=range]):not([type=checkbox])");
  if (event.key === "Escape" && event.target.closest("#filters, aside")) {
    byId("scroll").focus();
    return;
  }
  const inGrid = event.target === byId("scroll") || event.target === document.body;
  const action = (inGrid && GRID_KEYS[event.key]) || (!writes && KEYS[event.key.toLowerCase()]);
  if (!action) return;
  event.preventDefault();
  action();
}

/** Links to the other pages. */
function showPages() {
  const { page, pages } = head;
  if (pages.length < 2) return;
  const link = (at, text) => element("a", { className: "link", href: pages[at - 1] }, text);
  const list = element("select", {}, ...pages.map((_, at) => element("option", { value: at, selected: at + 1 === page }, `page ${at + 1}`)));
  list.ariaLabel = "Page";
  list.onchange = () => { location.href = pages[list.value]; };
  byId("pages").append(...(page > 1 ? [link(page - 1, "‹ Previous")] : []), list, ` of ${pages.length} `, ...(page < pages.length ? [link(page + 1, "Next ›")] : []));
  byId("pages").hidden = false;
}

/** What was chosen on another page of a job. */
function restoreView() {
  const range = (id, most, value) => {
    byId(id).max = most;
    // What a reset goes back to, too.
    byId(id).defaultValue = value;
  };
  range("level", Math.max(levels.length - 1, 0), Math.max(levels.length - 1, 0));
  range("size", SIZES.length - 1, SIZES.indexOf(96));
  try {
    const view = JSON.parse(localStorage.getItem(VIEW) ?? "{}");
    for (const id of FIELDS) if (view[id] !== undefined) byId(id).value = view[id];
  } catch {
    // Without storage each page begins anew.
  }
  for (const id of ["group", "order"]) if (!byId(id).value) byId(id).selectedIndex = 0;
}

function keepView() {
  try {
    localStorage.setItem(VIEW, JSON.stringify(Object.fromEntries(FIELDS.map((id) => [id, byId(id).value]))));
  } catch {
    // As above.
  }
}

function listen() {
  let waiting = 0;
  byId("filters").addEventListener("input", (event) => {
    if (event.target.id === "level") showLevel();
    else if (event.target.id === "size") showSize();
    else {
      // Once for the letters of a word.
      clearTimeout(waiting);
      waiting = setTimeout(filter, event.target.id === "text" ? 80 : 0);
    }
    keepView();
  });
  byId("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("scroll").focus();
  });
  // After the fields have their first values again.
  byId("filters").addEventListener("reset", () => setTimeout(() => { showLevel(); showSize(); filter(); keepView(); }));
  picks.listeners.push(() => {
    grid.markAll();
    details.later();
    status();
  });
  byId("save").onclick = save;
  byId("load").onclick = () => byId("file").click();
  byId("file").onchange = () => { if (byId("file").files[0]) load(byId("file").files[0]); byId("file").value = ""; };
  byId("clear").onclick = () => { if (confirm(`Remove all ${count(picks.size)} picks of this job?`)) picks.clear(); };
  byId("show-details").onclick = toggleDetails;
  byId("show-filters").onclick = () => toggleFilters();
  byId("show-help").onclick = () => byId("help").showModal();
  document.addEventListener("keydown", onKey);
}

async function start() {
  const options = (names) => [...names].sort().map((name) => element("option", { value: name }, name));
  byId("class").append(...options(head.classes));
  byId("tag").append(...options(head.tags));
  byId("tag").parentElement.hidden = head.tags.length === 0;
  restoreView();
  showPages();
  pictures = await readPictures();
  listen();
  showLevel();
  showSize();
  filter();
  byId("scroll").focus({ preventScroll: true });
  document.body.dataset.ready = "yes";
}

start();
