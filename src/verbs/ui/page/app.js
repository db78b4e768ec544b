// The page of `keyferry ui`. It shows what it is told, and asks nobody but the server that it came from. What others wrote gets in as
// text, never as markup: its policy lets no text become any.

const KINDS = ["ExternalSecret", "PushSecret", "SecretStore", "ClusterSecretStore"];
const STATUSES = ["Failed", "Unknown", "Ready"];
const MARKS = { Failed: "✕", Unknown: "?", Ready: "✓" };

// How many rows are there beside those that are seen, and how many ExternalSecrets a graph holds.
const BESIDE = 12;
const MOST_IN_GRAPH = 60;
const MOST_LISTED = 100;

/** Everything that was told, by kind, namespace and name. */
const rows = new Map();
/** Those that pass the filters, in order. */
let shown = [];
/** Whether all that there was has been told: from then on rows are news. */
let isComplete = false;
let told = { listing: true, unread: [], knowsTries: false, triesUnread: null };
let filters = { q: "", kind: "", namespace: "", status: "", sort: "status", down: false };
let route = { view: "list" };

const $ = (id) => document.getElementById(id);

/** Makes an element. Children are elements or text. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets a text where it is another: what says the same again is not read out again. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const counted = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
const idOf = (kind, namespace, name) => `${kind}/${namespace}/${name}`;
const pathOf = (row) => [row.kind, row.namespace || "-", row.name].map(encodeURIComponent).join("/");
const hrefOf = (row) => `#/object/${pathOf(row)}`;
const titleOf = (row) => `${row.kind} ${row.namespace ? `${row.namespace}/` : ""}${row.name}`;

// Times.

/** A span of time as kubectl tells ages. */
function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 120) return `${whole}s`;
  if (whole < 7200) return `${Math.floor(whole / 60)}m`;
  if (whole < 172800) return `${Math.floor(whole / 3600)}h`;
  return `${Math.floor(whole / 86400)}d`;
}

function time(at, tell) {
  return el("time", { datetime: at, title: new Date(at).toLocaleString() }, tell(Date.parse(at) - Date.now()));
}

const past = (at) => time(at, (ahead) => `${span(-ahead / 1000)} ago`);
const future = (at) => time(at, (ahead) => (ahead <= 0 ? "now" : `in ${span(ahead / 1000)}`));
const syncs = (row) => row.kind === "ExternalSecret" || row.kind === "PushSecret";

function last(row) {
  if (row.lastSync) return past(row.lastSync);
  return syncs(row) ? "never" : "";
}

function tries(row) {
  if (row.status !== "Failed" || row.kind !== "ExternalSecret") return "";
  return told.knowsTries && row.tries !== null ? String(row.tries) : "?";
}

function next(row) {
  const at = row.nextTry ?? row.nextSync;
  if (at) return future(at);
  if (row.status !== "Failed" || row.kind !== "ExternalSecret") return "";
  return told.knowsTries ? "on change" : "?";
}

function badge(status) {
  return el("span", { class: `status ${status}` }, el("span", { class: "mark", "aria-hidden": "true" }, MARKS[status] ?? "•"), status);
}

const storeName = (text) => text.match(/^(\w+) "(.*)"$/)?.slice(1) ?? ["", text];
const storesOf = (row) => (row.stores ?? []).map((text) => storeName(text)[1]).join(", ");
const why = (row) => (row.status === "Ready" ? row.target ?? row.message : row.message || row.reason) ?? "";
/** What most messages begin with tells nothing in a column of them. */
const brief = (text) => text.replace(/^could not get secret data from provider: /, "");

// What is told.

function hear(message) {
  told = JSON.parse(message.data);
  if (told.reset) rows.clear();
  isComplete &&= !told.reset;
  for (const [kind, namespace, name] of told.gone) rows.delete(idOf(kind, namespace, name));
  for (const row of told.rows) {
    const id = idOf(row.kind, row.namespace, row.name);
    const before = rows.get(id);
    row.id = id;
    row.place = `${KINDS.indexOf(row.kind)} ${row.namespace} ${row.name}`;
    row.text = [row.kind, row.namespace, row.name, row.status, row.reason, row.message, row.target, ...(row.stores ?? [])].join(" ").toLowerCase();
    const isNews = isComplete && before?.status !== row.status;
    row.changed = isNews ? Date.now() : before?.changed ?? 0;
    if (isNews && row.status === "Failed") say($("announcement"), `${titleOf(row)} has failed`);
    rows.set(id, row);
    if (id === route.id) openAgain();
  }
  if (told.gone.some(([kind, namespace, name]) => idOf(kind, namespace, name) === route.id)) openAgain();
  told.gone = told.rows = null;
  const wasComplete = isComplete;
  isComplete ||= !told.listing && !told.more;
  if (isComplete && !wasComplete) keepShowing();
  hearUsers(told.users);
  refresh();
}

