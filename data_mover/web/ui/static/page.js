"use strict";

// What the pages can do without a script, they do without one. This renews them while they are looked at, shows times
// relative to now, suggests words for the filter box, and copies hashes.

// progress changes with the beats of workers: every two seconds
const FIRST_MS = 1000, FASTEST_MS = 2000, SLOWEST_MS = 5000;
const UNITS = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const $ = (selector, root = document) => [...root.querySelectorAll(selector)];

document.documentElement.classList.add("scripted");

// ---- times

function ago(instant) {
  const seconds = (Date.parse(instant) - Date.now()) / 1000;
  if (Math.abs(seconds) < 2) return "now";
  const [length, unit] = UNITS.find(([length]) => Math.abs(seconds) >= length);
  return relative.format(Math.round(seconds / length), unit);
}

function showTimes() {
  for (const time of $("time[datetime]")) {
    const text = ago(time.dateTime);
    if (time.textContent !== text) time.textContent = text;
  }
}

// ---- renewing: only what differs is touched, so that focus, selection and open menus stay

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.id) || null;
const isAlike = (one, other) => one && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
const KEPT_ATTRIBUTES = new Set(["open", "hidden", "disabled"]);

function renew(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.dataset.kept !== undefined) return;
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !KEPT_ATTRIBUTES.has(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value && !KEPT_ATTRIBUTES.has(name)) old.setAttribute(name, value);
  if (old.nodeName !== "TIME") renewChildren(old, fresh);
}

function renewChildren(old, fresh) {
  const keyed = new Map([...old.children].filter(keyOf).map((child) => [child.id, child]));
  let present = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    const known = keyed.get(keyOf(next));
    if (known && known.nodeName === next.nodeName) {
      if (known === present) present = present.nextSibling;
      else old.insertBefore(known, present);
      renew(known, next);
    } else if (isAlike(present, next)) {
      const same = present;
      present = present.nextSibling;
      renew(same, next);
    } else {
      old.insertBefore(document.importNode(next, true), present);
      if (present && !keyOf(next) && !keyOf(present)) {
        const replaced = present;
        present = present.nextSibling;
        replaced.remove();
      }
    }
  }
  while (present) {
    const surplus = present;
    present = present.nextSibling;
    surplus.remove();
  }
}

let tag = null, wait = FASTEST_MS, timer = null;

function again(milliseconds) {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, milliseconds);
}

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Watches": "1", ...(tag && { "If-None-Match": tag }) } });
    if (answer.redirected) return location.assign(answer.url);
    setOffline(answer.status >= 500);
    if (answer.status === 200) {
      tag = answer.headers.get("ETag");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of ["header", "main"]) renew(document.getElementById(id), page.getElementById(id));
      document.title = page.title;
      showTimes();
      showSelected();
      wait = FASTEST_MS;
    } else if (answer.status !== 304) wait = SLOWEST_MS;
    else wait = Math.min(SLOWEST_MS, wait * 1.5);
  } catch {
    setOffline(true);
    wait = SLOWEST_MS;
  }
  again(wait);
}

function setOffline(isOffline) {
  const sign = document.getElementById("offline");
  if (sign) sign.hidden = !isOffline;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (document.body.dataset.watched !== undefined) look();
});

// ---- the filter box

function suggest(box, list) {
  let chosen = -1;
  const shown = () => $("li:not([hidden])", list);
  const word = () => box.value.slice(0, box.selectionStart).split(" ").pop();

  function choose(position) {
    const options = shown();
    chosen = options.length ? (position + options.length) % options.length : -1;
    options.forEach((option, each) => option.setAttribute("aria-selected", each === chosen));
    if (chosen >= 0) options[chosen].scrollIntoView({ block: "nearest" });
    box.setAttribute("aria-activedescendant", chosen >= 0 ? options[chosen].id : "");
  }

  function open() {
    const begun = word();
    for (const option of $("li", list)) {
      const text = option.textContent;
      option.hidden = begun.includes(":") ? !text.startsWith(begun) || text === begun : !text.includes(begun);
    }
    list.hidden = !shown().length;
    box.setAttribute("aria-expanded", !list.hidden);
    choose(-1);
    chosen = -1;
    shown().forEach((option) => option.setAttribute("aria-selected", false));
    box.setAttribute("aria-activedescendant", "");
  }

  function close() {
    list.hidden = true;
    box.setAttribute("aria-expanded", false);
    box.setAttribute("aria-activedescendant", "");
  }

  function take(option) {
    const end = box.selectionStart, begin = end - word().length, text = option.textContent;
    const value = text.endsWith(":") ? text : text + " ";
    box.setRangeText(value, begin, end, "end");
    box.focus();
    open();
  }

  for (const [name, value] of [["role", "combobox"], ["aria-controls", list.id], ["aria-autocomplete", "list"], ["aria-expanded", "false"]])
    box.setAttribute(name, value);
  box.closest(".box").dataset.kept = "";
  box.addEventListener("input", open);
  box.addEventListener("focus", open);
  box.addEventListener("blur", close);
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();
    if (event.target.matches("li")) take(event.target);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (list.hidden) open();
      choose(chosen + (event.key === "ArrowDown" ? 1 : chosen < 0 ? 0 : -1));
      event.preventDefault();
    } else if (event.key === "Enter" && chosen >= 0 && !list.hidden) {
      take(shown()[chosen]);
      event.preventDefault();
    } else if (event.key === "Escape") close();
  });
}

// ---- many moves at a time

const selectable = () => $("input.select");

function showSelected() {
  const form = document.getElementById("bulk");
  if (!form) return;
  const all = selectable(), matching = document.getElementById("all-matching");
  if (matching?.checked) for (const each of all) each.checked = true;
  const count = all.filter((each) => each.checked).length;
  for (const button of $("button", form)) button.disabled = !count;
  document.getElementById("selected").textContent = count && !matching?.checked ? `${count} selected` : "";
  const whole = document.getElementById("select-all");
  whole.checked = count > 0 && count === all.length;
  whole.indeterminate = count > 0 && count < all.length;
  if (matching) matching.closest("label").hidden = !count;
}

document.addEventListener("change", (event) => {
  const matching = document.getElementById("all-matching");
  if (event.target.id === "select-all") for (const each of selectable()) each.checked = event.target.checked;
  if (matching && event.target !== matching && !event.target.checked) matching.checked = false;
  showSelected();
});

// ---- keys, menus, copying

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input, textarea, select");
  if (event.key === "Escape") $("details.menu[open]").forEach(closeMenu);
  if (event.key === "/" && !isTyping && document.getElementById("q")) {
    document.getElementById("q").focus();
    event.preventDefault();
  }
});

function closeMenu(menu) {
  if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
  menu.open = false;
}

document.addEventListener("click", (event) => {
  $("details.menu[open]").filter((menu) => !menu.contains(event.target)).forEach((menu) => (menu.open = false));
  const button = event.target.closest("button.copy");
  if (button) copy(button);
});

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

// ---- begin

const box = document.getElementById("q");
if (box) suggest(box, document.getElementById("suggestions"));
showTimes();
showSelected();
setInterval(showTimes, 1000);
if (document.body.dataset.watched !== undefined) again(FIRST_MS);
const asked = document.querySelector("[data-again]");
if (asked) setTimeout(() => document.getElementById(asked.dataset.again).requestSubmit(), FIRST_MS);
