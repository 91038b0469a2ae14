// Complements htmx: synchronises slider, number and sum, holds back changes that would move the element in use,
// and shows when the live connection is lost. Without this script every form still posts.
"use strict";

document.documentElement.classList.add("scripted");

const LOCALE = "en";
const QUIET_SECONDS = 25;
const byId = (id) => document.getElementById(id);
const text = (number) => number.toLocaleString(LOCALE).replace("-", "\u2212");

// --- The plan: slider, number, sum -----------------------------------------------------------------------------------

const planForm = () => document.querySelector("form[data-plan]");

/** Parse units with the server's expression; NaN if they do not match. */
function parse(typed) {
  const { grammar, most } = planForm().dataset;
  const read = new RegExp(`^(?:${grammar})$`).exec(typed);
  const units = read ? Number(read[1].replace(/[^0-9]/g, "")) : NaN;
  return units <= Number(most) ? units : NaN;
}

const numberOf = (field) => field.querySelector(".number");
const boundsOf = (field) => field.querySelector(".bounds").dataset;
const isUnreadable = (field) => Number.isNaN(parse(numberOf(field).value));
const isEdited = (field) => parse(numberOf(field).value) !== Number(boundsOf(field).current);

function showField(field) {
  const bounds = boundsOf(field);
  const slider = field.querySelector(".slider");
  const wanted = parse(numberOf(field).value);
  slider.disabled = bounds.lowest === bounds.highest;
  slider.min = bounds.lowest;
  slider.max = Math.max(Number(bounds.highest), wanted || 0);
  slider.value = Number.isNaN(wanted) ? bounds.current : wanted;
  field.classList.toggle("edited", isEdited(field));
}

function showSum() {
  const form = planForm();
  const data = byId("plan-data");
  if (!form || !data) return;
  const fields = [...form.querySelectorAll(".field")];
  const sum = fields.reduce((total, field) => total + (parse(numberOf(field).value) || Number(boundsOf(field).current) * isUnreadable(field)), 0);
  const free = Number(data.dataset.purchased) - sum;
  form.querySelector("[data-sum]").textContent = text(sum);
  form.querySelector("[data-free]").textContent = text(free);
  byId("plan-total").classList.toggle("short", free < 0);
  if (!fields.some(isEdited)) form.elements.version.value = data.dataset.version;
}

function showPlan() {
  document.querySelectorAll(".field").forEach(showField);
  showSum();
}

function outdatePreview(form) {
  const preview = form.querySelector(".preview");
  if (!preview || preview.classList.contains("outdated")) return;
  preview.classList.add("outdated");
  const apply = form.querySelector('button[value="apply"]');
  if (apply) apply.hidden = true;
}

document.addEventListener("input", (event) => {
  const field = event.target.closest(".field");
  if (!field) return;
  if (event.target.matches(".slider")) numberOf(field).value = text(Number(event.target.value));
  showField(field);
  showSum();
  outdatePreview(planForm());
});

// --- Live: htmx swaps the fragments; this handles changes that must wait ---------------------------------------------

const held = new Map();
let heard = Date.now();

/** Whether swapping this element would move or remove what the person points at or types in. */
function isInUse(element) {
  const active = document.activeElement;
  const focused = active && active !== document.body && active.id !== "main" ? active : null;
  const hovered = [...document.querySelectorAll(":hover")].pop();
  return [focused, hovered].some((used) => {
    if (!used || !used.closest(".page")) return false;
    if (element.contains(used)) return true;
    const follows = element.compareDocumentPosition(used) & Node.DOCUMENT_POSITION_FOLLOWING;
    return Boolean(follows) && used.getBoundingClientRect().bottom > 0 && byId("plan")?.contains(used) && isNarrow();
  });
}

const isNarrow = () => window.matchMedia("(max-width: 1120px)").matches;

function announce(message) {
  const news = byId("news");
  news.querySelector("[role=status]").textContent = message;
  news.hidden = false;
}

function showHeld() {
  byId("news").hidden = true;
  for (const [id, html] of held) {
    byId(id).innerHTML = html;
    window.htmx.process(byId(id));
  }
  held.clear();
  if (byId("news").dataset.reload) window.location.reload();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("#news button")) showHeld();
});

document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const target = event.detail.target;
  const html = event.detail.fragment.firstElementChild?.innerHTML ?? "";
  held.delete(target.id);
  if (html === target.innerHTML) event.detail.shouldSwap = false;
  if (target.id !== "alerts" || !event.detail.shouldSwap || !isInUse(target)) return;
  held.set(target.id, html);
  event.detail.shouldSwap = false;
  announce("The alerts have changed");
});

document.addEventListener("htmx:oobErrorNoTarget", () => {
  byId("news").dataset.reload = "yes";
  announce("The list of products has changed");
});

document.addEventListener("htmx:oobAfterSwap", (event) => {
  const target = event.detail.target;
  if (target.id.startsWith("hint-")) followBounds(target.closest(".field"));
  if (target.id === "plan-numbers") showSum();
  if (target.dataset.number !== undefined || target.id.startsWith("row-")) flash(target);
});

/** Set an unedited field to the current allocation, which another person may have changed. */
function followBounds(field) {
  if (!field.classList.contains("edited") && !field.contains(document.activeElement)) {
    numberOf(field).value = text(Number(boundsOf(field).current));
  }
  showField(field);
  showSum();
}

function flash(element) {
  element.classList.remove("changed");
  void element.offsetWidth;
  element.classList.add("changed");
}

function setConnected(connected) {
  if (connected) heard = Date.now();
  const freshness = byId("freshness");
  if (!freshness || freshness.classList.contains("stale") === !connected) return;
  freshness.classList.toggle("stale", !connected);
  byId("connection").textContent = connected ? "" : ", reconnecting";
}

document.addEventListener("htmx:sseOpen", () => setConnected(true));
document.addEventListener("htmx:sseError", () => setConnected(false));
document.addEventListener("htmx:sseClose", () => setConnected(false));
document.addEventListener("htmx:sseMessage", () => setConnected(true));
document.addEventListener("htmx:sseBeforeMessage", () => setConnected(true));
setInterval(() => { if (Date.now() - heard > QUIET_SECONDS * 1000) setConnected(false); }, 5000);

// --- After the answer to a form --------------------------------------------------------------------------------------

document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target?.id !== "plan-form") return;
  showPlan();
  const place = event.detail.target.querySelector("[aria-invalid], .error, [data-focus], .done");
  if (!place) return;
  if (!place.hasAttribute("tabindex") && !place.matches("input")) place.setAttribute("tabindex", "-1");
  place.focus({ preventScroll: false });
});

// --- The chart: its library is large, so it is loaded only once the numbers are there --------------------------------

function load(source) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = source;
    script.onload = resolve;
    script.onerror = reject;
    document.head.append(script);
  });
}

document.addEventListener("htmx:afterSettle", async (event) => {
  const holder = byId("usage-chart");
  if (event.detail.target?.id !== "usage" || !holder) return;
  await Promise.all([load(holder.dataset.script), load(byId("usage").dataset.chart)]);
  window.drawUsage(holder);
});

document.addEventListener("htmx:sendError", (event) => {
  const form = event.target.closest("form");
  if (!form) return;
  form.querySelector(".error.form")?.remove();
  const error = document.createElement("p");
  error.className = "error form";
  error.setAttribute("role", "alert");
  error.textContent = "The server could not be reached. Nothing was changed; try again.";
  form.append(error);
});

showPlan();
