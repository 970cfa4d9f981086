const STAGES = {
  store: "feature store", embed: "user tower", search: "index search", popular: "popular items", explain: "explanation",
  rest: "rest of the service",
};
const FALLBACKS = {
  popular: "The feature store does not know this user. These are the most popular items.",
  store: "The feature store gave no usable answer. These are the most popular items.",
};

let latest = 0; // number of the latest request; responses to earlier ones are not shown

const madeUp = () => get("ask").elements.who.value === "made-up";

/** The body of the request that the form describes. */
function requestBody() {
  const body = { k: Math.min(Math.max(1, Math.round(get("k").valueAsNumber) || 1), Number(get("k").max)), exclude_seen: get("seen").checked, timings: true };
  const conditions = filter();
  if (conditions) body.filter = conditions;
  if (madeUp()) body.features = features();
  else body.user_id = state.user.user_id;
  return body;
}

/** Request recommendations and show them. */
async function recommend() {
  if (!state.about || (!madeUp() && !state.user)) return;
  const mine = ++latest, body = requestBody(), began = performance.now();
  try {
    const response = await call("v1/recommend", body);
    const took = performance.now() - began;
    const history = madeUp() ? madeUpHistory() : state.user.history;
    await learn([...history, ...response.items.map(({ item_id }) => item_id)]);
    if (mine !== latest) return;
    state.reasons = null;
    state.usual = usualIn(history);
    showHistory(history);
    showResponse(response, body);
    showTimes(response, took);
    say(null);
    if (response.release !== state.about.release) await begin(); // another release was activated
  } catch (error) {
    if (mine === latest) say(error);
  }
}

function showHistory(history) {
  const { features } = state.about;
  get("history-note").textContent = history.length ? `${whole(history.length)} items, newest first` : "";
  const list = history.slice(0, 20).map(id => row(id, null,
    button("Details", named(id), one => unfold(one, () => [allOf(known(id))]), { "aria-expanded": "false" }),
    button("Similar", named(id), () => openSimilar(id))));
  const nothing = madeUp() ? "No history yet: add items to it in the form." : "No history.";
  get("history").replaceChildren(...(list.length ? list : [make("li", { className: "empty" }, nothing)]));
  const values = madeUp() ? {} : state.user.features;
  const present = features.filter(({ name, encoding, dtype }) =>
    values[name] !== undefined && encoding !== "history" && name !== state.about.seen && dtype !== "Array(Float32)");
  get("profile").replaceChildren(...present.map(({ name, dtype }) => make(
    "div", {}, make("dt", {}, words(name)), make("dd", {}, shown(values[name], dtype)))));
  const seen = values[state.about.seen];
  if (seen) get("profile").append(make("div", {}, make("dt", {}, words(state.about.seen)), make("dd", {}, whole(seen.length))));
}

function showResponse({ items, fallback }, body) {
  const scored = scoredOf(items);
  const list = items.map(({ item_id }, n) => row(item_id, scored[n],
    button("Why", named(item_id), one => unfold(one, () => why(item_id, body)), { "aria-expanded": "false" }),
    button("Similar", named(item_id), () => openSimilar(item_id)),
    madeUp() && button("Add", `${named(item_id)} to the history`, () => addToHistory(item_id)) || null));
  get("items").replaceChildren(...(list.length ? list : [make("li", { className: "empty" }, "No item passes this filter.")]));
  get("notice").hidden = fallback === null;
  get("notice").textContent = fallback === null ? "" : `${FALLBACKS[fallback]} The score is the popularity.`;
  get("legend").hidden = state.usual.size === 0 || list.length === 0;
}

/** The panel of one item: its reasons, which one request loads for all shown items, and its features. */
async function why(id, body) {
  if (!state.reasons) {
    const { items } = await call("v1/recommend", { ...body, explain: true });
    await learn(items.flatMap(({ nearest_history }) => nearest_history.map(({ item_id }) => item_id)));
    state.reasons = new Map(items.map(({ item_id, nearest_history }) => [itemKey(item_id), nearest_history]));
  }
  return [because(state.reasons.get(itemKey(id)) ?? []), allOf(known(id))];
}