let lost = null;
let source = null;

function connect() {
  source = new EventSource("news");
  source.addEventListener("message", hear);
  source.addEventListener("open", () => {
    clearTimeout(lost);
    lost = null;
    connection("Live", false);
  });
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) {
      connection("keyferry ui was ended or started anew: open the link that it prints", true);
    } else {
      // It asks anew by itself now and then: only what lasts is told.
      const since = new Date().toLocaleTimeString();
      lost ??= setTimeout(() => connection(`Not connected: this is how it was at ${since}`, true), 3000);
    }
  });
}

function connection(text, isLost) {
  say($("connection"), text);
  $("connection").classList.toggle("lost", isLost);
}

// Which rows are shown.

const by = (of) => (one, other) => {
  const [a, b] = [of(one), of(other)];
  if (a < b) return -1;
  if (a > b) return 1;
  return one.place < other.place ? -1 : 1;
};
const COLUMNS = [
  ["status", "Status", by((row) => STATUSES.indexOf(row.status))],
  ["kind", "Kind", by((row) => KINDS.indexOf(row.kind))],
  ["namespace", "Namespace", by((row) => row.namespace)],
  ["name", "Name", by((row) => row.name)],
  ["why", "Message or target", null],
  ["stores", "Stores", by(storesOf)],
  ["last", "Last sync", by((row) => row.lastSync ?? "")],
  ["tries", "Tries", by((row) => -(row.tries ?? 0))],
  ["next", "Next", by((row) => row.nextTry ?? row.nextSync ?? "~")],
];

function matches(row, words) {
  return words.every((word) => row.text.includes(word));
}

const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

function compute() {
  const words = wordsOf(filters.q);
  const counts = { "": 0, Failed: 0, Unknown: 0, Ready: 0 };
  shown = [];
  for (const row of rows.values()) {
    if (filters.kind && row.kind !== filters.kind) continue;
    if (filters.namespace && row.namespace !== filters.namespace) continue;
    if (!matches(row, words)) continue;
    counts[""] += 1;
    counts[row.status] += 1;
    if (!filters.status || row.status === filters.status) shown.push(row);
  }
  shown.sort(COLUMNS.find(([name]) => name === filters.sort)[2]);
  if (filters.down) shown.reverse();
  for (const [status, count] of Object.entries(counts)) say($(`count-${status || "all"}`), count.toLocaleString("en"));
}

let isDue = false;

/** Shows what changed, with the next picture. */
function refresh() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    show();
  });
}

function show() {
  compute();
  showSummary();
  showUnread();
  fillNamespaces();
  if (route.view === "list") {
    showCount();
    showRows();
  }
  if (route.view === "graph") showGraph();
}

function showSummary() {
  const of = (kind) => [...rows.values()].filter((row) => row.kind === kind);
  const secrets = of("ExternalSecret");
  const failed = [...rows.values()].filter((row) => row.status === "Failed").length;
  say($("summary"), `${counted(secrets.length, "ExternalSecret")} of ${counted(rows.size, "object")}, ${failed.toLocaleString("en")} failed`);
}

function showUnread() {
  const misses = [...rows.values()].some((row) => row.status === "Failed" && row.kind === "ExternalSecret");
  const all = misses && told.triesUnread ? [...told.unread, told.triesUnread] : told.unread;
  const text = all.join("\n");
  if ($("unread").dataset.text === text) return;
  $("unread").dataset.text = text;
  $("unread").hidden = all.length === 0;
  $("unread-list").replaceChildren(...all.map((line) => el("li", {}, line)));
}

function fillNamespaces() {
  const all = [...new Set([...rows.values()].map((row) => row.namespace))].filter(Boolean).sort();
  if ($("namespace").dataset.text === all.join(" ")) return;
  $("namespace").dataset.text = all.join(" ");
  const options = () => all.map((name) => el("option", { value: name }, name));
  $("namespace").replaceChildren(el("option", { value: "" }, "All namespaces"), ...options());
  $("namespace").value = filters.namespace;
  $("graph-namespace").replaceChildren(...options());
  if (route.namespace) $("graph-namespace").value = route.namespace;
}

let counting = null;

/** What is typed is not answered letter by letter where it is read out. */
function showCount() {
  counting ??= setTimeout(() => {
    counting = null;
    const all = shown.length === rows.size ? counted(rows.size, "object") : `${shown.length.toLocaleString("en")} of ${counted(rows.size, "object")}`;
    say($("count"), told.listing ? `${all} so far` : all);
  }, 300);
  const isEmpty = shown.length === 0 && !told.listing;
  $("nothing").hidden = !isEmpty;
  say($("nothing"), rows.size === 0 ? "There are none." : "None of them matches.");
}

