/**
 * A text field with a list of suggestions, as in WAI-ARIA 1.2: arrow keys move, Enter selects, Escape closes.
 * find: text => suggestions {value, text, note}, or a promise of them. select: called with the selected value: that of
 * a suggestion, or the typed text. keep: whether the field then shows the value.
 */
function combobox(id, { find, select, keep = true, placeholder = "", label }) {
  const list = make("ul", { id: `${id}-options`, className: "options", role: "listbox", popover: "manual" });
  const input = make("input", {
    id, type: "text", autocomplete: "off", spellcheck: false, placeholder, role: "combobox",
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
  });
  if (label) {
    input.setAttribute("aria-label", label);
    list.setAttribute("aria-label", label);
  } else list.setAttribute("aria-label", "Suggestions");
  let options = [], active = -1, latest = 0;

  function show(suggestions) {
    options = suggestions;
    active = -1;
    list.replaceChildren(...suggestions.map(({ text, note }, place) => make(
      "li", { id: `${id}-${place}`, role: "option", "aria-selected": "false" }, text, note ? make("small", {}, note) : null,
    )));
    open(suggestions.length > 0);
  }
  const isOpen = () => list.matches(":popover-open");
  function open(yes) {
    if (yes !== isOpen()) list.togglePopover(yes);
    if (yes) { // the top layer does not clip it, but it must be positioned
      const { left, bottom, width } = input.getBoundingClientRect();
      Object.assign(list.style, { left: `${left}px`, top: `${bottom + 4}px`, width: `${width}px` });
    }
    input.setAttribute("aria-expanded", String(yes));
    if (!yes) mark(-1);
  }
  function mark(place) {
    active = place;
    [...list.children].forEach((one, n) => one.setAttribute("aria-selected", String(n === place)));
    if (place < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", `${id}-${place}`);
    list.children[place].scrollIntoView({ block: "nearest" });
  }
  function choose(value) {
    latest++; // drop the results of searches that are still running
    input.value = keep ? value : "";
    open(false);
    select(value);
  }
  async function look() {
    const mine = ++latest;
    try {
      const suggestions = await find(input.value.trim());
      if (mine === latest) show(suggestions);
    } catch (error) {
      say(error);
    }
  }
  input.addEventListener("input", afterPause(look, 60));
  input.addEventListener("click", look);
  input.addEventListener("blur", () => { latest++; open(false); });
  input.addEventListener("keydown", event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (!isOpen()) look();
      else if (options.length) mark((active + step + options.length + (active < 0 && step < 0 ? 1 : 0)) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (active >= 0) choose(options[active].value);
      else if (input.value.trim()) choose(input.value.trim());
    } else if (event.key === "Escape" && isOpen()) {
      event.preventDefault(); // a dialog around it stays
      open(false);
    }
  });
  addEventListener("scroll", event => { if (isOpen() && event.target !== list) open(false); }, { capture: true, passive: true });
  list.addEventListener("pointerdown", event => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", event => {
    const one = event.target.closest("li");
    if (one) choose(options[[...list.children].indexOf(one)].value);
  });
  return make("div", { className: "combobox" }, input, list);
}
