"use strict";

const get = id => document.getElementById(id);

/** Create an element with properties and children. Texts are never parsed as markup. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for" || name === "list") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/**
 * Call the service and return its JSON. Throws an Error with the service's message if it refuses. body: sent by POST as
 * JSON; without one the call is a GET, which is retried a few times if the service is not ready.
 */
async function call(path, body, headers = {}, tries = 10) {
  let response;
  try {
    const json = { "Content-Type": "application/json", ...headers };
    response = await fetch(path, body ? { method: "POST", body: JSON.stringify(body), headers: json } : { headers });
  } catch {
    throw new Error("The service does not answer. Is it running?");
  }
  if (response.status === 503 && !body && tries > 1) { // the store is slow at first, or no release is loaded yet
    get("status").textContent = "not ready yet, retrying …";
    await new Promise(wait => setTimeout(wait, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
    return call(path, body, headers, tries - 1);
  }
  const content = await response.json();
  if (!response.ok) throw new Error(`${content.error.message} ${content.error.hint}`);
  return content;
}

/** Debounce: calls `act` once there were no calls for a while. */
function afterPause(act, milliseconds = 80) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), milliseconds);
  };
}

const words = name => name.replaceAll("_", " ");
const whole = number => number.toLocaleString("en");

/** A number in short form. */
function short(number) {
  if (Number.isInteger(number)) return Math.abs(number) < 10000 ? String(number) : whole(number);
  const size = Math.abs(number);
  return size >= 1000 ? whole(Math.round(number)) : String(Number(size < 1 ? number.toPrecision(2) : number.toFixed(2)));
}

/** A raw feature value for display. */
function shown(value, dtype) {
  if (value === null || value === undefined) return "—";
  if (dtype === "UnixTimestamp") return String(value).slice(0, 16).replace("T", " ").replace(/ 00:00$/, "");
  if (dtype === "Array(Float32)") return `${value.length} numbers`;
  if (Array.isArray(value)) return value.length ? value.map(one => shown(one)).join(", ") : "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? short(value) : String(value);
}

const share = part => `${(100 * part).toFixed(2)}%`;

function meter(part) {
  const bar = make("i");
  bar.style.width = share(Math.min(1, Math.max(0, part)));
  return make("span", { className: "meter", "aria-hidden": "true" }, bar);
}

// The name of a data set, or the last part of the path of its repository.
const datasetName = dataset => dataset.split("/").filter(Boolean).pop() ?? dataset;
