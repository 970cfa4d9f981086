/** What the page knows: `about` the release, items by id as they come, and what is shown now. */
const state = {
  about: null,
  items: new Map(),
  user: null, // of the known user: {user_id, known, features, history}
  reasons: null, // by item, once somebody has asked why
  usual: new Map(), // "column value" to its share of the history, where that is out of the usual
};

const itemKey = id => `${typeof id}:${id}`;

/** Read what is known of items, those that are new to the page; many calls for many. */
async function learn(ids) {
  const missing = [...new Set(ids)].filter(id => !state.items.has(itemKey(id)));
  const most = 100, calls = [];
  for (let start = 0; start < missing.length; start += most) {
    const query = new URLSearchParams(missing.slice(start, start + most).map(id => ["id", id]));
    calls.push(call(`page/items?${query}`));
  }
  for (const { items } of await Promise.all(calls)) remember(items);
  for (const id of missing) state.items.set(itemKey(id), known(id)); // those that are gone are not asked for again
}

function remember(items) {
  for (const item of items) state.items.set(itemKey(item.item_id), item);
}

function known(id) {
  return state.items.get(itemKey(id)) ?? { item_id: id, title: null, features: {} };
}

const named = id => known(id).title ?? String(id);

/** What a history has more of than the catalogue: values of at least a quarter of it, and twice as usual there. */
function usualIn(history) {
  const counts = new Map(), found = new Map();
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
      if (history.length > 2 && part >= 0.25 && part > 2 * items / counted) found.set(`${name} ${value}`, part);
    }
  }
  return found;
}

/** Say what went wrong, or with null that nothing does any more. */
function say(error) {
  get("error").hidden = error === null;
  get("error").textContent = error === null ? "" : error.message;
}
