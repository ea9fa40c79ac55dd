// Class names, paths and pictures are anyone's: they enter the page as text and data URLs, never as markup.

const strip = byId("strip");
const rowsOfClasses = new Map();

function make(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw() {
  byId("empty").hidden = cards.length > 0;
  for (const part of document.querySelectorAll("main, footer, .progress, #download")) part.hidden = cards.length === 0;
  if (cards.length === 0) return;
  const counts = new Map();
  for (const label of state.labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  drawPick();
  drawClasses(counts);
  drawStrip();
  drawProgress(counts);
}

function stateOf(label) {
  return Object.keys(FILTERS).findLast((name) => FILTERS[name](label));
}

function drawPick() {
  const card = cards[state.at];
  const label = state.labels[state.at];
  byId("image").src = thumbnails[card.image];
  byId("original").href = card.link;
  byId("position").textContent = `Pick ${state.at + 1} of ${cards.length}`;
  byId("filepath").textContent = card.filepath;
  byId("label").textContent = label || "open";
  byId("label").dataset.state = stateOf(label);
  byId("predicted").textContent = card.predicted;
  byId("confidence").textContent = `confidence ${Math.round(100 * card.confidence)}%`;
  byId("accept").hidden = byId("confidence").hidden = card.predicted === "";
  byId("matched-image").src = thumbnails[card.matchedImage];
  byId("matched-original").href = card.matchedLink;
  byId("matched-label").textContent = card.matchedLabel;
  byId("matched-path").textContent = card.matched;
  byId("undo").disabled = state.history.length === 0;
}

function rowOfClass(name) {
  const chooses = make("button", { type: "button", className: "class", onclick: () => choose(name) });
  chooses.append(make("kbd", {}), make("bdi", { textContent: name }));
  const filters = make("button", { type: "button", className: "count" });
  filters.onclick = () => show(filter.class === name ? "all" : { class: name });
  return make("li", {}, chooses, filters);
}

function drawClasses(counts) {
  const typed = search.value.trim();
  const found = foundClasses();
  for (const name of found) if (!rowsOfClasses.has(name)) rowsOfClasses.set(name, rowOfClass(name));
  const rows = found.map((name) => rowsOfClasses.get(name));
  const shown = [...byId("classes").children];
  // only where they change: a button that is put in anew loses the focus
  if (rows.length !== shown.length || rows.some((row, i) => row !== shown[i])) byId("classes").replaceChildren(...rows);
  const keys = keysOfClasses();
  for (const name of found) {
    const [chooses, filters] = rowsOfClasses.get(name).children;
    const count = counts.get(name) ?? 0;
    chooses.firstChild.textContent = keys.get(name) ?? "";
    chooses.classList.toggle("predicted", name === cards[state.at].predicted);
    chooses.setAttribute("aria-pressed", name === state.labels[state.at]);
    filters.textContent = count;
    filters.ariaLabel = `Show the ${count} labeled ${name}`;
    filters.setAttribute("aria-pressed", filter.class === name);
  }
  // a name that differs in its capitals alone is a slip
  byId("add").hidden = [...classNames(), SKIP, ""].some((name) => name.toLowerCase() === typed.toLowerCase());
  byId("new-class").textContent = typed;
}

function drawStrip() {
  [...strip.children].forEach((thumb, index) => {
    const label = state.labels[index];
    thumb.hidden = !isShown(index);
    thumb.dataset.state = stateOf(label);
    thumb.setAttribute("aria-current", index === state.at);
    thumb.ariaLabel = `Pick ${index + 1}, ${cards[index].filepath}: ${label || "open"}`;
    thumb.lastChild.textContent = label;
  });
  const current = strip.children[state.at];
  // not scrollIntoView, which would scroll the page as well
  const [top, bottom] = [current.offsetTop - 4, current.offsetTop + current.offsetHeight + 4];
  if (!current.hidden) strip.scrollTop = Math.max(bottom - strip.clientHeight, Math.min(top, strip.scrollTop));
}

/** How many picks stand in a row of the strip. */
function rowLength() {
  const shown = [...strip.children].filter((thumb) => !thumb.hidden);
  return shown.filter((thumb) => thumb.offsetTop === shown[0].offsetTop).length || 1;
}

function drawProgress(counts) {
  const [open, skipped] = [counts.get("") ?? 0, counts.get(SKIP) ?? 0];
  const ofFilter = { all: cards.length, open, skipped, labeled: cards.length - open - skipped };
  byId("bar").max = cards.length;
  byId("bar").value = cards.length - open;
  byId("progress").textContent = `${ofFilter.labeled} labeled, ${skipped} skipped, ${open} open`;
  for (const button of document.querySelectorAll("[data-filter]")) {
    button.lastChild.textContent = ofFilter[button.dataset.filter];
    button.setAttribute("aria-pressed", filter === button.dataset.filter);
  }
  byId("class-filter").hidden = filter.class === undefined;
  byId("class-filter").textContent = filter.class ?? "";
  const done = open === 0 ? "None is open: download labels.csv." : "";
  byId("status").textContent = [message && `${message}.`, done].join(" ");
  byId("kept").textContent = isKept
    ? "Labels are kept in this browser: this page shows them again when it is opened here."
    : "This browser keeps no labels for this page: download labels.csv before you close it.";
}

// ---- keys and clicks

const COMMANDS = {
  Enter: accept,
  " ": accept,
  s: () => setLabel(SKIP),
  u: undo,
  Backspace: undo,
  Delete: () => setLabel(""),
  n: () => moveTo(nextOpen()),
  "/": () => search.focus(),
  Escape: leaveSearch,
  ArrowLeft: () => moveBy(-1),
  ArrowRight: () => moveBy(1),
  ArrowUp: () => moveBy(-rowLength()),
  ArrowDown: () => moveBy(rowLength()),
};

function commandOf(event) {
  if (cards.length === 0 || event.altKey || event.isComposing) return undefined;
  if (event.target === search) return { Enter: enterSearch, Escape: leaveSearch }[event.key];
  if (event.ctrlKey || event.metaKey) return event.key.toLowerCase() === "z" ? undo : undefined;
  if (event.target.closest("button, a") && [" ", "Enter"].includes(event.key)) return undefined;
  // on some keyboards digits need the shift key
  const digit = event.shiftKey ? null : /^Digit(\d)$/.exec(event.code);
  const key = digit ? digit[1] : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const [name] = [...keysOfClasses()].find(([, keyOfClass]) => keyOfClass === key) ?? [];
  return COMMANDS[key] ?? (name === undefined ? undefined : () => setLabel(name));
}

document.addEventListener("keydown", (event) => {
  const command = commandOf(event);
  if (!command) return;
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) command(); // a key held down does not label the rest
});
document.addEventListener("click", (event) => {
  // after the mouse, Enter and Space are commands again; one who goes through the buttons by Tab stays there
  if (event.detail > 0 && event.target !== search) document.activeElement.blur();
});
search.addEventListener("input", draw);
const BUTTONS = { accept, undo, download, skip: COMMANDS.s, previous: COMMANDS.ArrowLeft, next: COMMANDS.ArrowRight };
for (const [id, action] of Object.entries(BUTTONS)) byId(id).onclick = action;
byId("add").onclick = () => choose(search.value.trim(), true);
byId("class-filter").onclick = () => show("all");
for (const button of document.querySelectorAll("[data-filter]")) {
  button.append(" ", make("span", {}));
  button.onclick = () => show(button.dataset.filter);
}
// it may be labeled in another window
function takeOver() {
  if (isKept) restore(); // else what is stored is older than what is shown
  draw();
}
window.addEventListener("storage", takeOver);
window.addEventListener("focus", takeOver);
window.addEventListener("beforeunload", (event) => {
  if (!isKept && !isDownloaded) event.preventDefault();
});

byId("title").textContent = title;
cards.forEach((card, index) => {
  const picture = make("img", { src: thumbnails[card.image], alt: "" });
  strip.append(make("button", { type: "button", title: card.filepath, onclick: () => moveTo(index) }, picture, make("span")));
});
restore();
draw();
