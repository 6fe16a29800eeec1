"use strict";
// The case browser: reads the data that harmoseg.report.browser made, and draws the chosen case.
// In this order: reading, colours, painting a panel, what each panel shows, controls.

(() => {
  const dataElement = document.getElementById("browser-data");
  if (!dataElement) return;
  const data = JSON.parse(dataElement.textContent);
  dataElement.remove(); // the text is as large as what was read from it
  const element = (id) => document.getElementById(id);
  const KINDS = data.classes.length + 1;
  const BINARY = data.classes.length === 1;
  const SIDE = 448; // pictures are drawn enlarged to about this, so that outlines are fine

  // ---- reading ----

  function bytesOf(text) {
    return Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
  }

  /** Undo harmoseg.report.browser.encode_labels. */
  function decodeLabels(text, size) {
    const labels = new Uint8Array(size);
    let at = 0, value = 0, scale = 1;
    for (const byte of bytesOf(text)) {
      value += (byte & 127) * scale;
      scale *= 128;
      if (byte & 128) continue;
      const label = value % KINDS, end = at + (value - label) / KINDS;
      labels.fill(label, at, end);
      at = end;
      value = 0;
      scale = 1;
    }
    return labels;
  }

  /** Keep the last results of a function: going back and forth decodes nothing twice. */
  function remember(make, most) {
    const kept = new Map();
    return (key, ...rest) => {
      if (!kept.has(key)) {
        if (kept.size >= most) kept.delete(kept.keys().next().value);
        kept.set(key, make(...rest));
      }
      return kept.get(key);
    };
  }

  const keptLabels = remember((text, size) => decodeLabels(text, size), 64);
  const keptSpectra = remember((labels, chosen, height, width) => {
    const mask = labels.map((label) => (chosen ? label === chosen : label > 0) ? 1 : 0);
    return Spectrum.logMagnitude(mask, height, width);
  }, 64);
  const keptImages = remember((address) => {
    const image = new Image();
    image.src = address;
    return image.decode().then(() => image, () => null);
  }, 24);

  // ---- colours ----

  const TRUTH = [255, 42, 42], PREDICTION = [43, 232, 43];
  // Okabe and Ito's: told apart with any colour vision.
  const FALSE_POSITIVE = [230, 159, 0], FALSE_NEGATIVE = [86, 180, 233], WRONG_CLASS = [204, 121, 167];
  const HEAT = ["#000004", "#1d1147", "#51127c", "#832681", "#b73779", "#e75263", "#fc8961", "#fec488", "#fcfdbf"];
  const DIVERGING = ["#0a4f8f", "#56B4E9", "#f7f7f7", "#E69F00", "#8f3d00"];

  const rgb = (code) => [1, 3, 5].map((i) => parseInt(code.slice(i, i + 2), 16));
  const css = (colour) => `rgb(${colour.join(" ")})`;
  const CLASSES = data.colours.map(rgb);

  /** Make a table of 256 colours that runs through the given ones. */
  function ramp(codes) {
    const stops = codes.map(rgb);
    return Array.from({ length: 256 }, (_, i) => {
      const place = (i / 255) * (stops.length - 1), low = Math.min(Math.floor(place), stops.length - 2);
      return stops[low].map((value, c) => value + (place - low) * (stops[low + 1][c] - value));
    });
  }
  const heat = ramp(HEAT), diverging = ramp(DIVERGING);

  // ---- painting a panel ----

  const panels = new Map();
  for (const figure of document.querySelectorAll("#browser .panel")) {
    panels.set(figure.dataset.panel, {
      figure,
      canvas: figure.querySelector("canvas"),
      title: figure.querySelector("b").textContent,
      detail: figure.querySelector(".detail"),
    });
  }

  /** Size a panel's canvas for the case, empty it, and give what the painting functions take. */
  function open(panel, at) {
    const scale = Math.max(1, Math.round(SIDE / Math.max(at.height, at.width)));
    const { canvas } = panel;
    canvas.width = at.width * scale;
    canvas.height = at.height * scale;
    const context = canvas.getContext("2d");
    return { context, scale, height: at.height, width: at.width };
  }

  function paintImage(sheet, image) {
    const { context, scale, height, width } = sheet;
    if (!image) return;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, width * scale, height * scale);
  }

  /** Take colour and glare from what is painted, so that colours laid over it stand out. */
  function fade(sheet) {
    const { context, scale, height, width } = sheet;
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, width * scale, height * scale);
    context.globalCompositeOperation = "source-over";
    context.fillStyle = "rgb(0 0 0 / 0.3)";
    context.fillRect(0, 0, width * scale, height * scale);
  }

  /** Paint a picture pixel by pixel; `colourOf(i)` gives [r, g, b] or [r, g, b, a], or nothing. */
  function paintPixels(sheet, opacity, colourOf) {
    const { context, scale, height, width } = sheet;
    const small = document.createElement("canvas");
    small.width = width;
    small.height = height;
    const pixels = new ImageData(width, height), bytes = pixels.data;
    for (let i = 0; i < width * height; i++) {
      const colour = colourOf(i);
      if (!colour) continue;
      // One by one: taking colours apart as lists takes several times as long.
      bytes[4 * i] = colour[0];
      bytes[4 * i + 1] = colour[1];
      bytes[4 * i + 2] = colour[2];
      bytes[4 * i + 3] = colour.length > 3 ? 255 * colour[3] : 255;
    }
    small.getContext("2d").putImageData(pixels, 0, 0);
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, width * scale, height * scale);
    context.globalAlpha = 1;
  }

  /** Draw the borders between a class and what is not of it, along the edges of pixels. */
  function paintOutlines(sheet, opacity, labels, colours) {
    const { context, scale, height, width } = sheet;
    const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : labels[y * width + x]);
    const paths = colours.map(() => new Path2D());
    const line = (label, x0, y0, x1, y1) => {
      paths[label - 1].moveTo(x0 * scale, y0 * scale);
      paths[label - 1].lineTo(x1 * scale, y1 * scale);
    };
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const label = at(x, y);
        if (!label) continue;
        if (at(x - 1, y) !== label) line(label, x, y, x, y + 1);
        if (at(x + 1, y) !== label) line(label, x + 1, y, x + 1, y + 1);
        if (at(x, y - 1) !== label) line(label, x, y, x + 1, y);
        if (at(x, y + 1) !== label) line(label, x, y + 1, x + 1, y + 1);
      }
    }
    context.globalAlpha = opacity;
    context.lineWidth = 3;
    context.lineCap = "square";
    paths.forEach((path, i) => {
      context.strokeStyle = css(colours[i]);
      context.stroke(path);
    });
    context.globalAlpha = 1;
  }

  function paintMask(sheet, at, labels, binaryColour) {
    const colours = BINARY ? [binaryColour] : CLASSES;
    if (at.paint === "line") paintOutlines(sheet, at.opacity, labels, colours);
    else paintPixels(sheet, at.opacity, (i) => labels[i] && colours[labels[i] - 1]);
  }

  function paintError(sheet, at, truth, labels) {
    paintPixels(sheet, at.opacity, (i) => {
      if (truth[i] === labels[i]) return null;
      if (!truth[i]) return FALSE_POSITIVE;
      return labels[i] ? WRONG_CLASS : FALSE_NEGATIVE;
    });
  }

  function paintMap(sheet, map, most) {
    paintPixels(sheet, 1, (i) => heat[most > 0 ? Math.round((255 * map[i]) / most) : 0]);
  }

  function paintDifference(sheet, map, reference) {
    const gaps = map.map((value, i) => value - reference[i]);
    const most = gaps.reduce((so, gap) => Math.max(so, Math.abs(gap)), 0) || 1;
    paintPixels(sheet, 1, (i) => diverging[Math.round(127.5 + (127.5 * gaps[i]) / most)]);
    return most;
  }

  /** Lay an activation map over the image, enlarged between the centres of its cells. */
  function paintCam(sheet, at, [rows, columns, text]) {
    const values = bytesOf(text), { height, width } = sheet;
    const place = (i, cells, size) => Math.min(Math.max(((i + 0.5) * cells) / size - 0.5, 0), cells - 1);
    paintPixels(sheet, at.opacity, (i) => {
      const y = place(Math.floor(i / width), rows, height), x = place(i % width, columns, width);
      const top = Math.floor(y), left = Math.floor(x);
      const below = Math.min(top + 1, rows - 1), right = Math.min(left + 1, columns - 1);
      const mix = (row) =>
        values[row * columns + left] * (left + 1 - x) + values[row * columns + right] * (x - left);
      const value = mix(top) * (top + 1 - y) + mix(below) * (y - top);
      // Where nothing is active the image stays as it is.
      return [...heat[Math.round(value)], Math.min(1, value / 128)];
    });
  }

  function paintMissing(sheet) {
    const { context, scale, height, width } = sheet, side = Math.min(height, width) * scale;
    context.strokeStyle = "#777";
    context.lineWidth = Math.max(2, side / 60);
    context.beginPath();
    context.moveTo(0.35 * width * scale, 0.35 * height * scale);
    context.lineTo(0.65 * width * scale, 0.65 * height * scale);
    context.moveTo(0.65 * width * scale, 0.35 * height * scale);
    context.lineTo(0.35 * width * scale, 0.65 * height * scale);
    context.stroke();
  }

  // ---- what each panel shows ----

  const scoreText = (run) =>
    !run ? "not available" : `${data.measure} ${run.score === null ? "undefined" : run.score.toFixed(data.decimals)}`;
  const correlationText = (r) => (r === null ? "r undefined" : `r = ${r.toFixed(3)}`);

  /** Read the controls: everything that decides what is drawn. */
  function chosen() {
    const index = Number(element("pick-case").value);
    const item = data.cases[index];
    return {
      index,
      item,
      method: Number(element("pick-method").value),
      seed: Number(element("pick-seed").value),
      class: Number(element("pick-class").value),
      paint: element("pick-paint").value,
      opacity: Number(element("pick-opacity").value) / 100,
      compare: Boolean(element("pick-compare")?.checked),
      view: element("pick-view")?.value,
      plane: Math.min(Number(element("pick-plane").value), item.image.length - 1),
      height: item.height,
      width: item.width,
    };
  }

  const labelsOf = (at, name, texts) =>
    keptLabels(`${at.index} ${at.plane} ${name}`, texts[at.plane], at.height * at.width);
  const truthOf = (at) => labelsOf(at, "truth", at.item.truth);
  const runOf = (at, method) => at.item.runs[method][at.seed];
  const predictionOf = (at, method) =>
    labelsOf(at, `${method} ${at.seed}`, runOf(at, method).labels);
  const spectrumOf = (at, name, labels) =>
    keptSpectra(`${at.index} ${at.plane} ${name} ${at.class}`, labels, at.class, at.height, at.width);
  const truthSpectrum = (at) => spectrumOf(at, "truth", truthOf(at));
  const predictionSpectrum = (at, method) =>
    spectrumOf(at, `${method} ${at.seed}`, predictionOf(at, method));
  const largest = (map) => map.reduce((so, value) => Math.max(so, value), 0);

  function describePixels(labels) {
    const marked = labels.reduce((sum, label) => sum + (label > 0), 0);
    return marked ? `${((100 * marked) / labels.length).toFixed(1)} % of the image` : "nothing marked";
  }

  function describeError(truth, labels) {
    let over = 0, missed = 0, wrong = 0;
    for (let i = 0; i < truth.length; i++) {
      if (truth[i] === labels[i]) continue;
      if (!truth[i]) over += 1;
      else if (!labels[i]) missed += 1;
      else wrong += 1;
    }
    const counts = `${over} px too much, ${missed} px missed`;
    return BINARY ? counts : `${counts}, ${wrong} px of a wrong class`;
  }

  /** How to draw what a method made of the case: each paints, and returns what to say of it. */
  const VIEWS = {
    prediction(sheet, at, method, image) {
      const labels = predictionOf(at, method);
      paintImage(sheet, image);
      paintMask(sheet, at, labels, PREDICTION);
      if (BINARY) paintOutlines(sheet, at.opacity, truthOf(at), [TRUTH]);
      return describePixels(labels);
    },
    error(sheet, at, method, image) {
      const truth = truthOf(at), labels = predictionOf(at, method);
      paintImage(sheet, image);
      fade(sheet);
      paintError(sheet, at, truth, labels);
      return describeError(truth, labels);
    },
    spectrum(sheet, at, method) {
      const truth = truthSpectrum(at), map = predictionSpectrum(at, method);
      paintMap(sheet, map, Math.max(largest(truth), largest(map)));
      return correlationText(Spectrum.correlation(truth, map));
    },
    "spectrum-difference"(sheet, at, method) {
      const most = paintDifference(sheet, predictionSpectrum(at, method), truthSpectrum(at));
      return `up to ${most.toFixed(1)} in log(1 + |DFT|)`;
    },
    cam(sheet, at, method, image) {
      const run = runOf(at, method);
      paintImage(sheet, image);
      if (run.cam) paintCam(sheet, at, run.cam);
      return run.cam ? "bright: weighs most" : "not available";
    },
  };

  function say(panel, at, detail, subject = "") {
    panel.detail.textContent = detail;
    const words = [panel.title, subject, at.item.name, detail].filter((text) => text);
    panel.canvas.setAttribute("aria-label", words.join(", "));
  }

  function drawImage(id, at, image) {
    const panel = panels.get(id);
    paintImage(open(panel, at), image);
    say(panel, at, image ? `${at.width} \u00d7 ${at.height} px` : "not available");
  }

  function drawTruth(id, at, image) {
    const panel = panels.get(id), sheet = open(panel, at);
    paintImage(sheet, image);
    paintMask(sheet, at, truthOf(at), TRUTH);
    say(panel, at, describePixels(truthOf(at)));
  }

  function drawRun(id, at, method, view, image, { scored, subject }) {
    const panel = panels.get(id), sheet = open(panel, at), run = runOf(at, method);
    if (!run) {
      paintMissing(sheet);
      say(panel, at, "not available", subject);
      return;
    }
    const detail = VIEWS[view](sheet, at, method, image);
    say(panel, at, scored ? `${scoreText(run)}; ${detail}` : detail, subject);
  }

  function drawTruthSpectrum(at) {
    const panel = panels.get("truth-spectrum"), map = truthSpectrum(at);
    const run = runOf(at, at.method);
    const most = run ? Math.max(largest(map), largest(predictionSpectrum(at, at.method))) : largest(map);
    paintMap(open(panel, at), map, most);
    say(panel, at, at.class ? data.classes[at.class - 1] : "");
  }

  function drawOne(at, image) {
    drawImage("image", at, image);
    drawTruth("truth", at, image);
    if (data.explained) drawTruthSpectrum(at);
    for (const view of Object.keys(VIEWS).filter((name) => panels.has(name))) {
      const scored = view === "prediction", subject = data.methods[at.method];
      drawRun(view, at, at.method, view, image, { scored, subject });
    }
  }

  function drawAll(at, image) {
    if (at.view === "spectrum") {
      const panel = panels.get("compared-truth"), map = truthSpectrum(at);
      paintMap(open(panel, at), map, largest(map));
      say(panel, at, "spectrum");
    } else {
      drawTruth("compared-truth", at, image);
    }
    drawImage("compared-image", at, image);
    data.methods.forEach((_, method) => {
      drawRun(`method-${method}`, at, method, at.view, image, { scored: true, subject: at.view });
      const { figure } = panels.get(`method-${method}`);
      figure.classList.toggle("chosen", method === at.method);
    });
  }

  /** Draw when the image is there; a choice made meanwhile makes the earlier one void. */
  const part = element("browser").closest("details");
  const imageOf = (index, plane) => {
    const address = data.cases[index].image[plane];
    return address && keptImages(`${index} ${plane}`, address);
  };
  let turn = 0;
  async function draw() {
    if (!part.open) return; // drawn when it is opened
    turn += 1;
    const mine = turn;
    element("browser").dataset.asked = String(mine); // once "drawn" is the same, all is drawn
    element("opacity").textContent = `(${element("pick-opacity").value} %)`;
    if (!element("pick-case").value) return nothingFound();
    const at = chosen();
    const image = await imageOf(at.index, at.plane);
    if (mine !== turn) return;
    element("one").hidden = at.compare;
    element("all").hidden = !at.compare;
    element("stage").hidden = false;
    (at.compare ? drawAll : drawOne)(at, image);
    tell(at);
    showLegend(at);
    element("browser").dataset.drawn = String(mine);
    for (const index of neighbours()) imageOf(index, data.cases[index].first);
    for (const by of [1, -1]) imageOf(at.index, at.plane + by);
  }

  function nothingFound() {
    element("stage").hidden = true;
    element("status").textContent = "No case has such a name.";
  }

  function tell(at) {
    const place = listed.indexOf(at.index) + 1;
    const run = runOf(at, at.method);
    const words = [
      `${at.item.name} (${place} of ${listed.length})`,
      at.item.planes[at.plane],
      `${data.methods[at.method]}, seed ${data.seeds[at.seed]}: ${scoreText(run)}`,
    ];
    element("status").textContent = words.filter((text) => text).join(" \u00b7 ");
    const control = element("plane-control"), planes = at.item.planes.length;
    control.hidden = planes < 2;
    element("plane").textContent = `(${at.plane + 1} of ${planes})`;
    const names = [data.stores[at.item.store], at.item.name, data.methods[at.method]];
    const more = [data.seeds[at.seed], ...(planes > 1 ? [at.plane] : [])];
    element("case-link").href = `#case=${[...names, ...more].map(encodeURIComponent).join("/")}`;
  }

  /** Say what the colours mean, a line for the masks, the errors and the maps that are shown. */
  function legendOf(at) {
    const shows = (view) => !at.compare || at.view === view;
    const across = (codes) => `linear-gradient(90deg, ${codes.join(", ")})`;
    const masks = BINARY
      ? [[css(TRUTH), "truth"], [css(PREDICTION), "prediction"]]
      : data.classes.map((name, i) => [css(CLASSES[i]), name]);
    const errors = [
      [css(FALSE_POSITIVE), "false positive: predicted, not in the truth"],
      [css(FALSE_NEGATIVE), "false negative: in the truth, not predicted"],
      ...(BINARY ? [] : [[css(WRONG_CLASS), "wrong class"]]),
    ];
    const maps = [
      ...(data.explained && (shows("spectrum") || shows("cam")) ? [[across(HEAT), "low to high"]] : []),
      ...(at.compare || !data.explained ? [] : [[across(DIVERGING), "prediction has less, more power than the truth"]]),
    ];
    const lines = [
      ["Masks", at.compare && at.view === "spectrum" ? [] : masks],
      ["Errors", shows("error") ? errors : []],
      ["Maps", maps],
    ];
    return lines.filter(([, entries]) => entries.length);
  }

  let legendShown = "";
  function showLegend(at) {
    const lines = legendOf(at), key = JSON.stringify(lines);
    if (key === legendShown) return;
    legendShown = key;
    element("legend").replaceChildren(
      ...lines.map(([title, entries]) => {
        const line = make("li", "", make("b", "", title));
        line.append(
          ...entries.map(([background, words]) => {
            const swatch = make("span", "swatch");
            swatch.style.background = background;
            if (background.startsWith("linear")) swatch.style.width = "4em";
            return make("span", "entry", swatch, words);
          }),
        );
        return line;
      }),
    );
  }

  function make(tag, className, ...content) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...content);
    return made;
  }

  // ---- controls ----

  const ORDERS = {
    given: () => 0,
    name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
    lowest: (a, b) => undefinedLast(a.mean, b.mean, (x, y) => x - y),
    highest: (a, b) => undefinedLast(a.mean, b.mean, (x, y) => y - x),
    disagreement: (a, b) => undefinedLast(a.disagreement, b.disagreement, (x, y) => y - x),
  };

  function undefinedLast(x, y, compare) {
    if (x === null || y === null) return (x === null) - (y === null);
    return compare(x, y);
  }

  function caseText(item, order) {
    if (order === "disagreement" && item.disagreement !== null) {
      return `${item.name} (${item.disagreement.toFixed(0)} %)`;
    }
    if (order === "lowest" || order === "highest") {
      return `${item.name} (${item.mean === null ? "undefined" : item.mean.toFixed(data.decimals)})`;
    }
    return item.name;
  }

  /** The positions of the cases in the list, in its order. */
  let listed = [];

  function list({ first = false } = {}) {
    const store = Number(element("pick-store").value), order = element("pick-order").value;
    const wanted = element("pick-filter").value.trim().toLowerCase();
    const inStore = data.cases.map((_, i) => i).filter((i) => data.cases[i].store === store);
    listed = inStore
      .filter((i) => data.cases[i].name.toLowerCase().includes(wanted))
      .sort((a, b) => ORDERS[order](data.cases[a], data.cases[b]) || a - b);
    const picker = element("pick-case"), before = picker.value;
    picker.replaceChildren(
      ...listed.map((i) => new Option(caseText(data.cases[i], order), String(i))),
    );
    if (!first && listed.includes(Number(before)) && before !== "") picker.value = before;
    element("count").textContent =
      listed.length === inStore.length ? `(${listed.length})` : `(${listed.length} of ${inStore.length})`;
    step("pick-case", 0);
    toFirstPlane();
    draw();
  }

  /** Begin with the fullest plane of a case. */
  function toFirstPlane() {
    if (element("pick-case").value === "") return;
    const item = data.cases[Number(element("pick-case").value)], slider = element("pick-plane");
    slider.max = String(item.planes.length - 1);
    slider.value = String(item.first);
  }

  function neighbours() {
    const place = element("pick-case").selectedIndex;
    return [place + 1, place - 1].map((i) => listed[i]).filter((index) => index !== undefined);
  }

  /** Go on in a list by so many; it has ends. */
  function step(id, by) {
    const picker = element(id), last = picker.length - 1;
    const next = Math.min(Math.max(picker.selectedIndex + by, 0), last);
    const moved = last >= 0 && next !== picker.selectedIndex;
    if (moved) picker.selectedIndex = next;
    if (id === "pick-case") {
      // Not `disabled`, which would take the focus away from the button that was just pressed.
      element("previous").setAttribute("aria-disabled", String(picker.selectedIndex <= 0));
      element("next").setAttribute("aria-disabled", String(picker.selectedIndex >= last));
      if (moved) toFirstPlane();
    }
    if (moved) draw();
  }

  const KEYS = {
    ArrowLeft: ["pick-case", -1],
    ArrowRight: ["pick-case", 1],
    ArrowUp: ["pick-method", -1],
    ArrowDown: ["pick-method", 1],
  };

  element("stage").addEventListener("keydown", (event) => {
    const by = { PageDown: 1, PageUp: -1 }[event.key];
    if (by && !element("plane-control").hidden) {
      event.preventDefault();
      element("pick-plane").value = String(Number(element("pick-plane").value) + by);
      draw();
    }
    if (!KEYS[event.key] || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault(); // the page would scroll
    step(...KEYS[event.key]);
  });
  element("previous").addEventListener("click", () => step("pick-case", -1));
  element("next").addEventListener("click", () => step("pick-case", 1));
  element("pick-case").addEventListener("change", () => {
    step("pick-case", 0);
    toFirstPlane();
    draw();
  });
  for (const id of ["pick-method", "pick-seed", "pick-class", "pick-paint", "pick-view"]) {
    element(id)?.addEventListener("change", draw);
  }
  for (const id of ["pick-opacity", "pick-plane"]) element(id).addEventListener("input", draw);
  element("pick-compare")?.addEventListener("change", (event) => {
    element("pick-view").disabled = !event.target.checked;
    draw();
  });
  element("pick-filter").addEventListener("input", () => list());
  // Another order or other data is asked for to see what comes first.
  element("pick-order").addEventListener("change", () => list({ first: true }));
  element("pick-store").addEventListener("change", () => list({ first: true }));
  part.addEventListener("toggle", draw);

  // ---- links to a case: #case=DATA/NAME/METHOD/SEED/PLANE, the last three may be missing ----

  function openLinked() {
    if (!location.hash.startsWith("#case=")) return;
    const [store, name, ...rest] = location.hash.slice(6).split("/").map(decodeURIComponent);
    const at = data.stores.indexOf(store);
    const index = data.cases.findIndex((item) => item.store === at && item.name === name);
    if (index < 0) return;
    element("pick-store").value = String(at);
    element("pick-filter").value = "";
    [["pick-method", data.methods], ["pick-seed", data.seeds.map(String)]].forEach(([id, names], i) => {
      if (names.includes(rest[i])) element(id).value = String(names.indexOf(rest[i]));
    });
    list();
    element("pick-case").value = String(index);
    step("pick-case", 0);
    toFirstPlane();
    if (rest[2] !== undefined) element("pick-plane").value = rest[2];
    PageParts.reveal(part);
    part.scrollIntoView();
    draw();
  }

  element("case-link").addEventListener("click", async (event) => {
    event.preventDefault();
    const link = event.currentTarget, address = new URL(link.getAttribute("href"), location.href).href;
    history.replaceState(null, "", link.getAttribute("href"));
    try {
      await navigator.clipboard.writeText(address);
      document.getElementById("announcer").textContent = "link copied";
    } catch {
      window.prompt("Link to this case", address); // some browsers copy nothing from a file
    }
  });
  window.addEventListener("hashchange", openLinked);
  list();
  openLinked();
})();
