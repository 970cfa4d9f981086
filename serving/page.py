"""The page at `/`: type a user id, see what the service answers. Needs nothing from elsewhere."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>two-tower</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
  input, button { font: inherit; padding: .3rem .6rem; }
  #k { width: 5rem; }
  table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
  th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #ddd; overflow-wrap: anywhere; }
  td:first-child, td:last-child { font-variant-numeric: tabular-nums; }
  #note { min-height: 3em; }
  .bad { color: #a00; }
  code { background: #f3f3f3; padding: 0 .2em; }
</style>
<h1>two-tower</h1>
<p>Which items fit this user now? The page posts to <code>/v1/recommend</code>, as any client does.</p>
<form id="form">
  <label>User id <input id="user" required autofocus autocomplete="off"></label>
  <label>k <input id="k" type="number" min="1" value="10" required></label>
  <label><input id="seen" type="checkbox" checked> without items seen</label>
  <button>Recommend</button>
</form>
<p id="note" role="status"></p>
<table hidden><thead><tr><th scope="col">#</th><th scope="col">item</th><th scope="col">score</th></tr></thead>
<tbody></tbody></table>
<p>For programs: <code>POST /v1/recommend</code>, <code>POST /v1/similar</code>, <code>POST /v1/items</code>,
<code>GET /v2/health/ready</code>, <code>GET /v2/models/two_tower</code>, <code>GET /metrics</code>; all of it is in
<a href="openapi.json"><code>/openapi.json</code></a>.</p>
<script>
const get = id => document.getElementById(id), table = document.querySelector("table"), body = table.tBodies[0];
const reasons = {
  popular: "The feature store does not know this user (or there is none): these are the most popular items.",
  store: "The feature store gave no usable answer: these are the most popular items.",
};
get("form").addEventListener("submit", async event => {
  event.preventDefault();
  table.hidden = true;
  get("note").className = "";
  get("note").textContent = "…";
  const ask = { user_id: get("user").value, k: get("k").valueAsNumber, exclude_seen: get("seen").checked };
  const began = performance.now();
  try {
    const response = await fetch("v1/recommend", { method: "POST", body: JSON.stringify(ask) });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message + " " + answer.error.hint);
    const took = (performance.now() - began).toFixed(1);
    const why = answer.fallback ? reasons[answer.fallback] + " The score is the popularity." : "Ranked by the towers.";
    get("note").textContent = `${why} Release ${answer.release}; ${took} ms there and back.`;
    body.replaceChildren(...answer.items.map((item, n) => {
      const row = document.createElement("tr");
      for (const text of [n + 1, item.item_id, item.score.toPrecision(4)]) row.insertCell().textContent = text;
      return row;
    }));
    table.hidden = false;
  } catch (error) {
    get("note").className = "bad";
    get("note").textContent = error.message;
  }
});
</script>
</html>
"""
