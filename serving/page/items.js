const MOST_CHIPS = 7;

/** A few values of an item: of small categories, of lists, and two numbers. */
function chips(item) {
  const { columns, title } = state.about;
  const texts = new Map(); // each text once: a category may also be a tag
  const present = columns.filter(({ name }) => name !== title && item.features[name] !== undefined);
  for (const { name, dtype, values, distinct } of present) {
    const value = item.features[name];
    const put = (text, one) => texts.set(text, (texts.get(text) ?? false) || state.usual.has(`${name} ${one}`));
    if (!values) continue;
    if (dtype === "Bool") value && put(words(name), value);
    else if (dtype === "Int64") put(`${words(name)} ${value}`, value);
    else if (dtype === "String" && (distinct <= 30 || state.usual.has(`${name} ${value}`))) put(value, value);
    else if (dtype === "Array(String)") value.slice(0, 4).forEach(one => put(one, one));
  }
  const numbers = present.filter(({ name, values, dtype }) => !values && dtype !== "UnixTimestamp" && !/events|popularity/.test(name));
  const labels = [...texts].sort(([, one], [, other]) => other - one).slice(0, MOST_CHIPS - Math.min(2, numbers.length));
  for (const { name } of numbers.slice(0, 2)) labels.push([`${words(name)} ${short(item.features[name])}`, false]);
  return make("div", { className: "chips" }, ...labels.map(([text, shared]) => make("span", { className: shared ? "chip shared" : "chip" }, text)));
}

/** All features of an item. */
function allOf(item) {
  const dtypes = new Map(state.about.columns.map(({ name, dtype }) => [name, dtype]));
  const list = make("dl", { className: "all" });
  for (const [name, value] of Object.entries(item.features)) {
    if (value === item.item_id || name === state.about.title) continue; // the row shows it already
    list.append(make("div", {}, make("dt", {}, words(name)), make("dd", {}, shown(value, dtypes.get(name)))));
  }
  return list;
}

function button(text, label, act, more = {}) {
  const element = make("button", { type: "button", "aria-label": `${text}: ${label}`, ...more }, text);
  element.addEventListener("click", () => act(element));
  return element;
}

/** A row of a list of items. scored: {place, score, part} in a ranked list; acts: its buttons. */
function row(id, scored, ...acts) {
  const item = known(id);
  const name = make("p", { className: "name" }, named(id), item.title ? make("small", {}, String(id)) : null);
  const side = make("div", { className: "side" });
  if (scored) {
    const label = `score ${scored.score.toPrecision(3)}`;
    side.append(make("p", { className: "score", title: label }, meter(scored.part), scored.score.toPrecision(3)));
  }
  side.append(make("div", { className: "acts" }, ...acts));
  const element = make("li", {}, scored ? make("span", { className: "rank" }, String(scored.place)) : null,
    name, side, chips(item));
  element.dataset.item = itemKey(id);
  return element;
}

/** Scores as lengths of a bar: the best score is a full bar; 0, or a lower minimum, is an empty one. */
function scoredOf(items) {
  const scores = items.map(({ score }) => score);
  const best = Math.max(...scores), least = Math.min(0, ...scores);
  return items.map(({ score }, n) => ({ place: n + 1, score, part: best > least ? (score - least) / (best - least) : 1 }));
}

/** Open or close the panel below a row; `fill` returns its content. */
async function unfold(button, fill) {
  const row = button.closest("li"), open = row.querySelector(".why");
  const others = row.querySelectorAll("[aria-expanded=true]");
  others.forEach(one => one.setAttribute("aria-expanded", "false"));
  open?.remove();
  light([]);
  if (open && [...others].includes(button)) return;
  button.setAttribute("aria-expanded", "true");
  try {
    const panel = make("div", { className: "why" }, ...await fill());
    row.querySelector(".why")?.remove();
    if (button.getAttribute("aria-expanded") === "true") row.append(panel);
  } catch (error) {
    button.setAttribute("aria-expanded", "false");
    say(error);
  }
}

/** Highlight items of the history. */
function light(ids) {
  const lit = new Set(ids.map(itemKey));
  for (const one of get("history").children) one.classList.toggle("near", lit.has(one.dataset.item));
}

/** The explanation of a recommended item: the nearest items of the history. */
function because(nearest) {
  if (!nearest.length) {
    return make("p", {}, "The history has no items that the towers know. Other features, or popularity, explain this item.");
  }
  light(nearest.map(({ item_id }) => item_id));
  const list = make("ul", { className: "because" });
  for (const { item_id, score } of nearest) {
    const bar = make("span", { className: "score" }, meter(score), score.toFixed(3));
    list.append(make("li", {}, make("span", {}, named(item_id)), bar));
  }
  return make("div", {}, make("h3", {}, "Nearest in the history"), list);
}