// The table. There are only those of its rows that are seen, and some beside them.

const trs = new Map();
let height = 36;
/** The row that arrow keys move from. */
let active = null;

function showRows() {
  const scroller = $("scroller");
  const first = Math.max(0, Math.floor(scroller.scrollTop / height) - BESIDE);
  const end = Math.min(shown.length, Math.ceil((scroller.scrollTop + scroller.clientHeight) / height) + BESIDE);
  const wanted = shown.slice(first, end);
  const ids = new Set(wanted.map((row) => row.id));
  for (const [id, tr] of trs) {
    if (ids.has(id)) continue;
    // Whoever reads on by keyboard stays in the table.
    if (tr.contains(document.activeElement)) scroller.focus({ preventScroll: true });
    tr.remove();
    trs.delete(id);
  }
  const focused = document.activeElement;
  let before = null;
  wanted.forEach((row, n) => {
    const tr = trs.get(row.id) ?? makeRow(row);
    fill(tr, row, first + n);
    const place = before ? before.nextSibling : $("rows").firstChild;
    if (place !== tr) $("rows").insertBefore(tr, place);
    before = tr;
  });
  // A row that moves up is taken out and put in again, and the focus stays behind.
  if (focused !== document.activeElement && $("rows").contains(focused)) focused.focus({ preventScroll: true });
  space($("above"), first * height);
  space($("below"), (shown.length - end) * height);
  $("table").setAttribute("aria-rowcount", told.listing ? -1 : shown.length + 1);
  // One row is reached by Tab, the others from there.
  const tab = ids.has(active) ? active : wanted.find((_, n) => (first + n) * height >= scroller.scrollTop)?.id;
  for (const [id, tr] of trs) tr.querySelector("a").tabIndex = id === tab ? 0 : -1;
  const real = before?.getBoundingClientRect().height;
  if (real && Math.abs(real - height) > 0.25) {
    height = real;
    showRows();
  } else if (before && performance.getEntriesByName("rows").length === 0) {
    performance.mark("rows");
  }
  if (isComplete && performance.getEntriesByName("all").length === 0) performance.mark("all");
}

function space(body, pixels) {
  body.hidden = pixels <= 0;
  body.rows[0].cells[0].style.height = `${pixels}px`;
}

/** Makes a row. Its link stays while all else is told anew, and so does whoever is on it. */
function makeRow(row) {
  const tr = el(
    "tr",
    {},
    el("td"),
    el("td", {}, row.kind),
    el("td", { title: row.namespace }, row.namespace),
    el("th", { scope: "row" }, el("a", { href: hrefOf(row), tabindex: "-1", title: row.name }, row.name)),
    el("td", { class: "why" }),
    el("td"),
    el("td", { class: "number" }),
    el("td", { class: "number" }),
    el("td", { class: "number" }),
  );
  trs.set(row.id, tr);
  return tr;
}

function fill(tr, row, index) {
  tr.setAttribute("aria-rowindex", index + 2);
  if (tr.row === row && tr.knowsTries === told.knowsTries) return;
  const text = why(row);
  tr.cells[0].replaceChildren(badge(row.status));
  tr.cells[4].title = text.slice(0, 500);
  say(tr.cells[4], brief(text));
  say(tr.cells[5], storesOf(row));
  Object.assign(tr, { row, knowsTries: told.knowsTries });
  age(tr);
}

/** What of a row changes with the time alone. */
function age(tr) {
  tr.className = `${tr.row.status}${Date.now() - tr.row.changed < 4000 ? " changed" : ""}`;
  tr.cells[6].replaceChildren(last(tr.row));
  tr.cells[7].replaceChildren(tries(tr.row));
  tr.cells[8].replaceChildren(next(tr.row));
}

/** Goes to a row by its number. */
function moveTo(index) {
  const row = shown[Math.min(Math.max(index, 0), shown.length - 1)];
  if (!row) return;
  const scroller = $("scroller");
  const top = shown.indexOf(row) * height;
  const room = scroller.clientHeight - $("head").getBoundingClientRect().height;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (top + height > scroller.scrollTop + room) scroller.scrollTop = top + height - room;
  active = row.id;
  showRows();
  trs.get(row.id)?.querySelector("a").focus({ preventScroll: true });
}

