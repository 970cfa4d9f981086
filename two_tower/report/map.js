"use strict";
(() => {
  const data = JSON.parse(document.getElementById("items").textContent);
  const get = id => document.getElementById(id);
  const canvas = get("plane"), tip = get("tip"), ink = canvas.getContext("2d");
  // Okabe and Ito's eight colours; the last one is for all other values.
  const palette = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#8b929c"];
  // Viridis, without the end that is invisible on the background.
  const night = matchMedia("(prefers-color-scheme: dark)");
  const ramps = [["#440154", "#3b528b", "#21918c", "#4aa84f", "#c9a800"], ["#9a6fb8", "#5f8fd6", "#21a594", "#5ec962", "#fde725"]];
  const names = Object.keys(data.columns), n = data.id.length;
  let kinds = new Array(n).fill(0), hits = null, chosen = -1, shapes = [];

  const text = i => [data.id[i], ...names.map(name => data.columns[name][i])].filter(v => v !== null).join(" ").toLowerCase();
  const haystack = Array.from({ length: n }, (_, i) => text(i));

  function colours(name) {
    const values = name ? data.columns[name] : [];
    const numbers = values.filter(v => typeof v === "number");
    const distinct = new Map();
    for (const v of values) distinct.set(v, (distinct.get(v) || 0) + 1);
    if (numbers.length && distinct.size > 8) {
      const sorted = Float64Array.from(numbers).sort();
      const edges = [0.2, 0.4, 0.6, 0.8].map(q => sorted[Math.floor(q * (sorted.length - 1))]);
      shapes = ramps[Number(night.matches)].map((c, b) => [c, b === 0 ? `up to ${edges[0]}` : b === 4 ? `above ${edges[3]}` : `up to ${edges[b]}`]);
      if (numbers.length < n) shapes.push([palette[7], "missing"]);
      kinds = values.map(v => v === null ? 5 : edges.filter(e => v > e).length);
    } else {
      const top = [...distinct].sort((a, b) => b[1] - a[1]).slice(0, 7).map(e => e[0]);
      shapes = top.map((v, k) => [palette[k], v === null ? "missing" : String(v)]);
      if (distinct.size > 7) shapes.push([palette[7], `${distinct.size - 7} others`]);
      const place = new Map(top.map((v, k) => [v, k]));
      kinds = name ? values.map(v => place.has(v) ? place.get(v) : 7) : new Array(n).fill(0);
      if (!name) shapes = [[palette[0], "items"]];
    }
    get("legend").replaceChildren(...shapes.map(([colour, label]) => {
      const entry = document.createElement("span"), dot = document.createElement("i");
      dot.style.background = colour;
      entry.append(dot, label);
      return entry;
    }));
  }

  const span = values => [Math.min(...values), Math.max(...values)];
  const [left, right] = span(data.x), [bottom, top] = span(data.y);
  const at = i => {
    const scale = Math.min((canvas.clientWidth - 28) / (right - left || 1), (canvas.clientHeight - 28) / (top - bottom || 1));
    return [
      canvas.clientWidth / 2 + (data.x[i] - (left + right) / 2) * scale,
      canvas.clientHeight / 2 - (data.y[i] - (bottom + top) / 2) * scale,
    ];
  };

  function dot(i, radius, alpha) {
    const [x, y] = at(i);
    ink.globalAlpha = alpha;
    ink.fillStyle = shapes[kinds[i]][0];
    ink.beginPath();
    ink.arc(x, y, radius, 0, 2 * Math.PI);
    ink.fill();
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * ratio;
    canvas.height = canvas.clientHeight * ratio;
    ink.scale(ratio, ratio);
    const near = chosen < 0 ? [] : data.near[chosen];
    const size = n > 4000 ? 2 : 3.2, faded = hits || chosen >= 0;
    for (let i = 0; i < n; i++) dot(i, size, faded ? 0.15 : 0.75);
    if (hits) for (const i of hits) dot(i, size + 0.8, 1);
    if (chosen >= 0) {
      ink.globalAlpha = 0.6;
      ink.strokeStyle = getComputedStyle(document.body).color;
      for (const j of near) {
        ink.beginPath(); ink.moveTo(...at(chosen)); ink.lineTo(...at(j)); ink.stroke();
      }
      for (const j of near) dot(j, 5, 1);
      dot(chosen, 7, 1);
      ink.globalAlpha = 1;
      ink.beginPath(); ink.arc(...at(chosen), 8, 0, 2 * Math.PI); ink.stroke();
    }
  }

  const describe = i => names.map(name => [name, data.columns[name][i]]).filter(([, v]) => v !== null && v !== "")
    .map(([name, v]) => `${name}: ${v}`).join(" · ");

  function button(i) {
    const button = document.createElement("button");
    button.textContent = data.id[i];
    button.title = describe(i);
    button.addEventListener("click", () => choose(i));
    return button;
  }

  function choose(i) {
    chosen = i;
    const description = document.createElement("p"), strong = document.createElement("b");
    strong.textContent = data.id[i];
    description.append(strong, " ", describe(i));
    const line = document.createElement("p");
    line.append("Nearest: ", ...data.near[i].map(button));
    get("results").replaceChildren(description, line);
    draw();
  }

  function find(input) {
    const query = input.trim().toLowerCase();
    chosen = -1;
    hits = query ? haystack.flatMap((hay, i) => hay.includes(query) ? [i] : []) : null;
    const line = document.createElement("p");
    if (hits) line.append(`${hits.length.toLocaleString()} found `, ...hits.slice(0, 12).map(button));
    get("results").replaceChildren(line);
    draw();
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    let best = -1, least = 144;
    for (let i = 0; i < n; i++) {
      const [x, y] = at(i), d = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
      if (d < least) [best, least] = [i, d];
    }
    return best;
  }

  canvas.addEventListener("pointermove", event => {
    const i = nearest(event);
    tip.hidden = i < 0;
    if (i < 0) return;
    tip.textContent = `${data.id[i]} · ${describe(i)}`;
    const [x, y] = at(i);
    tip.style.left = `${Math.min(x + 12, canvas.clientWidth - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.max(4, y - tip.offsetHeight - 8)}px`;
  });
  canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
  canvas.addEventListener("click", event => { const i = nearest(event); if (i >= 0) choose(i); });
  get("find").addEventListener("input", event => find(event.target.value));
  // A text column with a different value for almost every item is not useful for colours.
  const numbers = name => data.columns[name].every(v => v === null || typeof v === "number");
  const distinct = name => new Set(data.columns[name]).size;
  const useful = names.filter(name => numbers(name) ? distinct(name) > 1 : distinct(name) <= Math.max(8, n / 4));
  get("colour").append(...(useful.length ? useful.map(name => new Option(name)) : [new Option("none", "")]));
  get("colour").addEventListener("change", event => { colours(event.target.value); draw(); });
  window.addEventListener("resize", draw);
  night.addEventListener("change", () => { colours(get("colour").value); draw(); });
  // The default is the first column with few values, then the first with numbers.
  const first = useful.find(name => distinct(name) <= 12) || useful.find(numbers) || useful[0] || "";
  get("colour").value = first;
  colours(first);
  draw();
})();
