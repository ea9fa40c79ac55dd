"use strict";
// The labels of a round: what is labeled, moved to, kept and handed out. page.js draws it and takes the keys.

const { key: storageKey, title, classes: givenClasses, thumbnails, cards } = JSON.parse(
  document.getElementById("round").textContent,
);
const SKIP = "skip";
const CLASS_LETTERS = "abcdefghijklmopqrtvwxyz"; // n, s and u are commands
const FILTERS = {
  all: () => true,
  open: (label) => label === "",
  labeled: (label) => label !== "" && label !== SKIP,
  skipped: (label) => label === SKIP,
};

// What the browser keeps: a label per pick ("" is open), classes typed in, what undo takes back, the pick shown.
let state = { labels: cards.map(() => ""), added: [], history: [], at: 0 };
let filter = "all"; // one of FILTERS, or { class: name }
let isKept = true;
let isDownloaded = true;
let message = "";

const byId = (id) => document.getElementById(id);
const search = byId("search");

// ---- classes and their keys

function classNames() {
  return [...new Set([...givenClasses, ...state.added])].filter((name) => name !== SKIP);
}

/** Key of each class: 1 to 9, then a letter of its name, then any letter, as long as one is free. */
function keysOfClasses() {
  const keys = new Map([[SKIP, "s"]]);
  const taken = new Set();
  classNames().forEach((name, position) => {
    const letters = [...name.toLowerCase(), ...CLASS_LETTERS].filter((letter) => CLASS_LETTERS.includes(letter));
    const free = (position < 9 ? [String(position + 1)] : letters).find((key) => !taken.has(key));
    if (free) keys.set(name, free);
    taken.add(free);
  });
  return keys;
}

/** Classes whose names hold what is searched for: the same name first, then those that begin with it. */
function foundClasses() {
  const wanted = search.value.trim().toLowerCase();
  const rank = (name) => [name === wanted, name.startsWith(wanted), true].indexOf(true);
  return [...classNames(), SKIP]
    .map((name) => [name, name.toLowerCase()])
    .filter(([, lower]) => lower.includes(wanted))
    .sort(([, one], [, other]) => (wanted === "" ? 0 : rank(one) - rank(other)))
    .map(([name]) => name);
}

// ---- labeling

function setLabel(label, isNewClass = false) {
  const index = state.at;
  const next = nextOpen() ?? shownPicks().find((other) => other > index) ?? index;
  state.history.push({ index, before: state.labels[index], isNewClass });
  if (isNewClass) state.added.push(label);
  state.labels[index] = label;
  if (label !== "") state.at = next;
  changed({ "": "Open again", [SKIP]: "Skipped" }[label] ?? `Labeled ${label}`);
}

function accept() {
  if (cards[state.at].predicted !== "") setLabel(cards[state.at].predicted);
}

function undo() {
  const last = state.history.pop();
  if (!last) return;
  if (last.isNewClass) state.added.pop();
  state.labels[last.index] = last.before;
  state.at = last.index;
  if (!isShown(state.at)) filter = "all";
  changed("Undone");
}

function choose(name, isNewClass = false) {
  leaveSearch();
  setLabel(name, isNewClass);
}

function leaveSearch() {
  search.value = "";
  search.blur();
  draw();
}

/** Whether Enter in the search field has one thing to do: the first class found, else the button that adds one. */
function enterSearch() {
  const [first] = foundClasses();
  if (search.value.trim() === "") leaveSearch();
  else if (first !== undefined) choose(first);
  else byId("add").focus();
}

// ---- moving among the picks that the filter shows

function isShown(index) {
  const label = state.labels[index];
  return filter.class === undefined ? FILTERS[filter](label) : label === filter.class;
}

function shownPicks() {
  return [...cards.keys()].filter(isShown);
}

/** The next open pick, from the start again after the last. */
function nextOpen() {
  const open = shownPicks().filter((index) => index !== state.at && state.labels[index] === "");
  return open.find((index) => index > state.at) ?? open[0];
}

function moveTo(index = state.at) {
  state.at = index;
  changed("");
}

function moveBy(step) {
  const before = shownPicks().filter((index) => index < state.at);
  const after = shownPicks().filter((index) => index > state.at);
  moveTo(step < 0 ? (before.at(step) ?? before[0]) : (after[step - 1] ?? after.at(-1)));
}

function show(wanted) {
  filter = wanted;
  moveTo(isShown(state.at) ? state.at : shownPicks()[0]);
}

// ---- keeping and handing out

/** Whether the page can go on from there: any page that is opened from this disk may have written it. */
function isState(kept) {
  const areTexts = (list) => Array.isArray(list) && list.every((text) => typeof text === "string");
  const isPick = (index) => Number.isInteger(index) && index in cards;
  const isStep = (step) => isPick(step?.index) && typeof step.before === "string";
  if (!areTexts(kept?.labels) || !areTexts(kept.added) || !Array.isArray(kept.history)) return false;
  return kept.labels.length === cards.length && kept.history.every(isStep) && isPick(kept.at);
}

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(storageKey));
    if (isState(kept)) state = kept;
  } catch {
    isKept = false;
  }
}

function changed(whatHappened) {
  message = whatHappened;
  isDownloaded &&= whatHappened === "";
  try {
    localStorage.setItem(storageKey, JSON.stringify(state));
    isKept = true;
  } catch {
    isKept = false;
  }
  draw();
}

function csv() {
  const quoted = (field) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);
  const rows = cards.map(({ filepath }, index) => [filepath, state.labels[index]]);
  return [["filepath", "label"], ...rows].map((row) => `${row.map(quoted).join(",")}\r\n`).join("");
}

function download() {
  // Python reads a path that is no UTF-8 with lone surrogates in place of its bytes; they become the bytes again
  const parts = csv()
    .split(/([\udc80-\udcff])/u)
    .map((part, position) => (position % 2 ? Uint8Array.of(part.charCodeAt(0) - 0xdc00) : part));
  const url = URL.createObjectURL(new Blob(parts, { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: url, download: "labels.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  isDownloaded = true;
}