function moveByKey(event) {
  const tr = event.target.closest("#rows tr");
  if (!tr || event.altKey || event.ctrlKey || event.metaKey) return;
  const page = Math.max(1, Math.floor($("scroller").clientHeight / height) - 2);
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (!(event.key in steps)) return;
  event.preventDefault();
  moveTo(shown.indexOf(tr.row) + steps[event.key]);
}

function showHead() {
  const cells = COLUMNS.map(([name, title, order]) => {
    const sorted = filters.sort === name ? (filters.down ? "descending" : "ascending") : null;
    const isNumber = ["last", "tries", "next"].includes(name);
    const inner = order ? el("button", { type: "button", click: () => sortBy(name) }, title, el("span", { "aria-hidden": "true" }, sorted ? (filters.down ? " ▼" : " ▲") : "")) : title;
    return el("th", { scope: "col", class: `c-${name}${isNumber ? " number" : ""}`, "aria-sort": sorted }, inner);
  });
  const focused = [...$("head").cells].findIndex((cell) => cell.contains(document.activeElement));
  $("head").replaceChildren(...cells);
  if (focused >= 0) $("head").cells[focused].querySelector("button")?.focus();
}

function sortBy(name) {
  filters = { ...filters, sort: name, down: filters.sort === name && !filters.down };
  filtered();
}

// Filters stand in the address, so that they can be kept and handed on.

function listHref() {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value && value !== "status"));
  return query.size ? `#/list?${query}` : "#/list";
}

function filtered() {
  history.replaceState(null, "", listHref());
  $("to-list").href = $("back").href = listHref();
  $("scroller").scrollTop = 0;
  showHead();
  refresh();
}

function readFilters() {
  const data = new FormData($("filters"));
  const read = Object.fromEntries(["q", "kind", "namespace", "status"].map((name) => [name, data.get(name) ?? ""]));
  filters = { ...filters, ...read };
  filtered();
}

function writeFilters() {
  for (const name of ["q", "kind", "namespace"]) $(name).value = filters[name];
  for (const radio of $("statuses").querySelectorAll("input")) radio.checked = radio.value === filters.status;
  $("to-list").href = $("back").href = listHref();
  showHead();
}

function makeFilters() {
  $("kind").append(...KINDS.map((kind) => el("option", { value: kind }, kind)));
  const radio = (value) => el("label", {}, el("input", { type: "radio", name: "status", value, checked: value === "" }), value || "All", el("span", { class: "count", id: `count-${value || "all"}` }, "0"));
  $("statuses").append(...["", ...STATUSES].map(radio));
  $("filters").addEventListener("input", readFilters);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => {
    // The form is as it was made only after this.
    setTimeout(readFilters);
  });
}

// Where one is.

function readRoute() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  let parts = [];
  try {
    parts = path.split("/").map(decodeURIComponent);
  } catch {
    // An address that nobody made here leads to the list.
  }
  const params = new URLSearchParams(query);
  if (parts[0] === "object" && parts.length === 4) {
    const [, kind, place, name] = parts;
    const namespace = place === "-" ? "" : place;
    return { view: "object", kind, namespace, name, id: idOf(kind, namespace, name) };
  }
  if (parts[0] === "graph") return { view: "graph", namespace: params.get("namespace") ?? "", q: params.get("q") ?? "" };
  if (parts[0] === "list" && query !== undefined) {
    const sort = COLUMNS.some(([name, , order]) => name === params.get("sort") && order) ? params.get("sort") : "status";
    const read = Object.fromEntries(["q", "kind", "namespace", "status"].map((name) => [name, params.get(name) ?? ""]));
    filters = { ...read, sort, down: params.get("down") === "true" };
  }
  return { view: "list" };
}

function go(isFirst) {
  // The link past the header is no view.
  if (location.hash === "#main") return;
  const from = route;
  route = readRoute();
  for (const view of ["list", "object", "graph"]) $(`${view}-view`).hidden = view !== route.view;
  document.body.classList.toggle("lists", route.view === "list");
  for (const view of ["list", "graph"]) {
    if (view === route.view) $(`to-${view}`).setAttribute("aria-current", "page");
    else $(`to-${view}`).removeAttribute("aria-current");
  }
  document.title = `${{ list: "Objects", graph: "Graph" }[route.view] ?? titleOf(route)} · keyferry`;
  if (route.view === "list") writeFilters();
  if (route.view === "graph") openGraph();
  if (route.view === "object") openObject();
  else asked = null;
  show();
  showUsers();
  if (isFirst) return;
  // Whoever comes back goes on where they were; whoever comes anew is told where that is.
  const index = route.view === "list" && from.view === "object" ? shown.findIndex((row) => row.id === from.id) : -1;
  if (index >= 0) moveTo(index);
  else $(`${route.view}-title`).focus();
}

// One object.

let asked = null;

