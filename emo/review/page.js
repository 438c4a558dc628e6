"use strict";
// One clip at a time. All text from outside goes through textContent. What was answered waits in the browser's
// own storage until the server says that it is kept: a network that breaks loses nothing.

const at = (id) => document.getElementById(id);
const CHOICES = 8;
const RETRY_MS = 3000;
const GAIN_EVERY = 10;  // answers
// Of this person and this OUT: another server may listen at the same address later.
const OUTBOX = `emo.review.outbox.${document.body.dataset.whose}`;
const TRAIL = `emo.review.trail.${document.body.dataset.whose}`;

let clip = null;          // what the server says of the clip that is shown
let labels = [];          // {label, on, support}
let undone = [];          // earlier states of the answer, the newest last
let began = 0;            // when the clip was shown
let ahead = null;         // the next clip, asked for while this one is looked at
let skipped = new Set();
let words = [];
let trail = recall(sessionStorage, TRAIL, []);  // clips seen before this one, the newest last
let outbox = recall(localStorage, OUTBOX, []);
let sending = false;
let measured = null;      // answers when the gain was measured last
let part = { start: 0, end: null };  // where the clip is in the file that plays, seconds

function recall(store, key, otherwise) {
  try { return JSON.parse(store.getItem(key)) ?? otherwise; } catch { return otherwise; }
}

function keep(store, key, value) {
  try { store.setItem(key, JSON.stringify(value)); } catch { /* a browser that keeps nothing still works */ }
}

async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  const told = await response.json().catch(() => ({ error: `the server says ${response.status}` }));
  if (!response.ok) throw Object.assign(new Error(told.error), { status: response.status });
  return told;
}

function say(text) { at("status").textContent = text; }

