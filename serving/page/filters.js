/** The control of one column: a histogram with two bounds for numbers, else check boxes. `condition` returns its filter. */
function facetOf(column, changed) {
  return column.values ? valuesOf(column, changed) : rangeOf(column, changed);
}

const FIRST = 8; // values shown as check boxes; the others are found by text

function valuesOf({ name, dtype, values, distinct }, changed) {
  const box = make("fieldset", { className: "facet" }, make("legend", {}, words(name)));
  const list = make("div", { className: "values" });
  box.append(list);
  const add = ([value, items], ticked = false) => {
    const input = make("input", { type: "checkbox", checked: ticked });
    input.value = JSON.stringify(value);
    const count = items === undefined ? null : make("small", {}, whole(items));
    list.append(make("label", {}, input, make("span", {}, shown(value, dtype), count)));
    return input;
  };
  values.slice(0, FIRST).forEach(pair => add(pair));
  box.addEventListener("change", changed);
  if (distinct > FIRST) {
    const rest = values.slice(FIRST);
    const more = combobox(`filter-${name}`, {
      label: `${words(name)}, another value`, placeholder: `${whole(distinct - FIRST)} more…`, keep: false,
      find: text => rest.filter(([value]) => String(value).toLowerCase().includes(text.toLowerCase())).slice(0, 50)
        .map(([value, items]) => ({ value: JSON.stringify(value), text: String(value), note: whole(items) })),
      select: text => {
        const value = valueOf(text, dtype, rest);
        const there = [...list.querySelectorAll("input")].find(one => one.value === JSON.stringify(value));
        if (there) there.checked = true;
        else add(rest.find(([one]) => one === value) ?? [value], true);
        changed();
      },
    });
    more.style.marginTop = ".375rem";
    box.append(more);
  }
  const clear = () => list.querySelectorAll("input").forEach(input => { input.checked = false; });
  const condition = () => {
    const ticked = [...list.querySelectorAll("input:checked")].map(input => JSON.parse(input.value));
    return ticked.length ? ticked : null;
  };
  return { name, element: box, condition, clear };
}

/** The value of a suggestion, or of typed text. */
function valueOf(text, dtype, offered) {
  const suggested = offered.find(([value]) => JSON.stringify(value) === text || String(value) === text);
  if (suggested) return suggested[0];
  return dtype.includes("Int64") && /^-?\d+$/.test(text) ? Number(text) : text;
}

function rangeOf({ name, dtype, least, most, bins }, changed) {
  const time = dtype === "UnixTimestamp";
  const [low, high] = ["min", "max"].map(end => {
    const input = make("input", { type: time ? "date" : "number", "aria-label": `${words(name)}, ${end}` });
    if (time) Object.assign(input, { min: least, max: most });
    else Object.assign(input, { step: "any", placeholder: short(end === "min" ? least : most) });
    return input;
  });
  const bars = bins.map(items => {
    const bar = make("i", { title: whole(items) });
    bar.style.height = share(Math.sqrt(items / Math.max(...bins))); // square root, so that a long tail is visible
    return bar;
  });
  const number = text => time ? Date.parse(text) : Number(text);
  const color = () => {
    const [from, to] = [number(least), number(most)];
    const [lowest, highest] = [low.value ? number(low.value) : from, high.value ? number(high.value) : to];
    bars.forEach((bar, n) => {
      const [start, end] = [n, n + 1].map(edge => from + (to - from) * edge / bars.length);
      bar.classList.toggle("in", (low.value || high.value) && end > lowest && start < highest);
    });
  };
  const box = make("fieldset", { className: "facet" }, make("legend", {}, words(name)),
    make("div", { className: "bins", "aria-hidden": "true" }, ...bars), make("div", { className: time ? "ends times" : "ends" }, low, high));
  const later = afterPause(changed);
  box.addEventListener("input", () => { color(); later(); });
  const condition = () => {
    const range = {};
    if (low.value) range.min = time ? low.value : Number(low.value);
    if (high.value) range.max = time ? `${high.value}T23:59:59` : Number(high.value);
    return Object.keys(range).length ? range : null;
  };
  return { name, element: box, condition, clear: () => { low.value = high.value = ""; color(); } };
}

let facets = [];

function showFilters(changed) {
  const { columns, title } = state.about; // small categories first, then numbers, then columns with many values
  const turn = ({ name, values, distinct }) => name === title ? 4 : values ? (distinct <= 30 ? 0 : 3) : /events|popularity/.test(name) ? 2 : 1;
  facets = [...columns].sort((one, other) => turn(one) - turn(other)).map(column => facetOf(column, changed));
  get("filters").replaceChildren(...facets.map(({ element }) => element));
}

/** The filter of the form, for a request; null without one. */
function filter() {
  const conditions = facets.map(({ name, condition }) => [name, condition()]).filter(([, value]) => value !== null);
  get("filter-count").hidden = conditions.length === 0;
  get("filter-count").textContent = conditions.length;
  get("filter-count").setAttribute("aria-label", `${conditions.length} in use`);
  return conditions.length ? Object.fromEntries(conditions) : null;
}
