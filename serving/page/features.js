/** The form for the features of a made-up user: one field per feature of the contract, by its dtype. */
let fields = [];

function showFeatures(changed) {
  fields = state.about.features.map(feature => ({ feature, ...fieldOf(feature, changed) }));
  get("features").replaceChildren(...fields.map(({ feature, element }) => {
    const range = feature.quantiles && feature.encoding !== "age" && feature.encoding !== "cyclic" && feature.encoding !== "vector"
      ? `usually ${short(feature.quantiles[1])} to ${short(feature.quantiles[9])}` : "";
    const label = make("label", { className: "label", for: `feature-${feature.name}` }, words(feature.name), " ",
      make("span", { className: "quiet" }, range));
    return make("div", { className: "feature" }, label, ...element);
  }));
}

/** {element, read, write} of one field. read returns the raw value, undefined if the field is empty. */
function fieldOf(feature, changed) {
  const { name, dtype, encoding } = feature;
  const id = `feature-${name}`, later = afterPause(changed);
  if (dtype === "Array(Float32)") return vectorField(id, later);
  if (dtype.startsWith("Array")) return listField(id, feature, encoding === "history" || name === state.about.seen, changed);
  if (dtype === "Bool") return boolField(id, changed);
  const types = { Int64: "number", Float32: "number", Float64: "number", UnixTimestamp: "datetime-local" };
  const input = make("input", { id, type: types[dtype] ?? "text", autocomplete: "off" });
  if (types[dtype] === "number") input.step = dtype === "Int64" && !feature.top ? 1 : "any";
  input.addEventListener("input", later);
  const parts = [input];
  if (feature.top) {
    input.setAttribute("list", `${id}-top`);
    parts.push(make("datalist", { id: `${id}-top` }, ...feature.top.map(([value]) => make("option", { value: String(value) }))));
  }
  const read = () => {
    if (input.value === "") return undefined;
    if (dtype === "UnixTimestamp") return input.value;
    return types[dtype] ? Number(input.value) : input.value;
  };
  const write = value => {
    if (value === undefined || value === null) input.value = "";
    else if (dtype === "UnixTimestamp") input.value = String(value).slice(0, 16);
    else input.value = dtype === "Float32" ? Number(value.toPrecision(7)) : value;
  };
  return { element: parts, read, write };
}

function boolField(id, changed) {
  const options = [["", "missing"], ["true", "yes"], ["false", "no"]];
  const select = make("select", { id }, ...options.map(([value, text]) => make("option", { value }, text)));
  select.addEventListener("change", changed);
  const read = () => select.value === "" ? undefined : select.value === "true";
  return { element: [select], read, write: value => { select.value = value === undefined || value === null ? "" : String(value); } };
}

function vectorField(id, later) {
  const input = make("input", { id, type: "text", placeholder: "0.1, -0.4, …", autocomplete: "off" });
  input.addEventListener("input", later);
  const read = () => input.value.trim() ? input.value.split(",").map(Number) : undefined;
  return { element: [input], read, write: value => { input.value = (value ?? []).join(", "); } };
}

/** A list whose elements are added one at a time and go away by a press. ofItems: they are ids of items. */
function listField(id, { name, dtype, top }, ofItems, changed) {
  let values = null;
  const tokens = make("div", { className: "tokens" });
  const show = () => tokens.replaceChildren(...(values ?? []).map((value, place) => {
    const text = ofItems ? named(value) : String(value);
    const token = make("button", { type: "button", "aria-label": `Remove ${text} from ${words(name)}` }, text);
    token.addEventListener("click", () => {
      values.splice(place, 1);
      show();
      (tokens.children[place] ?? box.querySelector("input")).focus();
      changed();
    });
    return token;
  }));
  const suggest = text => (top ?? []).filter(([value]) => String(value).toLowerCase().includes(text.toLowerCase()))
    .map(([value]) => ({ value: String(value), text: String(value) }));
  const box = combobox(id, {
    keep: false, placeholder: "Add…", find: ofItems ? findItems : suggest,
    select: text => {
      values = [...(values ?? []), dtype === "Array(Int64)" && /^-?\d+$/.test(text) ? Number(text) : text];
      show();
      changed();
    },
  });
  const add = value => { values = [...(values ?? []), value]; show(); changed(); };
  return { element: [tokens, box], read: () => values?.length ? values : undefined, write: list => { values = list ? [...list] : null; show(); }, add };
}

/** The features of the form, for a request. */
function features() {
  const values = {};
  for (const { feature, read } of fields) {
    const value = read();
    if (value !== undefined) values[feature.name] = value;
  }
  get("made-up-count").textContent = `${Object.keys(values).length} of ${fields.length} given`;
  return values;
}

/** Fill the form. Fields without a value become empty. */
function writeFeatures(values) {
  for (const { feature, write } of fields) write(values[feature.name]);
}

/** The history of the made-up user, newest first. */
function madeUpHistory() {
  return fields.filter(({ feature }) => feature.encoding === "history").flatMap(({ read }) => [...(read() ?? [])].reverse());
}

/** Add an item to the history of the made-up user as the newest. */
function addToHistory(id) {
  fields.find(({ feature }) => feature.encoding === "history")?.add(id);
}
