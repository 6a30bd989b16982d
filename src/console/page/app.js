/** The page of the flow console: draws requests as they end, and the state beside them. */

const SHOWN = 200;
const element = (id) => document.getElementById(id);
const form = element("filter");
const pause = element("pause");

/** Newest first; while paused they gather here and are not drawn. */
let requests = [];

const ORIGINS = {
  cache: "from this process' cache",
  shared: "from the tier that replicas share",
  flight: "from an exchange that another request had begun",
  authority: "from Entra",
};
const ACTORS = {
  caller: "The caller must change the request.",
  user: "The user must act: sign in again, consent, or ask for access.",
  job: "The user of the job must delegate anew.",
  operator: "The operator of the gateway must act.",
  authority: "Entra must recover; callers try again.",
  downstream: "The API behind the gateway must recover.",
  nobody: "The request can be sent again.",
};

function make(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className !== "") made.className = className;
  return made;
}

const ms = (value) =>
  value === undefined ? undefined : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function matches(request) {
  return ["user", "route", "code", "correlationId"].every((name) => {
    const wanted = form.elements[name].value.trim().toLowerCase();
    return (
      wanted === "" ||
      String(request[name] ?? "")
        .toLowerCase()
        .includes(wanted)
    );
  });
}

function proofOf({ credential, generation }) {
  return credential === undefined ? undefined : `${credential}, generation ${generation ?? "unknown"}`;
}

/** The rooms that a request reached, with the time in each. */
function walkOf(request) {
  return [
    request.verifyMs !== undefined && `identity ${ms(request.verifyMs)}`,
    request.origin !== undefined || request.exchangeMs !== undefined
      ? `exchange ${ms(request.exchangeMs) ?? ""} ${request.origin ?? ""}`.trim()
      : false,
    request.credential !== undefined && `credential ${proofOf(request)}`,
    request.downstreamStatus !== undefined &&
      `downstream ${ms(request.downstreamMs) ?? ""} ${request.downstreamStatus}`,
  ].filter(Boolean);
}

function explain(request) {
  const sentences = [
    `At ${new Date(request.at).toISOString()} a ${request.method} request came to the route ${request.route}.`,
    request.user === undefined
      ? "Its caller was not established."
      : `The token was that of the user with the digest ${request.user}, verified in ${ms(request.verifyMs) ?? "no time"}.`,
  ];
  if (request.origin !== undefined)
    sentences.push(`The delegated token came ${ORIGINS[request.origin] ?? request.origin}.`);
  if (request.credential !== undefined)
    sentences.push(`The gateway proved itself to Entra by ${proofOf(request)}.`);
  if (request.downstreamStatus !== undefined)
    sentences.push(
      `The API answered ${request.downstreamStatus} after ${ms(request.downstreamMs) ?? "an unknown time"}.`,
    );
  if (request.code === "granted")
    sentences.push(`The caller was given ${request.status}, ${ms(request.ms)} after the request came.`);
  else {
    const reason = request.reason === undefined ? "" : `, because of ${request.reason}`;
    sentences.push(`The gateway refused it with ${request.status} ${request.code}${reason}.`);
    sentences.push(ACTORS[request.actor] ?? "The answer was cut short.");
    if (request.fix !== undefined) sentences.push(request.fix);
  }
  sentences.push(`Correlation id ${request.correlationId}.`);
  return sentences.join(" ");
}

function draw(request) {
  const item = make("li");
  const head = make("div", "", "head");
  const isGranted = request.code === "granted";
  head.append(
    make("b", `${request.status} ${request.code}`, isGranted ? "good" : "bad"),
    make("span", `${request.method} ${request.route}`),
    make("span", ms(request.ms)),
    make("span", request.user === undefined ? "no user" : `user ${request.user}`, "quiet"),
  );
  const button = make("button", "Explain");
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  const paragraph = make("p", explain(request));
  paragraph.hidden = true;
  button.addEventListener("click", () => {
    paragraph.hidden = !paragraph.hidden;
    button.setAttribute("aria-expanded", String(!paragraph.hidden));
  });
  head.append(button);
  item.append(head, make("div", walkOf(request).join(" → "), "walk"));
  if (request.actor !== undefined) item.append(make("div", ACTORS[request.actor], "bad"));
  if (request.fix !== undefined) item.append(make("div", request.fix));
  item.append(paragraph);
  return item;
}

function drawAll() {
  const shown = requests.filter(matches).slice(0, SHOWN);
  element("requests").replaceChildren(...shown.map(draw));
  element("none").hidden = shown.length > 0;
}