async function ask(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (answer.ok) return answer.json();
  throw new Error((await answer.text()).trim() || `the answer is ${answer.status}`);
}

function openObject() {
  say($("object-title"), titleOf(route));
  $("object").replaceChildren(el("p", { class: "quiet" }, "Reading"));
  $("object-who").replaceChildren();
  if (route.kind === "ExternalSecret") offerWho();
  return readObject();
}

let again = null;

/** Reads it again soon: several changes come together. */
function openAgain() {
  clearTimeout(again);
  again = setTimeout(readObject, 300);
}

async function readObject() {
  if (route.view !== "object") return;
  const turn = (asked = {});
  let parts;
  try {
    parts = objectParts(await ask(`object/${pathOf(route)}`));
  } catch (error) {
    parts = [el("p", { class: "notice" }, `It can't be shown: ${error.message}`)];
  }
  // Whoever went on meanwhile is not called back.
  if (turn !== asked) return;
  const focused = focusables().indexOf(document.activeElement);
  $("object").replaceChildren(...parts.filter(Boolean));
  if (focused >= 0) focusables()[focused]?.focus({ preventScroll: true });
  $("object").querySelectorAll(".graph").forEach(drawEdges);
  performance.mark("object");
}

const focusables = () => [...$("object").querySelectorAll("a, button")];

function objectParts(of) {
  return [
    notice(of.notes, "of this object"),
    standing(of),
    of.keys.length ? section("Keys", keysTable(of), of.keys.some((key) => key.feedsTemplate) ? el("p", { class: "quiet" }, "Keys in () go into the template only.") : null) : null,
    of.storeStandings.length ? section("Stores", table(["Status", "Kind", "Name", "Message"], of.storeStandings.map((store) => [badge(store.status), store.kind, link(store), store.message]))) : null,
    of.kind.endsWith("Store") ? usedByObjects(of) : null,
    of.kind === "ExternalSecret" ? section("Used by", usersTable(of)) : null,
    of.kind === "ExternalSecret" ? section("From store to workload", graph([of], of.users)) : null,
    of.checks.length ? section("The operator's plan, as of now", plan(of)) : null,
    section("Events", of.events.length ? eventsTable(of.events) : el("p", { class: "quiet" }, "There are none.")),
    el("p", {}, el("button", { type: "button", click: readObject }, "Read again"), ` as of ${new Date().toLocaleTimeString()}`),
  ];
}

const link = (row) => el("a", { href: hrefOf(row) }, row.name);

let sections = 0;

function section(title, ...children) {
  const id = `section-${(sections += 1)}`;
  return el("section", { "aria-labelledby": id }, el("h3", { id }, title), ...children);
}

function notice(notes, about) {
  if (notes.length === 0) return null;
  return el("section", { class: "notice", "aria-label": `What can't be read: ${about}` }, el("h3", {}, "Not all can be read"), el("ul", {}, notes.map((note) => el("li", {}, note))));
}

function table(head, body) {
  const row = (cells) => el("tr", {}, cells.map((cell) => el("td", {}, cell ?? "")));
  const columns = el("tr", {}, head.map((title) => el("th", { scope: "col" }, title)));
  return el("div", { class: "scrolls" }, el("table", {}, el("thead", {}, columns), el("tbody", {}, body.map(row))));
}

function standing(of) {
  const there = { true: "is there", false: "is not there" }[of.targetIsThere] ?? "";
  const facts = [
    ["Status", [badge(of.status), of.since ? [" for ", time(of.since, (ahead) => span(-ahead / 1000))] : null]],
    ["Reason", of.reason],
    ["Target", of.target ? `${of.target}${there ? `, ${there}` : ""}` : null],
    ["Last sync", syncs(of) ? last(of) : null],
    ["Failed tries", of.status === "Failed" && of.tries !== null ? String(of.tries) : null],
    ["Next", of.next],
    ["To do", of.advice],
  ];
  const list = facts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]);
  const message = of.message ? el("p", { class: of.status === "Failed" ? "message" : "quiet" }, of.message) : null;
  return section("How it stands", el("dl", {}, list), message);
}

function keysTable(of) {
  const cells = (key) => [key.feedsTemplate ? `(${key.key})` : key.key, key.entry, key.source || "the template", key.remoteKey, key.property, key.version];
  return table(["Key", "Entry", "From", "Remote key", "Property", "Version"], of.keys.map(cells));
}

const USES = { volume: "as files", envFrom: "all keys as variables", env: "keys as variables", kubelet: "by the kubelet" };
const secretOf = (row) => (row.target?.startsWith("Secret ") ? row.target.slice(7) : null);
const mounts = (user, row) => user.mounts.includes(row.name);
const usesOf = (user, secret, row) => [...user.secrets.filter(([name]) => name === secret).map(([, how]) => USES[how] ?? how), ...(mounts(user, row) ? ["as a mount"] : [])].join(", ");