/** Show the time of each stage that the service measured, and of the whole call. */
function showTimes({ seconds, items, release }, took) {
  const { total, ...stages } = seconds;
  const parts = { ...stages, rest: Math.max(0, total - Object.values(stages).reduce((sum, one) => sum + one, 0)) };
  const measured = Object.entries(STAGES).filter(([stage]) => parts[stage] !== undefined);
  get("timing").hidden = false;
  get("stages").replaceChildren(...measured.map(([stage]) => {
    const bar = make("i", { className: stage });
    bar.style.width = share(parts[stage] / Math.max(total, 1e-9));
    return bar;
  }));
  get("stages-text").replaceChildren(...measured.map(([stage, text]) => make(
    "span", {}, make("i", { className: stage }), `${text} `, make("b", {}, `${(1000 * parts[stage]).toFixed(2)} ms`))),
  make("span", {}, "service ", make("b", {}, `${(1000 * total).toFixed(2)} ms`)));
  get("status").textContent = `${items.length} items in ${took.toFixed(0)} ms`;
  get("release").textContent = release;
}

/** Look a user up and recommend. */
async function pick(id) {
  const mine = ++latest;
  try {
    const user = await call(`page/user?${new URLSearchParams({ id })}`);
    if (mine !== latest) return;
    state.user = user;
    get("history-title").textContent = `History of ${user.user_id}`;
    get("user-hint").textContent = user.known ? "" : "The feature store does not know this user.";
    history.replaceState(null, "", `#${encodeURIComponent(id)}`);
    await recommend();
  } catch (error) {
    if (mine === latest) say(error);
  }
}

function openSimilar(id) {
  trail = [];
  showSimilar(id);
}

/** Switch between a known user and a made-up one, who starts with the features of the known user. */
function turn() {
  const made = madeUp();
  get("known").hidden = made;
  get("made-up").hidden = !made;
  get("history-title").textContent = made || !state.user ? "History" : `History of ${state.user.user_id}`;
  if (made && !Object.keys(features()).length && state.user) writeFeatures(state.user.features);
  recommend();
}

/** Load the release that serves, and request again. */
async function begin() {
  const about = await call("page/about");
  const same = state.about && JSON.stringify([about.columns, about.features]) === JSON.stringify([state.about.columns, state.about.features]);
  if (about.release !== state.about?.release) state.items.clear();
  state.about = about;
  get("dataset").textContent = `${datasetName(about.dataset)} · ${whole(about.items)} items · as of ${about.as_of.slice(0, 10)}`;
  get("release").textContent = about.release;
  get("k").max = Math.min(100, about.items);
  if (!same) {
    showFilters(recommend);
    showFeatures(recommend);
  }
  if (!about.store) get("user-hint").textContent = "This release has no feature store, so all users are unknown.";
  const chosen = state.user?.user_id ?? (decodeURIComponent(location.hash.slice(1)) || about.users[0]);
  if (madeUp()) await recommend();
  else if (chosen !== undefined) {
    get("user").value = chosen;
    await pick(chosen);
  } else get("items").replaceChildren(make("li", { className: "empty" }, "Choose a user, or make one up."));
}

get("user-box").append(combobox("user", {
  placeholder: "Choose, or type any id", select: pick,
  find: text => {
    const fits = state.about.users.map(String).filter(id => id.toLowerCase().includes(text.toLowerCase()));
    const shownUsers = state.user && text === String(state.user.user_id) ? state.about.users.map(String) : fits;
    return shownUsers.map(id => ({ value: id, text: id }));
  },
}));
get("item-box").append(combobox("item", { placeholder: "Search the catalogue", keep: false, find: findItems, select: openSimilarText }));

/** Open an item that was selected or typed. The service converts digits to a number if item ids are numbers. */
function openSimilarText(text) {
  openSimilar(state.items.get(`number:${text}`)?.item_id ?? text);
}

get("token-row").addEventListener("submit", event => event.preventDefault());
get("ask").addEventListener("submit", event => { event.preventDefault(); recommend(); });
get("ask").elements.who.forEach(one => one.addEventListener("change", turn));
get("k").addEventListener("input", afterPause(recommend));
get("seen").addEventListener("change", recommend);
get("clear-filters").addEventListener("click", () => { facets.forEach(({ clear }) => clear()); recommend(); });
get("clear-features").addEventListener("click", () => { writeFeatures({}); recommend(); });
get("release-button").addEventListener("click", showReleases);
get("filter").open = innerWidth > 1120; // a wide window has room for it
begin().catch(say);