/** Lights the rooms that the newest request reached. */
function light(request) {
  const texts = {
    identity: ms(request.verifyMs),
    exchange: request.origin ?? ms(request.exchangeMs),
    credential: proofOf(request),
    downstream: request.downstreamStatus && `${request.downstreamStatus}, ${ms(request.downstreamMs) ?? ""}`,
  };
  const rooms = [...document.querySelectorAll("#rooms li")];
  const reached = rooms.filter(({ dataset }) => texts[dataset.room] !== undefined);
  for (const room of rooms) {
    const isReached = reached.includes(room);
    room.querySelector("output").textContent = texts[room.dataset.room] ?? "–";
    room.classList.toggle("passed", isReached);
    room.classList.toggle("stopped", request.actor !== undefined && room === reached.at(-1));
  }
}

function addRequest(request) {
  requests = [request, ...requests].slice(0, 2 * SHOWN);
  if (pause.getAttribute("aria-pressed") === "true") return;
  light(request);
  if (!matches(request)) return;
  element("none").hidden = true;
  const list = element("requests");
  list.prepend(draw(request));
  while (list.children.length > SHOWN) list.lastElementChild.remove();
}

function sourceLine({ source, state, generation, expiresAt, fault, candidate }, serving) {
  const item = make("li");
  item.append(
    make("b", source),
    ` ${state}, generation ${generation}${source === serving ? ", serves" : ""}`,
  );
  if (expiresAt !== undefined) item.append(make("div", `ends ${new Date(expiresAt).toISOString()}`, "quiet"));
  if (candidate !== undefined)
    item.append(make("div", `generation ${candidate.generation}: ${candidate.state}`, "quiet"));
  if (fault !== undefined) item.append(make("div", fault.problem, "bad"));
  return item;
}

function drawState(state) {
  const { credential, cache, breakers, keyEvents, rates } = state;
  element("credentials").replaceChildren(
    ...(credential?.sources ?? []).map((source) => sourceLine(source, credential.serving)),
    ...(credential ? [make("li", `trial at the start: ${credential.firstTrial.state}`, "quiet")] : []),
  );
  const open = Object.entries(breakers).map(([api, is]) => `${api} ${is}`);
  const facts = {
    "key set": `${state.keysReady ? "there" : "missing"}; ${keyEvents.refreshed} refreshed, ${keyEvents.failed} failed, ${keyEvents.unknown} unknown keys`,
    breakers: open.length === 0 ? "all closed" : open.join(", "),
    cache: cache
      ? `${cache.entries} tokens of ${cache.users} users, ${Math.ceil(cache.bytes / 1024)} KiB`
      : "–",
    connections: state.connections,
    "under way": state.inFlight,
    limits: `${state.shed} requests shed, ${state.limited} events of rate limits`,
  };
  element("state").replaceChildren(
    ...Object.entries(facts).flatMap(([name, text]) => [make("dt", name), make("dd", String(text))]),
  );
  drawRates(rates, state.at);
}

function drawRates(rates, at) {
  const newest = rates.at(-1);
  if (newest === undefined) return;
  const { requests: count, refused, p50, p95 } = newest;
  element("rate-now").textContent =
    `In the newest 10 s with requests: ${count}, ${refused} refused; half within ${p50} ms, 95 % within ${p95} ms.`;
  const most = Math.max(1, ...rates.map((one) => one.requests));
  const bars = rates.flatMap((one) => {
    const x = 89 - Math.floor((at - one.at) / 10_000);
    return [
      ["all", one.requests],
      ["refused", one.refused],
    ].map(([kind, value]) => {
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const height = (40 * value) / most;
      for (const [name, number] of Object.entries({ x, y: 40 - height, width: 0.8, height }))
        bar.setAttribute(name, number);
      bar.setAttribute("class", kind);
      return bar;
    });
  });
  element("rates").replaceChildren(...bars);
}

form.addEventListener("input", drawAll);
form.addEventListener("submit", (event) => event.preventDefault());
pause.addEventListener("click", () => {
  const isPaused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(isPaused));
  if (!isPaused) drawAll();
});

let passedOver = 0;
const events = new EventSource("/console/events");
events.addEventListener("open", () => {
  // What was seen before comes again.
  requests = [];
  drawAll();
  element("connection").textContent = "Connected.";
});
events.addEventListener("error", () => {
  element("connection").textContent = "The gateway does not answer; trying again…";
});
events.addEventListener("message", ({ data }) => {
  const event = JSON.parse(data);
  if (event.kind === "request") addRequest(event);
  else if (event.kind === "state") drawState(event);
  else {
    passedOver += event.requests;
    element("passed-over").hidden = false;
    element("passed-over").textContent = `${passedOver} more requests came too fast to be shown.`;
  }
});
