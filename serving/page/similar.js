/** Search items by text, for a combobox. */
async function findItems(text) {
  const { items } = await call(`page/items?${new URLSearchParams({ search: text })}`);
  remember(items);
  return items.map(({ item_id, title }) => ({
    value: String(item_id), text: title ?? String(item_id), note: title ? String(item_id) : "",
  }));
}

let trail = [];

/** Show the items that are similar to one. The trail records the steps from item to item. */
async function showSimilar(id) {
  trail.push(id);
  const dialog = get("similar");
  if (!dialog.open) dialog.showModal();
  get("similar-status").textContent = "…";
  const began = performance.now();
  try {
    const { items } = await call("v1/similar", { item_id: id, k: Math.min(10, Math.max(1, state.about.items - 1)) });
    await learn([id, ...items.map(({ item_id }) => item_id)]);
    const scored = scoredOf(items);
    const list = items.map(({ item_id }, n) => row(item_id, scored[n], button("Similar", named(item_id), () => showSimilar(item_id))));
    get("similar-items").replaceChildren(...list);
    get("similar-status").textContent = `${items.length} items in ${(performance.now() - began).toFixed(0)} ms`;
  } catch (error) {
    get("similar-items").replaceChildren();
    get("similar-status").textContent = error.message;
  }
  get("similar-title").textContent = `Similar to ${named(id)}`;
  get("similar-trail").textContent = trail.length > 1 ? trail.slice(-4).map(named).join(" › ") : "";
  dialog.scrollTop = 0;
  dialog.querySelector(".close").focus();
}

/** Show the releases, with buttons to activate them if the service has an admin token. */
async function showReleases() {
  const dialog = get("releases");
  dialog.showModal();
  get("releases-status").textContent = "…";
  get("token-row").hidden = !state.about.admin;
  get("releases-hint").textContent = state.about.admin
    ? "Activating a release takes effect at once, without a restart. The token stays in this page."
    : "To activate releases here, start the service with a token in TWO_TOWER_ADMIN_TOKEN.";
  try {
    const { releases } = await call("page/releases");
    get("release-list").replaceChildren(...releases.map(releaseRow));
    get("releases-status").textContent = "";
  } catch (error) {
    get("releases-status").textContent = error.message;
  }
}

function releaseRow({ release, serves, dataset, created, recall }) {
  const measured = recall === null ? "" : ` · recall@20 ${recall.toFixed(3)}`;
  const label = make("div", {}, make("p", {}, release),
    make("small", {}, `${datasetName(dataset)} · created ${created.slice(0, 16).replace("T", " ")}${measured}`));
  if (serves) return make("li", {}, label, make("span", { className: "serves" }, "serves now"));
  const activate = make("button", { type: "button", disabled: !state.about.admin, "aria-label": `Serve ${release}` }, "Serve this");
  activate.addEventListener("click", () => switchTo(release));
  return make("li", {}, label, activate);
}

async function switchTo(release) {
  get("releases-status").textContent = `opening ${release} …`;
  try {
    await call("admin/activate", { release }, { Authorization: `Bearer ${get("token").value}` });
    await begin();
    await showReleasesAgain();
  } catch (error) {
    get("releases-status").textContent = error.message;
  }
}

async function showReleasesAgain() {
  const { releases } = await call("page/releases");
  get("release-list").replaceChildren(...releases.map(releaseRow));
  get("releases-status").textContent = `${state.about.release} serves now.`;
}
