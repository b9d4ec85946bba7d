// The page on which a reader draws synthetic patients: the form, a patient as it grows, and many.
"use strict";

(() => {
  const MODEL = new URL("../try-it/model.js", document.currentScript.src).href;
  const MANY = 200; // patients of the larger draw
  const SHOWN = 15; // codes in its table
  const FEW = 1, FEW_IN_WORDS = "1 to 10"; // so many patients are not told apart
  const SECONDS = 5; // in which the level rises from 0 to 1
  const TRIES = 1000; // patients grown in a row without one that is accepted
  const SLICE = 40; // milliseconds of work between two looks at the reader

  // Elements -------------------------------------------------------------------------------------

  /** An element with its properties and children; texts are shown as they are, never as markup. */
  function make(kind, properties = {}, ...children) {
    const element = Object.assign(document.createElement(kind), properties);
    element.append(...children);
    return element;
  }

  const whole = (number) => number.toLocaleString("en");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const people = (number) => (number === FEW ? FEW_IN_WORDS : whole(number));
  const listed = (words) => [words.slice(0, -1).join(", "), ...words.slice(-1)]
    .filter(Boolean).join(" and ");

  function table(caption, heads, rows) {
    const cell = (kind, scope) => (content) => make(kind, scope ? { scope } : {}, content);
    const body = rows.map((row) => make("tr", {}, ...row.map(cell("td"))));
    return make("div", { className: "table-scroll" },
      make("table", { className: "scores" }, make("caption", {}, caption),
        make("thead", {}, make("tr", {}, ...heads.map(cell("th", "col")))),
        make("tbody", {}, ...body)));
  }

  // The model ------------------------------------------------------------------------------------

  function load(address) {
    return new Promise((done, failed) => {
      const events = { src: address, onload: done, onerror: () => failed(new Error("no model")) };
      document.head.append(make("script", events));
    });
  }

  /** How many training patients have two codes together; all have a code with itself. */
  function together(pairs, one, other) {
    const first = Math.min(one, other), second = Math.max(one, other);
    const at = pairs.first.findIndex((code, i) => code === first && pairs.second[i] === second);
    return at < 0 ? 0 : pairs.patients[at];
  }

  /** How many training patients have each code and the one given (or none): a number a code. */
  function frequencies(pairs, nCodes, given) {
    const found = new Array(nCodes).fill(0);
    pairs.patients.forEach((patients, i) => {
      const one = pairs.first[i], other = pairs.second[i];
      if (given === undefined ? one === other : one === given || other === given)
        found[one === given ? other : one] = patients;
    });
    return found;
  }

  /** How many training patients meet a condition, in words, and whether any does. */
  function support(model, given) {
    const n = `${whole(model.patients)} training patients`;
    if (!given.length) return { met: true, words: `Nothing is asked: patients like all ${n}.` };
    const each = given.map((code) => together(model.pairs, code, code));
    const both = given.flatMap((one, i) =>
      given.slice(i + 1).map((other) => together(model.pairs, one, other)));
    const least = Math.min(...each, ...both);
    const have = listed(given.map((code, i) => `${people(each[i])} have ${model.codes[code]}`));
    const bound = given.length > 2 && least ? "at most " : "";
    const all = given.length > 1 ? `; ${bound}${least ? people(least) : "none"} have all` : "";
    const remedy = least ? "" : " Choose diagnoses that patients have together.";
    return { met: least > 0, words: `Of ${n} ${have}${all}.${remedy}` };
  }

  // Drawing --------------------------------------------------------------------------------------

  const pause = () => new Promise((done) => setTimeout(done));

  /** Draw patients who have the codes given; `look` hears how many there are, and may stop it. */
  async function draw(model, given, seed, n, look) {
    const accepted = [], random = thinning.randomNumbers(seed);
    let seconds = 0, proposed = 0, evaluations = 0, since = performance.now(), inVain = 0;
    for (const patient of thinning.proposals(model.rate, given, random)) {
      proposed++;
      evaluations += patient.evaluations;
      inVain = patient.accepted ? 0 : inVain + 1;
      if (patient.accepted) accepted.push(patient);
      const busy = performance.now() - since;
      if (busy < SLICE && accepted.length < n) continue;
      seconds += busy / 1000;
      if (accepted.length === n || inVain > TRIES || !look(accepted.length)) break;
      await pause();
      since = performance.now();
    }
    return { accepted, seconds, proposed, evaluations, failed: inVain > TRIES };
  }

  function cost({ accepted, seconds, proposed, evaluations }) {
    const each = `${Math.round((1000 * seconds) / accepted.length)} ms`;
    const grown = proposed > accepted.length
      ? `; ${whole(proposed)} were grown and ${whole(accepted.length)} accepted` : "";
    const patients = accepted.length === 1 ? "" : " a patient";
    return `${each} and ${whole(Math.round(evaluations / accepted.length))} evaluations of the `
      + `network${patients}${grown}`;
  }

  /** A patient as rows of a table, a row a diagnosis in the order in which they came. */
  function grown(model, given, { jumps }) {
    const counts = new Map();
    return [...given.map((code) => ({ code })), ...jumps].map(({ level, code }) => {
      counts.set(code, (counts.get(code) ?? 0) + 1);
      return { level: level ?? 0, cells: [level === undefined ? "given" : level.toFixed(3),
        model.codes[code], model.titles[code], String(counts.get(code))] };
    });
  }

  function showPatient(place, model, given, seed, found) {
    const rows = grown(model, given, found.accepted[0]);
    const codes = found.accepted[0].x.size;
    const caption = `The patient of random seed ${seed}: ${rows.length} diagnoses of ${codes} `
      + `codes, in ${cost(found)}`;
    const heads = ["level", "code", "diagnosis", "count"];
    const shown = table(caption, heads, rows.map((row) => row.cells));
    const bar = make("progress", { max: 1, value: 0 });
    place.replaceChildren(make("label", {}, "level ", bar), shown);
    const lines = [...shown.querySelectorAll("tbody tr")];
    const reveal = (level) => {
      bar.value = level;
      lines.forEach((line, i) => line.classList.toggle("to-come", rows[i].level > level));
    };
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) reveal(1);
    else rise(place, bar, reveal);
  }

  /** Let the level rise from 0 to 1 for as long as this bar is on the page. */
  function rise(place, bar, reveal) {
    const begun = performance.now();
    const step = (now) => {
      const level = Math.min(Math.max((now - begun) / (1000 * SECONDS), 0), 1);
      reveal(level);
      if (level < 1 && place.contains(bar)) requestAnimationFrame(step);
    };
    reveal(0);
    requestAnimationFrame(step);
  }

  function showMany(place, model, given, found) {
    const n = found.accepted.length, here = new Array(model.codes.length).fill(0);
    let diagnoses = 0;
    for (const { x } of found.accepted)
      for (const [code, count] of x) {
        here[code]++;
        diagnoses += count;
      }
    const order = here.map((_, code) => code)
      .filter((code) => here[code] && !given.includes(code));
    order.sort((one, other) => here[other] - here[one]);
    const known = given.length < 2 ? frequencies(model.pairs, model.codes.length, given[0]) : null;
    const of = given.length ? together(model.pairs, given[0], given[0]) : model.patients;
    const trained = (code) =>
      known[code] === FEW || of === FEW ? "–" : percent(known[code] / of);
    const rows = order.slice(0, SHOWN).map((code) => [model.codes[code], model.titles[code],
      percent(here[code] / n), ...(known ? [trained(code)] : [])]);
    const caption = `${whole(n)} patient${n > 1 ? "s" : ""}, ${(diagnoses / n).toFixed(1)} `
      + `diagnoses each, in ${found.seconds.toFixed(1)} s: ${cost(found)}. `
      + `Shares of so few are uncertain by up to ${Math.round(98 / Math.sqrt(n))} points.`;
    const such = given.length ? ` with ${model.codes[given[0]]}` : "";
    const heads = ["code", "diagnosis", "these patients",
      ...(known ? [`training patients${such}`] : [])];
    place.replaceChildren(table(caption, heads, rows));
  }

  // The form -------------------------------------------------------------------------------------

  const name = (model, code) => `${model.codes[code]} ${model.titles[code]}`;

  /** The number of the code that a reader has typed: a code, or one with its title. */
  function typed(model, text) {
    const words = text.trim().toLowerCase();
    return model.codes.findIndex((code, i) =>
      [code, model.titles[i], name(model, i)].some((each) => each.toLowerCase() === words));
  }

  /** The form's parts: what is typed, frequent codes, chosen ones, and the buttons. */
  function form(model) {
    const options = model.codes.map((_, code) => make("option", { value: name(model, code) }));
    const parts = {
      code: make("input", { id: "try-it-code", type: "text", autocomplete: "off",
                            placeholder: "a code or a name" }),
      add: make("button", { type: "submit" }, "Add"),
      frequent: make("p", { className: "chips" }),
      chosen: make("p", { className: "chips chosen" }),
      support: make("p", { className: "support" }),
      seed: make("input", { id: "try-it-seed", type: "number", min: 0, step: 1, value: 1 }),
      one: make("button", { type: "button" }, "Draw a patient"),
      many: make("button", { type: "button" }, `Draw ${MANY} patients`),
      stop: make("button", { type: "button", hidden: true }, "Stop"),
      status: make("p", { className: "status" }),
      result: make("div"),
      busy: false,
    };
    parts.code.setAttribute("list", "try-it-codes");
    for (const live of [parts.support, parts.status]) live.setAttribute("role", "status");
    const label = (input, text) => make("label", { htmlFor: input.id }, text);
    parts.form = make("form", {}, make("datalist", { id: "try-it-codes" }, ...options),
      label(parts.code, "Diagnoses that every patient is to have"),
      make("p", { className: "typed" }, parts.code, parts.add), parts.frequent, parts.chosen,
      parts.support, make("p", { className: "buttons" },
        make("span", {}, label(parts.seed, "Random seed"), parts.seed), parts.one, parts.many,
        parts.stop));
    return parts;
  }

  /** What the page knows of the model, above the form. */
  function about(model) {
    return make("p", { className: "origin" }, `${model.title}, run `, make("code", {}, model.run),
      `: trained on ${whole(model.patients)} patients. ${model.about}. `
      + `${whole(model.codes.length)} codes.`);
  }

  function show(root, model) {
    const parts = form(model), given = [];
    root.replaceChildren(about(model), parts.form, parts.status, parts.result);
    const chip = (code, text, spoken, click) => {
      const button = make("button", { type: "button", title: name(model, code), onclick: click });
      button.append(text);
      button.setAttribute("aria-label", spoken);
      return button;
    };
    const enable = () => {
      parts.one.disabled = parts.many.disabled = parts.busy || !support(model, given).met;
    };
    const change = () => {
      parts.support.textContent = support(model, given).words;
      enable();
      parts.chosen.replaceChildren(...given.map((code) =>
        chip(code, `${name(model, code)} ×`, `remove ${name(model, code)}`, () => {
          given.splice(given.indexOf(code), 1);
          change();
          parts.code.focus();
        })));
    };
    const add = (code) => {
      if (!given.includes(code)) given.push(code);
      parts.code.value = parts.status.textContent = "";
      change();
    };
    const all = frequencies(model.pairs, model.codes.length);
    const order = all.map((_, code) => code).sort((one, other) => all[other] - all[one]);
    parts.frequent.append("Frequent: ", ...order.slice(0, 3).map((code) =>
      chip(code, name(model, code), `add ${name(model, code)}`, () => add(code))));
    parts.code.oninput = () => {
      const code = model.codes.findIndex((_, i) => name(model, i) === parts.code.value);
      if (code >= 0) add(code);
    };
    parts.form.onsubmit = (event) => {
      event.preventDefault();
      const code = typed(model, parts.code.value);
      if (code >= 0) add(code);
      else {
        parts.status.textContent = `The model has no diagnosis “${parts.code.value}”; `
          + "choose one of the list.";
        parts.code.select();
      }
    };
    work(parts, model, given, enable);
    change();
  }

  /** Let the buttons draw, one after the other. */
  function work(parts, model, given, enable) {
    let stopped = false;
    const run = async (n, seed) => {
      const asked = [...given];
      stopped = false;
      parts.busy = true;
      enable();
      parts.stop.hidden = n === 1;
      parts.status.textContent = "Drawing …";
      const found = await draw(model, asked, seed, n, (there) => {
        parts.status.textContent = `Drawing: ${there} of ${n}`;
        return !stopped;
      });
      parts.stop.hidden = true;
      parts.busy = false;
      enable();
      parts.status.textContent = found.failed
        ? `${whole(found.proposed)} patients were grown and ${found.accepted.length} accepted, `
          + "since they have these diagnoses many times. Choose fewer."
        : "";
      if (!found.accepted.length) parts.result.replaceChildren();
      else if (n === 1) showPatient(parts.result, model, asked, seed, found);
      else showMany(parts.result, model, asked, found);
      parts.result.scrollIntoView({ block: "nearest" });
    };
    const seed = () => Math.max(0, Math.floor(Number(parts.seed.value)) || 0);
    parts.one.onclick = () => run(1, seed()).then(() => { parts.seed.value = seed() + 1; });
    parts.many.onclick = () => run(MANY, seed());
    parts.stop.onclick = () => { stopped = true; };
  }

  async function begin(root) {
    const say = (words) => root.replaceChildren(make("p", { className: "status" }, words));
    say("The model is being loaded …");
    try {
      await load(MODEL);
      const model = globalThis.scoehrModel;
      if (model.refused) return say(`No model is in this book: ${model.refused.join("; ")}.`);
      const tensors = await thinning.unpack(model);
      model.rate = new thinning.RateModel(tensors);
      model.pairs = Object.fromEntries(["first", "second", "patients"].map((part) =>
        [part, tensors[`pairs.${part}`].data]));
      show(root, model);
    } catch (error) {
      say("The model could not be loaded. A browser of the year 2023 or later is needed, and the "
        + `folder try-it beside this book. (${error.message})`);
    }
  }

  addEventListener("DOMContentLoaded", () => {
    const root = document.getElementById("try-it");
    if (root) begin(root);
  });
})();