function complain(text) {
  at("message").textContent = text;
  at("message").hidden = !text;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const same = (a, b) => a.normalize("NFKC").toLowerCase().trim() === b.normalize("NFKC").toLowerCase().trim();

// The clip.

function show(found) {
  clip = found;
  undone = [];
  began = performance.now();
  at("main").hidden = !clip;
  at("end").hidden = Boolean(clip);
  complain("");
  if (!clip) {
    at("video").removeAttribute("src");
    at("video").load();
    at("end").querySelector("h2").focus();
    return;
  }
  const offered = clip.candidates.filter((one) => one.kept);
  labels = offered.map((one) => ({ label: one.label, on: true, support: supportOf(one) }));
  const mine = clip.review;
  if (mine && mine.labels) {
    for (const one of labels) one.on = mine.labels.some((label) => same(label, one.label));
    for (const label of mine.labels) {
      if (!labels.some((one) => same(one.label, label))) labels.push({ label, on: true, support: "added by you" });
    }
  }
  at("unusable").checked = Boolean(mine) && mine.verdict === "unusable";
  at("several").checked = Boolean(mine) && mine.several_people;
  at("comment").value = (mine && mine.comment) || "";
  at("name").textContent = clip.video_id;
  const facts = [];
  if (clip.duration_s) facts.push(`${clip.duration_s.toFixed(1)} s`);
  if (clip.queue) facts.push(`asked because: ${clip.queue}`);
  if (clip.agreement !== null) facts.push(`agreement ${clip.agreement.toFixed(2)}`);
  if (clip.error) facts.push(`${clip.error}: ${clip.error_message}`);
  if (mine) facts.push("you have answered this clip; your answer is shown");
  at("facts").textContent = facts.join(" · ");
  at("transcript").hidden = !clip.transcript;
  at("transcript").textContent = clip.transcript || "";
  // So that a screen reader speaks it in its language.
  at("transcript").lang = clip.language || "";
  at("blind").hidden = !clip.blind;
  at("why-labels").hidden = clip.blind;
  at("stored").hidden = true;
  at("video").hidden = false;
  showVideo();
  showExperts();
  showLabels();
  say("");
  at("add").value = "";
  choose();
  at("back").disabled = trail.length === 0;
  at("name").focus({ preventScroll: true });
}

// A clip that is a part of its file plays that part alone (W3C Media Fragments).
async function showVideo() {
  const shown = clip;
  const where = encodeURIComponent(shown.video_id);
  part = { start: 0, end: null };
  let fragment = "";
  if (shown.is_part) {
    at("video").removeAttribute("src");
    try {
      const told = await ask(`media/part?video_id=${where}`);
      if (shown !== clip) return;
      part = { start: told.start || 0, end: told.end };
      if (told.start !== null) fragment = `#t=${told.start}${told.end === null ? "" : `,${told.end}`}`;
    } catch (error) {
      if (shown === clip) stored(`${error.message}.`);
      return;
    }
  }
  at("video").src = `media/video?video_id=${where}${fragment}`;
}

function supportOf(candidate) {
  const score = candidate.score === null ? "" : candidate.score.toFixed(2);
  const voters = candidate.voters.map((one) => one.expert + (one.words.length ? ` (${one.words.join(", ")})` : ""));
  return [score, voters.join(", ")].filter(Boolean).join(" · ");
}

function showExperts() {
  const found = clip.answers.map((one) => {
    const shown = element("article");
    const about = [one.expert, one.model, (one.labels || []).join(", ")].filter(Boolean);
    shown.append(element("h4", about.join(" · ")), element("p", one.text || one.error_message || "no word"));
    return shown;
  });
  at("answers").replaceChildren(...found);
}

function showLabels() {
  const found = labels.map((one, place) => {
    const button = element("button", undefined, { type: "button", "aria-pressed": String(one.on) });
    if (place < 9) button.append(element("kbd", String(place + 1)), " ");
    button.append(element("span", one.label));
    if (one.support) button.append(element("small", one.support));
    button.addEventListener("click", () => toggle(place));
    const item = element("li");
    item.append(button);
    return item;
  });
  const focused = [...at("labels").querySelectorAll("button")].indexOf(document.activeElement);
  at("labels").replaceChildren(...found);
  if (focused >= 0 && found[focused]) found[focused].firstChild.focus();
  at("none").hidden = labels.some((one) => one.on) || at("unusable").checked;
  at("undo").disabled = undone.length === 0;
}

// The answer.

function remember() {
  undone.push({
    labels: labels.map((one) => ({ ...one })), unusable: at("unusable").checked, several: at("several").checked,
  });
}

function undo() {
  const before = undone.pop();
  if (!before) return say("There is nothing to undo.");
  labels = before.labels;
  at("unusable").checked = before.unusable;
  at("several").checked = before.several;
  showLabels();
  say("Undone.");
}

function toggle(place) {
  if (!labels[place]) return;
  remember();
  labels[place].on = !labels[place].on;
  showLabels();
  say(`${labels[place].label}: ${labels[place].on ? "kept" : "taken away"}`);
}

function mark(id) {
  // A click has changed the box already.
  at(id).checked = !at(id).checked;
  remember();
  at(id).checked = !at(id).checked;
  showLabels();
}

function add(text) {
  const label = text.trim().replace(/\s+/g, " ");
  if (!label) return;
  remember();
  const known = labels.find((one) => same(one.label, label));
  if (known) known.on = true;
  else labels.push({ label, on: true, support: "added by you" });
  at("add").value = "";
  choose();
  showLabels();
  say(`${label}: added`);
}

async function done() {
  if (!clip) return;
  const unusable = at("unusable").checked;
  const answer = {
    video_id: clip.video_id,
    labels: unusable ? null : labels.filter((one) => one.on).map((one) => one.label),
    several_people: at("several").checked,
    comment: at("comment").value,
    seconds: (performance.now() - began) / 1000,
    queue: clip.queue,
    replaces: clip.review ? clip.review.run_id : null,
  };
  // Of two answers on one clip that both wait, the later one is what the person means.
  outbox = outbox.filter((one) => one.video_id !== answer.video_id);
  outbox.push(answer);
  keep(localStorage, OUTBOX, outbox);
  trail.push(clip.video_id);
  keep(sessionStorage, TRAIL, trail);
  const next = ahead;
  ahead = null;
  flush();
  await forward(next);
}

// Send what waits, the oldest first; what the server refuses for good is told, what it could not take is tried
// again.
async function flush() {
  if (sending) return;
  sending = true;
  try {
    while (outbox.length) {
      const answer = outbox[0];
      try {
        const told = await ask("api/review", { ...answer, whose: document.body.dataset.whose });
        if (clip && clip.video_id === answer.video_id) clip.review = { ...(clip.review || {}), run_id: told.saved };
      } catch (error) {
        if (![400, 409, 410, 413].includes(error.status)) {
          complain(`${outbox.length} answers are not kept yet (${error.message}); trying again.`);
          setTimeout(flush, RETRY_MS);
          return;
        }
        complain(`The answer on ${answer.video_id} was refused: ${error.message}`);
      }
      outbox = outbox.filter((one) => one !== answer);
      keep(localStorage, OUTBOX, outbox);
    }
  } finally {
    sending = false;
  }
  if (at("message").textContent.includes("not kept yet")) complain("");
  await progress();
}

// From clip to clip.

function fetchNext() {
  const avoided = [...skipped, ...outbox.map((one) => one.video_id), ...(clip ? [clip.video_id] : [])];
  return ask("api/next", { skipped: avoided }).then((told) => told.clip);
}

function lookAhead() {
  const wanted = fetchNext().catch(() => null);
  ahead = wanted;
}

async function forward(prepared) {
  try {
    let found = prepared ? await prepared : null;
    if (found && (skipped.has(found.video_id) || (clip && found.video_id === clip.video_id))) found = null;
    found = found || await fetchNext();
    // What was skipped comes again at the end.
    if (!found && skipped.size) {
      skipped.clear();
      found = await fetchNext();
    }
    show(found);
    if (found) lookAhead();
  } catch (error) {
    complain(`The next clip does not come: ${error.message}`);
    setTimeout(() => { if (!at("message").hidden) forward(null); }, RETRY_MS);
  }
}

async function skip() {
  if (!clip) return;
  skipped.add(clip.video_id);
  trail.push(clip.video_id);
  keep(sessionStorage, TRAIL, trail);
  const next = ahead;
  ahead = null;
  await forward(next);
}

async function back() {
  const before = trail.pop();
  if (!before) return say("This is the first clip.");
  keep(sessionStorage, TRAIL, trail);
  // The answer that one goes back to must be kept first, so that it is shown.
  await flush();
  try {
    const told = await ask(`api/clip?video_id=${encodeURIComponent(before)}`);
    if (told.clip.queue === null && clip && clip.video_id === before) told.clip.queue = clip.queue;
    skipped.delete(before);
    show(told.clip);
    lookAhead();
  } catch (error) {
    complain(`The clip before does not come: ${error.message}`);
  }
}

// Words.

function fitting(text) {
  const typed = text.normalize("NFKC").toLowerCase().trim();
  if (!typed) return [];
  const rank = ({ word, also }) => {
    if (word === typed) return 0;
    if (word.startsWith(typed)) return 1;
    if (also.some((other) => other.startsWith(typed))) return 2;
    return word.includes(typed) || also.some((other) => other.includes(typed)) ? 3 : 9;
  };
  const ranked = words.map((one) => [rank(one), one]).filter(([value]) => value < 9);
  return ranked.sort((a, b) => a[0] - b[0]).slice(0, CHOICES).map(([, one]) => one);
}

function choose(selected = -1) {
  const typed = at("add").value.normalize("NFKC").toLowerCase().trim();
  const found = fitting(typed);
  const shown = found.map((one, place) => {
    const other = one.also.find((form) => form.startsWith(typed));
    const told = one.word.startsWith(typed) || !other ? one.word : `${one.word} (${other})`;
    const item = element("li", told, { role: "option", id: `choice-${place}`, "aria-selected": String(place === selected) });
    item.dataset.word = one.word;
    item.addEventListener("pointerdown", (event) => { event.preventDefault(); add(one.word); });
    return item;
  });
  at("choices").replaceChildren(...shown);
  at("choices").hidden = shown.length === 0;
  at("add").setAttribute("aria-expanded", String(shown.length > 0));
  if (selected >= 0) at("add").setAttribute("aria-activedescendant", `choice-${selected}`);
  else at("add").removeAttribute("aria-activedescendant");
}

function inWords(event) {
  const items = [...at("choices").children];
  const selected = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
  if (event.isComposing) return;
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    if (items.length) choose((selected + step + items.length + (selected < 0 && step < 0 ? 1 : 0)) % items.length);
  } else if (event.key === "Enter") {
    event.preventDefault();
    if (at("add").value.trim()) add(selected >= 0 ? items[selected].dataset.word : at("add").value);
    else at("name").focus();
  } else if (event.key === "Escape") {
    event.preventDefault();
    at("add").value = "";
    choose();
    at("name").focus();
  }
}

