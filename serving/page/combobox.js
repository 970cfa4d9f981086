/**
 * A text field with a list of suggestions, as WAI-ARIA 1.2 describes it: arrows move, Enter takes, Escape closes.
 * find: text => suggestions {value, text, note}, or a promise of them. take: called with the value that was chosen,
 * a suggestion's or the text as typed. keep: whether the field then shows the value.
 */
function combobox(id, { find, take, keep = true, placeholder = "", label }) {
  const list = make("ul", { id: `${id}-options`, className: "options", role: "listbox", popover: "manual" });
  const input = make("input", {
    id, type: "text", autocomplete: "off", spellcheck: false, placeholder, role: "combobox",
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
  });
  if (label) {
    input.setAttribute("aria-label", label);
    list.setAttribute("aria-label", label);
  } else list.setAttribute("aria-label", "Suggestions");
  let options = [], active = -1, asked = 0;

  function show(found) {
    options = found;
    active = -1;
    list.replaceChildren(...found.map(({ text, note }, place) => make(
      "li", { id: `${id}-${place}`, role: "option", "aria-selected": "false" }, text, note ? make("small", {}, note) : null,
    )));
    open(found.length > 0);
  }
  const isOpen = () => list.matches(":popover-open");
  function open(yes) {
    if (yes !== isOpen()) list.togglePopover(yes);
    if (yes) { // in the top layer nothing cuts it off; there it has to be put in place
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
    asked++; // what is still being looked for comes too late
    input.value = keep ? value : "";
    open(false);
    take(value);
  }
  async function look() {
    const mine = ++asked;
    try {
      const found = await find(input.value.trim());
      if (mine === asked) show(found);
    } catch (error) {
      say(error);
    }
  }
  input.addEventListener("input", afterPause(look, 60));
  input.addEventListener("click", look);
  input.addEventListener("blur", () => { asked++; open(false); });
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