function usersTable(of) {
  if (of.users.length === 0) return el("p", { class: "quiet" }, "No pod or workload that can be read uses its Secret or mounts it. What reads it by the API is not seen here.");
  const secret = secretOf(of);
  return table(["Kind", "Name", "ServiceAccount", "How"], of.users.map((user) => [user.kind, user.name, user.serviceAccount, usesOf(user, secret, of)]));
}

function usedByObjects(of) {
  const isNamed = (row) => (row.stores ?? []).some((text) => text === `${of.kind} ${JSON.stringify(of.name)}`) && (!of.namespace || row.namespace === of.namespace);
  const all = [...rows.values()].filter(isNamed).sort(COLUMNS[0][2]);
  const some = all.slice(0, MOST_LISTED);
  const list = some.length ? table(["Status", "Kind", "Namespace", "Name"], some.map((row) => [badge(row.status), row.kind, row.namespace, link(row)])) : el("p", { class: "quiet" }, "Nobody names it.");
  return section("Named by", some.length < all.length ? el("p", {}, `${some.length} of ${counted(all.length, "object")}, those that failed first`) : null, list);
}

function plan(of) {
  const check = (verdict) => el("li", { class: verdict.decides ? "decides" : null }, verdict.says ? `${verdict.decides ? "→ " : ""}${verdict.check}: ${verdict.says}` : `${verdict.check}: ok`);
  return [el("ol", { class: "plan" }, of.checks.map(check)), of.now ? el("p", {}, `So: ${of.now}. Whether somebody changed the Secret is not looked at here.`) : null];
}

function eventsTable(events) {
  const cells = (event) => [event.at ? past(event.at) : "", event.severity, event.reason, event.count > 1 ? `${event.message} (${event.count} times)` : event.message];
  return table(["When", "Type", "Reason", "Message"], events.map(cells));
}

function offerWho() {
  const button = el("button", { type: "button", click: showWho }, "Who can read the Secret");
  $("object-who").replaceChildren(button);
}

async function showWho() {
  const { kind, namespace, name, id } = route;
  const button = $("object-who").querySelector("button");
  button.disabled = true;
  let parts;
  try {
    const of = await ask(`who/${[namespace, name].map(encodeURIComponent).join("/")}`);
    const rowsOf = (isDirect) => of.ways.filter((way) => way.isDirect === isDirect).map((way) => [way.who, way.by, way.so, way.bindings.join(", ")]);
    const part = (title, isDirect) => section(title, rowsOf(isDirect).length ? table(["Who", "May", "So", "By"], rowsOf(isDirect)) : el("p", { class: "quiet" }, "Nobody, as far as roles and bindings tell."));
    parts = of.notes.length ? [notice(of.notes, "who can read the Secret")] : [part("Can read it", true), part("Can come to read it", false)];
  } catch (error) {
    parts = [el("p", { class: "notice" }, `It can't be shown: ${error.message}`)];
  }
  if (route.id !== id || kind !== route.kind) return;
  const title = el("h3", { tabindex: "-1" }, "Who can read the Secret");
  $("object-who").replaceChildren(title, ...parts);
  title.focus();
  performance.mark("who");
}

// The graph.