// The whole.

async function progress() {
  const told = await ask("api/progress").catch(() => null);
  if (!told) return;
  at("progress").textContent = `${told.reviewer}: ${told.mine} answered · queue ${told.by}: ${told.done} of ${told.queued} done`;
  const percent = (value) => `${Math.round(100 * value)} %`;
  const lines = [];
  for (const [name, what] of [["right", "Right as shown"], ["blind", "Right, blind"]]) {
    const one = told[name];
    if (one.of) lines.push(`${what}: ${percent(one.share)} of ${one.of} random clips (95 % interval ${percent(one.low)} to ${percent(one.high)})`);
  }
  if (told.alpha_clusters !== null) {
    lines.push(`Agreement of people (Krippendorff's alpha): ${told.alpha_clusters.toFixed(2)} by cluster, ${told.alpha_words.toFixed(2)} by word, on ${told.shared_clips} clips`);
  }
  at("quality").textContent = lines.join(" · ");
  gain(told.mine);
}

// What further reviews are worth: it takes the server a moment, and changes slowly.
async function gain(mine) {
  if (measured !== null && mine < measured + GAIN_EVERY) return;
  measured = mine;
  const told = await ask("api/gain").catch(() => null);
  if (told) at("gain").textContent = told.line;
}

function stored(reason) {
  if (!clip) return;
  at("video").hidden = true;
  at("stored").hidden = false;
  at("why").textContent = reason;
  const where = encodeURIComponent(clip.video_id);
  const times = clip.frame_times || [];
  at("frames").replaceChildren(...times.map((time, place) =>
    element("img", undefined, { src: `media/frame?video_id=${where}&place=${place}`, alt: `frame at ${time.toFixed(1)} s` })));
  at("sound").src = `media/sound?video_id=${where}`;
}

