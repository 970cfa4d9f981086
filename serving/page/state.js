/** State of the page: the release (`about`), loaded items by id, and what is shown. */
const state = {
  about: null,
  items: new Map(),
  user: null, // the known user: {user_id, known, features, history}
  reasons: null, // by item, after the first explanation
  usual: new Map(), // "column value" to its share of the history, if it is much higher than in the catalogue
};

const itemKey = id => `${typeof id}:${id}`;

/** Load the items that the page does not have yet, in several calls if there are many. */
async function learn(ids) {
  const missing = [...new Set(ids)].filter(id => !state.items.has(itemKey(id)));
  const most = 100, calls = [];
  for (let start = 0; start < missing.length; start += most) {
    const query = new URLSearchParams(missing.slice(start, start + most).map(id => ["id", id]));
    calls.push(call(`page/items?${query}`));
  }
  for (const { items } of await Promise.all(calls)) remember(items);
  for (const id of missing) state.items.set(itemKey(id), known(id)); // items that no longer exist are not requested again
}

function remember(items) {
  for (const item of items) state.items.set(itemKey(item.item_id), item);
}

function known(id) {
  return state.items.get(itemKey(id)) ?? { item_id: id, title: null, features: {} };
}

const named = id => known(id).title ?? String(id);

/** Values with at least a quarter of a history, and more than twice their share of the catalogue. */
function usualIn(history) {
  const counts = new Map(), frequent = new Map();
  for (const id of history) {
    for (const { name } of state.about.columns) {
      for (const value of [known(id).features[name] ?? []].flat()) {
        const key = `${name} ${value}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
  }
  const counted = state.about.counted;
  for (const { name, values } of state.about.columns) {
    for (const [value, items] of values ?? []) {
      const part = (counts.get(`${name} ${value}`) ?? 0) / history.length;
      if (history.length > 2 && part >= 0.25 && part > 2 * items / counted) frequent.set(`${name} ${value}`, part);
    }
  }
  return frequent;
}

/** Show an error; null hides it. */
function say(error) {
  get("error").hidden = error === null;
  get("error").textContent = error === null ? "" : error.message;
}