/** Columns of names: stores, ExternalSecrets, Secrets, and who uses them. */
function graph(secrets, users) {
  const columns = [["Stores", new Map()], ["ExternalSecrets", new Map()], ["Targets", new Map()], ["Workloads", new Map()]];
  const [stores, own, targets, workloads] = columns.map(([, nodes]) => nodes);
  const edges = [];
  const node = (nodes, id, made) => nodes.get(id) ?? nodes.set(id, { ...made(), to: [] }).get(id);
  const join = (from, to, status) => {
    from.to.push(to.name);
    edges.push([from.key, to.key, status]);
  };
  for (const row of secrets) {
    const own_ = node(own, row.id ?? idOf(row.kind, row.namespace, row.name), () => ({ key: `e ${row.namespace} ${row.name}`, name: row.name, sub: row.status, status: row.status, row }));
    for (const text of row.stores ?? []) {
      const [kind, name] = storeName(text);
      const namespace = kind === "ClusterSecretStore" ? "" : row.namespace;
      const store = rows.get(idOf(kind, namespace, name));
      const from = node(stores, `${kind}/${namespace}/${name}`, () => ({ key: `s ${kind} ${namespace} ${name}`, name, sub: store ? `${kind}, ${store.status}` : `${kind}, not there`, status: store?.status ?? "Unknown", row: store }));
      join(from, own_, row.status);
    }
    const here = users.filter((user) => user.namespace === row.namespace);
    const lead = (from, user, name) => {
      const workload = node(workloads, `${user.kind}/${user.namespace}/${user.name}`, () => ({ key: `w ${user.kind} ${user.namespace} ${user.name}`, name: user.name, sub: `${user.kind}, ${usesOf(user, name, row)}`, status: "" }));
      if (!from.to.includes(workload.name)) join(from, workload, "");
    };
    for (const user of here.filter((user) => mounts(user, row))) lead(own_, user, null);
    if (!row.target) continue;
    const [kind, name] = row.target.split(/ (.*)/);
    const target = node(targets, `${kind}/${row.namespace}/${name}`, () => ({ key: `t ${kind} ${row.namespace} ${name}`, name, sub: kind, status: "" }));
    join(own_, target, row.status);
    if (kind !== "Secret") continue;
    for (const user of here.filter((user) => user.secrets.some(([secret]) => secret === name))) lead(target, user, name);
  }
  const list = ([title, nodes]) => el("div", {}, el("h3", {}, title), el("ul", {}, [...nodes.values()].map(nodeItem)));
  const made = el("div", { class: "graph", role: "group", "aria-label": "What leads where" }, columns.map(list));
  made.edges = edges;
  made.addEventListener("pointerover", (event) => near(made, event.target.closest("li")));
  made.addEventListener("focusin", (event) => near(made, event.target.closest("li")));
  made.addEventListener("pointerleave", () => near(made, null));
  return made;
}

function nodeItem(node) {
  const leads = node.to.length ? `, leads to ${node.to.slice(0, 5).join(", ")}${node.to.length > 5 ? ` and ${node.to.length - 5} more` : ""}` : "";
  const item = el("li", { class: node.status }, node.row ? link(node.row) : node.name, el("span", { class: "sub" }, node.sub), el("span", { class: "unseen" }, leads));
  item.key = node.key;
  return item;
}

const SVG = "http://www.w3.org/2000/svg";

/** Draws the lines of a graph behind its names, which must be laid out already. */
function drawEdges(made) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const items = new Map([...made.querySelectorAll("li")].map((item) => [item.key, item]));
  const frame = made.getBoundingClientRect();
  const [left, top] = [frame.left + made.clientLeft - made.scrollLeft, frame.top + made.clientTop];
  for (const [from, to, status] of made.edges) {
    const [a, b] = [items.get(from).getBoundingClientRect(), items.get(to).getBoundingClientRect()];
    const [x1, y1, x2, y2] = [a.right - left, (a.top + a.bottom) / 2 - top, b.left - left, (b.top + b.bottom) / 2 - top];
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", `M${x1} ${y1}C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`);
    path.setAttribute("class", status === "Failed" ? "Failed" : "");
    Object.assign(path, { from, to });
    svg.append(path);
  }
  made.querySelector("svg")?.remove();
  made.prepend(svg);
  svg.style.width = `${made.scrollWidth}px`;
  if (!made.isWatched) new ResizeObserver(() => drawEdges(made)).observe(made);
  made.isWatched = true;
}

/** Shows all that leads to a name, and all that it leads to. */
function near(made, item) {
  const paths = [...made.querySelectorAll("path")];
  const lit = new Set(item ? [item.key] : []);
  const spread = (from, to) => {
    const open = [...(item ? [item.key] : [])];
    while (open.length) {
      const key = open.pop();
      for (const path of paths.filter((path) => path[from] === key)) {
        path.lit = true;
        lit.add(path[to]);
        open.push(path[to]);
      }
    }
  };
  paths.forEach((path) => (path.lit = false));
  spread("from", "to");
  spread("to", "from");
  paths.forEach((path) => path.classList.toggle("near", path.lit));
  for (const li of made.querySelectorAll("li")) li.classList.toggle("near", lit.has(li.key));
}

/** Who uses the Secrets of which namespace, as far as that was read. */
const used = new Map();

function openGraph() {
  $("graph").key = null;
  $("graph-q").value = route.q;
}

function graphHref(namespace, q) {
  const query = new URLSearchParams(Object.entries({ namespace, q }).filter(([, value]) => value));
  return `#/graph?${query}`;
}

function chooseGraph() {
  route = { ...route, namespace: $("graph-namespace").value, q: $("graph-q").value };
  history.replaceState(null, "", graphHref(route.namespace, route.q));
  showGraph();
}

