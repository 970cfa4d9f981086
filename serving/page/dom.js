"use strict";

const get = id => document.getElementById(id);

/** An element with properties and children; texts are texts, never markup. */
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
 * What the service answers; an Error with its own words where it refuses. body: posted as JSON, if given; a call without
 * one is made again, a few times, where the service asks for that.
 */
async function call(path, body, headers = {}, tries = 10) {
  let response;
  try {
    response = await fetch(path, body ? { method: "POST", body: JSON.stringify(body), headers } : { headers });
  } catch {
    throw new Error("The service does not answer. Is it running?");
  }
  if (response.status === 503 && !body && tries > 1) { // a cold store, or no release yet
    get("status").textContent = "not ready yet, trying again …";
    await new Promise(wait => setTimeout(wait, 1000 * Number(response.headers.get("Retry-After") ?? 1)));
    return call(path, body, headers, tries - 1);
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(`${answer.error.message} ${answer.error.hint}`);
  return answer;
}

/** Calls `act` once nothing has happened for a while; a person who types is not asked after each letter. */
function afterPause(act, milliseconds = 80) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), milliseconds);
  };
}

const words = name => name.replaceAll("_", " ");
const whole = number => number.toLocaleString("en");

/** A number as short as it is telling. */
function short(number) {
  if (Number.isInteger(number)) return Math.abs(number) < 10000 ? String(number) : whole(number);
  const size = Math.abs(number);
  return size >= 1000 ? whole(Math.round(number)) : String(Number(size < 1 ? number.toPrecision(2) : number.toFixed(2)));
}

/** A raw feature value as people read it. */
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

// A data set is called by its name, or by the address of its repository: there the last part says most.
const called = dataset => dataset.split("/").filter(Boolean).pop() ?? dataset;