async function failedVideo() {
  const shown = clip;
  if (!shown || !at("video").getAttribute("src")) return;
  let reason = "this browser does not play it.";
  const response = await fetch(at("video").getAttribute("src"), { headers: { Range: "bytes=0-0" } }).catch(() => null);
  if (response && !response.ok) reason = `${(await response.json().catch(() => ({}))).error || response.status}.`;
  if (shown === clip) stored(reason);
}

function play() {
  const player = at("video").hidden ? at("sound") : at("video");
  const outside = player.currentTime < part.start || (part.end !== null && player.currentTime >= part.end);
  if (player === at("video") && player.paused && outside) player.currentTime = part.start;
  if (player.paused) player.play().catch(() => say("It does not play.")); else player.pause();
}

function keys(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const field = event.target.closest("input[type=text], textarea");
  if (field) {
    if (field.id === "add") inWords(event);
    else if (event.key === "Escape") at("name").focus();
    return;
  }
  const own = event.target.closest("button, input");
  if (own && (event.key === " " || event.key === "Enter")) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const does = {
    Enter: done, a: () => at("add").focus(), z: undo, u: () => at("unusable").click(), p: () => at("several").click(),
    c: () => at("comment").focus(), " ": play, r: () => { at("video").currentTime = part.start; }, b: back, s: skip,
    "?": () => at("show-keys").click(),
  }[key] || (/^[1-9]$/.test(key) ? () => toggle(Number(key) - 1) : null);
  if (!does || event.repeat) return;
  event.preventDefault();
  if (clip || key === "b" || key === "?") does();
}

async function start() {
  document.addEventListener("keydown", keys);
  at("show-keys").addEventListener("click", () => {
    at("keys").hidden = !at("keys").hidden;
    at("show-keys").setAttribute("aria-expanded", String(!at("keys").hidden));
  });
  at("done").addEventListener("click", done);
  at("undo").addEventListener("click", undo);
  at("skip").addEventListener("click", skip);
  at("back").addEventListener("click", back);
  at("end-back").addEventListener("click", back);
  at("unusable").addEventListener("change", () => mark("unusable"));
  at("several").addEventListener("change", () => mark("several"));
  at("add").addEventListener("input", () => choose());
  at("add").addEventListener("blur", () => { at("choices").hidden = true; });
  at("video").addEventListener("error", failedVideo);
  // Browsers stop at the end of a fragment once; who plays on from there is stopped too.
  at("video").addEventListener("timeupdate", () => {
    if (part.end !== null && !at("video").paused && at("video").currentTime >= part.end) at("video").pause();
  });
  at("anew").addEventListener("click", () => ask("api/queue", {}).then(() => forward(null), (error) => complain(error.message)));
  at("invite").addEventListener("click", async () => {
    const told = await ask("api/invite", {}).catch((error) => ({ address: error.message }));
    at("address").textContent = told.address;
  });
  window.addEventListener("online", flush);
  await flush();
  const last = trail.at(-1);
  await forward(null);
  if (last === undefined) at("back").disabled = true;
  await progress();
  words = (await ask("api/words").catch(() => ({ words: [] }))).words;
}

start();