function showGraph() {
  const secrets = [...rows.values()].filter((row) => row.kind === "ExternalSecret");
  // Where something failed is where somebody looks first.
  route.namespace ||= secrets.sort(COLUMNS[0][2])[0]?.namespace ?? "";
  const { namespace, q } = route;
  if (!namespace) return say($("graph-count"), told.listing ? "Listing what there is" : "There are no ExternalSecrets.");
  $("graph-namespace").value = namespace;
  showUsers();
  if (!used.has(namespace)) readUsers(namespace);
  const { users, notes } = used.get(namespace);
  const all = secrets.filter((row) => row.namespace === namespace && matches(row, wordsOf(q))).sort(COLUMNS[0][2]);
  const some = all.slice(0, MOST_IN_GRAPH);
  const stores = new Set(some.flatMap((row) => row.stores ?? []));
  const key = JSON.stringify([namespace, q, some.map((row) => [row.name, row.status, row.target, row.stores]), users, notes, [...stores].map((text) => storeStatus(text, namespace))]);
  // What changed nothing that is drawn moves nobody away from where they are.
  if ($("graph").key === key) return;
  $("graph").key = key;
  say($("graph-count"), some.length < all.length ? `${some.length} of ${counted(all.length, "ExternalSecret")}, those that failed first: search for fewer` : counted(all.length, "ExternalSecret"));
  const made = graph(some, users ?? []);
  $("graph").replaceChildren(...[notice(notes, "who uses them"), users ? null : el("p", { class: "quiet" }, "Reading who uses them"), made].filter(Boolean));
  drawEdges(made);
  if (users) performance.mark("graph");
}

function storeStatus(text, namespace) {
  const [kind, name] = storeName(text);
  return rows.get(idOf(kind, kind === "ClusterSecretStore" ? "" : namespace, name))?.status;
}

/** In which namespace it is shown who uses Secrets; empty where it is not. */
const shownNamespace = () => (route.view === "graph" || (route.view === "object" && route.kind === "ExternalSecret") ? (route.namespace ?? "") : "");

let showing = "";

/** By namespace that is watched, a number that is another one when who uses its Secrets has changed. */
let usersKnown = {};

/** Has the server watch it while it is shown. That it can't is no matter: there is a button. */
function showUsers() {
  const namespace = shownNamespace();
  if (namespace === showing) return;
  showing = namespace;
  isWatched();
  keepShowing();
}

/** Whether changes of who uses what is shown are told. */
function isWatched() {
  document.body.dataset.watched = showing in usersKnown;
}

function keepShowing() {
  if (showing && !document.hidden) fetch(`shows/${encodeURIComponent(showing)}`).catch(() => {});
}

function hearUsers(now) {
  const before = usersKnown;
  usersKnown = now;
  isWatched();
  for (const namespace of Object.keys(before)) {
    if (before[namespace] === now[namespace]) continue;
    // What is not watched any more is read anew when it is shown again.
    if (namespace !== showing || route.view === "object") used.delete(namespace);
    if (namespace === showing && namespace in now) readShown();
  }
}

function readShown() {
  if (route.view === "object") openAgain();
  else readUsers(showing);
}

/** What nobody saw was watched no more. */
function comeBack() {
  if (document.hidden || !showing) return;
  keepShowing();
  if (!(showing in usersKnown)) readShown();
}

async function readUsers(namespace) {
  if (!used.get(namespace)?.users) used.set(namespace, { users: null, notes: [] });
  try {
    used.set(namespace, await ask(`users/${encodeURIComponent(namespace)}`));
  } catch (error) {
    used.set(namespace, { users: [], notes: [`who uses them can't be shown: ${error.message}`] });
  }
  refresh();
}

// All of it.

function keys(event) {
  const isTyping = event.target.closest?.("input, select, textarea");
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "/" && !isTyping && route.view !== "object") {
    event.preventDefault();
    $(route.view === "graph" ? "graph-q" : "q").focus();
  }
  if (event.key === "Escape" && route.view === "object") location.hash = listHref();
}

makeFilters();
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
$("scroller").tabIndex = -1;
$("scroller").addEventListener("scroll", () => showRows(), { passive: true });
$("scroller").addEventListener("keydown", moveByKey);
$("graph-form").addEventListener("input", chooseGraph);
$("graph-form").addEventListener("submit", (event) => event.preventDefault());
$("graph-again").addEventListener("click", () => {
  used.clear();
  showGraph();
});
document.addEventListener("keydown", keys);
new ResizeObserver(() => route.view === "list" && showRows()).observe($("scroller"));
window.addEventListener("hashchange", () => go(false));
setInterval(keepShowing, 30000);
document.addEventListener("visibilitychange", comeBack);
// Ages grow while nothing changes.
setInterval(() => {
  if (route.view === "list" && !document.hidden) trs.forEach(age);
}, 5000);
go(true);
connect();
